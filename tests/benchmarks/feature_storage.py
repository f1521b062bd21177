"""Compare ways to store features: bytes per hour, rates, effect on predictions and codes.

    python tests/benchmarks/feature_storage.py demo/store

Takes the tracks of a store made by ``musichash demo``, extracts them again without rounding, and
writes each form with the chunks, shards and checksums of `storage.feature_store`. Prints one JSON
object.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from musichash_core.codes import hamming_distance, logits_to_codes
from musichash_core.config import PipelineConfig
from musichash_core.decibels import COMPRESSION, db_to_bytes, power_to_db
from musichash_core.decode import AudioStream, open_beneath
from musichash_core.features import extract_mel_power
from musichash_core.inference import encode_segments, encode_track
from musichash_core.segments import TrackFrames, segment_starts
from storage.checkpoints import load_models
from storage.feature_store import CHUNK_FRAMES, ZSTD_LEVEL, _shard_frames
from storage.published import read_table, require_snapshot
from storage.store import open_store

SEGMENT_FRAMES = 128
N_SEGMENT_READS = 400
FORMS = {"uint8, 0.5 dB": np.uint8, "float16, dB": np.float16, "float32, dB": np.float32}


def main(root: str, n_tracks: int = 40) -> dict[str, object]:
    layout = open_store(root)
    snapshot = require_snapshot(layout)
    config = PipelineConfig()
    rows = read_table(layout, snapshot, "tracks").to_pylist()
    rows = [row for row in rows if row["status"] == "ok"][:n_tracks]
    decoded = [decode_db(row["root"], row["path"], config) for row in rows]
    decibels = np.concatenate([db for db, _ in decoded])
    hours = len(decibels) / config.features.frame_rate_hz / 3600
    stored = {
        name: measure_form(
            db_to_bytes(decibels) if kind is np.uint8 else decibels.astype(kind), hours
        )
        for name, kind in FORMS.items()
    }
    models = load_models(
        layout, snapshot.generation, feature_fingerprint=config.feature_fingerprint
    )
    return {
        "tracks": len(rows),
        "audio_hours": round(hours, 3),
        "forms": stored,
        "effect_of_rounding": effect_of_rounding(models, decoded),
    }


def decode_db(root, path, config):
    with AudioStream(open_beneath(root, path.encode()), config.decode) as stream:
        y = np.concatenate(list(stream.resampled(config.features.sr)))
    return power_to_db(extract_mel_power(y, config.features)), float(np.abs(y).max())


def measure_form(frames, hours):
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        array = zarr.create_array(
            store=folder,
            shape=frames.shape,
            dtype=frames.dtype,
            chunks=(CHUNK_FRAMES, *frames.shape[1:]),
            shards=(_shard_frames(len(frames)), *frames.shape[1:]),
            compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
        )
        step = array.shards[0]
        for start in range(0, len(frames), step):
            array[start : start + step] = frames[start : start + step]
        write_s = time.process_time() - started
        n_bytes = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        starts = np.random.default_rng(0).integers(0, len(frames) - SEGMENT_FRAMES, N_SEGMENT_READS)
        started = time.process_time()
        for start in starts:
            array[start : start + SEGMENT_FRAMES]
        segment_s = time.process_time() - started
        started = time.process_time()
        array[:]
        read_s = time.process_time() - started
    return {
        "mb_per_audio_hour": round(n_bytes / 1e6 / hours, 1),
        "write_audio_hours_per_cpu_s": round(hours / write_s, 2),
        "read_audio_hours_per_cpu_s": round(hours / read_s, 2),
        "random_segments_per_cpu_s": round(N_SEGMENT_READS / segment_s),
    }


def effect_of_rounding(models, decoded):
    """Encode each track from rounded and from unrounded features and compare the results."""
    n_changed_genre, flipped, largest = 0, [], 0.0
    for db, peak in decoded:
        rounded = encode_track(models, TrackFrames("", db_to_bytes(db), peak))
        starts = segment_starts(len(db), models.config.segments)
        gain = 1.0 / peak if peak else 1.0
        values = np.log10(1 + COMPRESSION * 10 ** (db / 10) * gain**2).astype(np.float32)
        windows = np.stack([values[s : s + models.config.segments.n_frames] for s in starts])
        segments = torch.from_numpy(np.ascontiguousarray(np.moveaxis(windows, 1, -1)))
        log_p, logits = encode_segments(models, segments)
        probabilities = log_p.mean(dim=0).softmax(dim=0).numpy()
        n_changed_genre += int(probabilities.argmax() != rounded.genre)
        largest = max(largest, float(np.abs(probabilities - rounded.probabilities).max()))
        codes = [
            logits_to_codes(x[None]) for x in (logits.mean(dim=0).numpy(), rounded.hash_logits)
        ]
        flipped.append(int(hamming_distance(*codes)[0]))
    return {
        "tracks": len(decoded),
        "tracks_with_another_genre": n_changed_genre,
        "largest_change_of_a_probability": round(largest, 4),
        "mean_bits_changed": round(float(np.mean(flipped)), 3),
        "most_bits_changed": max(flipped),
        "n_bits": models.config.crnn_hash.n_bits,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:2]), indent=2))
