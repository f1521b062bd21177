"""What the report says of the catalogue, the runs and the failures: tables in, small records out.

Everything is counted over all rows, by Arrow; only lists of names and rows are cut.

Public: `catalogue_facts`, `CatalogueFacts`, `failure_facts`, `FailureFacts`, `run_facts`,
`RunFacts`, `Count`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.failure_codes import FAILURE_CODES
from storage.failure_rows import SCAN_STAGE
from storage.runs import KILLED, RunRecord

TOP_NAMES = 20
"""Labels, genres and formats that are listed by name."""

TOP_ROWS = 200
"""Rows of any table of single tracks."""

TOP_RUNS = 50
TOP_ROOTS = 20


@dataclass(frozen=True, slots=True)
class Count:
    """How often one value occurs.

    Attributes
    ----------
    name : str
        The value.
    count : int
        Its number.
    share : float
        Of all, 0 to 1.
    """

    name: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class LabelCount:
    """Tracks of one label, and tracks that the model calls by that name.

    Attributes
    ----------
    name : str or None
        None for tracks without a label.
    n_tracks, n_predicted : int
    audio_s : float
        Decoded audio of the label's tracks, seconds.
    """

    name: str | None
    n_tracks: int
    n_predicted: int
    audio_s: float


@dataclass(frozen=True, slots=True)
class CatalogueFacts:
    """The tracks of a snapshot.

    Attributes
    ----------
    roots : list of str
        The first catalogue roots; `n_roots` counts all.
    n_tracks, n_ok, n_failed, n_duplicate_files : int
        Tracks, those with and without features, and files with the bytes of another file.
    n_bytes : int
        Size of the tracks, each counted once.
    audio_s : float
        Decoded audio, seconds.
    labels : list of LabelCount
        The largest; `n_labels` counts all, without "no label".
    containers, codecs, sample_rates, channels, warnings : list of Count
        Of the tracks that were decoded.
    durations_s, levels_db : (n_ok,) float64
        Length in seconds, and root mean square in dB re full scale.
    """

    roots: list[str]
    n_roots: int
    n_tracks: int
    n_ok: int
    n_failed: int
    n_duplicate_files: int
    n_bytes: int
    audio_s: float
    labels: list[LabelCount]
    n_labels: int
    containers: list[Count]
    codecs: list[Count]
    sample_rates: list[Count]
    channels: list[Count]
    warnings: list[Count]
    durations_s: NDArray[np.float64]
    levels_db: NDArray[np.float64]


def catalogue_facts(tracks: pa.Table, predictions: pa.Table) -> CatalogueFacts:
    """Count the tracks and predictions of a snapshot."""
    decoded = tracks.filter(pc.equal(tracks["status"], "ok"))
    labels = _label_counts(tracks, predictions)
    roots = sorted(str(root) for root in pc.unique(tracks["root"]).to_pylist())
    n_locations = pc.sum(pc.list_value_length(tracks["locations"])).as_py() or 0
    rates = [replace(rate, name=f"{int(rate.name):,} Hz") for rate in _counts(decoded["sr"])]
    return CatalogueFacts(
        roots=roots[:TOP_ROOTS],
        n_roots=len(roots),
        n_tracks=len(tracks),
        n_ok=len(decoded),
        n_failed=len(tracks) - len(decoded),
        n_duplicate_files=n_locations - len(tracks),
        n_bytes=pc.sum(tracks["n_bytes"]).as_py() or 0,
        audio_s=pc.sum(decoded["duration_s"]).as_py() or 0.0,
        labels=labels[:TOP_NAMES],
        n_labels=sum(label.name is not None and label.n_tracks > 0 for label in labels),
        containers=_counts(decoded["container"]),
        codecs=_counts(decoded["codec"]),
        sample_rates=rates,
        channels=_counts(decoded["n_channels"]),
        warnings=_counts(pc.list_flatten(decoded["warnings"]), of=len(decoded)),
        durations_s=_as_floats(decoded["duration_s"]),
        levels_db=_as_floats(decoded["rms_db"]),
    )


def _counts(column: pa.ChunkedArray, *, of: int | None = None) -> list[Count]:
    """List the most frequent values, most frequent first; shares are of the rows or of `of`."""
    total = max(1, len(column) if of is None else of)
    entries = pc.value_counts(column).to_pylist()
    pairs = [(str(entry["values"]), entry["counts"]) for entry in entries]
    ordered = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    return [Count(name, count, count / total) for name, count in ordered[:TOP_NAMES]]


def _as_floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _label_counts(tracks: pa.Table, predictions: pa.Table) -> list[LabelCount]:
    """Count tracks per label and predictions per genre: largest label first, "no label" last."""
    grouped = tracks.group_by("label").aggregate([("track_id", "count"), ("duration_s", "sum")])
    given = {row["label"]: row for row in grouped.to_pylist()}
    predicted = {
        entry["values"]: entry["counts"]
        for entry in pc.value_counts(predictions["genre"]).to_pylist()
    }
    counts = [
        LabelCount(
            name,
            n_tracks=given[name]["track_id_count"] if name in given else 0,
            n_predicted=predicted.get(name, 0),
            audio_s=(given[name]["duration_s_sum"] or 0.0) if name in given else 0.0,
        )
        for name in given.keys() | predicted.keys()
    ]
    return sorted(
        counts, key=lambda one: (one.name is None, -one.n_tracks, -one.n_predicted, one.name or "")
    )


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """All failures of one code, with its cause and remedy, and whether the next run tries all."""

    code: str
    count: int
    share: float
    is_retryable: bool
    cause: str
    remedy: str


@dataclass(frozen=True, slots=True)
class FailureFacts:
    """The failures of a snapshot.

    Attributes
    ----------
    n_failures : int
        All of them.
    groups : list of FailureGroup
        Most frequent first.
    rows : list of dict
        Rows of the failures table, by code and path; where there are too many, some of each code.
    """

    n_failures: int
    groups: list[FailureGroup]
    rows: list[dict[str, Any]]


def failure_facts(failures: pa.Table) -> FailureFacts:
    """Group the failures of a snapshot by their code."""
    is_kept = pc.and_(pc.invert(failures["retryable"]), pc.not_equal(failures["stage"], SCAN_STAGE))
    kept = set(failures["code"].filter(is_kept).to_pylist())
    groups = [
        _failure_group(entry, is_retryable=entry.name not in kept)
        for entry in _counts(failures["code"])
    ]
    per_code = TOP_ROWS if len(failures) <= TOP_ROWS else TOP_ROWS // max(1, len(groups))
    rows = [
        row
        for group in groups
        for row in failures.filter(pc.equal(failures["code"], group.code))
        .sort_by("path")
        .slice(0, per_code)
        .to_pylist()
    ]
    return FailureFacts(len(failures), groups, rows)


def _failure_group(entry: Count, *, is_retryable: bool) -> FailureGroup:
    known = FAILURE_CODES.get(entry.name)
    return FailureGroup(
        entry.name,
        entry.count,
        entry.share,
        is_retryable=is_retryable,
        cause=known.cause if known else "A reason that this version does not know.",
        remedy=known.remedy if known else "Read the messages below.",
    )


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The runs of a store.

    Attributes
    ----------
    accounted : RunRecord or None
        The last run that accounted for its tracks.
    latest : RunRecord or None
        The last run of all; it may have failed, or be under way.
    recent : list of RunRecord
        Newest first; `n_runs` counts all.
    """

    accounted: RunRecord | None
    latest: RunRecord | None
    recent: list[RunRecord]
    n_runs: int


def run_facts(
    ledger: Sequence[RunRecord], published: Iterable[RunRecord], own: RunRecord | None
) -> RunFacts:
    """Put together what is known of the runs.

    Parameters
    ----------
    ledger : sequence of RunRecord
        All of them. A run that is under way has no numbers here yet.
    published : iterable of RunRecord
        Of the snapshot's runs table: the run that published it left its account there.
    own : RunRecord or None
        The run that this report is a part of.
    """
    accounts = {record.run_id: record for record in published if record.seen}
    if own is not None:
        accounts[own.run_id] = replace(own, wall_s=_seconds_since(own.started))
    records = [
        _completed(record, accounts[record.run_id]) if record.run_id in accounts else record
        for record in sorted(ledger, key=_time_of)
    ]
    accounted = [record for record in records if record.seen and record.state != "failed"]
    return RunFacts(
        accounted=accounted[-1] if accounted else None,
        latest=records[-1] if records else None,
        recent=records[::-1][:TOP_RUNS],
        n_runs=len(records),
    )


def _time_of(record: RunRecord) -> tuple[str, str]:
    """Order runs by their start, then by their end: several may start within a second."""
    return record.started, record.finished or "~"


def _completed(record: RunRecord, account: RunRecord) -> RunRecord:
    """Add to a run's record what it had counted before it could say so in the ledger."""
    if record.state == KILLED:
        return replace(account, state=KILLED, finished=record.finished, wall_s=record.wall_s)
    if record.finished is not None:
        return record
    # It has published, and has only to report it.
    has_failures = account.failed + account.quarantined > 0
    return replace(account, state="done-with-failures" if has_failures else "done")


def _seconds_since(started: str) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds())
