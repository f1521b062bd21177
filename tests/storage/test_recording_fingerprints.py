"""Fingerprints and compared pairs on disk: as they were put in, refused when damaged."""

import numpy as np
import pytest

from musichash_core.recording_match import Landmarks, RecordingFingerprint
from storage.duplicate_pairs import PAIRS, KeptPairs, read_pairs, write_pairs
from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.recording_fingerprints import (
    FingerprintedTrack,
    has_fingerprints,
    read_fingerprints,
    read_landmark_keys,
    remove_other_fingerprints,
    write_fingerprints,
)
from storage.store import create_store
from storage.tables import table_of

FEATURES = "0123456789ab"


@pytest.fixture
def layout(tmp_path):
    return create_store(tmp_path / "store")


def track(name, n_words, seed=0):
    rng = np.random.default_rng(seed)
    return FingerprintedTrack(
        name,
        RecordingFingerprint(
            rng.integers(0, 2**32, n_words, dtype=np.uint32), rng.random(n_words) < 0.7
        ),
        Landmarks(
            np.sort(rng.integers(0, 2**64, n_words // 3, dtype=np.uint64)),
            rng.integers(0, 9999, n_words // 3, dtype=np.int32),
        ),
    )


def test_fingerprints_come_back_as_they_were(layout):
    tracks = [track("a", 13, 1), track("b", 0), track("c", 1000, 2)]
    assert not has_fingerprints(layout, FEATURES, "p1")
    write_fingerprints(layout, FEATURES, "p1", tracks)
    assert has_fingerprints(layout, FEATURES, "p1")
    back = read_fingerprints(layout, FEATURES, "p1")
    assert list(back) == ["a", "b", "c"]
    for one in tracks:
        other = back[one.track_id]
        np.testing.assert_array_equal(other.fingerprint.words, one.fingerprint.words)
        np.testing.assert_array_equal(other.fingerprint.is_audible, one.fingerprint.is_audible)
        np.testing.assert_array_equal(other.landmarks.keys, one.landmarks.keys)
        np.testing.assert_array_equal(other.landmarks.frames, one.landmarks.frames)
        assert other.fingerprint.words.dtype == np.uint32
    keys = dict(read_landmark_keys(layout, FEATURES, "p1"))
    np.testing.assert_array_equal(keys["c"], tracks[2].landmarks.keys)


def test_writing_twice_gives_the_same_bytes_and_leaves_nothing_else(layout):
    paths = []
    for _ in range(2):
        write_fingerprints(layout, FEATURES, "p1", [track("a", 50)])
        (path,) = (path for path in (layout.work_root / "duplicates").rglob("*") if path.is_file())
        paths.append((path, path.read_bytes()))
    assert paths[0] == paths[1]


def test_fingerprints_of_partitions_that_are_gone_are_removed(layout):
    for name in ("p1", "p2", "p3"):
        write_fingerprints(layout, FEATURES, name, [track("a", 5)])
    write_fingerprints(layout, "ba9876543210", "p1", [track("a", 5)])
    assert remove_other_fingerprints(layout, FEATURES, {"p2", "p9"}) == 2
    assert [has_fingerprints(layout, FEATURES, name) for name in ("p1", "p2", "p3")] == [
        *(False, True, False)
    ]
    assert not has_fingerprints(layout, "ba9876543210", "p1")


def test_missing_and_damaged_fingerprints_are_errors(layout):
    with pytest.raises(ArtefactMissingError, match="does not exist"):
        read_fingerprints(layout, FEATURES, "p1")
    write_fingerprints(layout, FEATURES, "p1", [track("a", 500)])
    (path,) = (path for path in (layout.work_root / "duplicates").rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedArtefactError, match="damaged"):
        read_fingerprints(layout, FEATURES, "p1")


def row(first, second):
    values = {field.name: 1 for field in PAIRS}
    texts = {"first_id": first, "second_id": second, "tier": "same-recording"}
    found = {"relation": "whole", "proposed_by": "landmarks+codes"}
    return values | texts | found | {"reason": "5% of the bits differ"}


def test_pairs_come_back_with_what_they_depend_on(layout):
    assert read_pairs(layout) is None
    nothing = dict.fromkeys(("offset_s", "bit_error_rate", "expected_rate", "compared_s"))
    pairs = table_of([row("a", "b"), row("a", "c") | nothing], PAIRS)
    write_pairs(layout, KeptPairs("d", "s", "e", {"proposed": 2}, pairs))
    back = read_pairs(layout)
    assert (back.digest, back.settings, back.evidence, back.counts) == (
        "d",
        "s",
        "e",
        {"proposed": 2},
    )
    assert back.pairs.equals(pairs)


def test_damaged_pairs_are_made_again(layout):
    pairs = table_of([row("a", "b")], PAIRS)
    path = write_pairs(layout, KeptPairs("d", "s", "e", {}, pairs))
    path.write_bytes(path.read_bytes()[:-9])
    assert read_pairs(layout) is None
