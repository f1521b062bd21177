"""What is kept of an earlier comparison, and how much of it still holds.

The evidence about a pair depends on its two tracks and on how they are compared, so it holds in
every snapshot that has both. Which tracks were looked at is not written down: the snapshot of then
says so, for as long as it is there.

Public: `evidence_name`, `settings_name`, `still_true`, `newly_published`.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.recording_match import FINGERPRINT_FORMAT
from storage.atomic import to_json
from storage.duplicate_pairs import KeptPairs
from storage.errors import StoreError
from storage.layout import StoreLayout
from storage.published import read_table
from storage.snapshots import Snapshot, read_snapshot

JUDGEMENT_FORMAT = 1
"""Raised whenever the same tracks would be judged in another way."""


def evidence_name(snapshot: Snapshot) -> str:
    """Name all that the evidence of a pair depends on, its tracks aside."""
    formats = (FINGERPRINT_FORMAT, JUDGEMENT_FORMAT)
    return _named(*formats, snapshot.feature_fingerprint, snapshot.generation)


def settings_name(snapshot: Snapshot, *, radius: int | None, per_track: int) -> str:
    """Name all that the pairs of a snapshot depend on, its content aside."""
    return _named(evidence_name(snapshot), radius, per_track)


def _named(*parts: object) -> str:
    return hashlib.sha256(to_json(parts)).hexdigest()[:12]


def still_true(before: KeptPairs | None, snapshot: Snapshot) -> pa.Table | None:
    """Give the pairs of an earlier comparison whose evidence holds in a snapshot; None if none."""
    if before is None or before.evidence != evidence_name(snapshot):
        return None
    # Where there was nothing to compare, frames may have been missing, and be there now.
    return before.pairs.filter(pc.is_valid(before.pairs["bit_error_rate"]))


def newly_published(
    layout: StoreLayout, snapshot: Snapshot, before: KeptPairs | None, track_ids: list[str]
) -> NDArray[np.bool_]:
    """Tell which tracks of a snapshot were not there when pairs were compared last.

    Parameters
    ----------
    track_ids : list of str
        Of the rows of the codes table.

    Returns
    -------
    (n_tracks,) bool
        Of a snapshot that is gone only the tracks of its pairs are known to have been there; all
        are new where nothing was compared in this way.
    """
    if before is None or before.evidence != evidence_name(snapshot):
        return np.ones(len(track_ids), np.bool_)
    is_old = pc.is_in(pa.array(track_ids, pa.string()), value_set=_compared(layout, before))
    return ~np.asarray(is_old.to_numpy(zero_copy_only=False), np.bool_)


def _compared(layout: StoreLayout, before: KeptPairs) -> pa.Array:
    """Give the tracks of the snapshot that pairs were compared of, as far as they are known."""
    try:
        earlier = None if before.snapshot is None else read_snapshot(layout, before.snapshot)
        if earlier is not None and earlier.digest == before.digest:
            table = read_table(layout, earlier, "codes", columns=["track_id"])
            return table["track_id"].combine_chunks()
    except StoreError:
        pass  # collected, or damaged: a track too many is asked for again
    ends = [before.pairs[name].combine_chunks() for name in ("first_id", "second_id")]
    return pc.unique(pa.concat_arrays(ends))
