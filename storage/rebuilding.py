"""Building anew what is derived: tables of a snapshot from partitions, its index from codes.

Everything is built in a scratch folder and put in place only if it is, to the byte, what the
manifest lists.

Public: `rebuild_tables`, `rebuild_index`, `describes_codes`, `DERIVED_TABLES`.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from storage.atomic import FileDigest, write_file
from storage.catalogue import Catalogue, CatalogueRows, read_catalogue
from storage.errors import StoreError
from storage.extracted import read_extracted
from storage.generations import code_length, read_model_card
from storage.hash_index import read_index_info, write_index
from storage.layout import StoreLayout
from storage.live_tables import collect_tables, packed_codes
from storage.published import read_table
from storage.snapshots import Snapshot
from storage.tables import write_part

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
        table = catalogue.table.filter(pc.is_in(catalogue.table["track_id"], value_set=track_ids))
        catalogue = Catalogue(CatalogueRows(table), catalogue.failures)
    tables = collect_tables(
        scratch,
        catalogue,
        read_extracted(scratch, snapshot.feature_fingerprint),
        generation=snapshot.generation,
        n_bits=code_length(read_model_card(layout, snapshot.generation)),
    )
    return {name: write_part(scratch, name, getattr(tables, name)) for name in sorted(names)}


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
    """Build the index of a snapshot and its description anew from the codes table.

    Returns
    -------
    str or None
        Why it could not be done.
    """
    listed = {entry.path: entry for entry in snapshot.files}
    with _scratch(layout) as scratch:
        try:
            index, info = write_index(
                scratch,
                packed_codes(read_table(layout, snapshot, "codes")),
                generation=snapshot.generation,
                codes_sha256=[listed[path].sha256 for path in snapshot.tables["codes"]],
            )
        except StoreError as error:
            return f"the codes table is not whole: {error}"
        for built, path in ((index, snapshot.index), (info, snapshot.index_info)):
            if (built.size, built.sha256) != (listed[path].size, listed[path].sha256):
                return "another version of musichash, or of FAISS, wrote it"
        if not dry_run:
            for built, path in ((index, snapshot.index), (info, snapshot.index_info)):
                write_file(layout.root / path, (scratch.root / built.path).read_bytes())
    return None


def describes_codes(layout: StoreLayout, snapshot: Snapshot) -> bool:
    """Whether the index says that it was built from the codes table of its snapshot."""
    listed = {entry.path: entry.sha256 for entry in snapshot.files}
    info = read_index_info(layout, snapshot.index_info)
    said = (info.get("rows_of"), info.get("generation"))
    return said == ([listed[path] for path in snapshot.tables["codes"]], snapshot.generation)


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
