"""Windows are found as by comparing every one with every other, written out plainly."""

import numpy as np
import pyarrow as pa
import pytest

from musichash_core.errors import ParameterError
from storage import segment_codes
from storage.schemas import codes_schema, codes_schema_without_segments
from storage.segment_codes import SegmentCodes
from storage.tables import read_part, table_of, write_table

N_BITS = 64


def bits_of(code):
    return np.unpackbits(np.frombuffer(code, np.uint8), bitorder="little").astype(int)


def make_table(rng, n_tracks, *, n_codes=None):
    """Codes of tracks with 0 to 5 windows; with `n_codes`, of so many different ones."""
    pool = rng.integers(0, 256, (n_codes or 10_000, N_BITS // 8), dtype=np.uint8)
    rows = []
    for number in range(n_tracks):
        n_windows = int(rng.integers(0, 6))
        picked = pool[rng.integers(0, len(pool), n_windows)]
        rows.append(
            {
                "track_id": f"{number:05}",
                "code": bytes(N_BITS // 8),
                "logits": [0.0] * N_BITS,
                "n_segments": 1,
                "generation": "g-1",
                "segment_codes": [code.tobytes() for code in picked],
                "segment_starts_s": [5.5 * i for i in range(n_windows)],
            }
        )
    return table_of(rows, codes_schema(N_BITS))


def compared(table, codes, logits):
    """Rank tracks by all pairs of windows: the plain way."""
    ranked = []
    for row, track in enumerate(table.to_pylist()):
        if not track["segment_codes"]:
            continue
        nearest = []
        for code, of_query in zip(codes, logits, strict=True):
            pairs = []
            for window, start_s in zip(
                track["segment_codes"], track["segment_starts_s"], strict=True
            ):
                bits = bits_of(window)
                distance = int((bits_of(code.tobytes()) != bits).sum())
                agreement = float(np.tanh(of_query.astype(float)) @ (2 * bits - 1))
                pairs.append((distance, -round(agreement, 3), start_s))
            nearest.append(min(pairs))
        total = [sum(one[i] for one in nearest) for i in (0, 1)]
        ranked.append((total[0], round(total[1], 2), row, min(nearest)[2]))
    return sorted(ranked)


@pytest.mark.parametrize("n_codes", [None, 3])
@pytest.mark.parametrize("n_queries", [1, 3])
def test_the_nearest_tracks_are_those_of_all_pairs(n_codes, n_queries):
    rng = np.random.default_rng(n_queries)
    table = make_table(rng, 60, n_codes=n_codes)
    windows = SegmentCodes.from_table(table)
    for _ in range(5):
        logits = rng.standard_normal((n_queries, N_BITS)).astype(np.float32)
        codes = np.packbits(logits >= 0, axis=1, bitorder="little")
        found = windows.nearest_tracks(codes, logits, 7)
        expected = compared(table, codes, logits)[:7]
        assert found.rows.tolist() == [row for _, _, row, _ in expected]
        assert found.starts_s.tolist() == [start_s for *_, start_s in expected]
        assert np.allclose(found.distances * n_queries, [total for total, *_ in expected])


def test_tracks_that_tie_come_in_the_order_of_rows():
    table = make_table(np.random.default_rng(0), 40, n_codes=1)
    code = np.frombuffer(next(c[0] for c in table["segment_codes"].to_pylist() if c), np.uint8)
    found = SegmentCodes.from_table(table).nearest_tracks(code[None], None, 5)
    with_windows = [row for row, codes in enumerate(table["segment_codes"].to_pylist()) if codes]
    assert found.rows.tolist() == with_windows[:5]
    assert found.distances.tolist() == [0.0] * 5
    assert found.starts_s.tolist() == [0.0] * 5


def test_more_windows_are_asked_for_where_few_tracks_have_all_the_nearest(monkeypatch):
    """One track repeats itself, so that the nearest windows are all its own."""
    monkeypatch.setattr(segment_codes, "FIRST_WINDOWS", 2)
    monkeypatch.setattr(segment_codes, "WINDOWS_PER_TRACK", 1)
    codes = np.zeros((103, 8), np.uint8)
    codes[100:, 0] = [1, 3, 7]
    limits = np.array([0, 100, 101, 102, 103])
    windows = SegmentCodes(codes, np.zeros(103, np.float32), limits)
    found = windows.nearest_tracks(codes[:1], None, 3)
    assert found.rows.tolist() == [0, 1, 2]
    assert found.distances.tolist() == [0.0, 1.0, 2.0]


def test_what_may_be_missed_is_said(monkeypatch):
    rng = np.random.default_rng(8)
    table = make_table(rng, 60)
    windows = SegmentCodes.from_table(table)
    logits = rng.standard_normal((2, N_BITS)).astype(np.float32)
    codes = np.packbits(logits >= 0, axis=1, bitorder="little")
    for name, few in (("SHORTLIST", 2), ("FIRST_WINDOWS", 4), ("WINDOWS_PER_TRACK", 1)):
        monkeypatch.setattr(segment_codes, name, few)
    assert not windows.nearest_tracks(codes, logits, 3).misses_none
    assert windows.nearest_tracks(codes[:1], logits[:1], 3).misses_none, "one window is exact"
    monkeypatch.setattr(segment_codes, "SHORTLIST", 1000)
    found = windows.nearest_tracks(codes, logits, 3)
    assert found.misses_none
    expected = [row for _, _, row, _ in compared(table, codes, logits)[:3]]
    assert found.rows.tolist() == expected


def test_windows_within_a_radius_are_those_of_all_pairs():
    rng = np.random.default_rng(5)
    table = make_table(rng, 50, n_codes=12)
    windows = SegmentCodes.from_table(table)
    queries = windows.windows_of(int(np.argmax(np.diff(windows._limits))))[0]
    for radius in (0, 26, 64):
        pairs = windows.within(queries, radius)
        expected = sorted(
            (query, int((bits_of(code.tobytes()) != bits_of(window)).sum()), row, number)
            for query, code in enumerate(queries)
            for row, of_track in enumerate(table["segment_codes"].to_pylist())
            for number, window in enumerate(of_track)
            if (bits_of(code.tobytes()) != bits_of(window)).sum() <= radius
        )
        columns = (pairs.query_windows, pairs.distances, pairs.rows, pairs.windows)
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected


def test_a_table_read_back_in_pieces_gives_the_same_windows(tmp_path):
    table = make_table(np.random.default_rng(8), 30)
    write_table(tmp_path / "codes.parquet", table)
    read = read_part(tmp_path / "codes.parquet", codes_schema(N_BITS))
    pieces = pa.concat_tables([read.slice(0, 7), read.slice(7, 0), read.slice(7)])
    windows = SegmentCodes.from_table(pieces)
    assert (windows.n_tracks, windows.n_bits) == (30, N_BITS)
    for row, track in enumerate(table.to_pylist()):
        codes, starts_s = windows.windows_of(row)
        assert [code.tobytes() for code in codes] == track["segment_codes"]
        assert starts_s.tolist() == track["segment_starts_s"]


@pytest.mark.parametrize("with_columns", [False, True])
def test_a_table_without_windows_finds_nothing(with_columns):
    table = make_table(np.random.default_rng(8), 3).slice(0, 0)
    if not with_columns:
        table = table.select(codes_schema_without_segments(N_BITS).names)
    windows = SegmentCodes.from_table(table)
    found = windows.nearest_tracks(np.zeros((2, 8), np.uint8), None, 3)
    assert windows.n_windows == len(found.rows) == len(found.distances) == 0
    assert len(windows.within(np.zeros((2, 8), np.uint8), 64).rows) == 0


def test_wrong_queries_and_tables_are_named():
    table = make_table(np.random.default_rng(8), 9)
    windows = SegmentCodes.from_table(table)
    codes = np.zeros((2, 8), np.uint8)
    with pytest.raises(ParameterError, match=r"want \(n, 8\) uint8: encode the query with"):
        windows.nearest_tracks(np.zeros((1, 16), np.uint8), None, 1)
    with pytest.raises(ParameterError, match="k=0"):
        windows.nearest_tracks(codes, None, 0)
    with pytest.raises(ParameterError, match="with 2 codes of 64 bits"):
        windows.nearest_tracks(codes, np.zeros((1, 64), np.float32), 1)
    with pytest.raises(ParameterError, match="radius=-1"):
        windows.within(codes, -1)
    starts = table["segment_starts_s"].to_pylist()
    row = next(row for row, of_track in enumerate(starts) if of_track)
    starts[row] = starts[row][1:]
    place = table.column_names.index("segment_starts_s")
    field = table.schema.field(place)
    broken = table.set_column(place, field, pa.array(starts, field.type))
    with pytest.raises(ParameterError, match=f"row {row} of the codes table has"):
        SegmentCodes.from_table(broken)
