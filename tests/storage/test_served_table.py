"""Rows of an open table, read by row group, are those of the whole table."""

import os
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import tables
from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.served_catalogue import ServedCatalogue
from storage.served_table import ColumnCache, ServedTable
from storage.snapshots import current_snapshot
from storage.track_names import TrackNames, UnknownTrackError
from storage.track_rows import TrackRows

N = 100
ROWS_PER_GROUP = 7


@pytest.fixture
def opened(layout, made_up, monkeypatch):
    """Open the table of 100 tracks in groups of 7 rows, and give it whole."""
    monkeypatch.setattr(tables, "ROW_GROUP_ROWS", ROWS_PER_GROUP)
    logits = np.random.default_rng(0).standard_normal((N, 16))
    # Three ids that begin alike for more than 64 bits, on both sides of a border of groups.
    ids = made_up.track_ids(range(N))
    ids[13:16] = [f"{ids[13][:20]}{digit * 12}" for digit in "159"]
    made_up.publish_made_up(str(layout.root), logits, track_id=ids)
    snapshot = current_snapshot(layout)
    table = ServedTable(layout, snapshot, "tracks", cache=ColumnCache(10_000))
    yield table, pq.read_table(layout.root / snapshot.tables["tracks"][0])
    table.close()


def test_rows_come_in_the_order_asked_for(opened):
    table, whole = opened
    assert (table.n_rows, table.n_groups) == (N, 15)
    rows = np.array([99, 0, 7, 6, 6, 50, 13, 14, 99])
    columns = ["track_id", "locations", "tag_year", "duration_s"]
    taken = table.take(rows, columns)
    assert taken.to_pylist() == whole.select(columns).take(pa.array(rows)).to_pylist()
    assert table.take(rows, columns).equals(taken)  # from the cache
    assert table.take(rows[:0], columns).to_pylist() == []


def test_groups_are_the_table(opened):
    table, whole = opened
    assert pa.concat_tables(table.groups(["path"])).combine_chunks() == whole.select(["path"])


def test_ids_have_the_rows_that_they_have(opened):
    table, whole = opened
    ids = whole["track_id"].to_pylist()
    rows = TrackRows(table)
    assert rows.ids_of(np.arange(N)[::-1]) == ids[::-1]
    assert rows.rows_of(ids).tolist() == list(range(N))
    absent = ["", "0" * 32, "f" * 32, ids[5][:31], f"{ids[13][:20]}{'2' * 12}", "g" * 32]
    assert rows.rows_of([*absent, ids[14]]).tolist() == [-1] * len(absent) + [14]


@pytest.mark.parametrize("length", [1, 2, 16, 17, 20, 21, 32])
def test_the_beginning_of_an_id_gives_all_that_begin_so(opened, length):
    table, whole = opened
    ids = whole["track_id"].to_pylist()
    rows = TrackRows(table)
    for one in (*ids[::9], ids[13], "0" * 32, "f" * 32, "123456789abcdef0" * 2):
        prefix = one[:length]
        expected = [row for row, other in enumerate(ids) if other.startswith(prefix)]
        assert rows.rows_beginning(prefix).tolist() == expected
    assert rows.rows_beginning("no").tolist() == []


def test_tracks_of_many_row_groups_are_found_by_any_name(opened, layout):
    _, whole = opened
    with ServedCatalogue(layout) as catalogue, catalogue.serving() as served:
        names = TrackNames(served)
        for row in (0, 6, 7, 55, 99):
            path = whole["path"][row].as_py()
            for name in (path, f"/music/{path}", whole["track_id"][row].as_py()):
                assert names.row(name) == row
        found = names.rows(["album 0/00 track 0.ogg", "nothing", whole["track_id"][99].as_py()])
        assert found[::2] == [0, 99]
        assert isinstance(found[1], UnknownTrackError)
        with pytest.raises(UnknownTrackError, match="3 published tracks have the id or path"):
            names.row(whole["track_id"][13].as_py()[:18])


ODD_PATHS = ["line\nbreak.ogg", "\u202egpj.ogg", "caf\\xe9.ogg", "back\\new.ogg", "plain.ogg"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("line\nbreak.ogg", "line\nbreak.ogg"),
        ("line\\nbreak.ogg", "line\nbreak.ogg"),  # as every command shows it
        ("\\u202egpj.ogg", "\u202egpj.ogg"),
        (os.fsdecode(b"caf\xe9.ogg"), "caf\\xe9.ogg"),  # as a shell passes it
        (os.fsdecode(b"/music/caf\xe9.ogg"), "caf\\xe9.ogg"),
        ("caf\\xe9.ogg", "caf\\xe9.ogg"),
        ("back\\new.ogg", "back\\new.ogg"),
    ],
    ids=ascii,
)
def test_a_track_is_found_by_the_name_on_disk_and_by_the_name_on_the_screen(
    layout, made_up, name, path
):
    logits = np.random.default_rng(0).standard_normal((len(ODD_PATHS), 16))
    made_up.publish_made_up(str(layout.root), logits, path=ODD_PATHS)
    with ServedCatalogue(layout) as catalogue, catalogue.serving() as served:
        assert TrackNames(served).row(name) == ODD_PATHS.index(path)


@pytest.mark.parametrize("name", [chr(0xDCE9), chr(0xD800), "\\ud800", "\0"], ids=ascii)
def test_a_name_that_is_no_text_is_an_unknown_one(opened, layout, name):
    with (
        ServedCatalogue(layout) as catalogue,
        catalogue.serving() as served,
        pytest.raises(UnknownTrackError, match="nearest path is 'album"),
    ):
        TrackNames(served).row(name)


def test_the_nearest_path_of_many_is_found_by_its_words(opened, layout, monkeypatch):
    monkeypatch.setattr("storage.track_names.COMPARED_PATHS", 5)
    with ServedCatalogue(layout) as catalogue, catalogue.serving() as served:
        near = TrackNames(served).nearest_path("album 7/00 track 84.mp3")
    assert near == "album 7/00 track 84.ogg"


def test_a_cache_keeps_within_its_bytes():
    cache = ColumnCache(1000)
    column = pa.chunked_array([pa.array(np.arange(50))])  # 400 bytes
    for name in "abc":
        cache.put(("tracks", 0, name), column)
    assert cache.get(("tracks", 0, "a")) is None
    assert cache.get(("tracks", 0, "b")) is cache.get(("tracks", 0, "c")) is column
    cache.put(("tracks", 0, "d"), pa.chunked_array([pa.array(np.arange(500))]))
    assert cache.get(("tracks", 0, "d")) is None


def test_a_missing_and_a_damaged_part_are_told(opened, layout):
    snapshot = current_snapshot(layout)
    path = layout.root / snapshot.tables["tracks"][0]
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 255]) + whole[101:])

    def read():
        with closing(ServedTable(layout, snapshot, "tracks", cache=ColumnCache(1000))) as table:
            table.take(np.arange(N), table.schema.names)

    with pytest.raises(DamagedArtefactError, match=r"is damaged: .*musichash verify --store"):
        read()
    path.unlink()
    with pytest.raises(ArtefactMissingError, match="does not exist, which snapshot 1 lists"):
        read()
