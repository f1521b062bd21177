"""The parts of an index in memory: read from a snapshot, and made ready to answer.

Public: `IndexParts`, `read_parts`, `read_description`, `read_changes`, `serve`, `ServedCodes`,
`damaged_index`, `way_out`.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from musichash_core.index_config import KINDS, IndexKind
from storage.errors import ArtefactMissingError, DamagedArtefactError, StoreError
from storage.indexes.changes import IndexChanges, changes_from_table, no_changes
from storage.indexes.flat import FlatCodes, flat_codes
from storage.indexes.info import IndexInfo, PartFile, info_of
from storage.indexes.ivf import IvfLists
from storage.indexes.multihash import MultiHashTables
from storage.indexes.neighbours import Neighbours
from storage.layout import StoreLayout
from storage.snapshots import Snapshot


class ServedCodes(Protocol):
    """What every kind of index does once it is loaded."""

    is_exact: bool

    @property
    def n_codes(self) -> int:
        """Number of codes that it answers for."""

    @property
    def n_bits(self) -> int:
        """Length of a code in bits."""

    def codes(self) -> NDArray[np.uint8]:
        """Give them ``(n_codes, code_bytes)``, by row."""

    def candidates(self, queries: NDArray[np.uint8], k: int) -> list[Neighbours]:
        """Give for each query the `k` nearest, 1 to `n_codes`, and all that tie with the last."""

    def within(self, queries: NDArray[np.uint8], radius: int) -> list[Neighbours]:
        """Give for each query all rows at a distance of at most `radius` bits."""


@dataclass(frozen=True, slots=True, eq=False)
class IndexParts:
    """An index as it is stored.

    Attributes
    ----------
    kind : str
        ``flat``, ``ivf`` or ``multihash``.
    n_bits : int
    base : bytes
        File of the codes that it was built of; flat for multihash.
    n_base : int
        Codes in it.
    delta : bytes or None
        File of the codes that were added to an ivf index since, with the centroids of the base.
    changes : IndexChanges
        How the codes table differs from the base.
    parameters : dict
        What decides the bytes of the base, beside its codes.
    n_probed : int or None
        Lists that a query of an ivf index reads.
    """

    kind: IndexKind
    n_bits: int
    base: bytes
    n_base: int
    delta: bytes | None
    changes: IndexChanges
    parameters: dict[str, int]
    n_probed: int | None

    @property
    def n_codes(self) -> int:
        """Codes that it answers for."""
        return self.n_base - len(self.changes.died) + len(self.changes.added)


def serve(parts: IndexParts) -> ServedCodes:
    """Make the parts of an index one that answers in rows of the codes table.

    Raises
    ------
    ForeignIndexError
        If a part is none.
    """
    if parts.kind == "ivf":
        assert parts.n_probed is not None
        has_changes = parts.changes.n_changes > 0
        changes, n_base = parts.changes, parts.n_base
        return IvfLists(
            parts.base,
            parts.n_probed,
            delta=parts.delta,
            died=changes.died,
            rows_of=(lambda numbers: changes.rows_of(numbers, n_base)) if has_changes else None,
        )
    codes = flat_codes(parts.base)
    return MultiHashTables(codes) if parts.kind == "multihash" else FlatCodes(codes)


def read_parts(layout: StoreLayout, snapshot: Snapshot) -> tuple[IndexInfo, IndexParts]:
    """Read the parts of the index of a snapshot, if all bytes are those that it lists.

    Raises
    ------
    ArtefactMissingError, DamagedArtefactError
        If a file is missing or differs, or the index is of other codes than the snapshot's. FAISS
        is never given bytes that we did not write.
    """
    info = read_description(layout, snapshot)
    parts = IndexParts(
        kind=info.kind,
        n_bits=info.n_bits,
        base=_part(layout, snapshot, info.base),
        n_base=info.base.n_codes,
        delta=None if info.delta is None else _part(layout, snapshot, info.delta),
        changes=read_changes(layout, snapshot, info),
        parameters=info.parameters,
        n_probed=info.n_probed,
    )
    if parts.n_codes != info.n_codes:
        what = f"describes {info.n_codes} codes, its parts hold {parts.n_codes}"
        raise damaged_index(layout, snapshot.index_info, what)
    return info, parts


def read_description(layout: StoreLayout, snapshot: Snapshot) -> IndexInfo:
    """Read what the index of a snapshot consists of; raises as `read_parts`."""
    path = snapshot.index_info
    content = json.loads(_listed_bytes(layout, snapshot, path))
    info = info_of(content, snapshot, str(layout.root / path))
    listed = {entry.path: entry.sha256 for entry in snapshot.files}
    if info.generation != snapshot.generation:
        what = (
            f"is of the codes of generation {info.generation}, snapshot {snapshot.number} of "
            f"{snapshot.generation}"
        )
    elif info.rows_of != [listed[path] for path in snapshot.tables["codes"]]:
        what = "says that it was built from another codes table"
    elif any(listed.get(part.path) != part.sha256 for part in info.files):
        what = "names other files than its snapshot lists"
    elif info.kind not in KINDS:
        what = f"is of the kind {info.kind!r}, which this version does not know"
    else:
        return info
    raise damaged_index(layout, path, what)


def read_changes(layout: StoreLayout, snapshot: Snapshot, info: IndexInfo) -> IndexChanges:
    """Read how the codes table differs from the base of its index; raises as `read_parts`."""
    if info.changes is None:
        return no_changes(info.n_bits // 8)
    data = _part(layout, snapshot, info.changes)
    try:
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        return changes_from_table(table, code_bytes=info.n_bits // 8, n_base=info.base.n_codes)
    except (pa.ArrowException, OSError, ValueError) as error:
        what = f"cannot be read: {error}"
        raise damaged_index(layout, info.changes.path, what) from error


def _part(layout: StoreLayout, snapshot: Snapshot, part: PartFile) -> bytes:
    return _listed_bytes(layout, snapshot, part.path)


def _listed_bytes(layout: StoreLayout, snapshot: Snapshot, path: str) -> bytes:
    """Read a file that a snapshot lists, if its bytes are those that were published."""
    place = layout.root / path
    try:
        data = place.read_bytes()
    except FileNotFoundError as error:
        raise ArtefactMissingError(f"the index {place} is missing; {way_out(layout)}") from error
    except OSError as error:
        raise StoreError(f"the index {place} cannot be read: {error.strerror}") from error
    listed = {entry.path: entry.sha256 for entry in snapshot.files}
    if hashlib.sha256(data).hexdigest() != listed.get(path):
        raise damaged_index(layout, path, "differs from its snapshot")
    return data


def way_out(layout: StoreLayout) -> str:
    """Say what to do without an index."""
    return f"'musichash reconcile --store {layout.root}' rebuilds it"


def damaged_index(layout: StoreLayout, path: str, what: str) -> DamagedArtefactError:
    """Say what is wrong with a file of an index, and what to do."""
    return DamagedArtefactError(f"the index {layout.root / path} {what}; {way_out(layout)}")
