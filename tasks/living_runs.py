"""Which runs of the ledger are alive, for whoever asks from outside.

Public: `seen_from_outside`.
"""

from collections.abc import Sequence
from dataclasses import replace

from storage.layout import StoreLayout
from storage.runs import KILLED, RUNNING, RunRecord
from storage.store import lock_owner


def seen_from_outside(layout: StoreLayout, records: Sequence[RunRecord]) -> list[RunRecord]:
    """Name a run killed that is under way by its record while nobody writes to the store.

    The next writer closes its record; until then a question must not say that it is running.
    """
    if all(record.state != RUNNING for record in records):
        return list(records)
    writer = lock_owner(layout)
    alive = None if writer is None else writer.run_id
    # A writer that has not named its run yet may have begun any of them.
    return [
        replace(record, state=KILLED)
        if record.state == RUNNING
        and (writer is None or (alive is not None and record.run_id != alive))
        else record
        for record in records
    ]
