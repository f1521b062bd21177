"""The next snapshot's tables: every track of the catalogue exactly once, and nobody else's."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from musichash_core.records import TrackFailure
from storage.catalogue import Catalogue, CatalogueRow
from storage.errors import ArtefactMissingError
from storage.live_tables import Wanted, collect_tables
from storage.packed_codes import packed_codes
from storage.schemas import FAILURES, PREDICTIONS, TRACKS, codes_schema
from storage.tables import table_of


@pytest.fixture
def collect(layout, helpers):
    """Store two partitions of tracks 1 to 5 with two failures, then collect some catalogue."""
    failures = [
        helpers.failure_of(6),
        helpers.failure_of(7, code="decoder-crashed"),
    ]
    for name, numbers in {"a": (4, 1), "b": (5, 3, 2)}.items():
        helpers.write_partition(
            layout.feature_partition_path(helpers.features, name),
            {number: helpers.random_frames(40, number) for number in numbers},
            failures if name == "a" else [],
        )
        helpers.write_encoded(layout, "g-1", name, numbers)

    def collect(*rows, failures=(), generation="g-1"):
        wanted = Wanted(helpers.features, generation, helpers.n_bits)
        return whole(collect_tables(layout, Catalogue(tuple(rows), failures), wanted))

    return collect


@pytest.fixture
def row(helpers):
    def row(number, path=None, label=None, group=None):
        return CatalogueRow(helpers.source_file(number, path=path), label, group)

    return row


class Whole(NamedTuple):
    tracks: pa.Table
    predictions: pa.Table
    codes: pa.Table
    failures: pa.Table
    partition_ids: tuple[str, ...]


def whole(live):
    """Put the ranges together."""
    with live:
        tables = map(pa.concat_tables, zip(*live.ranges(), strict=True))
        return Whole(*tables, live.failures, live.partition_ids)


def ids(table):
    return [int(track_id, 16) for track_id in table["track_id"].to_pylist()]


def test_tables_hold_the_tracks_of_the_catalogue_sorted(collect, row, helpers):
    tables = collect(row(5), row(1), row(6), row(3))
    assert ids(tables.tracks) == [1, 3, 5, 6]
    assert ids(tables.codes) == ids(tables.predictions) == [1, 3, 5]
    assert ids(tables.failures) == [6]
    assert tables.partition_ids == ("a", "b")
    assert tables.tracks.schema.equals(TRACKS)
    assert tables.predictions.schema.equals(PREDICTIONS)
    assert tables.codes.schema.equals(codes_schema(helpers.n_bits))
    assert tables.failures.schema.equals(FAILURES)


def test_rows_are_joined_to_the_right_track(collect, row, helpers):
    tables = collect(row(2, "pop/x.ogg", "pop", "Abba"), row(6))
    good, failed = tables.tracks.to_pylist()
    stored = helpers.stored_track(2, 0, 40)
    assert (good["path"], good["label"], good["group"]) == ("pop/x.ogg", "pop", "Abba")
    assert (good["status"], good["n_bytes"], good["locations"]) == (
        "ok",
        1002,
        ["/music/pop/x.ogg"],
    )
    names = ("duration_s", "sr", "n_channels", "container", "peak", "rms_db", "warnings")
    for name in (*names, "tag_title", "tag_artist", "tag_year"):
        assert good[name] == getattr(stored, name)
        assert failed[name] is None
    assert (failed["status"], failed["label"]) == ("failed", None)
    encoded = helpers.encoded_track(2)
    assert np.array_equal(np.float32(tables.codes["logits"][0].as_py()), encoded.hash_logits)


def test_tracks_that_left_the_catalogue_are_left_out(collect, row):
    tables = collect(row(3))
    assert ids(tables.tracks) == ids(tables.codes) == [3]
    assert len(tables.failures) == 0
    assert tables.partition_ids == ("b",)


def test_an_empty_catalogue_has_empty_tables(collect):
    tables = collect()
    assert [len(table) for table in (tables.tracks, tables.codes, tables.failures)] == [0, 0, 0]
    assert tables.partition_ids == ()
    assert packed_codes(tables.codes).shape == (0, 2)


def test_duplicates_are_one_track_with_the_label_that_one_of_them_has(collect, row):
    (track,) = collect(row(1, "a.ogg"), row(1, "rock/b.ogg", "rock", "Queen")).tracks.to_pylist()
    assert track["path"] == "a.ogg"
    assert track["locations"] == ["/music/a.ogg", "/music/rock/b.ogg"]
    assert (track["label"], track["group"]) == ("rock", "Queen")


def test_duplicates_have_the_identifier_of_the_first_place_that_has_one(collect, row):
    places = [
        row(1, "a.ogg"),
        replace(row(1, "b.ogg"), external_id="007"),
        replace(row(1, "c.ogg"), external_id="008"),
    ]
    (track,) = collect(*places).tracks.to_pylist()
    assert track["external_id"] == "007"


def test_failures_of_scan_and_extraction_are_counted_by_kind(collect, row):
    unreadable = TrackFailure("", "/music/locked.ogg", "scan", "permission", "no")
    tables = collect(row(1), row(6), row(7), failures=(unreadable,))
    assert [entry["code"] for entry in tables.failures.to_pylist()] == [
        "permission",
        "truncated",
        "decoder-crashed",
    ]
    assert len(tables.tracks) + 1 == len(tables.codes) + len(tables.failures)


def test_a_track_that_is_neither_done_nor_failed_is_named(collect, row):
    with pytest.raises(
        ArtefactMissingError,
        match=r"2 track\(s\) .* \(one is 'new/8.ogg'\); run 'musichash extract",
    ):
        collect(row(1), row(8, "new/8.ogg"), row(9, "new/9.ogg"))


def test_a_partition_without_codes_is_named(collect, row):
    with pytest.raises(ArtefactMissingError, match="partition b has no codes of model g-2 yet"):
        collect(row(3), generation="g-2")


def test_packed_codes_are_the_rows_of_the_table(helpers):
    rows = [
        {
            "track_id": helpers.track_id(number),
            "code": bytes([number, 255 - number]),
            "logits": np.zeros(16, np.float32),
            "n_segments": 1,
            "generation": "g-1",
            "segment_codes": [b"ab", b"cd"],
            "segment_starts_s": [0.0, 4.5],
        }
        for number in range(5)
    ]
    packed = packed_codes(table_of(rows, codes_schema(16)))
    assert packed.tolist() == [[number, 255 - number] for number in range(5)]
    assert packed.dtype == np.uint8


def test_a_track_in_two_partitions_has_the_codes_of_the_one_that_is_encoded(
    collect, row, layout, helpers
):
    """A backfill that finishes a partition between a night's encoding and its publishing."""
    before = collect(row(1), row(2), row(5))
    folder = layout.feature_partition_path(helpers.features, "0-of-a-backfill")
    helpers.write_partition(folder, {n: helpers.random_frames(40, n) for n in (2, 8)})
    during = collect(row(1), row(2), row(5))
    assert during == before
    with pytest.raises(ArtefactMissingError, match="partition 0-of-a-backfill has no codes of"):
        collect(row(2), row(8))
    helpers.write_encoded(layout, "g-1", "0-of-a-backfill", (2, 8))
    after = collect(row(1), row(2), row(5))
    assert after.partition_ids == ("0-of-a-backfill", "a", "b")
    for name in ("tracks", "predictions", "codes", "failures"):
        assert getattr(after, name).equals(getattr(before, name))
    assert collect(row(2), row(8)).partition_ids == ("0-of-a-backfill",)
