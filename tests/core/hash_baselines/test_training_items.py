"""What methods learn from: checked, standardised as scikit-learn does, in an order of its own."""

import numpy as np
import pytest
import sklearn.preprocessing

from musichash_core.errors import ParameterError, TrainingError
from musichash_core.hash_baselines.training_items import TrainingItems, prepare

EXACT = 1e-12  # one subtraction and one division of float64


def features(n=20, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) * [1, 10, 0.1, 3, 2] + 7).astype(np.float32)


def test_features_are_standardised_with_training_statistics():
    train, other = features(), features(seed=1)
    standardisation, learning = prepare(TrainingItems(train), is_supervised=False)
    reference = sklearn.preprocessing.StandardScaler().fit(train.astype(np.float64))
    np.testing.assert_allclose(
        standardisation.apply(other), reference.transform(other.astype(np.float64)), rtol=1e-9
    )
    np.testing.assert_allclose(learning.features.mean(axis=0), 0, atol=EXACT * 1e3)
    np.testing.assert_allclose(learning.features.std(axis=0), 1, rtol=1e-9)


def test_a_constant_feature_says_nothing():
    train = features()
    train[:, 2] = 0.1
    standardisation, _ = prepare(TrainingItems(train), is_supervised=False)
    other = standardisation.apply(features(seed=1))
    np.testing.assert_array_equal(other[:, 2], 0.0)
    assert np.isfinite(other).all()


def test_the_order_of_the_items_changes_nothing():
    train, labels, tracks = features(), np.arange(20) % 3, np.arange(20) // 2
    order = np.random.default_rng(5).permutation(20)
    _, first = prepare(TrainingItems(train, labels, tracks), is_supervised=True)
    _, second = prepare(
        TrainingItems(train[order], labels[order], tracks[order]), is_supervised=True
    )
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.targets, second.targets)
    np.testing.assert_array_equal(first.tracks, second.tracks)


def test_items_keep_their_labels_and_tracks_when_sorted():
    train, labels, tracks = features(), np.arange(20) % 3, np.arange(20) + 100
    standardisation, learning = prepare(TrainingItems(train, labels, tracks), is_supervised=True)
    rows = learning.tracks - 100
    np.testing.assert_allclose(learning.features, standardisation.apply(train[rows]), atol=EXACT)
    np.testing.assert_array_equal(learning.targets.argmax(axis=1), labels[rows])


def test_a_method_without_supervision_sees_no_labels():
    _, learning = prepare(TrainingItems(features(), np.arange(20) % 2), is_supervised=False)
    assert learning.targets.shape == (20, 0)


def test_classes_that_do_not_occur_have_no_column():
    _, single = prepare(TrainingItems(features(), np.arange(20) % 2 * 7), is_supervised=True)
    several = np.zeros((20, 4), dtype=np.int64)
    several[:, 1] = 1
    several[::2, 3] = 1
    _, multiple = prepare(TrainingItems(features(), several), is_supervised=True)
    assert single.targets.shape == multiple.targets.shape == (20, 2)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.zeros(20, dtype=np.int64), TrainingError, "all 20 training items have the same class"),
        (np.arange(19), ParameterError, r"labels of shape \(19,\)"),
        (np.arange(20) - 1, ParameterError, "labels -1..18"),
        (np.full((20, 3), 2), ParameterError, "labels 2..2"),
        (np.eye(20, 19, dtype=np.int64), ParameterError, "an item has no class"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(labels, error, message):
    with pytest.raises(error, match=message):
        TrainingItems(features(), labels)


def test_damaged_features_are_refused():
    damaged = features()
    damaged[3, 2] = np.nan
    with pytest.raises(ParameterError, match="NaN"):
        TrainingItems(damaged)
    with pytest.raises(ParameterError, match=r"features of shape \(20,\)"):
        TrainingItems(features()[:, 0])
    with pytest.raises(ParameterError, match="at least 2"):
        TrainingItems(features(1))
    with pytest.raises(ParameterError, match="tracks of shape"):
        TrainingItems(features(), tracks=np.arange(3))
