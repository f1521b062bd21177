"""Stage 5, encode: genre predictions and hash codes of the tracks of a partition.

Public: `encode_partition`, `partitions_to_encode`.
"""

import time

from musichash_core.process_memory import peak_memory_bytes
from musichash_core.records import PartitionSummary
from storage.encoded_store import write_encoded
from storage.feature_store import FeaturePartition
from storage.receipts import finished_partitions
from storage.store import open_store
from tasks.resources import loaded_models


def partitions_to_encode(
    store: str, feature_fingerprint: str, generation: str
) -> tuple[list[str], int]:
    """List the feature partitions without codes of a generation, and count those that have them."""
    layout = open_store(store)
    done = set(finished_partitions(layout.encoded_root(generation)))
    extracted = finished_partitions(layout.features_root(feature_fingerprint))
    todo = [partition_id for partition_id in extracted if partition_id not in done]
    return todo, len(extracted) - len(todo)


def encode_partition(
    store: str, partition_id: str, feature_fingerprint: str, generation: str
) -> PartitionSummary:
    """Compute and store the predictions and codes of one feature partition.

    Each track is computed by itself, so that its row never depends on its neighbours.
    """
    from musichash_core.inference import encode_track

    started = time.process_time()
    layout = open_store(store)
    models = loaded_models(store, generation, feature_fingerprint)
    partition = FeaturePartition(layout.feature_partition_path(feature_fingerprint, partition_id))
    encoded = []
    audio_s = 0.0
    for stored, track in partition.track_frames():
        encoded.append((stored.track_id, encode_track(models, track)))
        audio_s += stored.duration_s
    folder = layout.encoded_partition_path(generation, partition_id)
    write_encoded(
        folder,
        encoded,
        generation=generation,
        genres=models.genres,
        n_bits=models.config.crnn_hash.n_bits,
    )
    return PartitionSummary(
        partition_id=partition_id,
        n_done=len(encoded),
        audio_s=audio_s,
        cpu_s=time.process_time() - started,
        n_bytes=sum(path.stat().st_size for path in folder.iterdir()),
        peak_memory_bytes=peak_memory_bytes(),
    )
