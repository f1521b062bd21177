"""Labels of tracks: from the folders of a catalogue, or from a CSV, Parquet or JSON lines file.

A labels file has the columns ``track path`` (or ``path``; below a catalogue root), ``label`` and,
if known, ``group`` (artist: the unit that never straddles a training split).

Public: `labels_from_folders`, `FileLabels`, `read_labels`, `NO_LABELS`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.records import SourceFile, TrackFailure
from storage.errors import LabelsError
from storage.row_columns import Column, RowFile
from storage.row_files import read_rows
from storage.source_files import CatalogueRows, SourceFiles

PATH_COLUMN = "track path"

NO_LABELS = "none"
"""Given in place of a labels file where folders say nothing of genres either. No labels file can be
called so: its suffix says how to read it."""

LABELS_FILE = RowFile(
    kind="labels file",
    option="--labels",
    error=LabelsError,
    columns=(
        Column((PATH_COLUMN, "path"), is_required=True),
        Column(("label",), is_required=True),
        Column(("group",)),
    ),
)

_NAMED_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Label:
    """What is known about one track: its label and its group."""

    label: str | None
    group: str | None


def labels_from_folders(files: Iterable[SourceFile]) -> CatalogueRows:
    """Take the first folder below the catalogue root as the label; a file in no folder has none."""
    known = SourceFiles.of(files)
    first_folder = pc.extract_regex(known.table["path"], "^(?P<label>[^/]*)/")
    return CatalogueRows.labelled(known, label=pc.struct_field(first_folder, "label"))


class FileLabels:
    """Labels of a labels file for the files of a catalogue, given a few thousand at a time.

    The file is read when the first label is wanted.

    Parameters
    ----------
    path : Path
        The labels file; `NO_LABELS` in its place means that no track has a label.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._roots: dict[str, None] = {}

    @cached_property
    def _rows(self) -> "_LabelRows":
        return _LabelRows({} if self._path == Path(NO_LABELS) else read_labels(self._path))

    def of(self, files: Iterable[SourceFile]) -> CatalogueRows:
        """Give each file the label that it has for its path; files without a row have none.

        Raises
        ------
        LabelsError
            If the file cannot be read, lacks a column, or repeats a track.
        """
        known = SourceFiles.of(files)
        self._roots |= dict.fromkeys(pc.unique(known.table["root"]).to_pylist())
        rows = self._rows.find(known.table["path"])
        return CatalogueRows.labelled(
            known, label=self._rows.labels.take(rows), group=self._rows.groups.take(rows)
        )

    def check_all_met(self, failures: Collection[TrackFailure] = ()) -> None:
        """Refuse labels of tracks that were not among the files of a whole catalogue.

        Parameters
        ----------
        failures : collection of TrackFailure
            What the scan could not read: a label may name that too.

        Raises
        ------
        LabelsError
            If the file names tracks that the catalogue does not have.
        """
        missing = self._rows.not_met()
        if missing and failures:
            unreadable = {failure.path for failure in failures}
            missing = [
                name for name in missing if not _is_unreadable(name, self._roots, unreadable)
            ]
        if missing:
            named = ", ".join(repr(name) for name in missing[:_NAMED_EXAMPLES])
            raise LabelsError(
                f"{self._path} names {len(missing)} track(s) that the catalogue does not have: "
                f"{named}{' ...' if len(missing) > _NAMED_EXAMPLES else ''}; paths are relative to "
                "the catalogue root: correct or remove these rows"
            )


class _LabelRows:
    """The rows of a labels file, and which of them a file was found for."""

    def __init__(self, labels: dict[str, Label]) -> None:
        self.labels = pa.array([label.label for label in labels.values()], pa.string())
        self.groups = pa.array([label.group for label in labels.values()], pa.string())
        self._rows = {name: row for row, name in enumerate(labels)}
        self._is_met = np.zeros(len(labels), bool)

    def find(self, paths: pa.ChunkedArray) -> pa.Array:
        """Give the row of each path, empty where it has none; the rows count as met."""
        rows = pa.array(map(self._rows.get, paths.to_pylist()), pa.int64())
        self._is_met[rows.drop_null().to_numpy()] = True
        return rows

    def not_met(self) -> list[str]:
        """Give the names that no file was found for, sorted."""
        return sorted(name for name, row in self._rows.items() if not self._is_met[row])


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
    labels: dict[str, Label] = {}
    for place, (name, label, group) in read_rows(path, LABELS_FILE).rows:
        if not name:
            raise LabelsError(f"{path}, {place}: the column {PATH_COLUMN!r} is empty")
        if any("\0" in text for text in (name, label, group) if text):
            raise LabelsError(f"{path}, {place}: it holds NUL bytes; write the file anew")
        if name in labels:
            raise LabelsError(f"{path}, {place}: {name!r} has a row already; keep one of them")
        labels[name] = Label(label or None, group or None)
    return labels
