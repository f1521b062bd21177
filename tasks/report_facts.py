"""What the report says of the failures and the runs: tables in, small records out.

Public: `failure_facts`, `FailureFacts`, `run_facts`, `RunFacts`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.failure_codes import FAILURE_CODES
from storage.failure_rows import SCAN_STAGE
from storage.runs import KILLED, RunRecord
from tasks.report_catalogue import Count, most_frequent
from tasks.value_counts import value_counts

TOP_ROWS = 200
"""Rows of any table of single tracks."""

TOP_RUNS = 50


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
        for entry in most_frequent(value_counts(failures["code"]), len(failures))
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
