"""Labels of tracks: from the folders of a catalogue, or from a CSV, Parquet or JSON lines file.

A labels file has the columns ``track path`` (or ``path``; below a catalogue root), ``label`` and,
if known, ``group`` (artist: the unit that never straddles a training split).

Public: `labels_from_folders`, `labels_from_file`, `read_labels`, `NO_LABELS`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

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


def labels_from_file(
    path: Path,
    files: Iterable[SourceFile],
    failures: Collection[TrackFailure] = (),
    *,
    is_part: bool = False,
) -> CatalogueRows:
    """Give each file the label that a labels file has for its path; files without a row have none.

    Parameters
    ----------
    path : Path
        The labels file; `NO_LABELS` in its place means that no track has a label.
    files, failures : iterable, collection
        What a scan found, and what it could not read: a label may name that too.
    is_part : bool
        Whether the files are a part of the catalogue, so that labels may name others.

    Raises
    ------
    LabelsError
        If the file cannot be read, lacks a column, repeats a track, or names tracks that the
        catalogue does not have.
    """
    known = SourceFiles.of(files)
    if path == Path(NO_LABELS):
        return CatalogueRows.labelled(known)
    labels = read_labels(path)
    names = pa.array(list(labels), pa.string())
    rows = pc.index_in(known.table["path"], value_set=names)
    labelled = CatalogueRows.labelled(
        known,
        label=pa.array([label.label for label in labels.values()], pa.string()).take(rows),
        group=pa.array([label.group for label in labels.values()], pa.string()).take(rows),
    )
    is_missing = pc.invert(pc.is_in(names, value_set=known.table["path"].combine_chunks()))
    missing = [] if is_part else sorted(names.filter(is_missing).to_pylist())
    if failures:
        roots = pc.unique(known.table["root"]).to_pylist()
        unreadable = tuple(failure.path for failure in failures)
        missing = [name for name in missing if not _is_unreadable(name, roots, unreadable)]
    if missing:
        named = ", ".join(repr(name) for name in missing[:_NAMED_EXAMPLES])
        raise LabelsError(
            f"{path} names {len(missing)} track(s) that the catalogue does not have: {named}"
            f"{' ...' if len(missing) > _NAMED_EXAMPLES else ''}; paths are relative to the "
            "catalogue root: correct or remove these rows"
        )
    return labelled


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
