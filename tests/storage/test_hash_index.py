"""The index answers like counting bits by hand, and only loads bytes that we wrote."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musichash_core.errors import ParameterError
from storage import hash_index
from storage.errors import ArtefactMissingError, DamagedArtefactError, StoreError
from storage.hash_index import (
    HashIndex,
    Neighbours,
    build_index,
    measure_distance_recall,
    rank,
    read_index_info,
    write_index,
)


def count_bits(a, b):
    return (int.from_bytes(a.tobytes(), "big") ^ int.from_bytes(b.tobytes(), "big")).bit_count()


def random_codes(n, n_bytes=8, seed=0, *, n_distinct=None):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n_distinct or n, n_bytes), dtype=np.uint8)
    return codes[rng.integers(0, len(codes), n)] if n_distinct else codes


@st.composite
def code_sets(draw):
    """Draw codes with many ties, a query and a number of neighbours."""
    n_bytes = draw(st.sampled_from([2, 8, 16, 32]))
    byte = st.sampled_from([0, 1, 3, 255]) | st.integers(0, 255)
    code = st.lists(byte, min_size=n_bytes, max_size=n_bytes)
    codes = draw(st.lists(code, min_size=1, max_size=30))
    query = draw(st.sampled_from(codes) | code)
    return np.array(codes, np.uint8), np.array(query, np.uint8), draw(st.integers(1, 40))


@settings(max_examples=60, deadline=None)
@given(code_sets())
def test_candidates_are_the_nearest_and_all_that_tie_with_the_last(case):
    codes, query, k = case
    found = HashIndex(build_index(codes)).candidates(query, k)
    distances = [count_bits(query, code) for code in codes]
    radius = sorted(distances)[min(k, len(codes)) - 1]
    expected = sorted(
        (distance, row) for row, distance in enumerate(distances) if distance <= radius
    )
    assert list(zip(found.distances.tolist(), found.rows.tolist(), strict=True)) == expected
    assert (found.rows.dtype, found.distances.dtype) == (np.int64, np.int32)


def test_collapsed_codes_are_all_candidates():
    codes = np.zeros((500, 8), np.uint8)
    assert HashIndex(build_index(codes)).candidates(codes[0], 3).rows.tolist() == list(range(500))


@pytest.mark.parametrize("k", [0, -1])
def test_no_neighbours_are_no_candidates(k):
    index = HashIndex(build_index(random_codes(5)))
    assert len(index.candidates(np.zeros(8, np.uint8), k).rows) == 0


def test_an_empty_index_answers_nothing(layout):
    entry, info = write_index(
        layout, np.empty((0, 8), np.uint8), generation="g-1", codes_sha256=["a"]
    )
    index = HashIndex.load(layout, entry)
    assert (index.n_codes, index.n_bits) == (0, 64)
    assert len(index.candidates(np.zeros(8, np.uint8), 5).rows) == 0
    assert read_index_info(layout, info.path)["n_codes"] == 0


@pytest.mark.parametrize("n_bytes", [7, 9, 16])
def test_a_query_of_another_width_is_refused(n_bytes):
    index = HashIndex(build_index(random_codes(5)))
    with pytest.raises(ParameterError, match=f"the query has {8 * n_bytes} bits, the index 64"):
        index.candidates(np.zeros(n_bytes, np.uint8), 1)


# --- ranking -------------------------------------------------------------------------------------


def test_ties_are_ranked_by_the_bits_the_query_is_sure_of_then_by_row():
    # By hand: the query's bit 0 is sure, its bit 1 is not.
    query = np.array([4.0, 0.1, -1, -1, -1, -1, -1, -1], np.float32)
    codes = np.array([[0b10], [0b01], [0b01], [0b11]], np.uint8)
    candidates = Neighbours(np.array([7, 9, 3, 5]), np.array([1, 1, 1, 0], np.int32))
    ranked = rank(candidates, query, codes, 4)
    assert ranked.rows.tolist() == [5, 3, 9, 7]
    assert ranked.distances.tolist() == [0, 1, 1, 1]
    assert rank(candidates, query, codes, 2).rows.tolist() == [5, 3]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ranking_does_not_depend_on_the_order_of_candidates(seed):
    rng = np.random.default_rng(seed)
    codes = random_codes(12, 1, seed, n_distinct=4)
    query = rng.standard_normal(8).astype(np.float32)
    found = HashIndex(build_index(codes)).candidates(np.packbits(query >= 0, bitorder="little"), 12)
    ranked = rank(found, query, codes[found.rows], 12)
    order = rng.permutation(len(found.rows))
    shuffled = Neighbours(found.rows[order], found.distances[order])
    assert rank(shuffled, query, codes[shuffled.rows], 12).rows.tolist() == ranked.rows.tolist()
    assert (np.diff(ranked.distances) >= 0).all()


# --- files ---------------------------------------------------------------------------------------


def test_an_index_is_written_under_its_digest_and_read_again(layout):
    codes = random_codes(300, n_distinct=40)
    entry, info_entry = write_index(layout, codes, generation="g-1", codes_sha256=["abc"])
    data = (layout.root / entry.path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert (entry.sha256, entry.size) == (digest, len(data))
    assert entry.path == f"index/{digest[:24]}.faiss"
    described = hashlib.sha256((layout.root / info_entry.path).read_bytes()).hexdigest()
    assert info_entry.path == f"index/{described[:24]}.json"
    index = HashIndex.load(layout, entry)
    assert (index.n_codes, index.n_bits) == (300, 64)
    for row in (0, 150, 299):
        found = index.candidates(codes[row], 10)
        assert found.distances.tolist() == sorted(
            distance
            for distance in (count_bits(codes[row], code) for code in codes)
            if distance <= found.distances[-1]
        )
    info = read_index_info(layout, info_entry.path)
    assert (info["n_codes"], info["n_bits"], info["rows_of"]) == (300, 64, ["abc"])
    assert info["distance_recall_at_10"] == 1.0


def test_the_same_codes_make_the_same_files(layout):
    codes = random_codes(50)
    first = write_index(layout, codes, generation="g-1", codes_sha256=["abc"])
    assert write_index(layout, codes, generation="g-1", codes_sha256=["abc"]) == first
    assert len(list(layout.index_root.iterdir())) == 2
    assert write_index(layout, codes[::-1], generation="g-1", codes_sha256=["abc"]) != first


def test_a_full_disk_is_never_mistaken_for_a_short_index(layout):
    """FAISS itself says nothing when the last bytes of a file do not reach the disk."""
    layout.index_root.mkdir(parents=True)
    (layout.index_root / ".tmp-codes.faiss").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        write_index(layout, random_codes(20), generation="g-1", codes_sha256=["abc"])
    assert not list(layout.index_root.glob("[!.]*"))


def test_two_descriptions_of_the_same_codes_lie_side_by_side(layout):
    """As of two generations that differ in their genres alone."""
    codes = random_codes(20)
    index, first = write_index(layout, codes, generation="g-1", codes_sha256=["abc"])
    again, second = write_index(layout, codes, generation="g-2", codes_sha256=["def"])
    assert index == again
    assert read_index_info(layout, first.path)["generation"] == "g-1"
    assert read_index_info(layout, second.path)["generation"] == "g-2"


def test_an_index_holds_the_codes_it_was_built_from_in_their_order(layout):
    codes = random_codes(20)
    entry, _ = write_index(layout, codes, generation="g-1", codes_sha256=["abc"])
    index = HashIndex.load(layout, entry)
    assert index.holds(codes)
    assert not index.holds(codes[::-1])
    assert not index.holds(codes[:-1])


def test_damaged_foreign_and_missing_bytes_are_never_given_to_faiss(layout, monkeypatch):
    entry, _ = write_index(layout, random_codes(20), generation="g-1", codes_sha256=["abc"])
    monkeypatch.setattr(hash_index.faiss, "deserialize_index_binary", None)
    path = layout.root / entry.path
    whole = path.read_bytes()
    for content in (
        b"",
        whole[:-1],
        whole + b"\0",
        whole[:40] + bytes([whole[40] ^ 1]) + whole[41:],
        b"IBHf" + whole[4:],
    ):
        path.write_bytes(content)
        with pytest.raises(DamagedArtefactError, match="differs from its snapshot; 'musichash"):
            HashIndex.load(layout, entry)
    path.write_bytes(whole)
    with pytest.raises(DamagedArtefactError):
        HashIndex.load(layout, replace(entry, sha256="0" * 64))
    path.unlink()
    with pytest.raises(ArtefactMissingError, match="is missing; 'musichash reconcile"):
        HashIndex.load(layout, entry)


def test_an_index_that_misses_neighbours_is_measured_and_not_published(layout, monkeypatch):
    codes = random_codes(100)
    half = build_index(codes[::2])
    recall = measure_distance_recall(half, codes)
    assert 0.2 < recall < 0.9
    assert measure_distance_recall(build_index(codes), codes) == 1.0
    monkeypatch.setattr(hash_index, "build_index", lambda _: half)
    with pytest.raises(StoreError, match=r"finds 0\.\d+ of the nearest distances.*nothing is publ"):
        write_index(layout, codes, generation="g-1", codes_sha256=["abc"])
    assert not layout.index_root.exists()
