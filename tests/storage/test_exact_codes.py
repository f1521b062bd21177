"""Some codes, searched exactly, and the ties that a GPU leaves out; both against a plain sort."""

import faiss
import numpy as np
import pytest

from storage.exact_codes import ExactCodes, GraphicsCodes, has_graphics_processor


def few_different(n, *, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (20, 4), dtype=np.uint8)[rng.integers(0, 20, n)]


def sorted_plainly(query, codes, rows):
    distances = [int(np.bitwise_count(query ^ code).sum()) for code in codes]
    return sorted(zip(distances, rows, strict=True))


@pytest.fixture
def on_graphics(monkeypatch):
    """FAISS as on a machine with a GPU, whose index is the one of the processor."""
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "GpuIndexBinaryFlat", lambda resources, flat: flat, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)


def check(searched, codes, rows, n_queries=7):
    queries = few_different(n_queries, seed=5)
    for k in (1, 9, 60, 5000):
        for query, found in zip(queries, searched.candidates(queries, k), strict=True):
            expected = sorted_plainly(query, codes, rows)
            last = expected[min(k, len(expected)) - 1][0]
            expected = [pair for pair in expected if pair[0] <= last]
            assert list(zip(found.distances, found.rows, strict=True)) == expected
    for radius in (0, 6, 32):
        for query, found in zip(queries, searched.within(queries, radius), strict=True):
            expected = [pair for pair in sorted_plainly(query, codes, rows) if pair[0] <= radius]
            assert list(zip(found.distances, found.rows, strict=True)) == expected


def test_some_rows_are_searched_as_by_a_plain_sort():
    codes, rows = few_different(400), np.arange(0, 1200, 3)
    check(ExactCodes(codes, rows), codes, rows.tolist())


def test_no_rows_find_nothing():
    nobody = ExactCodes(np.empty((0, 4), np.uint8), np.empty(0, np.int64))
    (found,) = nobody.candidates(few_different(1), 3)
    (inside,) = nobody.within(few_different(1), 30)
    assert len(found.rows) == len(inside.rows) == nobody.n_codes == 0


def test_ties_beyond_what_a_graphics_processor_gives_are_found_too(on_graphics):
    codes = few_different(3000)
    rows = np.arange(3000)
    assert has_graphics_processor()
    check(GraphicsCodes(codes), codes, rows.tolist(), n_queries=3)


@pytest.mark.gpu
@pytest.mark.skipif(not has_graphics_processor(), reason="FAISS has no GPU here")
def test_a_graphics_processor_finds_the_same():
    codes = few_different(3000)
    rows = np.arange(3000)
    check(GraphicsCodes(codes), codes, rows.tolist())
