"""Answers to questions of a file: from one snapshot, as tables with a row per question and match.

A question that cannot be answered has one row, which says why.

Public: `BulkAnswering`, `BulkQuestion`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.errors import MusicHashError, ParameterError
from storage.exact_codes import GraphicsCodes
from storage.query_files import ANSWERS, Question
from storage.row_filters import Filters
from storage.search_terms import Hits, Query, Reach
from storage.served_snapshot import ServedSnapshot
from storage.track_names import TrackNames, UnknownTrackError
from tasks.search_asking import queries_at_once

if TYPE_CHECKING:  # importing it loads what features are made with
    from musichash_core.config import PipelineConfig

ROWS_AT_ONCE = 65_536
"""Rows of answers that are held before they are written."""

ANSWER_FACTS = ("genre", "probability", "label", "locations")


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


class BulkAnswering:
    """Answers questions from one snapshot.

    Parameters
    ----------
    served : ServedSnapshot
    graphics : GraphicsCodes or None
        Its codes on a GPU, where there is one; searched where nothing is filtered.
    asked : BulkQuestion
    """

    def __init__(
        self, served: ServedSnapshot, graphics: GraphicsCodes | None, asked: BulkQuestion
    ) -> None:
        self._served = served
        self._graphics = graphics
        self._asked = asked

    def batches(self, questions: Sequence[Question]) -> Iterator[tuple[list[pa.Table], int, int]]:
        """Give answers in the order of the questions, with the number answered and failed."""
        rows = self._rows_of(questions)
        at_once = queries_at_once(self._asked.reach)
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
