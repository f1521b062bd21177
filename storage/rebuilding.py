"""Building anew what is derived: tables of a snapshot from partitions, its index from codes.

Everything is built in a scratch folder and put in place only if it is, to the byte, what the
manifest lists.

Public: `rebuild_tables`, `rebuild_index`, `DERIVED_TABLES`.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from storage.assembling import index_files
from storage.atomic import FileDigest, write_file
from storage.catalogue import Catalogue, CatalogueRows, read_catalogue
from storage.errors import StoreError
from storage.generations import code_length, read_model_card
from storage.indexes import (
    KEY_COLUMNS,
    CodesOrigin,
    KeyedCodes,
    keyed_codes,
    read_changes,
    read_description,
    remake_files,
    write_index,
)
from storage.layout import StoreLayout
from storage.live_tables import Wanted, collect_tables, write_tables
from storage.published import read_table
from storage.snapshots import Snapshot

WHOLE_INDEX_FILES = 2
"""An index that was built whole is a file and its description; only then codes alone decide it."""

DERIVED_TABLES = ("tracks", "predictions", "codes", "failures")


def rebuild_tables(
    layout: StoreLayout, snapshot: Snapshot, damaged: Sequence[str], *, dry_run: bool
) -> dict[str, str]:
    """Build damaged table parts of a snapshot anew.

    Parameters
    ----------
    damaged : sequence of str
        Paths of the parts, below the store root.
    dry_run : bool
        Build them, and put nothing in place.

    Returns
    -------
    dict
        For each part that could not be had, why not.
    """
    names = {path: name for name, paths in snapshot.tables.items() for path in paths}
    wanted = {path: names[path] for path in damaged if names[path] in DERIVED_TABLES}
    failed = {path: "it is not made from partitions" for path in damaged if path not in wanted}
    if not wanted:
        return failed
    with _scratch(layout) as scratch:
        try:
            built = _built_parts(layout, scratch, snapshot, set(wanted.values()))
        except (StoreError, OSError, LookupError) as error:
            return failed | dict.fromkeys(wanted, f"what it is made from is not whole: {error}")
        listed = {entry.path: entry for entry in snapshot.files}
        for path, name in wanted.items():
            if len(snapshot.tables[name]) != 1 or built[name] != listed[path]:
                failed[path] = "the catalogue or its partitions have changed since it was published"
            elif not dry_run:
                write_file(layout.root / path, (scratch.root / path).read_bytes())
    return failed


def _built_parts(
    layout: StoreLayout, scratch: StoreLayout, snapshot: Snapshot, names: set[str]
) -> dict[str, FileDigest]:
    """Write tables of the tracks of a snapshot to a scratch store."""
    catalogue = read_catalogue(layout)
    track_ids = _track_ids(layout, snapshot)
    if track_ids is not None:
        table = catalogue.table
        known = table.filter(pc.is_in(table["track_id"], value_set=track_ids))
        catalogue = Catalogue(CatalogueRows(known), catalogue.failures)
    n_bits = code_length(read_model_card(layout, snapshot.generation))
    wanted = Wanted(snapshot.feature_fingerprint, snapshot.generation, n_bits)
    with collect_tables(scratch, catalogue, wanted) as tables:
        return write_tables(scratch, tables, sorted(names)).parts


def _track_ids(layout: StoreLayout, snapshot: Snapshot) -> pa.Array | None:
    """Give the tracks of a snapshot, from tables of it that are whole; None without any."""
    for names in (("tracks",), ("codes", "failures"), ("predictions", "failures")):
        try:
            columns = [read_table(layout, snapshot, name)["track_id"] for name in names]
        except StoreError:
            continue
        return pa.chunked_array([chunk for column in columns for chunk in column.chunks]).unique()
    return None


def rebuild_index(layout: StoreLayout, snapshot: Snapshot, *, dry_run: bool) -> str | None:
    """Build the files of the index of a snapshot anew from its codes table.

    An index that was carried on from earlier snapshots needs the description of it and of what
    has changed since.

    Returns
    -------
    str or None
        Why it could not be done.
    """
    try:
        codes = keyed_codes(read_table(layout, snapshot, "codes", columns=KEY_COLUMNS))
    except StoreError as error:
        return f"the codes table is not whole: {error}"
    try:
        made = _remade(layout, snapshot, codes)
    except StoreError as error:
        return f"what it is made from is not whole: {error}"
    listed = {entry.path: entry.sha256 for entry in snapshot.files}
    if any(hashlib.sha256(data).hexdigest() != listed[path] for path, data in made.items()):
        return "another version of musichash, or of FAISS, or other settings made it"
    if not dry_run:
        for path, data in made.items():
            write_file(layout.root / path, data)
    return None


def _remade(layout: StoreLayout, snapshot: Snapshot, codes: KeyedCodes) -> dict[str, bytes]:
    """Make the files of an index again: by its description, or without one as usual."""
    try:
        info = read_description(layout, snapshot)
    except StoreError:
        if len(index_files(snapshot)) > WHOLE_INDEX_FILES:
            raise
        return _made_as_usual(layout, snapshot, codes)
    return remake_files(info, codes, read_changes(layout, snapshot, info))


def _made_as_usual(layout: StoreLayout, snapshot: Snapshot, codes: KeyedCodes) -> dict[str, bytes]:
    """Build the index whole, by default settings, as that of a small catalogue is."""
    listed = {entry.path: entry.sha256 for entry in snapshot.files}
    rows_of = tuple(listed[path] for path in snapshot.tables["codes"])
    with _scratch(layout) as scratch:
        written = write_index(scratch, codes, CodesOrigin(snapshot.generation, rows_of))
        return {
            snapshot.index: (scratch.root / written.index.path).read_bytes(),
            snapshot.index_info: (scratch.root / written.info.path).read_bytes(),
        }


@contextmanager
def _scratch(layout: StoreLayout) -> Iterator[StoreLayout]:
    """Give a store that has the partitions of another and nothing else.

    Without a snapshot, no row of a damaged table can be taken over.
    """
    with tempfile.TemporaryDirectory(prefix="musichash-") as folder:
        scratch = StoreLayout(Path(folder))
        for name in ("features", "encoded", "models"):
            (scratch.root / name).symlink_to(layout.root / name, target_is_directory=True)
        yield scratch
