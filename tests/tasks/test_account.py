"""The account of a run: worked by hand, and every number that is wrong by one is refused."""

import pyarrow as pa
import pytest

from musichash_core.failure_codes import QUARANTINE_CODE
from storage.runs import RunRecord
from storage.schemas import FAILURES
from storage.tables import table_of
from tasks.account import AccountingError, Counted, accounted

RECORD = RunRecord("r", "2026-01-01T00:00:00+00:00", audio_s=7.0)
TRACKS = pa.table({"track_id": [str(number) for number in range(6)]})


def failures_of(*named: tuple[str, str]) -> pa.Table:
    rows = [
        {
            "track_id": track_id,
            "path": f"/music/{track_id}",
            "stage": "extract",
            "code": code,
            "retryable": False,
            "message": "no",
            "attempts": 1,
        }
        for track_id, code in named
    ]
    return table_of(rows, FAILURES)


# Of six tracks four have features; two files have no identity; two tracks have left.
FAILED = failures_of(
    ("0", "truncated"), ("1", QUARANTINE_CODE), ("", "permission"), ("", "permission")
)
COUNTED = Counted(done=1, reused=3, removed=2, encoded={"codes": 4, "predictions": 4})


def test_every_track_seen_is_in_one_number() -> None:
    record = accounted(RECORD, len(TRACKS), FAILED, COUNTED)
    numbers = (record.seen, record.done, record.reused, record.failed)
    assert numbers == (10, 1, 3, 3)
    assert (record.quarantined, record.removed, record.audio_s) == (1, 2, 7.0)


def test_an_empty_store_is_in_order() -> None:
    record = accounted(RECORD, 0, failures_of(), Counted())
    assert (record.seen, record.failed) == (0, 0)


@pytest.mark.parametrize(
    ("tracks", "failures", "counted"),
    [
        (TRACKS.slice(1), FAILED, COUNTED),
        (TRACKS, FAILED.slice(1), COUNTED),
        (TRACKS, FAILED, Counted(0, 3, 2, COUNTED.encoded)),
        (TRACKS, FAILED, Counted(2, 3, 2, COUNTED.encoded)),
        (TRACKS, FAILED, Counted(1, 3, 2, {"codes": 3, "predictions": 4})),
        (TRACKS, FAILED, Counted(1, 3, 2, {"codes": 4, "predictions": 5})),
    ],
)
def test_what_does_not_add_up_is_refused(
    tracks: pa.Table, failures: pa.Table, counted: Counted
) -> None:
    with pytest.raises(AccountingError, match=r"\d seen, .* codes, . predictions; nothing is publ"):
        accounted(RECORD, len(tracks), failures, counted)
