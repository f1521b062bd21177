"""The description beside an index: what it consists of, and how well it answers.

Public: `IndexInfo`, `PartFile`, `info_of`, `read_index_info`, `INFO_FORMAT`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

from musichash_core.index_config import IndexKind
from storage.atomic import FileDigest, read_json
from storage.errors import DamagedArtefactError
from storage.layout import StoreLayout
from storage.snapshots import Snapshot

INFO_FORMAT = 2
"""Of the description; the first had neither a format nor parts, but one flat file."""


@dataclass(frozen=True, slots=True)
class PartFile:
    """One file of an index.

    Attributes
    ----------
    path, sha256 : str
        Below the store root; of its bytes.
    n_bytes : int
    n_codes : int
        Codes, or changes, in it.
    """

    path: str
    sha256: str
    n_bytes: int
    n_codes: int

    @classmethod
    def of(cls, entry: FileDigest, n_codes: int) -> Self:
        """Name a file that was written."""
        return cls(entry.path, entry.sha256, entry.size, n_codes)


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index consists of.

    Attributes
    ----------
    kind : str
        ``flat``, ``ivf`` or ``multihash``.
    wanted_kind : str
        The kind that was chosen; another one where that missed its bar.
    given_up_at : int or None
        Number of codes for which an ivf index was tried that missed it.
    n_codes, n_bits, n_bytes : int
        Codes that it answers for, their length, and the bytes of its files.
    generation : str
        Model generation of the codes.
    rows_of : list of str
        Digests of the parts of the codes table that its rows count through.
    settings : dict
        Those by which it was made; empty in the first format.
    parameters : dict
        What decides the bytes of the base, beside its codes.
    n_probed : int or None
        Lists that a query of an ivf index reads.
    distance_recall_at_10 : float
        Share of the nearest distances found on a sample, by brute force.
    recall_queries : int
        Size of the sample.
    base : PartFile
    delta, changes : PartFile or None
        What was added since the base was built; what was added and what died.
    """

    kind: IndexKind
    wanted_kind: str
    given_up_at: int | None
    n_codes: int
    n_bits: int
    n_bytes: int
    generation: str
    rows_of: list[str]
    settings: dict[str, Any]
    parameters: dict[str, int]
    n_probed: int | None
    distance_recall_at_10: float
    recall_queries: int
    base: PartFile
    delta: PartFile | None
    changes: PartFile | None

    @property
    def files(self) -> tuple[PartFile, ...]:
        """The files of the index, the description aside."""
        return tuple(part for part in (self.base, self.delta, self.changes) if part is not None)

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {"format": INFO_FORMAT} | asdict(self)


def info_of(content: dict[str, Any], snapshot: Snapshot, source: str) -> IndexInfo:
    """Read the JSON form, or that of the first format, in which a snapshot names one flat file.

    Parameters
    ----------
    source : str
        The file, for messages.

    Raises
    ------
    DamagedArtefactError
        If it is neither.
    """
    try:
        if "format" not in content:
            listed = {entry.path: entry for entry in snapshot.files}
            base = PartFile.of(listed[snapshot.index], content["n_codes"])
            content = content | {
                "wanted_kind": content["kind"],
                "given_up_at": None,
                "settings": {},
                "parameters": {},
                "n_probed": None,
                "recall_queries": 0,
                "base": asdict(base),
                "delta": None,
                "changes": None,
            }
        elif content["format"] != INFO_FORMAT:
            raise DamagedArtefactError(
                f"{source} has format {content['format']}, this version reads format "
                f"{INFO_FORMAT}; use the version of musichash that wrote it"
            )
        fields = {name: content[name] for name in IndexInfo.__dataclass_fields__}
        for name in ("base", "delta", "changes"):
            fields[name] = None if fields[name] is None else PartFile(**fields[name])
        return IndexInfo(**fields)
    except (KeyError, TypeError) as error:
        raise DamagedArtefactError(f"{source} does not describe an index ({error})") from error


def read_index_info(layout: StoreLayout, info_path: str) -> dict[str, Any]:
    """Read what is in an index and how well it answers, in the JSON form."""
    return read_json(layout.root / info_path)
