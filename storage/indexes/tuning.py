"""How many lists a query of an ivf index must read to find enough.

Public: `tune_lists`, `TunedLists`, `is_enough`.
"""

from dataclasses import dataclass
from functools import partial

from storage.indexes.ivf import IvfLists
from storage.indexes.recall import MeasuredRecall, RecallSample, measured_recall

LADDER = (4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Lists tried. Fewer save nothing that a query would notice."""

MAX_SHARE = 4
"""An index of which every query reads more than one of so many lists is no quicker than flat."""


@dataclass(frozen=True, slots=True)
class TunedLists:
    """What reading a number of lists finds.

    Attributes
    ----------
    n_probed : int
        Lists read.
    recall : MeasuredRecall
    """

    n_probed: int
    recall: MeasuredRecall


def tune_lists(
    lists: IvfLists, sample: RecallSample, *, min_recall: float, at_least: int = 1
) -> TunedLists:
    """Find the fewest lists that a query must read to reach a distance-recall.

    The mean less its standard error must reach it, so that other queries do too.

    Parameters
    ----------
    min_recall : float
        0 to 1.
    at_least : int
        Lists read already.

    Returns
    -------
    TunedLists
        Where nothing reaches it, of the most lists that were tried.
    """
    most = max(LADDER[0], lists.n_lists // MAX_SHARE)
    steps = [step for step in (*LADDER, most) if at_least <= step <= most] or [most]
    tuned = None
    for n_probed in sorted(set(steps)):
        find = partial(lists.distances_at, n_probed=n_probed)
        tuned = TunedLists(n_probed, measured_recall(sample, find))
        if is_enough(tuned.recall, min_recall):
            break
    assert tuned is not None
    return tuned


def is_enough(recall: MeasuredRecall, min_recall: float) -> bool:
    """Whether a recall reaches a bar for other queries too, as far as a sample can tell."""
    return recall.mean - recall.error >= min_recall or recall.mean == 1.0
