"""Files of a catalogue in columns: a million of them are a few Arrow arrays and no Python objects.

Whoever wants single files takes them out of the sequences as records; whoever works on all of them
takes the tables.

Public: `SourceFiles`, `CatalogueRow`, `CatalogueRows`, `FILES`, `FoundFiles`, `FOUND`,
`FoundName`, `found_table`.
"""

import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar, overload

import pyarrow as pa

from musichash_core.records import SourceFile
from storage.schemas import CATALOGUE

OWNED = ("label", "group", "external_id")
"""Columns that say what the owner knows of a file."""

FILES = pa.schema([field for field in CATALOGUE if field.name not in OWNED])
"""Columns of the files themselves: the fields of `musichash_core.records.SourceFile`."""

FOUND = pa.schema(
    [
        pa.field("root", pa.string(), nullable=False),
        pa.field("path_raw", pa.binary(), nullable=False),
        pa.field("n_bytes", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("place", pa.string(), nullable=False),
    ]
)
"""Names below roots; size and time are empty where lstat did not give them, and ``place`` is where
the manifest names the file (``line 7 of tracks.csv``), for messages."""

BLOCK_ROWS = 8192
"""Rows that are Python objects at once."""

_Record = TypeVar("_Record")
FoundName = tuple[str, bytes, int | None, int | None, str]
"""A row of `FOUND`."""


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One file of the catalogue with its label.

    Attributes
    ----------
    file : SourceFile
        The file.
    label, group : str or None
        Genre or class, and the unit that never straddles a split (an artist, as a rule).
    external_id : str or None
        What its owner calls it, from a manifest.
    """

    file: SourceFile
    label: str | None = None
    group: str | None = None
    external_id: str | None = None


class _Columns(Sequence[_Record], Generic[_Record]):
    """Records kept in columns; a sequence that makes a record when one is taken out.

    Parameters
    ----------
    table : pyarrow.Table
        With exactly the columns of `schema`.
    """

    __hash__ = None  # type: ignore[assignment] # compared by content, and tables have no hash
    schema: pa.Schema

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, records: Iterable[_Record]) -> Self:
        """Put records into columns; what is in columns already is given back."""
        if isinstance(records, cls):
            return records
        batches = []
        block: list[dict[str, Any]] = []
        for record in records:
            block.append(cls._plain(record))
            if len(block) == BLOCK_ROWS:
                batches.append(pa.RecordBatch.from_pylist(block, schema=cls.schema))
                block = []
        batches.append(pa.RecordBatch.from_pylist(block, schema=cls.schema))
        return cls(pa.Table.from_batches(batches, schema=cls.schema))

    @classmethod
    @abstractmethod
    def _plain(cls, record: _Record) -> dict[str, Any]: ...

    @classmethod
    @abstractmethod
    def _record(cls, plain: dict[str, Any]) -> _Record: ...

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[_Record]:
        for batch in self.table.to_batches(max_chunksize=BLOCK_ROWS):
            yield from map(self._record, batch.to_pylist())

    @overload
    def __getitem__(self, place: int) -> _Record: ...

    @overload
    def __getitem__(self, place: slice) -> Self: ...

    def __getitem__(self, place: int | slice) -> _Record | Self:
        if isinstance(place, slice):
            return type(self)(self.table.take(pa.array(range(len(self))[place], pa.int64())))
        (plain,) = self.table.slice(range(len(self))[place], 1).to_pylist()
        return self._record(plain)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, type(self)):
            return bool(self.table.equals(other.table))
        if isinstance(other, tuple):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented


class SourceFiles(_Columns[SourceFile]):
    """Files of a catalogue: a table with the columns `FILES`, read as `SourceFile`."""

    schema = FILES

    @classmethod
    def _plain(cls, record: SourceFile) -> dict[str, Any]:
        return {name: getattr(record, name) for name in FILES.names}

    @classmethod
    def _record(cls, plain: dict[str, Any]) -> SourceFile:
        return SourceFile(**plain)


class CatalogueRows(_Columns[CatalogueRow]):
    """Files with what their owner says: a table of `storage.schemas.CATALOGUE`."""

    schema = CATALOGUE

    @classmethod
    def _plain(cls, record: CatalogueRow) -> dict[str, Any]:
        plain = {name: getattr(record.file, name) for name in FILES.names}
        return plain | {name: getattr(record, name) for name in OWNED}

    @classmethod
    def _record(cls, plain: dict[str, Any]) -> CatalogueRow:
        owned = {name: plain.pop(name) for name in OWNED}
        return CatalogueRow(SourceFile(**plain), **owned)

    @classmethod
    def labelled(
        cls,
        files: SourceFiles,
        *,
        label: pa.Array | pa.ChunkedArray | None = None,
        group: pa.Array | pa.ChunkedArray | None = None,
        external_id: pa.Array | pa.ChunkedArray | None = None,
    ) -> Self:
        """Put columns of what the owner says beside the files; one that is left out is empty."""
        nothing = pa.nulls(len(files), pa.string())
        owned = [nothing if column is None else column for column in (label, group, external_id)]
        return cls(pa.table([*files.table.columns, *owned], schema=CATALOGUE))

    @property
    def files(self) -> SourceFiles:
        """The files alone."""
        return SourceFiles(self.table.select(FILES.names).cast(FILES))

    def with_labels_of(self, other: "CatalogueRows") -> "CatalogueRows":
        """Take labels and groups of other rows of the same files."""
        return CatalogueRows.labelled(
            self.files,
            label=other.table["label"],
            group=other.table["group"],
            external_id=self.table["external_id"],
        )


def found_table(names: Sequence[FoundName]) -> pa.Table:
    """Put names into the columns `FOUND`."""
    columns = zip(*names, strict=True) if names else ((),) * len(FOUND)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, FOUND, strict=True)]
    return pa.table(arrays, schema=FOUND)


class FoundFiles:
    """Collects the names that a manifest finds, in columns."""

    def __init__(self) -> None:
        self._tables = [FOUND.empty_table()]
        self._block: list[FoundName] = []

    def add(
        self, root: str, path_raw: bytes, status: os.stat_result | None, place: str = ""
    ) -> None:
        """Add a name below a root, with what its lstat gave, or None where that cannot be had."""
        size, time = (None, None) if status is None else (status.st_size, status.st_mtime_ns)
        self._block.append((root, path_raw, size, time, place))
        if len(self._block) == BLOCK_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._tables.append(found_table(self._block))
        self._block = []

    def table(self) -> pa.Table:
        """Give the names in the columns `FOUND`, sorted by root and path, and forget them."""
        self._flush()
        found = pa.concat_tables(self._tables)
        self._tables = [FOUND.empty_table()]  # they are many, and the sorted ones are a copy
        return found.sort_by([("root", "ascending"), ("path_raw", "ascending")])
