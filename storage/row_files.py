"""Rows of text from the files that owners of catalogues write: CSV, Parquet and JSON lines.

Nothing is guessed: a value is the text that stands there (``007`` stays ``007``, ``NA`` stays
``NA``), and every message names the file and the line or row. Lines count from 1, the header
included; rows of Parquet count from 1.

Public: `TextRow`, `Rows`, `read_rows`.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import RowFileError
from storage.row_columns import RowFile, find_columns

MAX_LINE_CHARACTERS = 1_000_000
"""A longer line is no line of a manifest, but most often a file of another kind."""


class TextRow(NamedTuple):
    """One row.

    Attributes
    ----------
    place : str
        Where it stands, for messages: ``line 7`` or ``row 6``.
    values : tuple of str or None
        One for each of the columns asked for; None where the file has none, "" where it is empty.
    """

    place: str
    values: tuple[str | None, ...]


class Rows(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    rows : list of TextRow
        In the order of the file.
    present : tuple of bool
        Which of the columns asked for the file has.
    passed_by : tuple of str
        Columns of the file that were not asked for.
    """

    rows: list[TextRow]
    present: tuple[bool, ...]
    passed_by: tuple[str, ...]


def read_rows(path: Path, what: RowFile) -> Rows:
    """Read a file whole; its suffix says the format.

    ``.csv`` is comma-separated with a header, quotes doubled inside quotes; ``.parquet`` has
    columns of text or whole numbers; ``.jsonl`` and ``.ndjson`` have one object a line, with texts,
    numbers or null in it. Text is UTF-8, with or without a byte-order mark.

    Raises
    ------
    RowFileError
        Of the class that `what` names, when anything is not as it should be.
    """
    readers: dict[str, Callable[[Path, RowFile], Rows]] = {
        ".csv": _read_csv,
        ".parquet": _read_parquet,
        ".jsonl": _read_json_lines,
        ".ndjson": _read_json_lines,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise what.error(
            f"the {what.kind} {path} is called neither .csv nor .parquet nor .jsonl (.ndjson); "
            "its suffix says how to read it"
        )
    try:
        return reader(path, what)
    except RowFileError:
        raise
    except FileNotFoundError as error:
        raise what.error(f"the {what.kind} {path} does not exist; check {what.option}") from error
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise what.error(f"the {what.kind} {path} cannot be read: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


# --- lines of text -------------------------------------------------------------------------------


def _lines(path: Path, file: TextIO, what: RowFile) -> Iterator[str]:
    """Give the lines of a file opened with ``surrogateescape``, which marks what is not UTF-8."""
    number = 0
    while line := file.readline(MAX_LINE_CHARACTERS + 1):
        number += 1
        if len(line) > MAX_LINE_CHARACTERS:
            raise what.error(
                f"{path}, line {number}: it is longer than {MAX_LINE_CHARACTERS:,} characters; "
                f"is this a {what.kind}?"
            )
        if not line.isascii():
            try:
                line.encode()
            except UnicodeEncodeError as error:
                byte = ord(line[error.start]) & 0xFF
                raise what.error(
                    f"{path}, line {number} is not UTF-8: byte {byte:#04x} at character "
                    f"{error.start + 1}; save the file as UTF-8"
                ) from error
        yield line


def _read_csv(path: Path, what: RowFile) -> Rows:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(_lines(path, file, what), strict=True)
        first_line = 1
        try:
            header = next(reader, [])
            if any("\0" in name for name in header):
                raise what.error(f"{path}, line 1: it holds NUL bytes; save the file as UTF-8")
            places, passed_by = find_columns(path, what, header)
            rows: list[TextRow] = []
            first_line = reader.line_num + 1
            for values in reader:
                if values:  # no empty line
                    if len(values) != len(header):
                        _refuse_length(path, what, first_line, values, header)
                    rows.append(
                        TextRow(
                            f"line {first_line}",
                            tuple(None if at is None else values[at] for at in places),
                        )
                    )
                first_line = reader.line_num + 1
        except csv.Error as error:
            raise what.error(f"{path}, line {first_line}: {_explain(error)}") from error
    return Rows(rows, tuple(at is not None for at in places), passed_by)


def _refuse_length(
    path: Path, what: RowFile, line: int, values: Sequence[str], header: Sequence[str]
) -> NoReturn:
    raise what.error(
        f"{path}, line {line}: {len(values)} fields where the header has {len(header)}; "
        "put quotes around fields that hold a comma"
    )


def _explain(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text:
        return f"{text}: a quote is opened in this line and never closed"
    if "field limit" in text:
        return f"{text}: is a quote opened in this line and not closed?"
    return text


class _NotPlain(ValueError):  # noqa: N818 - becomes a message at once
    """Something in a line of JSON that is not taken."""


def _read_json_lines(path: Path, what: RowFile) -> Rows:
    names: dict[str, None] = {}
    taken: list[tuple[str, dict[str, str | None]]] = []
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for number, line in enumerate(_lines(path, file, what), start=1):
            if line.isspace():
                continue
            try:
                content = _parse_object(line)
                taken.append((f"line {number}", _take_known(content, what)))
            except _NotPlain as error:
                raise what.error(f"{path}, line {number}: {error}") from error
            names.update(dict.fromkeys(content))
    known = list(names)
    places, passed_by = find_columns(path, what, known)
    keys = [None if at is None else known[at] for at in places]
    rows = [TextRow(place, tuple(row.get(key or "") for key in keys)) for place, row in taken]
    return Rows(rows, tuple(key is not None for key in keys), passed_by)


def _parse_object(line: str) -> dict[str, object]:
    try:
        content = json.loads(
            line,
            object_pairs_hook=_without_repeats,
            parse_int=str,
            parse_float=str,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise _NotPlain(f"{error.msg} at character {error.colno}") from error
    except RecursionError as error:
        raise _NotPlain("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise _NotPlain("it holds no JSON object")
    return content


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        ((repeated, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise _NotPlain(f"the key {repeated!r} stands twice; keep one of them")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise _NotPlain(f"{name} is no JSON value")


def _take_known(content: dict[str, object], what: RowFile) -> dict[str, str | None]:
    """Keep the columns asked for; their values must be texts, numbers (as written) or null."""
    taken: dict[str, str | None] = {}
    for name in (name for column in what.columns for name in column.names if name in content):
        value = content[name]
        if value is not None and not isinstance(value, str):
            kind = {bool: "true or false", list: "a list", dict: "an object"}[type(value)]
            raise _NotPlain(f"{name!r} is {kind}; wanted is text, a number or null")
        if value is not None and _HALF_PAIR.search(value):
            raise _NotPlain(f"{name!r} holds half of a surrogate pair, which is no text")
        taken[name] = value
    return taken


_HALF_PAIR = re.compile("[\ud800-\udfff]")


# --- Parquet -------------------------------------------------------------------------------------


def _read_parquet(path: Path, what: RowFile) -> Rows:
    with pq.ParquetFile(path) as file:
        schema: pa.Schema = file.schema_arrow
        places, passed_by = find_columns(path, what, schema.names)
        wanted = [schema.names[at] for at in places if at is not None]
        for name in wanted:
            _check_type(path, what, schema.field(name))
        table = file.read(columns=wanted)
    texts = iter([table[name].cast(pa.string()).to_pylist() for name in wanted])
    columns = [[None] * len(table) if at is None else next(texts) for at in places]
    rows = [
        TextRow(f"row {number}", values)
        for number, values in enumerate(zip(*columns, strict=True), start=1)
    ]
    return Rows(rows, tuple(at is not None for at in places), passed_by)


def _check_type(path: Path, what: RowFile, field: pa.Field) -> None:
    """Refuse what has no single spelling as text: fractions, times, lists."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_text or pa.types.is_string_view(kind) or pa.types.is_integer(kind)):
        raise what.error(
            f"{path}: the column {field.name!r} is of type {field.type}; wanted is text (string)"
        )
