"""Comparison networks that give many neighbouring running medians at once.

The windows of neighbouring outputs share most of their elements, so the shared part is sorted once
and the rest is merged in while the group of outputs is halved: eight outputs, then four, two, one.
An element that so few others are still to be compared with that it cannot become the median any
more is dropped at once. For 31 elements this takes 22 comparisons per output, where keeping one
sorted window takes 62, and there is no branch: all lanes of a vector do the same.

The merges are Batcher's odd-even merges (Knuth, The Art of Computer Programming, 5.3.4).

Public: `MedianNetwork`, `median_network`.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

MAX_GROUP = 64
"""Most outputs that share a core; larger groups save little and double the machine code."""


class Exchange(NamedTuple):
    """One comparison: of values `first` and `second`, name the smaller `low`, the larger `high`.

    A name of -1 means that nothing needs this one.
    """

    first: int
    second: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class MedianNetwork:
    """Comparisons that turn one run of inputs into a run of medians.

    Attributes
    ----------
    kernel_size : int
        Elements under each median.
    n_outputs : int
        Medians per run; output ``i`` is the element of rank ``kernel_size // 2`` (from 0) of inputs
        ``i`` to ``i + kernel_size - 1``.
    n_inputs : int
        ``n_outputs + kernel_size - 1``; they have the names 0 to ``n_inputs - 1``.
    exchanges : tuple of Exchange
        To be done in this order.
    outputs : tuple of int
        Names of the medians.
    """

    kernel_size: int
    n_outputs: int
    n_inputs: int
    exchanges: tuple[Exchange, ...]
    outputs: tuple[int, ...]


@cache
def median_network(kernel_size: int) -> MedianNetwork:
    """Build the network for one window length.

    Parameters
    ----------
    kernel_size : >= 1
        Elements under each median; an even length takes the upper of the two middle elements.
    """
    n_outputs = 1
    while 2 * n_outputs <= min(MAX_GROUP, (kernel_size + 1) // 2):
        n_outputs *= 2
    draft = _Draft(kernel_size, n_outputs + kernel_size - 1)
    draft.outputs = [-1] * n_outputs
    core = draft.sort(n_outputs - 1, kernel_size)
    draft.select(0, n_outputs, core, kernel_size // 2)

    return MedianNetwork(
        kernel_size=kernel_size,
        n_outputs=n_outputs,
        n_inputs=n_outputs + kernel_size - 1,
        exchanges=_drop_unused(draft.exchanges, draft.outputs),
        outputs=tuple(draft.outputs),
    )


@dataclass(slots=True)
class _Draft:
    """A network while it grows; lists of names are sorted by value."""

    kernel_size: int
    n_names: int
    exchanges: list[Exchange] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    sorted_runs: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    def exchange(self, first: int, second: int) -> list[int]:
        low, high = self.n_names, self.n_names + 1
        self.n_names += 2
        self.exchanges.append(Exchange(first, second, low, high))
        return [low, high]

    def merge(self, x: list[int], y: list[int]) -> list[int]:
        if not x or not y:
            return x + y
        if len(x) == len(y) == 1:
            return self.exchange(x[0], y[0])
        even = self.merge(x[0::2], y[0::2])
        odd = self.merge(x[1::2], y[1::2])
        merged = even[:1]
        for left, right in zip(odd, even[1:], strict=False):
            merged += self.exchange(left, right)
        return merged + odd[len(even) - 1 :] + even[len(odd) + 1 :]

    def sort(self, start: int, stop: int) -> list[int]:
        """Sort inputs ``start`` to ``stop - 1``; runs are cut at powers of two to be shared."""
        if stop - start == 1:
            return [start]
        if (start, stop) not in self.sorted_runs:
            middle = _roundest_number(start + 1, stop - 1)
            run = self.merge(self.sort(start, middle), self.sort(middle, stop))
            self.sorted_runs[start, stop] = run
        return self.sorted_runs[start, stop]

    def select(self, start: int, stop: int, kept: list[int], rank: int) -> None:
        """Find outputs ``start`` to ``stop - 1``.

        Parameters
        ----------
        kept : sorted names
            What remains of the inputs that all these outputs share.
        rank : int
            Position of each median among `kept` and the ``stop - start - 1`` inputs still missing.
        """
        n_missing = stop - start - 1
        lowest = max(0, rank - n_missing)
        kept, rank = kept[lowest : rank + 1], rank - lowest
        if n_missing == 0:
            self.outputs[start] = kept[0]
            return
        middle = (start + stop) // 2
        before = self.sort(middle - 1, stop - 1)
        after = self.sort(start + self.kernel_size, middle + self.kernel_size)
        self.select(start, middle, self.merge(kept, before), rank)
        self.select(middle, stop, self.merge(kept, after), rank)


def _roundest_number(low: int, high: int) -> int:
    """Give the number from `low` to `high` with the most factors of two."""
    step = 1
    while -(-low // (2 * step)) * (2 * step) <= high:
        step *= 2
    return -(-low // step) * step


def _drop_unused(exchanges: list[Exchange], outputs: list[int]) -> tuple[Exchange, ...]:
    """Leave out what no output depends on, going backwards."""
    used = set(outputs)
    kept: list[Exchange] = []
    for first, second, low, high in reversed(exchanges):
        low, high = (low if low in used else -1), (high if high in used else -1)
        if low >= 0 or high >= 0:
            used |= {first, second}
            kept.append(Exchange(first, second, low, high))
    return tuple(reversed(kept))
