"""Columns of published tables as arrays, against what Arrow and Python say of them."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.coded_tracks import MAX_SAMPLED_LOGITS, coded_tracks, rows_of, sampled_logits
from storage.errors import DamagedArtefactError

ids = st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), unique=True, max_size=30).map(
    sorted
)
"""Track ids as they are: sorted hex digits of one length."""

other_ids = st.lists(st.text("abc", min_size=1, max_size=40), unique=True, max_size=30).map(sorted)


def tables(track_ids, *, cuts=(), genres=None):
    """A codes table and its predictions, in chunks that are slices of longer ones."""
    codes = [number.to_bytes(2, "little") for number in range(len(track_ids))]
    genres = genres or ["rock"] * len(track_ids)
    whole = pa.table(
        {
            "track_id": pa.array(["before" * 6, *track_ids], pa.string()),
            "code": pa.array([b"\xff\xff", *codes], pa.binary(2)),
            "genre": pa.array(["none", *genres], pa.string()),
        }
    )
    edges = [1, *sorted(1 + cut % (len(track_ids) + 1) for cut in cuts), len(track_ids) + 1]
    pieces = [whole.slice(a, b - a) for a, b in pairwise(edges)]
    table = pa.concat_tables(pieces)
    return table.select(["track_id", "code"]).to_batches(), table.select(["genre"]).to_batches()


def tracks_of(track_ids, **how):
    return coded_tracks(*tables(track_ids, **how), code_bytes=2)


@given(st.one_of(ids, other_ids), st.lists(st.integers(0, 30), max_size=3))
def test_ids_and_codes_are_those_of_the_table_however_it_is_cut(track_ids, cuts):
    tracks = tracks_of(track_ids, cuts=cuts)

    assert [track_id.decode() for track_id in tracks.track_ids] == track_ids
    assert tracks.codes[:, 0].tolist() == list(range(len(track_ids)))


@given(ids, st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), max_size=10))
def test_rows_are_found_by_id(track_ids, others):
    tracks = tracks_of(track_ids)
    wanted = [*track_ids[::2], *others]

    rows = rows_of(tracks.track_ids, np.array([name.encode() for name in wanted], "S32"))

    assert rows.tolist() == [track_ids.index(name) if name in track_ids else -1 for name in wanted]


def test_genres_are_numbered_alike_in_every_chunk():
    genres = ["jazz", "rock", "jazz", "folk", "rock"]
    track_ids = [f"{number:032x}" for number in range(5)]

    tracks = tracks_of(track_ids, cuts=(2, 3), genres=genres)

    assert [tracks.genre_names[number] for number in tracks.genres] == genres
    assert sorted(tracks.genre_names) == ["folk", "jazz", "rock"]


def test_tables_of_different_lengths_are_damage():
    codes, predictions = tables([f"{number:032x}" for number in range(5)])

    with pytest.raises(DamagedArtefactError, match="5 codes and 4 predictions"):
        coded_tracks(codes, [batch.slice(0, 4) for batch in predictions], code_bytes=2)


@pytest.mark.parametrize("n_codes", [0, 1, 7, MAX_SAMPLED_LOGITS, MAX_SAMPLED_LOGITS + 4321])
def test_sampled_rows_are_evenly_spaced_and_the_same_however_the_column_is_cut(n_codes):
    values = np.arange(2 * n_codes, dtype=np.float32).reshape(-1, 2)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 2)
    cuts = [0, n_codes // 3, n_codes // 2, n_codes]
    pieces = [column.slice(a, b - a) for a, b in pairwise(cuts)]

    sampled = sampled_logits(pieces, n_codes)

    assert sampled.tolist() == sampled_logits([column], n_codes).tolist()
    assert len(sampled) == min(n_codes, MAX_SAMPLED_LOGITS)
    if n_codes:
        rows = sampled[:, 0] / 2
        assert (rows[0], rows[-1]) == (0, n_codes - 1)
        assert set(np.diff(rows).tolist()) <= {1.0, 2.0}
