"""Failure records as rows of the failures table.

Public: `failure_rows`, `SCAN_STAGE`.
"""

from collections.abc import Iterable
from typing import Any

from musichash_core.failure_codes import FAILURE_CODES
from musichash_core.records import TrackFailure

SCAN_STAGE = "scan"
"""Every run scans, so what failed there is tried again whatever its code."""


def failure_rows(failures: Iterable[TrackFailure]) -> list[dict[str, Any]]:
    """Give the rows of `storage.schemas.FAILURES` for some failures."""
    return [
        {
            "track_id": failure.track_id,
            "path": failure.path,
            "stage": failure.stage,
            "code": failure.code,
            "retryable": failure.stage == SCAN_STAGE or FAILURE_CODES[failure.code].retryable,
            "message": failure.message,
            "attempts": failure.attempts,
        }
        for failure in failures
    ]
