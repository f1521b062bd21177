"""The evidence about pairs of tracks: lengths, codes, fingerprints; one row of a table per pair.

Public: `compare_pairs`, `read_tracks`, `ComparedTracks`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.codes import hamming_distance
from musichash_core.recording_match import Alignment, Evidence, FingerprintPlan, align, judge
from storage.duplicate_pairs import PAIRS
from storage.layout import StoreLayout
from storage.packed_codes import packed_codes
from storage.published import read_table
from storage.snapshots import Snapshot
from storage.tables import table_of
from tasks.duplicates_fingerprints import FingerprintShelf
from tasks.duplicates_proposals import Proposals

PROGRESS_PAIRS = 100


@dataclass(frozen=True, slots=True)
class ComparedTracks:
    """The rows of the codes table, as far as evidence needs them.

    Attributes
    ----------
    track_ids : list of str
    packed : (n, code_bytes) uint8
    logits : (n, n_bits) float32
    duration_s : (n,) float64
    """

    track_ids: list[str]
    packed: NDArray[np.uint8]
    logits: NDArray[np.float32]
    duration_s: NDArray[np.float64]

    @property
    def n_bits(self) -> int:
        """Length of a code."""
        return 8 * int(self.packed.shape[1])


def read_tracks(layout: StoreLayout, snapshot: Snapshot) -> ComparedTracks:
    """Read what evidence needs of the tracks of a snapshot.

    Raises
    ------
    StoreError
        If a table cannot be read.
    """
    codes = read_table(layout, snapshot, "codes", columns=["track_id", "code", "logits"])
    facts = read_table(layout, snapshot, "tracks", columns=["track_id", "duration_s"])
    ids = codes["track_id"].combine_chunks()
    places = pc.index_in(ids, value_set=facts["track_id"].combine_chunks())
    packed = packed_codes(codes)
    logits = codes["logits"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return ComparedTracks(
        ids.to_pylist(),
        packed,
        np.asarray(logits, np.float32).reshape(len(packed), -1),
        facts["duration_s"].take(places).to_numpy().astype(np.float64),
    )


def compare_pairs(
    tracks: ComparedTracks,
    proposals: Proposals,
    shelf: FingerprintShelf,
    plan: FingerprintPlan,
    *,
    before: pa.Table | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """Gather the evidence about pairs and judge them.

    Parameters
    ----------
    proposals : Proposals
        From `tasks.duplicates_proposals.join_proposals`.
    before : pyarrow.Table, optional
        `PAIRS` compared earlier in the same way: what is known of a pair is not made again.

    Returns
    -------
    pyarrow.Table
        `PAIRS`, sorted by the ids.
    """
    known, fresh = _known_pairs(tracks, proposals.pairs, before)
    rows = []
    # Pairs of the same two partitions after one another: each is read once.
    places = shelf.partition_of_row[fresh]
    order = np.lexsort((fresh[:, 1], fresh[:, 0], places[:, 1], places[:, 0]))
    for number, (first, second) in enumerate(fresh[order].tolist(), 1):
        rows.append(_compare(tracks, first, second, shelf, plan))
        if on_progress is not None and (number % PROGRESS_PAIRS == 0 or number == len(fresh)):
            on_progress(number, len(fresh))
    table = pa.concat_tables([known, table_of(rows, PAIRS)])
    table = table.sort_by([("first_id", "ascending"), ("second_id", "ascending")])
    return _with_sources(tracks, table, proposals)


def _with_sources(tracks: ComparedTracks, table: pa.Table, proposals: Proposals) -> pa.Table:
    """Say of each pair what proposed it this time, whatever did when it was compared."""
    places = pc.index_in(_names(table), value_set=_names_of_rows(tracks, proposals.pairs))
    column = table.schema.get_field_index("proposed_by")
    sources = pa.array(proposals.sources, pa.string()).take(places)
    return table.set_column(column, PAIRS.field(column), sources)


def _known_pairs(
    tracks: ComparedTracks, pairs: NDArray[np.int64], before: pa.Table | None
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Divide pairs into those whose evidence is known, and the others."""
    if before is None or not len(before) or not len(pairs):
        return PAIRS.empty_table(), pairs
    wanted, held = _names_of_rows(tracks, pairs), _names(before)
    is_known = pc.is_in(wanted, value_set=held).to_numpy(zero_copy_only=False)
    known = before.filter(pc.is_in(held, value_set=wanted))
    return known.cast(PAIRS), pairs[~is_known]


def _names_of_rows(tracks: ComparedTracks, pairs: NDArray[np.int64]) -> pa.Array:
    ids = pa.array(tracks.track_ids, pa.string())
    ends = [ids.take(pa.array(pairs[:, end])) for end in (0, 1)]
    return pc.binary_join_element_wise(*ends, "")


def _names(table: pa.Table) -> pa.Array:
    joined = pc.binary_join_element_wise(table["first_id"], table["second_id"], "")
    return joined.combine_chunks()


def _compare(
    tracks: ComparedTracks, first: int, second: int, shelf: FingerprintShelf, plan: FingerprintPlan
) -> dict[str, Any]:
    ids = (tracks.track_ids[first], tracks.track_ids[second])
    found = [shelf.track(row, track_id) for row, track_id in zip((first, second), ids, strict=True)]
    hints = np.empty(0, np.int64)
    fit = None
    if found[0] is not None and found[1] is not None:
        hints = found[0].landmarks.offsets_to(found[1].landmarks)
        fit = align(found[0].fingerprint, found[1].fingerprint, plan, hints=hints)
    evidence = Evidence(
        duration_s=(float(tracks.duration_s[first]), float(tracks.duration_s[second])),
        n_landmarks=len(hints),
        code_distance=int(hamming_distance(tracks.packed[first], tracks.packed[second])),
        code_cosine=_cosine(tracks.logits[first], tracks.logits[second]),
        alignment=fit,
    )
    return _row(ids, evidence)


def _cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Compare real-valued codes as they were trained to be compared: after tanh."""
    u, v = np.tanh(first.astype(np.float64)), np.tanh(second.astype(np.float64))
    return float(u @ v / max(1e-12, float(np.linalg.norm(u) * np.linalg.norm(v))))


def _row(ids: tuple[str, str], evidence: Evidence) -> dict[str, Any]:
    """Give a row of `PAIRS`."""
    verdict = judge(evidence)
    return {
        "first_id": ids[0],
        "second_id": ids[1],
        "tier": verdict.tier,
        "relation": verdict.relation,
        "confidence": verdict.confidence,
        "reason": verdict.reason,
        "proposed_by": "",
        "n_landmarks": evidence.n_landmarks,
        "code_distance": evidence.code_distance,
        "code_cosine": evidence.code_cosine,
        "first_duration_s": evidence.duration_s[0],
        "second_duration_s": evidence.duration_s[1],
        **_fit_columns(evidence.alignment),
        "chromaprint_error": None,
    }


def _fit_columns(fit: Alignment | None) -> dict[str, float | None]:
    names = ("offset_s", "bit_error_rate", "expected_rate", "compared_s", "matched_s", "worst_rate")
    ends = ("first_before_s", "second_before_s", "first_after_s", "second_after_s")
    if fit is None:
        return dict.fromkeys((*names, *ends))
    values = (*(getattr(fit, name) for name in names), *fit.before_s, *fit.after_s)
    return dict(zip((*names, *ends), values, strict=True))
