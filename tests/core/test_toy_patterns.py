"""Separable patterns, anywhere in time: networks must learn them, and no more than them (METHOD 9).

Eight patterns of 16 bands x 8 frames are repeated under noise, each track from another frame on.
Scores are those of METHOD 7: tracks that were never trained on, sought in others that were not.
"""

from functools import cache

import numpy as np
import pytest

from musichash_core.codes import hamming_distance, logits_to_codes
from musichash_core.inference import encode_track
from musichash_core.metrics import mean_average_precision
from musichash_core.model_config import ModelConfig
from musichash_core.segments import TrackFrames
from musichash_core.splits import Split
from musichash_core.training import train_prepared
from musichash_core.training_data import prepare_training_data

N_PATTERNS = 8
N_VALIDATED, N_TRAINED, N_STORED, N_ASKED = (
    3,
    12,
    6,
    3,
)  # tracks per pattern; trained incl. validated
CRNNH_PLUS = {"recurrent": "hierarchical", "n_pooled": 32}


def toy_config(loss_kind: str, **network) -> ModelConfig:
    return ModelConfig(
        segments={"n_frames": 32, "hop_frames": 16, "max_per_track": 4},
        genre_cnn={"widths": (16, 16, 16), "dropout": 0.1},
        crnn_hash={"n_bits": 32, "n_maps": 8, "map_shape": (4, 4), "n_hidden": 32, **network},
        loss={"kind": loss_kind, "instance_weight": 0.0},
        training={
            "n_threads": 1,
            "augmentation": {"mask_bands": 2, "mask_frames": 4},
            "genre_stage": {"epochs": 12, "batch_size": 16, "learning_rate": 5e-3},
            "hash_stage": {"epochs": 15, "cached_crops": 6, "learning_rate": 5e-3},
        },
    )


@cache
def toy_tracks() -> tuple[list[TrackFrames], np.ndarray]:
    """Make all tracks and the number of the pattern in each."""
    rng = np.random.default_rng(0)
    patterns = rng.random((N_PATTERNS, 8, 1, 16)) < 0.5
    labels = np.tile(np.arange(N_PATTERNS), N_TRAINED + N_STORED + N_ASKED)
    tracks = []
    for number, label in enumerate(labels):
        rows = (np.arange(96) + rng.integers(8)) % 8
        frames = 100 + 40 * patterns[label][rows] + rng.normal(0, 25, (96, 3, 16))
        tracks.append(TrackFrames(f"{number:03d}", np.clip(frames, 0, 255).astype(np.uint8), 1.0))
    return tracks, labels


def held_out(config: ModelConfig, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Train on the first tracks; give distances of the last to those between, and what matches.

    Training is handed all tracks and labels, with a split of the first; a leak would show.
    """
    tracks, _ = toy_tracks()
    n_trained, n_asked = N_PATTERNS * N_TRAINED, N_PATTERNS * N_ASKED
    split = Split(
        np.arange(N_PATTERNS * N_VALIDATED, n_trained), np.arange(N_PATTERNS * N_VALIDATED)
    )
    names = [f"pattern {label}" for label in labels]
    groups = [track.track_id for track in tracks]
    data = prepare_training_data(tracks, names, groups, config.training, split=split)
    models = train_prepared(data, config)
    logits = np.stack([encode_track(models, one).hash_logits for one in tracks[n_trained:]])
    codes = logits_to_codes(logits)
    distances = hamming_distance(codes[-n_asked:, None], codes[:-n_asked])
    return distances, labels[-n_asked:, None] == labels[n_trained:-n_asked]


def score(distances: np.ndarray, relevant: np.ndarray) -> float:
    return mean_average_precision(distances, relevant, np.zeros_like(relevant))


@pytest.mark.parametrize(
    ("loss_kind", "network"),
    [
        ("t", {"recurrent": "none"}),
        ("ortho", {"recurrent": "none"}),
        ("ortho", CRNNH_PLUS),
    ],
)
def test_separable_patterns_are_found_among_tracks_never_trained_on(loss_kind, network):
    _, labels = toy_tracks()
    assert score(*held_out(toy_config(loss_kind, **network), labels)) > 0.9


@pytest.mark.parametrize("loss_kind", ["t", "ortho"])
def test_labels_that_mean_nothing_leave_the_score_at_chance(loss_kind):
    rng = np.random.default_rng(1)
    shuffled = rng.permutation(toy_tracks()[1])
    distances, relevant = held_out(toy_config(loss_kind, **CRNNH_PLUS), shuffled)
    chances = [score(distances, relevant[:, rng.permutation(relevant.shape[1])]) for _ in range(50)]
    assert abs(score(distances, relevant) - np.mean(chances)) < 2 * np.std(chances)
