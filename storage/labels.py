"""Labels of tracks: from the folders of a catalogue, or from a CSV or Parquet file.

A labels file has the columns ``track path`` (below a catalogue root), ``label`` and, if known,
``group`` (artist: the unit that never straddles a training split).

Public: `labels_from_folders`, `labels_from_file`, `read_labels`.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from musichash_core.records import SourceFile
from storage.catalogue import CatalogueRow
from storage.errors import LabelsError

PATH_COLUMN = "track path"
LABEL_COLUMN = "label"
GROUP_COLUMN = "group"
_NAMED_EXAMPLES = 3


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


def labels_from_file(path: Path, files: Sequence[SourceFile]) -> list[CatalogueRow]:
    """Give each file the label that a labels file has for its path; files without a row have none.

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
    if missing:
        named = ", ".join(repr(name) for name in missing[:_NAMED_EXAMPLES])
        raise LabelsError(
            f"{path} names {len(missing)} track(s) that the catalogue does not have: {named}"
            f"{' ...' if len(missing) > _NAMED_EXAMPLES else ''}; paths are relative to the "
            "catalogue root: correct or remove these rows"
        )
    return rows


def read_labels(path: Path) -> dict[str, Label]:
    """Read a labels file: path below the catalogue root -> label and group."""
    try:
        rows = _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)
    except FileNotFoundError as error:
        raise LabelsError(f"the labels file {path} does not exist; check --labels") from error
    except UnicodeDecodeError as error:
        raise LabelsError(f"the labels file {path} is not UTF-8: {error}") from error
    except (OSError, ValueError) as error:  # pyarrow raises both
        raise LabelsError(f"the labels file {path} cannot be read: {error}") from error
    labels: dict[str, Label] = {}
    for number, row in rows:
        name = row.get(PATH_COLUMN)
        if not name:
            raise LabelsError(f"{path}, row {number}: the column {PATH_COLUMN!r} is empty")
        if name in labels:
            raise LabelsError(f"{path}, row {number}: {name!r} has a row already; keep one of them")
        labels[name] = Label(row.get(LABEL_COLUMN) or None, row.get(GROUP_COLUMN) or None)
    return labels


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    for name in (PATH_COLUMN, LABEL_COLUMN):
        if name not in columns:
            raise LabelsError(
                f"{path} has the columns {', '.join(columns) or '(none)'} and lacks {name!r}; "
                f"wanted are {PATH_COLUMN!r}, {LABEL_COLUMN!r} and optionally {GROUP_COLUMN!r}"
            )


def _csv_rows(path: Path) -> list[tuple[int, Mapping[str, str | None]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            _check_columns(path, header)
            rows = []
            for values in reader:
                if len(values) != len(header):
                    raise LabelsError(
                        f"{path}, line {reader.line_num}: {len(values)} fields where the header "
                        f"has {len(header)}; put quotes around fields that hold a comma"
                    )
                rows.append((reader.line_num, dict(zip(header, values, strict=True))))
        except csv.Error as error:
            raise LabelsError(f"{path}, line {reader.line_num}: {error}") from error
    return rows


def _parquet_rows(path: Path) -> list[tuple[int, Mapping[str, str | None]]]:
    table = pq.read_table(path, partitioning=None)
    _check_columns(path, table.column_names)
    wanted = [name for name in table.column_names if name in {PATH_COLUMN, LABEL_COLUMN, GROUP_COLUMN}]
    plain = [
        {name: None if value is None else str(value) for name, value in row.items()}
        for row in table.select(wanted).to_pylist()
    ]
    return list(enumerate(plain, start=1))
