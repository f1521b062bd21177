"""The account of a run: every track that was seen is done, reused, failed, quarantined or removed.

Public: `accounted`, `Counted`, `AccountingError`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.failure_codes import QUARANTINE_CODE
from storage.errors import StoreError
from storage.runs import RunRecord


class AccountingError(StoreError):
    """The numbers of a run do not add up; nothing is published."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What the stages of a run counted, each for itself.

    Attributes
    ----------
    done, reused : int
        Tracks that the run extracted, and that it found extracted.
    removed : int
        Tracks that were published and are not in the catalogue any more.
    encoded : mapping of str to int
        Rows of each table that must have one per track with features.
    """

    done: int = 0
    reused: int = 0
    removed: int = 0
    encoded: Mapping[str, int] = field(default_factory=dict)


def accounted(record: RunRecord, n_tracks: int, failures: pa.Table, counted: Counted) -> RunRecord:
    """Fill in a run's numbers and prove that every track seen is in exactly one of them.

    Parameters
    ----------
    record : RunRecord
        The run, as the ledger has it so far.
    n_tracks : int
        Rows of the tracks table that is to be published.
    failures : pyarrow.Table
        The failures table that is to be published.

    Raises
    ------
    AccountingError
        With all the numbers.
    """
    n_quarantined = int(pc.sum(pc.equal(failures["code"], QUARANTINE_CODE)).as_py() or 0)
    n_unreadable = int(pc.sum(pc.equal(failures["track_id"], "")).as_py() or 0)
    filled = replace(
        record,
        seen=n_tracks + n_unreadable + counted.removed,
        done=counted.done,
        reused=counted.reused,
        failed=len(failures) - n_quarantined,
        quarantined=n_quarantined,
        removed=counted.removed,
    )
    n_ok = counted.done + counted.reused
    if not filled.is_balanced or any(n_rows != n_ok for n_rows in counted.encoded.values()):
        names = ("seen", "done", "reused", "failed", "quarantined", "removed")
        numbers = {name: getattr(filled, name) for name in names} | dict(counted.encoded)
        raise AccountingError(
            "the account does not balance: "
            f"{', '.join(f'{number} {name}' for name, number in numbers.items())}; nothing is "
            "published: run 'musichash verify' and report this"
        )
    return filled
