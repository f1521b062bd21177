"""The lists of an ivf index, built shard by shard: runs of rows of a published codes table.

Centroids are found once; each shard is a copy of the empty index with a run of rows, built by any
process that reads the store; merged in order they are, to the byte, what one process builds. Shards
lie in a temporary folder beside the indexes and are read only if they are what their builder said.

Public: `begin_shards`, `build_index_shard`, `merge_index_shards`, `IndexShards`, `ShardBuilt`,
`rows_of_shards`.
"""

import hashlib
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musichash_core.process_memory import peak_memory_bytes
from storage.atomic import LEFTOVER_PREFIX, make_folder, write_new_file
from storage.errors import DamagedArtefactError
from storage.indexes.ivf import IvfParameters, build_shard, merge_shards, train_ivf
from storage.layout import StoreLayout
from storage.packed_codes import packed_codes
from storage.published import table_paths
from storage.snapshots import read_snapshot
from storage.store import open_store
from storage.tables import part_length, read_part_rows

SHARD_CODES = 1 << 20
"""Most rows of a shard: a few seconds of work, and 24 MB at 64 bits."""

TRAINED_NAME = "trained"


@dataclass(frozen=True, slots=True)
class IndexShards:
    """Shards that are to be built.

    Attributes
    ----------
    store : str
    snapshot : int
        Number of the one whose codes table they hold.
    folder : str
        Where they lie.
    trained_sha256 : str
        Of the empty index.
    n_codes : int
        Rows of all shards.
    n_shards : int
    """

    store: str
    snapshot: int
    folder: str
    trained_sha256: str
    n_codes: int
    n_shards: int

    def arguments(self) -> list[tuple["IndexShards", int]]:
        """Give what `build_index_shard` takes, for each shard."""
        return [(self, number) for number in range(self.n_shards)]


@dataclass(frozen=True, slots=True)
class ShardBuilt:
    """What came of one shard.

    Attributes
    ----------
    number : int
    n_codes : int
    sha256 : str
        Of its file.
    n_bytes : int
    cpu_s : float
    peak_memory_bytes : int
        Of the process that built it.
    """

    number: int
    n_codes: int
    sha256: str
    n_bytes: int
    cpu_s: float
    peak_memory_bytes: int


def begin_shards(
    store: str,
    snapshot: int,
    codes: NDArray[np.uint8],
    parameters: IvfParameters,
    *,
    n_workers: int,
) -> IndexShards:
    """Find the centroids, and divide the rows; the caller holds the store.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        All codes of the snapshot's table, in row order.
    n_workers : >= 1
        There are at least as many shards.
    """
    layout = open_store(store)
    folder = layout.index_root / f"{LEFTOVER_PREFIX}shards-{secrets.token_hex(4)}"
    make_folder(folder)
    trained = train_ivf(codes, parameters)
    write_new_file(folder / TRAINED_NAME, trained)
    n_shards = max(1, min(len(codes), max(n_workers, -(-len(codes) // SHARD_CODES))))
    return IndexShards(
        store=store,
        snapshot=snapshot,
        folder=str(folder),
        trained_sha256=hashlib.sha256(trained).hexdigest(),
        n_codes=len(codes),
        n_shards=n_shards,
    )


def rows_of_shards(n_codes: int, n_shards: int) -> list[range]:
    """Divide rows into runs of as equal a length as can be."""
    ends = [n_codes * number // n_shards for number in range(n_shards + 1)]
    return [range(start, stop) for start, stop in pairwise(ends)]


def build_index_shard(shards: IndexShards, number: int) -> ShardBuilt:
    """Build one shard; for any process that reads and writes the store.

    Raises
    ------
    DamagedArtefactError
        If the codes table or the empty index is not whole.
    """
    started = time.process_time()
    layout = open_store(shards.store)
    rows = rows_of_shards(shards.n_codes, shards.n_shards)[number]
    trained = _read(Path(shards.folder, TRAINED_NAME), shards.trained_sha256)
    codes = _code_rows(layout, shards.snapshot, rows)
    data = build_shard(trained, codes, rows.start)
    path = _shard_path(shards, number)
    path.unlink(missing_ok=True)  # of a worker that died while it wrote
    path.write_bytes(data)
    return ShardBuilt(
        number=number,
        n_codes=len(codes),
        sha256=hashlib.sha256(data).hexdigest(),
        n_bytes=len(data),
        cpu_s=time.process_time() - started,
        peak_memory_bytes=peak_memory_bytes(),
    )


def merge_index_shards(shards: IndexShards, built: Sequence[ShardBuilt]) -> bytes:
    """Give the file of the index, of all its shards in their order, and remove them.

    Raises
    ------
    DamagedArtefactError
        If one is not what its builder wrote, or rows are missing.
    """
    in_order = sorted(built, key=lambda shard: shard.number)
    n_codes = sum(shard.n_codes for shard in in_order)
    if [shard.number for shard in in_order] != [*range(shards.n_shards)] or (
        n_codes != shards.n_codes
    ):
        raise DamagedArtefactError(
            f"{len(in_order)} of {shards.n_shards} shards of the index, with {n_codes} of "
            f"{shards.n_codes} codes, were built; run 'musichash reindex' again"
        )
    try:
        return merge_shards(_shard_files(shards, in_order))
    finally:
        forget_shards(shards)


def forget_shards(shards: IndexShards) -> None:
    """Remove the folder of the shards."""
    shutil.rmtree(shards.folder, ignore_errors=True)


def _shard_files(shards: IndexShards, built: Sequence[ShardBuilt]) -> Iterator[bytes]:
    for shard in built:
        yield _read(_shard_path(shards, shard.number), shard.sha256)


def _shard_path(shards: IndexShards, number: int) -> Path:
    return Path(shards.folder, f"{number:06d}")


def _read(path: Path, sha256: str) -> bytes:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DamagedArtefactError(
            f"{path} is not what was written there; check the disk, then run 'musichash reindex' "
            "again"
        )
    return data


def _code_rows(layout: StoreLayout, number: int, rows: range) -> NDArray[np.uint8]:
    """Read the codes of a run of rows, from the parts of the table that have some of them."""
    found: list[NDArray[np.uint8]] = []
    first = 0
    for path in table_paths(layout, read_snapshot(layout, number), "codes"):
        length = part_length(path)
        inside = range(max(rows.start, first) - first, min(rows.stop, first + length) - first)
        if len(inside):
            found.append(packed_codes(read_part_rows(path, inside, ["code"])))
        first += length
    return np.concatenate(found)
