"""Every baseline end to end: it learns, it does not learn nonsense, and it repeats itself."""

import numpy as np
import pytest
import torch

from musichash_core.codes import hamming_distance, logits_to_codes
from musichash_core.errors import ParameterError, TrainingError
from musichash_core.hash_baselines.hash_head import HeadSettings
from musichash_core.hash_baselines.registry import BASELINES, make_baselines
from musichash_core.hash_baselines.training_items import TrainingItems
from musichash_core.metrics import code_statistics, mean_average_precision

QUICK = make_baselines(HeadSettings(epochs=15, min_steps=0, n_hidden=64, batch_size=32))
BINARY = [name for name, method in QUICK.items() if method.is_binary]
SUPERVISED = [name for name, method in QUICK.items() if method.is_supervised]
N_CLASSES, N_FEATURES = 5, 24
BLOCKS = 1e-4  # absolute; float32 sums in another order, of logits of about 1 to 10


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def clusters(n, seed, distance=1.5):
    """Items around five fixed class means, apart by `distance` in units of the noise."""
    means = np.random.default_rng(99).standard_normal((N_CLASSES, N_FEATURES)) * distance
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, N_CLASSES, n)
    features = means[labels] + rng.standard_normal((n, N_FEATURES)) + 3
    return features.astype(np.float32), labels


def held_out_map(fitted, *, is_binary=True, distance=1.5):
    features, labels = clusters(250, seed=1, distance=distance)
    logits = fitted.logits(features)
    if is_binary:
        codes = logits_to_codes(logits)
        distances = hamming_distance(codes[:50, None], codes[50:])
    else:
        distances = -(logits[:50] @ logits[50:].T)
    relevant = labels[:50, None] == labels[50:]
    return mean_average_precision(distances, relevant, np.zeros_like(relevant))


def test_the_registry_holds_the_methods_of_the_specification():
    assert set(BASELINES) == {
        "lsh", "pca-rr", "itq", "sh", "cibhash", "itq-cca", "ksh", "sdh", "dsh", "dpsh",
        "hashnet", "greedyhash", "ssdh", "csq", "orthohash", "cls-hash", "real",
    }  # fmt: skip
    assert BASELINES.keys() == QUICK.keys()
    unsupervised = {name for name, method in BASELINES.items() if not method.is_supervised}
    assert unsupervised == {"lsh", "pca-rr", "itq", "sh", "cibhash", "real"}
    assert set(BASELINES) - set(BINARY) == {"real"}


@pytest.mark.parametrize("name", SUPERVISED)
def test_supervised_methods_learn_separable_classes(name):
    fitted = QUICK[name].fit(TrainingItems(*clusters(300, seed=0)), n_bits=32, seed=0)
    assert held_out_map(fitted) > 0.9  # chance is .2


@pytest.mark.parametrize("name", SUPERVISED)
def test_supervised_methods_learn_nothing_from_labels_by_chance(name):
    # Features without clusters: with them, even random codes would find the classes.
    features, labels = clusters(300, seed=0, distance=0.0)
    fitted = QUICK[name].fit(TrainingItems(features, labels), n_bits=32, seed=0)
    assert held_out_map(fitted, distance=0.0) == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("name", ["lsh", "pca-rr", "itq", "sh", "cibhash", "real"])
def test_methods_without_labels_find_the_clusters_and_do_not_collapse(name):
    method = QUICK[name]
    fitted = method.fit(TrainingItems(clusters(300, seed=0)[0]), n_bits=32, seed=0)
    assert held_out_map(fitted, is_binary=method.is_binary) > 0.3
    if method.is_binary:
        health = code_statistics(logits_to_codes(fitted.logits(clusters(250, seed=1)[0])))
        assert health.n_distinct > 100
        assert health.mean_bias < 0.2


@pytest.mark.parametrize("name", QUICK)
def test_same_seed_same_logits_in_any_order_of_the_items(name):
    features, labels = clusters(120, seed=0)
    order = np.random.default_rng(4).permutation(120)
    tracks = np.arange(120) // 3
    others = clusters(40, seed=1)[0]
    before = torch.get_rng_state()
    first = QUICK[name].fit(TrainingItems(features, labels, tracks), n_bits=16, seed=5)
    again = QUICK[name].fit(
        TrainingItems(features[order], labels[order], tracks[order]), n_bits=16, seed=5
    )
    np.testing.assert_array_equal(first.logits(others), again.logits(others))
    assert torch.equal(before, torch.get_rng_state())


# SH draws nothing; KSH draws anchors and pairs, which here are all items.
@pytest.mark.parametrize("name", sorted(set(BINARY) - {"sh", "ksh"}))
def test_another_seed_gives_other_codes(name):
    items = TrainingItems(*clusters(120, seed=0))
    others = clusters(40, seed=1)[0]
    first, second = (QUICK[name].fit(items, n_bits=16, seed=seed) for seed in (0, 1))
    assert (logits_to_codes(first.logits(others)) != logits_to_codes(second.logits(others))).any()


@pytest.mark.parametrize("name", BINARY)
def test_more_bits_than_dimensions_classes_and_items(name):
    features, labels = clusters(20, seed=0)
    labels = np.arange(20) % 3
    fitted = QUICK[name].fit(TrainingItems(features[:, :3], labels), n_bits=40, seed=0)
    logits = fitted.logits(clusters(60, seed=1)[0][:, :3])
    assert logits.shape == (60, 40)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    if name not in {"cls-hash", "sdh", "csq"}:  # whose bits may agree with a class for all items
        assert ((logits >= 0).any(axis=0) & (logits < 0).any(axis=0)).mean() > 0.7


@pytest.mark.parametrize("name", QUICK)
def test_items_are_hashed_one_by_one_as_together(name):
    fitted = QUICK[name].fit(TrainingItems(*clusters(120, seed=0)), n_bits=16, seed=0)
    others = clusters(9, seed=1)[0]
    together = fitted.logits(others)
    alone = np.concatenate([fitted.logits(row[None]) for row in others])
    np.testing.assert_allclose(alone, together, atol=BLOCKS, rtol=BLOCKS)


@pytest.mark.parametrize("name", SUPERVISED)
def test_several_classes_per_item_are_learned(name):
    features, labels = clusters(300, seed=0)
    several = np.eye(N_CLASSES, dtype=np.int64)[labels]
    several[::3, :] |= np.roll(several, 1, axis=1)[::3, :]
    fitted = QUICK[name].fit(TrainingItems(features, several), n_bits=32, seed=0)
    assert held_out_map(fitted) > 0.6


def test_codes_of_the_class_hash_are_the_centres_of_predicted_classes():
    fitted = QUICK["cls-hash"].fit(TrainingItems(*clusters(300, seed=0)), n_bits=32, seed=0)
    features, labels = clusters(250, seed=1)
    codes = logits_to_codes(fitted.logits(features))
    distances = hamming_distance(codes[:, None], codes)
    assert set(np.unique(distances)) == {0, 16}
    assert ((distances == 0) == (labels[:, None] == labels)).mean() > 0.95


@pytest.mark.parametrize("name", SUPERVISED)
def test_supervised_methods_want_labels(name):
    with pytest.raises(ParameterError, match="no labels"):
        QUICK[name].fit(TrainingItems(clusters(50, seed=0)[0]), n_bits=16)


def test_wrong_arguments_are_refused():
    items = TrainingItems(*clusters(50, seed=0))
    with pytest.raises(ParameterError, match="n_bits=0"):
        QUICK["lsh"].fit(items, n_bits=0)
    with pytest.raises(ParameterError, match="seed=-1"):
        QUICK["lsh"].fit(items, n_bits=8, seed=-1)
    fitted = QUICK["lsh"].fit(items, n_bits=8)
    with pytest.raises(ParameterError, match="7 columns: the method was fitted on 24"):
        fitted.logits(np.zeros((2, 7), dtype=np.float32))
    with pytest.raises(ParameterError, match="NaN"):
        fitted.logits(np.full((2, N_FEATURES), np.nan, dtype=np.float32))


def test_a_loss_that_is_no_number_stops_the_training():
    # Decay of 10 at a learning rate of 1 multiplies all weights by -9 in each step.
    diverging = make_baselines(HeadSettings(epochs=40, learning_rate=1.0, weight_decay=10.0))
    with pytest.raises(TrainingError, match=r"became (nan|inf) in epoch \d+; lower the learning"):
        diverging["dsh"].fit(TrainingItems(*clusters(300, seed=0)), n_bits=8)
