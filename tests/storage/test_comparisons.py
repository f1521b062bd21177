"""Comparisons come back as they were stored, and have the same bytes each time."""

import json

import pytest

from storage.comparisons import read_comparison, write_comparison
from storage.errors import FormatVersionError, StoreError

COMPARISON = {"first": "g-1", "second": "g-2", "predictions": {"agreement": 0.25}}


def test_a_comparison_comes_back_by_its_pair_in_order(layout):
    assert read_comparison(layout, "g-1", "g-2") is None
    path = write_comparison(layout, COMPARISON)
    assert read_comparison(layout, "g-1", "g-2") == COMPARISON
    assert read_comparison(layout, "g-2", "g-1") is None
    before = path.read_bytes()
    write_comparison(layout, dict(reversed(COMPARISON.items())))
    assert path.read_bytes() == before


def test_another_format_is_refused(layout):
    path = write_comparison(layout, COMPARISON)
    path.write_text(json.dumps(COMPARISON | {"format": 99}))
    with pytest.raises(FormatVersionError, match="musichash models compare g-1 g-2"):
        read_comparison(layout, "g-1", "g-2")


def test_a_store_that_cannot_be_written_is_one_sentence(layout):
    layout.work_root.mkdir(exist_ok=True)
    (layout.work_root / "comparisons").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match=r"the comparison .* cannot be written"):
        write_comparison(layout, COMPARISON)
