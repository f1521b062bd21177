"""Labels of tracks: from the folders of a catalogue, or from a CSV or Parquet file.

A labels file has the columns ``track path`` (below a catalogue root), ``label`` and, if known,
``group`` (artist: the unit that never straddles a training split).

Public: `labels_from_folders`, `labels_from_file`, `read_labels`.
"""

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from musichash_core.records import SourceFile, TrackFailure
from storage.catalogue import CatalogueRow
from storage.errors import LabelsError

PATH_COLUMN = "track path"
LABEL_COLUMN = "label"
GROUP_COLUMN = "group"
_NAMED_EXAMPLES = 3

_Row = tuple[str, Mapping[str, str | None]]
"""Where a row stands in its file, for messages, and its columns."""


@dataclass(frozen=True, slots=True)
class Label:
    """What is known about one track: its label and its group."""

    label: str | None
    group: str | None


def labels_from_folders(files: Iterable[SourceFile]) -> list[CatalogueRow]:
    """Take the first folder below the catalogue root as the label; a file in no folder has none."""
    return [
        CatalogueRow(file, label=file.path.split("/", 1)[0] if "/" in file.path else None)
        for file in files
    ]


def labels_from_file(
    path: Path, files: Sequence[SourceFile], failures: Collection[TrackFailure] = ()
) -> list[CatalogueRow]:
    """Give each file the label that a labels file has for its path; files without a row have none.

    Parameters
    ----------
    path : Path
        The labels file.
    files, failures : sequences
        What a scan found, and what it could not read: a label may name that too.

    Raises
    ------
    LabelsError
        If the file cannot be read, lacks a column, repeats a track, or names tracks that the
        catalogue does not have.
    """
    labels = read_labels(path)
    rows = [
        CatalogueRow(file, label.label, label.group)
        if (label := labels.get(file.path))
        else CatalogueRow(file)
        for file in files
    ]
    missing = sorted(labels.keys() - {file.path for file in files})
    if failures:
        roots = {file.root for file in files}
        unreadable = tuple(failure.path for failure in failures)
        missing = [name for name in missing if not _is_unreadable(name, roots, unreadable)]
    if missing:
        named = ", ".join(repr(name) for name in missing[:_NAMED_EXAMPLES])
        raise LabelsError(
            f"{path} names {len(missing)} track(s) that the catalogue does not have: {named}"
            f"{' ...' if len(missing) > _NAMED_EXAMPLES else ''}; paths are relative to the "
            "catalogue root: correct or remove these rows"
        )
    return rows


def _is_unreadable(name: str, roots: Iterable[str], unreadable: Collection[str]) -> bool:
    """Whether a file, or a folder that it lies in, is among the paths that could not be read."""
    places = [Path(root, name) for root in roots]
    lineage = {str(above) for place in places for above in (place, *place.parents)}
    return not lineage.isdisjoint(unreadable)


def read_labels(path: Path) -> dict[str, Label]:
    """Read a labels file: path below the catalogue root -> label and group.

    Raises
    ------
    LabelsError
        If it cannot be read, lacks a column, or has a row without a path or twice for one.
    """
    try:
        rows = _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)
    except LabelsError:
        raise
    except FileNotFoundError as error:
        raise LabelsError(f"the labels file {path} does not exist; check --labels") from error
    except UnicodeDecodeError as error:
        raise LabelsError(f"the labels file {path} is not UTF-8: {error}") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise LabelsError(f"the labels file {path} cannot be read: {error}") from error
    labels: dict[str, Label] = {}
    for place, row in rows:
        name = row.get(PATH_COLUMN)
        if not name:
            raise LabelsError(f"{path}, {place}: the column {PATH_COLUMN!r} is empty")
        if name in labels:
            raise LabelsError(f"{path}, {place}: {name!r} has a row already; keep one of them")
        labels[name] = Label(row.get(LABEL_COLUMN) or None, row.get(GROUP_COLUMN) or None)
    return labels


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    for name in (PATH_COLUMN, LABEL_COLUMN):
        if name not in columns:
            raise LabelsError(
                f"{path} has the columns {', '.join(columns) or '(none)'} and lacks {name!r}; "
                f"wanted are {PATH_COLUMN!r}, {LABEL_COLUMN!r} and optionally {GROUP_COLUMN!r}"
            )
    for name in (PATH_COLUMN, LABEL_COLUMN, GROUP_COLUMN):
        if columns.count(name) > 1:
            raise LabelsError(f"{path} has more than one column {name!r}; keep one of them")


def _csv_rows(path: Path) -> list[_Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            _check_columns(path, header)
            rows: list[_Row] = []
            for values in reader:
                if not values:
                    continue  # an empty line
                if len(values) != len(header):
                    raise LabelsError(
                        f"{path}, line {reader.line_num}: {len(values)} fields where the header "
                        f"has {len(header)}; put quotes around fields that hold a comma"
                    )
                row = dict(zip(header, values, strict=True))
                rows.append((f"line {reader.line_num}", row))
        except csv.Error as error:
            raise LabelsError(f"{path}, line {reader.line_num}: {error}") from error
    return rows


def _parquet_rows(path: Path) -> list[_Row]:
    with pq.ParquetFile(path) as file:
        columns = file.schema_arrow.names
        _check_columns(path, columns)
        wanted = [name for name in (PATH_COLUMN, LABEL_COLUMN, GROUP_COLUMN) if name in columns]
        table = file.read(columns=wanted)
    text = pa.table({name: table[name].cast(pa.string()) for name in wanted})
    return [(f"row {number}", row) for number, row in enumerate(text.to_pylist(), start=1)]
