"""Many questions at once: divided into parts, answered by any process, joined in their order.

All parts are answered from one snapshot. A question that cannot be answered costs its row, never
the file.

Public: `prepare_bulk`, `answer_part`, `BulkQuestion`, `BulkSearch`, `PartAnswered`,
`SnapshotGoneError`.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from musichash_core.errors import MusicHashError, ParameterError
from storage.errors import ArtefactMissingError
from storage.exact_codes import GraphicsCodes, has_graphics_processor
from storage.query_files import Question, QuestionParts, read_questions
from storage.served_catalogue import ServedCatalogue
from storage.store import open_store
from tasks.search_bulk_answers import BulkAnswering, BulkQuestion
from tasks.search_catalogue import check_has_codes

__all__ = [
    "BulkQuestion",
    "BulkSearch",
    "PartAnswered",
    "SnapshotGoneError",
    "answer_part",
    "prepare_bulk",
]

MAX_PART = 2048
PARTS_PER_WORKER = 8
"""Parts that each worker gets, where there are enough questions: one may have many files."""


class SnapshotGoneError(MusicHashError):
    """The snapshot that a bulk search was answered from was removed meanwhile."""


@dataclass(frozen=True, slots=True)
class PartAnswered:
    """What became of a part.

    Attributes
    ----------
    n_queries, n_failed : int
        Questions, and those of them that have an error for an answer.
    cpu_s : float
        CPU time, seconds.
    """

    n_queries: int
    n_failed: int
    cpu_s: float


class BulkSearch:
    """A file of questions, divided for several processes; a context manager.

    Parameters
    ----------
    asked : BulkQuestion
    parts : QuestionParts
        The folder that the processes share.
    questions : sequence of Question
    n_workers : >= 1
        For how many processes the work is divided.

    Attributes
    ----------
    number : int
        Snapshot that all parts are answered from.
    n_parts, n_queries : int
    folder : str
        Of the parts.
    """

    def __init__(
        self,
        asked: BulkQuestion,
        parts: QuestionParts,
        questions: Sequence[Question],
        *,
        n_workers: int,
    ) -> None:
        self._asked = asked
        self._parts = parts
        self.folder = str(parts.folder)
        self.n_queries = len(questions)
        each = -(-len(questions) // (PARTS_PER_WORKER * n_workers))
        size = max(1, min(MAX_PART, each))
        starts = range(0, len(questions), size)
        for part, start in enumerate(starts):
            parts.write_questions(part, questions[start : start + size])
        self.n_parts = len(starts)
        self.number = _current(asked)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        _opened.cache_clear()
        self._parts.__exit__()

    def begin_again(self) -> bool:
        """Answer from the snapshot that is current now; False where that is the same one."""
        before, self.number = self.number, _current(self._asked)
        return before != self.number

    def finish(self) -> int:
        """Join the answers of all parts into the final file; give the number of rows."""
        asked = self._asked
        about = {
            "snapshot": str(self.number),
            "k": str(asked.reach.k),
            "radius": "" if asked.reach.radius is None else str(asked.reach.radius),
            "filters": json.dumps(asked.filters.as_dict()) if asked.filters else "",
        }
        return self._parts.finish(self.n_parts, about)


def prepare_bulk(asked: BulkQuestion, *, n_workers: int) -> BulkSearch:
    """Read a file of questions, check what can be checked before any work, and divide it.

    Raises
    ------
    QueriesError
        If the file cannot be read or asks nothing.
    UnknownFilterError
        If a filter names what no track has.
    ParameterError
        If the output is not called ``.parquet``.
    ArtefactMissingError, NoCodesError
        If there is nothing to search in.
    """
    if Path(asked.output).suffix.lower() != ".parquet":
        raise ParameterError(
            f"--output {asked.output}: answers are Parquet, so call the file .parquet"
        )
    _current(asked)
    questions = read_questions(Path(asked.queries))
    parts = QuestionParts(Path(asked.output))
    try:
        return BulkSearch(asked, parts, questions, n_workers=n_workers)
    except BaseException:
        parts.__exit__()
        raise


def _current(asked: BulkQuestion) -> int:
    """Give the current snapshot, if the questions can be asked of it."""
    with ServedCatalogue(open_store(asked.store)) as catalogue, catalogue.serving() as served:
        check_has_codes(served)
        if asked.filters:
            served.filters.rows(asked.filters)
        return served.snapshot.number


def answer_part(
    asked: BulkQuestion,
    number: int,
    folder: str,
    part: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> PartAnswered:
    """Answer one part; the same questions get the same answers, whichever process answers them.

    A GPU answers exactly, so beside an ivf index it may find what the index misses.

    Parameters
    ----------
    number : int
        Snapshot to search in.
    folder : str
        Of the parts.
    on_progress : callable, optional
        Told how many more questions were answered, and how many of these failed.

    Raises
    ------
    SnapshotGoneError
        If the snapshot is no longer there.
    """
    started = time.process_time()
    parts = QuestionParts(Path(), Path(folder))
    questions = parts.read_questions(part)
    try:
        catalogue, graphics = _opened(asked.store, number)
    except ArtefactMissingError as error:
        raise SnapshotGoneError(str(error)) from error
    n_failed = 0
    with catalogue.serving() as served, parts.writing_answers(part) as writer:
        for tables, n_answered, n_bad in BulkAnswering(served, graphics, asked).batches(questions):
            n_failed += n_bad
            for table in tables:
                writer.write_table(table)
            if on_progress is not None:
                on_progress(n_answered, n_bad)
    return PartAnswered(len(questions), n_failed, time.process_time() - started)


@lru_cache(maxsize=1)
def _opened(store: str, number: int) -> tuple[ServedCatalogue, GraphicsCodes | None]:
    """Open a snapshot once per process, and lay its codes on the GPU where there is one."""
    catalogue = ServedCatalogue(open_store(store), number=number)
    if not has_graphics_processor():
        return catalogue, None
    with catalogue.serving() as served:
        return catalogue, GraphicsCodes(served.all_codes())
