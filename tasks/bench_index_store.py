"""A store with nothing but codes, in which indexes are measured as a night writes and reads them.

Public: `ScratchStore`.
"""

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from musichash_core.index_config import IndexConfig, IndexKind
from storage.atomic import FileDigest
from storage.indexes import CodesOrigin, HashIndex, KeyedCodes, WrittenIndex, write_index
from storage.indexes.settings import IndexSettings
from storage.layout import StoreLayout
from storage.snapshots import Snapshot
from storage.tables import write_part

GENERATION = "g-synthetic"
ID_BYTES = 16
HEX_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Track ids in order, as bytes and as the column of a table, and their codes."""

    ids: NDArray[np.uint8]
    codes: KeyedCodes


class ScratchStore:
    """A store below a folder, with one codes table and one index after the other.

    Parameters
    ----------
    folder : Path
        Empty.
    codes, additions : (n, code_bytes) uint8
        Of the table, and of tracks that are added to it. Their ids are drawn, in order for the
        codes, and so the additions fall between them.
    seed : int
        Of the ids.
    """

    def __init__(
        self,
        folder: Path,
        codes: NDArray[np.uint8],
        additions: NDArray[np.uint8],
        *,
        seed: int,
    ) -> None:
        self._layout = StoreLayout(folder)
        rng = np.random.default_rng([seed, len(codes)])
        self._before = _table(rng, codes)
        self._later = _with_additions(rng, self._before, additions)
        part = write_part(self._layout, "codes", _arrow(self._before))
        self._origin = CodesOrigin(GENERATION, (part.sha256,))
        self._snapshot = Snapshot(
            number=0,
            feature_fingerprint="",
            generation=GENERATION,
            tables={"codes": [part.path]},
            index="",
            index_info="",
            counts={},
            files=(part,),
        )

    def build(self, kind: IndexKind) -> None:
        """Build the index of the table whole, as a night does; the gate included."""
        self._show(
            write_index(self._layout, self._before.codes, self._origin, settings=_settings(kind))
        )

    def load(self) -> HashIndex:
        """Load what was built."""
        return HashIndex.load(self._layout, self._snapshot)

    def append(self, kind: IndexKind) -> None:
        """Write the index of the table with its additions, as the next night does."""
        write_index(
            self._layout,
            self._later.codes,
            CodesOrigin(GENERATION, (secrets.token_hex(32),)),
            settings=_settings(kind),
            previous=self._snapshot,
        )

    @property
    def n_bytes(self) -> int:
        """Bytes of the index that was built."""
        return sum(entry.size for entry in self._index_files)

    def _show(self, written: WrittenIndex) -> None:
        table = self._snapshot.files[0]
        self._index_files: tuple[FileDigest, ...] = written.files
        self._snapshot = replace(
            self._snapshot,
            index=written.index.path,
            index_info=written.info.path,
            files=(table, *written.files),
        )


def _settings(kind: IndexKind) -> IndexSettings:
    return IndexSettings(IndexConfig(kind=kind))


def _table(rng: np.random.Generator, codes: NDArray[np.uint8]) -> _Table:
    ids = np.empty((len(codes), 2), dtype=">u8")  # the first byte is the highest
    ids[:, 0] = np.sort(rng.integers(0, 1 << 64, len(codes), dtype=np.uint64))
    ids[:, 1] = rng.integers(0, 1 << 64, len(codes), dtype=np.uint64)
    ids = ids.view(np.uint8).reshape(len(codes), ID_BYTES)
    return _Table(ids, KeyedCodes(_id_column(ids), codes))


def _with_additions(
    rng: np.random.Generator, before: _Table, additions: NDArray[np.uint8]
) -> _Table:
    added = _table(rng, additions)
    places = np.searchsorted(_first_halves(before.ids), _first_halves(added.ids))
    ids = np.insert(before.ids, places, added.ids, axis=0)
    codes = np.insert(before.codes.codes, places, additions, axis=0)
    return _Table(ids, KeyedCodes(_id_column(ids), codes))


def _first_halves(ids: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(ids[:, :8]).view(">u8")[:, 0].astype(np.uint64)


def _id_column(ids: NDArray[np.uint8]) -> pa.ChunkedArray:
    """Write ids as hex digits, block by block: text has offsets of 32 bits."""
    chunks = []
    for start in range(0, len(ids), 1 << 20):
        block = ids[start : start + (1 << 20)]
        nibbles = np.stack([block >> 4, block & 15], axis=-1).reshape(len(block), 2 * ID_BYTES)
        offsets = np.arange(len(block) + 1, dtype=np.int32) * (2 * ID_BYTES)
        text = pa.py_buffer(HEX_DIGITS[nibbles].tobytes())
        chunks.append(pa.StringArray.from_buffers(len(block), pa.py_buffer(offsets), text))
    return pa.chunked_array(chunks, type=pa.string())


def _arrow(table: _Table) -> pa.Table:
    codes = table.codes.codes
    packed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(codes.shape[1]), len(codes), [None, pa.py_buffer(codes.tobytes())]
    )
    return pa.table({"track_id": table.codes.track_ids, "code": packed})
