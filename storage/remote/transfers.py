"""Many requests at a time, and the first failure ends them all.

Public: `each`.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

N_CONNECTIONS = 8
"""Requests at a time; with pieces of 8 MiB this bounds memory to about 200 MB."""

Given = TypeVar("Given")
Result = TypeVar("Result")


def each(
    work: Callable[[Given], Result], items: Iterable[Given], *, take: Callable[[Result], object]
) -> None:
    """Do some work on every item; hand each result on, in the items' order, in this thread.

    What has not begun when one of them fails, or when `take` does, never begins.
    """
    pool = ThreadPoolExecutor(N_CONNECTIONS, thread_name_prefix="replica")
    try:
        for result in pool.map(work, items):
            take(result)
    finally:
        pool.shutdown(cancel_futures=True)
