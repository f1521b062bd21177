"""Many questions at once: divided into parts, answered by any process, joined in their order.

All parts are answered from one snapshot. A question that cannot be answered costs its row, never
the file.

Public: `prepare_bulk`, `answer_part`, `BulkQuestion`, `BulkSearch`, `PartAnswered`,
`SnapshotGoneError`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.errors import MusicHashError, ParameterError
from storage.errors import ArtefactMissingError
from storage.exact_codes import GraphicsCodes, has_graphics_processor
from storage.query_files import ANSWERS, Question, QuestionParts, read_questions
from storage.row_filters import Filters
from storage.search_terms import Hits, Query, Reach
from storage.served_catalogue import ServedCatalogue
from storage.served_snapshot import ServedSnapshot
from storage.store import open_store
from storage.track_names import TrackNames, UnknownTrackError
from tasks.search import QUERIES_AT_ONCE, check_has_codes

if TYPE_CHECKING:  # importing it loads what features are made with
    from musichash_core.config import PipelineConfig

MAX_PART = 2048
PARTS_PER_WORKER = 8
"""Parts that each worker gets, where there are enough questions: one may have many files."""

ROWS_AT_ONCE = 65_536
"""Rows of answers that are held before they are written."""

WIDE_QUERIES_AT_ONCE = 8
"""Queries handed to the index together where a radius may hold most of the catalogue."""

ANSWER_FACTS = ("genre", "probability", "label", "locations")


class SnapshotGoneError(MusicHashError):
    """The snapshot that a bulk search was answered from was removed meanwhile."""


@dataclass(frozen=True, slots=True)
class BulkQuestion:
    """What is asked, of which store, and where the answers go.

    Attributes
    ----------
    store : str
    queries, output : str
        The files of questions and of answers.
    config : PipelineConfig
        Settings that the features of files are made with.
    reach : Reach
    filters : Filters
    """

    store: str
    queries: str
    output: str
    config: "PipelineConfig"
    reach: Reach
    filters: Filters


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
            "filters": str(asked.filters.as_dict()) if asked.filters else "",
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
        for tables, n_answered, n_bad in _Answering(served, graphics, asked).batches(questions):
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
        return catalogue, GraphicsCodes(served.all_codes(), served.index)


class _Answering:
    """Answers questions from one snapshot."""

    def __init__(
        self, served: ServedSnapshot, graphics: GraphicsCodes | None, asked: BulkQuestion
    ) -> None:
        self._served = served
        self._graphics = graphics
        self._asked = asked

    def batches(self, questions: Sequence[Question]) -> Iterator[tuple[list[pa.Table], int, int]]:
        """Give answers in the order of the questions, with the number answered and failed."""
        rows = self._rows_of(questions)
        at_once = QUERIES_AT_ONCE if self._asked.reach.radius is None else WIDE_QUERIES_AT_ONCE
        for start in range(0, len(questions), at_once):
            some = questions[start : start + at_once]
            queries = self._queries(some, rows)
            good = [query for query in queries if isinstance(query, Query)]
            hits = iter(
                self._served.nearest(
                    good, self._asked.reach, self._asked.filters, index=self._graphics
                )
            )
            outcomes = [next(hits) if isinstance(query, Query) else query for query in queries]
            yield list(self._tables(some, outcomes)), len(some), len(some) - len(good)

    def _rows_of(self, questions: Sequence[Question]) -> dict[int, int | UnknownTrackError]:
        """Find all tracks that are named, in one pass; the keys are the questions' numbers."""
        named = [one for one in questions if one.kind in {"track_id", "path"}]
        found = TrackNames(self._served).rows([one.value for one in named], with_hints=False)
        return {one.number: row for one, row in zip(named, found, strict=True)}

    def _queries(
        self, questions: Sequence[Question], rows: dict[int, int | UnknownTrackError]
    ) -> list[Query | MusicHashError]:
        known = [row for one in questions if isinstance(row := rows.get(one.number), int)]
        of_rows = iter(self._served.queries_of_rows(np.array(known, np.int64)) if known else ())
        return [
            next(of_rows)
            if isinstance(rows.get(one.number), int)
            else self._other_query(one, rows.get(one.number))
            for one in questions
        ]

    def _other_query(
        self, question: Question, unknown: int | UnknownTrackError | None
    ) -> Query | MusicHashError:
        """Make a query of a code, or of a file that the catalogue does not have."""
        try:
            if question.kind == "code":
                return Query(self._served.code_from_hex(question.value))
            if question.kind == "path" and Path(question.value).is_file():
                return self._query_of_file(question.value)
        except MusicHashError as error:
            return error
        if isinstance(unknown, UnknownTrackError):
            return unknown
        return ParameterError("the row names neither a track_id nor a path nor a code")

    def _query_of_file(self, path: str) -> Query:
        from musichash_core.codes import logits_to_codes
        from tasks.search_files import encode_file

        generation = self._served.snapshot.generation
        logits = encode_file(
            self._asked.store, path, self._asked.config, generation=generation
        ).hash_logits
        return Query(logits_to_codes(logits), logits)

    # --- tables of answers -----------------------------------------------------------------------

    def _tables(
        self, questions: Sequence[Question], outcomes: Sequence[Hits | MusicHashError]
    ) -> Iterator[pa.Table]:
        """Give the rows of some questions, a bounded number at a time."""
        waiting: list[tuple[Question, Hits | MusicHashError]] = []
        n_rows = 0
        for question, outcome in zip(questions, outcomes, strict=True):
            waiting.append((question, outcome))
            n_rows += len(outcome.rows) if isinstance(outcome, Hits) else 1
            if n_rows >= ROWS_AT_ONCE:
                yield self._table(waiting)
                waiting, n_rows = [], 0
        if waiting:
            yield self._table(waiting)

    def _table(self, answered: Sequence[tuple[Question, Hits | MusicHashError]]) -> pa.Table:
        """Give one row per match, and one of each question without any."""
        columns: dict[str, list[Any]] = {name: [] for name in ANSWERS.names}
        rows: list[int] = []
        for question, outcome in answered:
            n_hits = len(outcome.rows) if isinstance(outcome, Hits) else 0
            n_rows = max(1, n_hits)
            columns["query"] += [question.number] * n_rows
            columns["asked"] += [question.value] * n_rows
            columns["error"] += [None if isinstance(outcome, Hits) else str(outcome)] * n_rows
            if isinstance(outcome, Hits) and n_hits:
                rows += outcome.rows.tolist()
                columns["rank"] += range(1, n_hits + 1)
                columns["distance"] += outcome.distances.tolist()
                known = outcome.asymmetric
                columns["asymmetric"] += [None] * n_hits if known is None else known.tolist()
            else:
                for name in ("rank", "distance", "asymmetric"):
                    columns[name].append(None)
        return self._with_facts(columns, rows)

    def _with_facts(self, columns: dict[str, list[Any]], rows: list[int]) -> pa.Table:
        facts = self._served.facts_table(np.array(rows, np.int64), ANSWER_FACTS)
        facts = facts.append_column("path", pc.list_element(facts["locations"], 0))
        has_match = np.array([rank is not None for rank in columns["rank"]])
        places = pa.array(np.cumsum(has_match) - 1, pa.int64(), mask=~has_match)
        table = {
            name: facts[name].take(places)
            if name in {"track_id", "genre", "probability", "label", "path"}
            else pa.array(columns[name], ANSWERS.field(name).type)
            for name in ANSWERS.names
        }
        return pa.table(table, schema=ANSWERS)
