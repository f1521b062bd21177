"""Rows of the CSV and TSV files that data sets bring, with line numbers.

Text is UTF-8, with or without a byte-order mark and with any line ends; values stay text. These
files have shapes of their own (several header rows, rows of many lengths), so that a loader takes
the rows as they are; what owners of catalogues write is read by `storage.row_files`.

Public: `read_fields`, `read_listed_names`, `column_places`, `check_length`.
"""

import csv
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO, TypeVar

from storage.datasets.records import DatasetError

Name = TypeVar("Name", bound=Hashable)


def read_fields(
    path: Path, *, delimiter: str = ",", is_strict: bool = True
) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of a file that has delimited fields; empty lines are passed by.

    Parameters
    ----------
    is_strict : bool
        Refuse a quote inside a quoted field; otherwise it is part of the text.

    Yields
    ------
    str
        Where the row stands, for messages: ``line 7 of tracks.csv``; lines count from 1.
    list of str
        Its fields.

    Raises
    ------
    DatasetError
        If the file cannot be read, is not UTF-8, holds NUL bytes, or has a quote never closed.
    """
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(_without_nul(file), delimiter=delimiter, strict=is_strict)
            for fields in reader:
                if fields:
                    yield f"line {line} of {path.name}", fields
                line = reader.line_num + 1
    except (OSError, UnicodeDecodeError, csv.Error, _NulError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(f"{path} cannot be read from line {line} on: {reason}") from error


class _NulError(ValueError):
    """A line holds NUL bytes."""


def _without_nul(file: TextIO) -> Iterator[str]:
    for line in file:
        if "\0" in line:
            raise _NulError("it holds NUL bytes, which no text has")
        yield line


def read_listed_names(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a list of names, without blanks at their ends; empty ones are passed by.

    Yields
    ------
    str
        Where the line stands, for messages.
    str
        What stands there.

    Raises
    ------
    DatasetError
        If the file cannot be read or is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number} of {path.name}", line.strip()


def column_places(path: Path, header: Sequence[Name], wanted: Sequence[Name]) -> Mapping[Name, int]:
    """Give where the wanted columns stand in a header; refuse one that is missing or repeated."""
    for name in wanted:
        if header.count(name) != 1:
            how = "more than one" if name in header else "no"
            shown = ".".join(name) if isinstance(name, tuple) else name
            raise DatasetError(
                f"{path} has {how} column {shown!r} in its header; is it the file of that name "
                "that the data set brings?"
            )
    return {name: header.index(name) for name in wanted}


def check_length(place: str, fields: Sequence[str], n_columns: int) -> None:
    """Refuse a row that has not as many fields as the header."""
    if len(fields) != n_columns:
        raise DatasetError(f"{place}: {len(fields)} fields where the header has {n_columns}")
