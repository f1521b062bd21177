"""Training both models on synthetic tracks: it learns, repeats itself, and says what is wrong."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from musichash_core.codes import brute_force_neighbours, logits_to_codes
from musichash_core.errors import ParameterError, TrainingError
from musichash_core.inference import encode_track, models_from_tensors, models_to_tensors
from musichash_core.model_config import ModelConfig
from musichash_core.pyramid_cache import PyramidCache
from musichash_core.segments import TrackFrames
from musichash_core.splits import Split
from musichash_core.training import train_models, train_prepared
from musichash_core.training_data import prepare_tagged_data, prepare_training_data

N_MELS = 16
GENRES = ("high", "low", "wide")
CONFIG = ModelConfig(
    segments={"n_frames": 32, "hop_frames": 16, "max_per_track": 4},
    genre_cnn={"widths": (6, 8, 8), "dropout": 0.1},
    crnn_hash={"n_bits": 32, "n_maps": 4, "map_shape": (4, 4), "n_hidden": 16, "n_pooled": 16},
    training={
        "n_threads": 1,
        "validation_share": 0.25,
        "augmentation": {"mask_bands": 2, "mask_frames": 4},
        "genre_stage": {"epochs": 8, "batch_size": 16, "learning_rate": 5e-3},
        "hash_stage": {"epochs": 6, "cached_crops": 4, "learning_rate": 5e-3},
    },
)


def synthetic_track(genre: int, number: int) -> TrackFrames:
    """Make frames whose bands tell the genre, and whose pattern tells the track."""
    rng = np.random.default_rng([genre, number])
    level = np.full(N_MELS, 60.0)
    band = np.arange(N_MELS)
    level[(band >= 8, band < 8, band % 2 == 0)[genre]] += 50
    level += rng.normal(0, 6, N_MELS)
    frames = level + rng.normal(0, 5, (96, 3, N_MELS))
    return TrackFrames(f"{genre}-{number}", np.clip(frames, 0, 255).astype(np.uint8), 1.0)


def catalogue(per_genre: int = 8) -> tuple[list[TrackFrames], list[str], list[str]]:
    keys = [(genre, number) for genre in range(3) for number in range(per_genre)]
    tracks = [synthetic_track(*key) for key in keys]
    return tracks, [GENRES[genre] for genre, _ in keys], [f"artist {g}-{n // 2}" for g, n in keys]


@pytest.fixture(scope="module")
def events():
    return []


@pytest.fixture(scope="module")
def trained(events):
    return train_models(*catalogue(), CONFIG, on_event=events.append)


def short(**changes):
    """Give a configuration of one epoch per stage, changed further."""
    values = CONFIG.model_dump()
    values["training"]["genre_stage"]["epochs"] = 1
    values["training"]["hash_stage"]["epochs"] = 1
    values["training"].update(changes)
    return ModelConfig(**values)


def assert_same_weights(one, other):
    tensors, others = models_to_tensors(one), models_to_tensors(other)
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_separable_genres_are_learned(trained):
    summary = trained.summary
    assert trained.genres == GENRES
    assert summary.validation_accuracy == 1.0
    assert summary.validation_macro_f1 == 1.0
    assert summary.chance_accuracy == pytest.approx(1 / 3)
    assert summary.confusion == ((2, 0, 0), (0, 2, 0), (0, 0, 2))
    assert summary.validation_map > 0.9
    assert summary.chance_map < 0.6


def test_tracks_never_seen_are_recognised(trained):
    truth = [genre for genre in range(3) for _ in range(4)]
    encoded = [
        encode_track(trained, synthetic_track(genre, 50 + n)) for n, genre in enumerate(truth)
    ]
    assert [one.genre for one in encoded] == truth


def test_an_excerpt_finds_its_track(trained):
    tracks, _, _ = catalogue()
    logits = np.stack([encode_track(trained, track).hash_logits for track in tracks])
    excerpts = [replace(track, frames=track.frames[30:80], peak=0.7) for track in tracks]
    queries = np.stack([encode_track(trained, excerpt).hash_logits for excerpt in excerpts])
    _, rows = brute_force_neighbours(logits_to_codes(queries), logits_to_codes(logits), 3)
    found = (rows == np.arange(len(tracks))[:, None]).any(axis=1)
    assert found.mean() > 0.5  # chance is 3 in 24


def test_the_order_of_the_tracks_does_not_change_a_bit():
    tracks, genres, groups = catalogue()
    order = np.random.default_rng(0).permutation(len(tracks))
    one = train_models(tracks, genres, groups, short())
    other = train_models(
        [tracks[i] for i in order], [genres[i] for i in order], [groups[i] for i in order], short()
    )
    assert_same_weights(one, other)
    assert one.summary == other.summary


def test_another_seed_gives_other_weights():
    one, other = (train_models(*catalogue(), short(seed=seed)) for seed in (0, 1))
    assert not torch.equal(
        one.crnn_hash.hash_head.weight.detach(), other.crnn_hash.hash_head.weight.detach()
    )


def test_memory_maps_give_the_same_models(tmp_path):
    tracks, genres, groups = catalogue()
    mapped = []
    for track in tracks:
        np.save(tmp_path / f"{track.track_id}.npy", track.frames)
        frames = np.load(tmp_path / f"{track.track_id}.npy", mmap_mode="r")
        mapped.append(replace(track, frames=frames))
    one = train_models(tracks, genres, groups, short())
    assert_same_weights(one, train_models(mapped, genres, groups, short()))


def test_global_settings_of_torch_are_put_back():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train_models(*catalogue(), short(n_threads=threads + 1))
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def test_validation_tracks_are_whole_groups_and_not_trained_on(trained):
    tracks, _, groups = catalogue()
    held_out = set(trained.summary.validation_track_ids)
    sides = {
        group: {
            track.track_id in held_out
            for track, own in zip(tracks, groups, strict=True)
            if own == group
        }
        for group in groups
    }
    assert all(len(side) == 1 for side in sides.values())
    assert trained.summary.validation_tracks_per_genre == (2, 2, 2)
    assert trained.summary.tracks_per_genre == (8, 8, 8)


def test_every_epoch_is_reported(trained, events):
    for stage, summary in (
        ("genre", trained.summary.genre_stage),
        ("hash", trained.summary.hash_stage),
    ):
        told = [event for event in events if event.stage == stage]
        assert [event.epoch for event in told] == list(range(1, len(summary.train_losses) + 1))
        assert tuple(event.train_loss for event in told) == summary.train_losses
        assert tuple(event.validation_metric for event in told) == summary.validation_metrics
        assert [event.epoch for event in told if event.is_best][-1] == summary.best_epoch


def test_the_summary_is_json_and_says_the_same_afterwards(trained):
    text = json.dumps(asdict(trained.summary))
    assert json.dumps(json.loads(text)) == text


def test_models_come_back_ready_for_use(trained):
    assert not trained.genre_cnn.training
    assert not trained.crnn_hash.training
    assert all(parameter.device.type == "cpu" for parameter in trained.crnn_hash.parameters())


def test_the_encoder_is_frozen_while_hashing_is_learned(trained):
    values = CONFIG.model_dump()
    values["training"]["hash_stage"]["epochs"] = 1
    other = train_models(*catalogue(), ModelConfig(**values))
    for one, two in zip(
        trained.genre_cnn.state_dict().values(), other.genre_cnn.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two)


def test_tracks_outside_a_given_split_change_nothing():
    tracks, genres, groups = catalogue()
    split = Split(np.flatnonzero(np.arange(24) % 8 < 4), np.array([4, 5, 12, 13, 20, 21]))
    inside = np.sort(np.concatenate([split.train, split.validation]))
    alone = Split(np.searchsorted(inside, split.train), np.searchsorted(inside, split.validation))
    outside = [i for i in range(24) if i not in inside]
    damaged = [
        replace(track, frames=255 - track.frames) if i in outside else track
        for i, track in enumerate(tracks)
    ]
    one, other = (
        train_prepared(prepare_training_data(*given, short().training, split=given_split), short())
        for given, given_split in (
            (([tracks[i] for i in inside], *pick(genres, groups, inside)), alone),
            (
                (
                    damaged,
                    ["never heard" if i in outside else g for i, g in enumerate(genres)],
                    groups,
                ),
                split,
            ),
        )
    )
    assert_same_weights(one, other)
    assert one.summary == other.summary
    assert one.summary.validation_tracks_per_genre == (2, 2, 2)


def pick(genres, groups, positions):
    """Give the labels and groups of some tracks."""
    return [genres[i] for i in positions], [groups[i] for i in positions]


def test_one_group_per_genre_trains_without_validation():
    tracks, genres, _ = catalogue(per_genre=2)
    summary = train_models(tracks, genres, genres, short()).summary
    assert summary.validation_track_ids == ()
    assert summary.validation_accuracy is None
    assert summary.validation_map is None
    assert summary.genre_stage.best_epoch == 1


def test_a_group_in_two_genres_is_legal():
    tracks, genres, groups = catalogue(per_genre=4)
    groups[0] = groups[4]
    assert train_models(tracks, genres, groups, short()).summary.tracks_per_genre == (4, 4, 4)


@pytest.mark.parametrize("max_cached", [64, 200])
def test_memory_bounds_how_many_segments_are_kept(max_cached, monkeypatch):
    kept = []
    plain = PyramidCache.__init__

    def counting(self, parts, n_rows):
        plain(self, parts, n_rows)
        kept.append(len(self))

    monkeypatch.setattr(PyramidCache, "__init__", counting)
    hash_stage = {"epochs": 1, "cached_crops": 60, "max_cached": max_cached}
    train_models(*catalogue(per_genre=16), short(hash_stage=hash_stage))
    assert len(kept) == 2
    assert max(kept) <= max_cached
    assert kept[0] > max_cached / 2


def test_one_genre_is_refused():
    tracks, _, groups = catalogue(per_genre=2)
    with pytest.raises(TrainingError, match="needs at least two"):
        train_models(tracks, ["rock"] * 6, groups, CONFIG)


@pytest.mark.parametrize(
    ("stage", "module"), [("genre", "genre_training"), ("hash", "pyramid_cache")]
)
def test_a_loss_that_is_not_a_number_stops_training(stage, module, monkeypatch):
    def damaged(tracks, *_):
        return np.full((len(tracks), 3, N_MELS, 32), np.nan, dtype=np.float32)

    monkeypatch.setattr(f"musichash_core.{module}.random_segments", damaged)
    with pytest.raises(TrainingError, match=f"became nan in {stage} stage, epoch 1, step 1"):
        train_models(*catalogue(per_genre=2), short())


def test_the_random_selection_rule_trains_too():
    values = short().model_dump()
    values["crnn_hash"].update(selection="rand", recurrent="stack", n_pooled=0)
    tracks, genres, groups = catalogue(per_genre=2)
    models = train_models(tracks, genres, groups, ModelConfig(**values))
    assert models.crnn_hash.selected.shape == (3, 4)


def tagged(config):
    """Give the catalogue with a tag for the genre and one for every second track's loudness."""
    tracks, genres, groups = catalogue()
    louder = [
        replace(track, frames=track.frames // 2) if i % 2 else track
        for i, track in enumerate(tracks)
    ]
    tags = [[genre, "quiet"] if i % 2 else [genre] for i, genre in enumerate(genres)]
    return prepare_tagged_data(louder, tags, groups, config.training)


@pytest.mark.parametrize("kind", ["t", "ortho"])
def test_tags_are_learned(kind):
    values = CONFIG.model_dump(exclude={"crnn_hash": {"head"}})
    values["training"]["genre_stage"]["epochs"] = 40
    values.update(loss={"kind": kind}, label_kind="tags")
    config = ModelConfig(**values)
    models = train_prepared(tagged(config), config)
    summary = models.summary
    assert summary.genres == ("high", "low", "quiet", "wide")
    assert summary.tracks_per_genre == (8, 8, 12, 8)
    assert summary.validation_accuracy is None
    assert np.sum(summary.confusion) == 0
    assert summary.genre_stage.metric_name == "mean average precision of tags"
    assert max(summary.genre_stage.validation_metrics) > 0.9
    assert summary.validation_map > summary.chance_map + 0.15


def test_data_of_another_kind_than_configured_are_refused():
    with pytest.raises(ParameterError, match=r"label_kind='genre' but the tracks .* 'tags'"):
        train_prepared(tagged(CONFIG), CONFIG)


def test_a_new_seed_gives_new_centres_and_loading_keeps_them():
    values = {**short().model_dump(exclude={"crnn_hash": {"head"}}), "loss": {"kind": "ortho"}}
    trained = []
    for seed in (0, 1):
        values["training"]["seed"] = seed
        trained.append(train_models(*catalogue(), ModelConfig(**values)))
    one, other = trained
    assert not torch.equal(one.crnn_hash.centres, other.crnn_hash.centres)
    for models in trained:
        gram = models.crnn_hash.centres @ models.crnn_hash.centres.T
        assert torch.equal(gram, 32 * torch.eye(3))
    loaded = models_from_tensors(
        models_to_tensors(one), one.config, one.genres, n_channels=3, n_mels=N_MELS
    )
    assert_same_weights(one, loaded)
    track = synthetic_track(1, 77)
    np.testing.assert_array_equal(
        encode_track(one, track).hash_logits, encode_track(loaded, track).hash_logits
    )


@pytest.mark.parametrize(
    "network",
    [
        {"recurrent": "none"},
        {"recurrent": "time", "n_pooled": 0},
        {"recurrent": "stack", "shuffled_steps": True},
        {"blocks": "last"},
    ],
)
def test_controls_train_and_load(network):
    values = short().model_dump()
    values["crnn_hash"].update(network)
    models = train_models(*catalogue(per_genre=2), ModelConfig(**values))
    loaded = models_from_tensors(
        models_to_tensors(models), models.config, models.genres, n_channels=3, n_mels=N_MELS
    )
    assert_same_weights(models, loaded)
