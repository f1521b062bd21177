"""What the records of runs are read by, wherever people are shown one; loads nothing else.

Public: `ACCOUNT`, `UNFINISHED`, `account_sentence`, `place_of_stage`.
"""

from collections.abc import Mapping
from typing import Any

ACCOUNT = ("done", "reused", "failed", "quarantined", "removed")
"""What becomes of the tracks that a run saw."""

UNFINISHED = frozenset({"failed", "killed"})
"""States of runs that stopped before their end."""

_STAGES = ("scan", "plan", "extract", "describe", "train", "encode", "index", "report")


def account_sentence(run: Mapping[str, Any]) -> str:
    """Account for every track that a run saw.

    Parameters
    ----------
    run : mapping
        Its record of the ledger.
    """
    return f"{run['seen']} seen = " + " + ".join(f"{run[name]} {name}" for name in ACCOUNT)


def place_of_stage(stage: str) -> tuple[int, str]:
    """Sort stages as they come in a run; the ledger has them by name."""
    return (_STAGES.index(stage) if stage in _STAGES else len(_STAGES), stage)
