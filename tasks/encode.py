"""Stage 6, encode: genre predictions and hash codes of the tracks of a partition.

Public: `encode_partition`, `partitions_to_encode`, `probe_encoding`.
"""

import time
from collections.abc import Container, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from musichash_core.descriptors import N_DESCRIPTORS, TrackDescription, description_fingerprint
from musichash_core.model_config import ModelConfig
from musichash_core.musicnn.tags import MSD_TAGS
from musichash_core.process_memory import peak_memory_bytes
from musichash_core.records import PartitionSummary
from musichash_core.segment_codes import encode_windows
from musichash_core.segments import TrackFrames
from storage.description_store import read_descriptions
from storage.encoded_store import write_encoded
from storage.errors import DamagedArtefactError, FingerprintMismatchError
from storage.feature_store import FeaturePartition, StoredTrack
from storage.generations import read_model_card
from storage.layout import StoreLayout
from storage.receipts import finished_partitions
from storage.store import open_store
from tasks.resources import loaded_models
from tasks.run_logs import log_partition

if TYPE_CHECKING:  # importing them loads torch, which most stages do not need
    from musichash_core.descriptor_models import DescriptorModels
    from musichash_core.inference import EncodedTrack, MusicModels


def partitions_to_encode(
    store: str, feature_fingerprint: str, generation: str
) -> tuple[list[str], int]:
    """List the feature partitions without codes of a generation, and count those that have them.

    Raises
    ------
    FingerprintMismatchError
        If the generation reads other features: partitions of two fingerprints may share a name, and
        codes of the one are none of the other.
    """
    layout = open_store(store)
    read = read_model_card(layout, generation)["feature_fingerprint"]
    if read != feature_fingerprint:
        raise FingerprintMismatchError(
            f"the model {generation} reads features {read}, the configuration makes "
            f"{feature_fingerprint}; use the configuration it was trained with, or train a new "
            "model with 'musichash train'"
        )
    done = set(finished_partitions(layout.encoded_root(generation)))
    extracted = finished_partitions(layout.features_root(feature_fingerprint))
    todo = [partition_id for partition_id in extracted if partition_id not in done]
    return todo, len(extracted) - len(todo)


def encode_partition(
    store: str, partition_id: str, feature_fingerprint: str, generation: str
) -> PartitionSummary:
    """Compute and store the predictions and codes of one feature partition.

    Each track is computed by itself, so that its row never depends on its neighbours.

    Raises
    ------
    ArtefactMissingError
        If the generation reads descriptions, and the partition is not described yet.
    """
    started, clock = time.process_time(), time.perf_counter()
    layout = open_store(store)
    models = loaded_models(store, generation, feature_fingerprint)
    partition = FeaturePartition(layout.feature_partition_path(feature_fingerprint, partition_id))
    encoded = []
    audio_s = 0.0
    for stored, result in _encoded(layout, models, partition, feature_fingerprint):
        encoded.append((stored.track_id, result))
        audio_s += stored.duration_s
    folder = layout.encoded_partition_path(generation, partition_id)
    write_encoded(
        folder,
        encoded,
        generation=generation,
        genres=models.genres,
        n_bits=models.config.crnn_hash.n_bits,
    )
    summary = PartitionSummary(
        partition_id=partition_id,
        n_done=len(encoded),
        audio_s=audio_s,
        cpu_s=time.process_time() - started,
        n_bytes=sum(path.stat().st_size for path in folder.iterdir()),
        peak_memory_bytes=peak_memory_bytes(),
    )
    log_partition("encode", summary, time.perf_counter() - clock)
    return summary


def probe_encoding(
    store: str,
    partition_id: str,
    feature_fingerprint: str,
    generation: str,
    track_ids: tuple[str, ...],
) -> None:
    """Encode some tracks of a partition and store nothing: to find one that kills its worker."""
    layout = open_store(store)
    models = loaded_models(store, generation, feature_fingerprint)
    partition = FeaturePartition(layout.feature_partition_path(feature_fingerprint, partition_id))
    for _ in _encoded(layout, models, partition, feature_fingerprint, only=track_ids):
        pass


def _encoded(
    layout: StoreLayout,
    models: "MusicModels | DescriptorModels",
    partition: FeaturePartition,
    feature_fingerprint: str,
    only: Container[str] | None = None,
) -> "Iterator[tuple[StoredTrack, EncodedTrack]]":
    """Encode the tracks of a partition, all of them or some."""
    from musichash_core.inference import MusicModels, encode_track

    if not isinstance(models, MusicModels):
        yield from _encoded_descriptions(layout, partition, feature_fingerprint, models, only)
        return
    for stored, track in partition.track_frames():
        if only is None or stored.track_id in only:
            yield stored, _with_windows(encode_track(models, track), stored, track, models.config)


def _encoded_descriptions(
    layout: StoreLayout,
    partition: FeaturePartition,
    feature_fingerprint: str,
    models: "DescriptorModels",
    only: Container[str] | None,
) -> "Iterator[tuple[StoredTrack, EncodedTrack]]":
    """Encode each track of a partition from its stored description, that of the whole track.

    Its frames are read for the codes of its windows.
    """
    from musichash_core.descriptor_models import encode_description

    folder = layout.description_partition_path(
        feature_fingerprint, description_fingerprint(), partition.folder.name
    )
    described = read_descriptions(folder, n_descriptors=N_DESCRIPTORS, n_tags=len(MSD_TAGS))
    tracks = partition.tracks()
    if tuple(stored.track_id for stored in tracks) != described.track_ids:
        raise DamagedArtefactError(
            f"{folder} does not describe the tracks of {partition.folder}; remove it and run "
            "'musichash describe'"
        )
    for number, (stored, track) in enumerate(partition.track_frames()):
        if only is not None and stored.track_id not in only:
            continue
        whole = TrackDescription(
            vector=described.vectors[number, 0],
            tag_probabilities=described.tag_probabilities[number, 0],
            n_patches=int(described.n_patches[number, 0]),
        )
        encoded = encode_description(models, whole)
        yield stored, _with_windows(encoded, stored, track, models.config)


def _with_windows(
    encoded: "EncodedTrack", stored: StoredTrack, track: TrackFrames, config: ModelConfig
) -> "EncodedTrack":
    windows = encode_windows(
        track,
        config.windows,
        n_bits=config.crnn_hash.n_bits,
        frames_per_s=len(track.frames) / stored.duration_s,
    )
    return replace(encoded, windows=windows)
