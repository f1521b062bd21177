"""Rows of tables as text: CSV that no spreadsheet runs, and JSON lines.

In CSV, text that a spreadsheet would take for a formula gets an apostrophe in front; numbers stay
numbers, lists and maps are JSON text, bytes are hexadecimal, and a missing value is an empty cell.

Public: `csv_pieces`, `json_pieces`, `plain_value`.
"""

import csv
import io
import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from musichash_core.plain_text import escape_controls, escape_controls_in_json

FORMULA_STARTS = frozenset("=+-@")
"""What begins a formula, by https://owasp.org/www-community/attacks/CSV_Injection; wide and small
forms of these characters count as them."""

LINE_STARTS = frozenset("\t\r\n")
"""Begin a cell that a spreadsheet may split."""


def csv_pieces(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    *,
    is_raw: bool = False,
    for_terminal: bool = False,
) -> Iterator[str]:
    """Write a table as CSV, piece by piece: a header, then a line for each row.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        Rows of `schema`.
    is_raw : bool
        Leave text as it is, also where a spreadsheet would run it.
    for_terminal : bool
        Write control characters as escapes.
    """

    def cell(value: Any) -> Any:  # noqa: ANN401 - any value of a table
        if isinstance(value, bool):
            return "true" if value else "false"
        if value is None or isinstance(value, int | float):
            return value
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if not is_raw:
            text = defuse(text)
        return escape_controls(text) if for_terminal else text

    yield _csv_lines([schema.names])
    for batch in batches:
        columns = [map(cell, values) for values in _columns(batch)]
        yield _csv_lines(zip(*columns, strict=True))


def _csv_lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(rows)
    return text.getvalue()


def defuse(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would take for a formula."""
    if not text or text[0].isalnum() or text[0] == "/":
        return text
    if text[0] in LINE_STARTS:
        return f"'{text}"
    first = next((character for character in text if not _is_blank(character)), "")
    return f"'{text}" if unicodedata.normalize("NFKC", first) in FORMULA_STARTS else text


def _is_blank(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) in {"Cc", "Cf"}


def json_pieces(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[str]:
    """Write a table as JSON lines, piece by piece: an object with every column for each row."""
    for batch in batches:
        rows = zip(*_columns(batch), strict=True)
        lines = (
            json.dumps(dict(zip(schema.names, row, strict=True)), ensure_ascii=False)
            for row in rows
        )
        yield escape_controls_in_json("".join(f"{line}\n" for line in lines))


def _columns(batch: pa.RecordBatch) -> list[list[Any]]:
    columns = []
    for column in batch.columns:
        convert = plain_value(column.type)
        columns.append([None if value is None else convert(value) for value in column.to_pylist()])
    return columns


def plain_value(kind: pa.DataType) -> Callable[[Any], Any]:
    """Give what turns a value of a column into text, number, list or dict, as JSON has them.

    Numbers of 32 bits keep their own shortest form (0.1, not 0.10000000149011612); what is not
    finite becomes None; times are ISO 8601.
    """
    if pa.types.is_float32(kind):
        return lambda value: _finite(float(str(np.float32(value))))
    if pa.types.is_floating(kind):
        return _finite
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return bytes.hex
    if pa.types.is_timestamp(kind):
        return datetime.isoformat
    if pa.types.is_map(kind):
        item = plain_value(kind.item_type)
        return lambda pairs: {key: item(value) for key, value in pairs}
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        item = plain_value(kind.value_type)
        return lambda values: [item(value) for value in values]
    return lambda value: value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
