"""Planning in memory that does not grow with the catalogue, but for a few bytes per file."""

import numpy as np
import pyarrow as pa
import pytest

from musichash_core.config import PipelineConfig
from storage import id_ranges, temporary_rows
from storage.catalogue import Catalogue
from storage.id_ranges import count_ranges
from storage.schemas import CATALOGUE
from storage.source_files import CatalogueRows
from tasks import partitioning
from tasks.changes import compare
from tasks.plan import make_plan
from tasks.published_tracks import PublishedTracks, published_schema

ROWS_AT_ONCE = 500
BYTES_PER_FILE = 24
FEW, MANY = 9_000, 27_000  # both more than a catalogue gives at once


@pytest.fixture(autouse=True)
def few_rows_at_once(monkeypatch):
    monkeypatch.setattr(id_ranges, "RANGE_ROWS", ROWS_AT_ONCE)
    monkeypatch.setattr(id_ranges, "BUFFER_ROWS", ROWS_AT_ONCE)
    monkeypatch.setattr(temporary_rows, "KEPT_ROWS", ROWS_AT_ONCE)
    monkeypatch.setattr(partitioning, "BLOCK_ROWS", ROWS_AT_ONCE)


def catalogue_of(n_files):
    ids = np.random.default_rng(n_files).bytes(16 * n_files).hex()
    names = [f"folder/{number:06d} a name of usual length.flac" for number in range(n_files)]
    columns = {
        "track_id": [ids[start : start + 32] for start in range(0, len(ids), 32)],
        "root": ["/music"] * n_files,
        "path": names,
        "path_raw": [name.encode() for name in names],
        "n_bytes": [20_000_000] * n_files,
        "mtime_ns": [0] * n_files,
        **{name: [None] * n_files for name in ("label", "group", "external_id")},
    }
    return Catalogue(CatalogueRows(pa.table(columns, schema=CATALOGUE)), ())


def published_as(catalogue):
    """Give rows of the published table of a catalogue, a few at a time."""
    table = catalogue.table.sort_by("track_id")
    rows = [
        {
            **{name: row[name] for name in ("track_id", "root", "path", "label", "n_bytes")},
            "locations": [f"{row['root']}/{row['path']}"],
            "duration_s": 200.0,
        }
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, published_schema()).to_batches(ROWS_AT_ONCE)


def check_flat(peaks_of, work, arguments_of):
    few, many = (peaks_of(work, *arguments_of(n_files)) for n_files in (FEW, MANY))
    assert (many - few <= BYTES_PER_FILE * (MANY - FEW)).all(), (few, many)
    return few


def test_a_first_night_of_many_tracks_is_planned_and_handed_out(tmp_path, peaks_of):
    def plan_and_hand_out(catalogue):
        plan = make_plan(str(tmp_path / "none"), catalogue, PipelineConfig())
        n_tracks = sum(len(partition.items) for partition in plan.largest_first)
        assert n_tracks == plan.n_new == catalogue.n_files

    few = check_flat(peaks_of, plan_and_hand_out, lambda n_files: [catalogue_of(n_files)])
    assert few.min() > 100 * ROWS_AT_ONCE  # something was measured


def test_a_night_with_nothing_changed_is_compared(peaks_of):
    def compare_with_itself(catalogue, published):
        n_parts = count_ranges(catalogue.n_files)
        with PublishedTracks(published, n_parts) as tracks:
            changes = compare(tracks, catalogue)
        assert (changes.n_tracks, changes.n_published) == (catalogue.n_files, catalogue.n_files)
        assert (changes.n_moved, changes.n_removed, changes.n_replaced) == (0, 0, 0)

    def arguments_of(n_files):
        catalogue = catalogue_of(n_files)
        return catalogue, published_as(catalogue)

    check_flat(peaks_of, compare_with_itself, arguments_of)
