"""Questions in bulk: the file that asks, the parts it is answered in, and the file of answers.

A part is a Parquet file of questions in a folder beside the answers' final place; its answers are
written beside it, and at last all of them, in the order of the questions, become one file.

Public: `read_questions`, `Question`, `QueriesError`, `QuestionParts`, `ANSWERS`.
"""

import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from storage.atomic import LEFTOVER_PREFIX, place_file
from storage.errors import RowFileError, StoreError
from storage.row_columns import Column, RowFile, find_columns
from storage.row_files import read_rows

KINDS = ("track_id", "path", "code")
ANSWERS_AT_ONCE = 65_536


class QueriesError(RowFileError):
    """A file of queries cannot be read, or asks nothing."""


QUERIES_FILE = RowFile(
    kind="file of queries",
    option="--queries",
    error=QueriesError,
    columns=tuple(Column((kind,)) for kind in KINDS),
)


class Question(NamedTuple):
    """One row of a file of queries.

    Attributes
    ----------
    number : int
        Place in the file, from 0.
    kind : str
        ``track_id``, ``path`` or ``code``; empty where the row asks nothing.
    value : str
        What is asked for.
    """

    number: int
    kind: str
    value: str


_QUESTIONS = pa.schema(
    [
        pa.field("number", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
    ]
)


def _column(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": meaning})


ANSWERS = pa.schema(
    [
        _column("query", pa.int64(), "row of the file of queries, from 0", nullable=False),
        _column("asked", pa.string(), "what that row asks for", nullable=False),
        _column("rank", pa.int32(), "from 1; empty where there is no answer"),
        _column("track_id", pa.string(), "identity of the match"),
        _column("distance", pa.int32(), "Hamming distance, bits"),
        _column("asymmetric", pa.float64(), "asymmetric distance; empty of a code alone"),
        _column("genre", pa.string(), "predicted genre of the match"),
        _column("probability", pa.float32(), "its probability"),
        _column("label", pa.string(), "given label of the match"),
        _column("path", pa.string(), "first location of the match, with its catalogue root"),
        _column("error", pa.string(), "why the query has no answer"),
    ]
)
"""One row per query and rank; a query that found nothing, or could not be asked, has one row."""


def read_questions(path: Path) -> list[Question]:
    """Read a file of queries: CSV, Parquet or JSON lines with ``track_id``, ``path`` or ``code``.

    A code is text (hexadecimal) or, in Parquet, binary, as 'musichash export codes' writes it. If a
    row has several of them, the first that is not empty counts.

    Raises
    ------
    QueriesError
        If it cannot be read, has none of the columns, or no rows.
    """
    columns = _read_binary(path) or _read_text(path)
    questions = []
    for number, values in enumerate(columns):
        filled = [(kind, value) for kind, value in zip(KINDS, values, strict=True) if value]
        questions.append(Question(number, *(filled[0] if filled else ("", ""))))
    if not questions:
        raise QueriesError(f"the file of queries {path} has no rows")
    return questions


def _read_text(path: Path) -> list[tuple[str | None, ...]]:
    found = read_rows(path, QUERIES_FILE)
    if not any(found.present):
        raise QueriesError(
            f"the file of queries {path} has none of the columns {', '.join(KINDS)}; name one of "
            "them as it is spelt here"
        )
    return [row.values for row in found.rows]


def _read_binary(path: Path) -> list[tuple[str | None, ...]] | None:
    """Read a Parquet file whose codes are binary; None where it is no such file."""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return None
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            places, _ = find_columns(path, QUERIES_FILE, schema.names)
            if places[-1] is None or not _is_binary(schema.field(places[-1]).type):
                return None
            names = [None if at is None else schema.names[at] for at in places]
            table = file.read(columns=[name for name in names if name is not None])
    except (OSError, ValueError, pa.ArrowException) as error:
        if isinstance(error, QueriesError):
            raise
        return None  # what reads text says what is wrong with it
    texts = [[None] * len(table) if name is None else table[name].to_pylist() for name in names]
    texts[-1] = [None if value is None else value.hex() for value in texts[-1]]
    return [tuple(row) for row in zip(*texts, strict=True)]


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_binary(kind) or pa.types.is_binary(kind))


class QuestionParts:
    """The folder that parts of questions and of answers lie in; a context manager.

    Parameters
    ----------
    output : Path
        Where the answers will lie; the folder is beside it, and gone at the end.
    folder : Path, optional
        The folder itself, where another process has made it.

    Raises
    ------
    StoreError
        If nothing can be written there.
    """

    def __init__(self, output: Path, folder: Path | None = None) -> None:
        self._output = output.resolve()  # where a link leads is replaced, not the link
        name = f"{LEFTOVER_PREFIX}{self._output.name}-{secrets.token_hex(4)}"
        self.folder = folder or self._output.with_name(name)
        if folder is None:
            try:
                self.folder.mkdir()
            except OSError as error:
                raise StoreError(
                    f"{self._output} cannot be written: {error.strerror}; name another file with "
                    "--output"
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def write_questions(self, part: int, questions: Sequence[Question]) -> None:
        """Store the questions of a part."""
        columns = list(zip(*questions, strict=True))
        pq.write_table(pa.table(columns, schema=_QUESTIONS), self._path("questions", part))

    def read_questions(self, part: int) -> list[Question]:
        """Read the questions of a part."""
        with pq.ParquetFile(self._path("questions", part)) as file:
            table = file.read()
        rows = zip(*(table[name].to_pylist() for name in _QUESTIONS.names), strict=True)
        return [Question(*row) for row in rows]

    @contextmanager
    def writing_answers(self, part: int) -> Iterator[pq.ParquetWriter]:
        """Write the answers of a part, which appear whole or not at all."""
        final = self._path("answers", part)
        temporary = final.with_name(f"{final.name}.{secrets.token_hex(4)}")
        with pq.ParquetWriter(temporary, ANSWERS, compression="zstd") as writer:
            yield writer
        temporary.replace(final)

    def finish(self, n_parts: int, about: dict[str, str]) -> int:
        """Join the answers of all parts into the final file; give the number of rows.

        Parameters
        ----------
        about : dict of str
            What is written of the search into the metadata of the file.
        """
        joined = self.folder / "joined.parquet"
        schema = ANSWERS.with_metadata({f"musichash.{name}": text for name, text in about.items()})
        n_rows = 0
        with pq.ParquetWriter(
            joined, schema, compression="zstd", write_page_checksum=True
        ) as writer:
            waiting = schema.empty_table()
            for table in self._answers(n_parts):
                n_rows += len(table)
                waiting = pa.concat_tables([waiting, table.cast(schema)])
                while len(waiting) >= ANSWERS_AT_ONCE:  # how parts were cut must not show
                    writer.write_table(waiting.slice(0, ANSWERS_AT_ONCE).combine_chunks())
                    waiting = waiting.slice(ANSWERS_AT_ONCE)
            if len(waiting):
                writer.write_table(waiting.combine_chunks())
        place_file(joined, self._output)
        return n_rows

    def _answers(self, n_parts: int) -> Iterator[pa.Table]:
        for part in range(n_parts):
            with pq.ParquetFile(self._path("answers", part)) as file:
                for batch in file.iter_batches(ANSWERS_AT_ONCE):
                    yield pa.Table.from_batches([batch])

    def _path(self, what: str, part: int) -> Path:
        return self.folder / f"{what}-{part:06d}.parquet"
