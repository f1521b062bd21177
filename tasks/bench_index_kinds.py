"""The kinds of index that are measured, in one form: ours as they are published, and their peers.

Public: `KINDS`, `Subject`, `subject_of`, `Material`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from musichash_core.index_config import KINDS as OUR_KINDS
from musichash_core.index_config import IndexKind
from storage.indexes import HashIndex
from tasks.bench_index_peers import (
    FAR,
    BoundedNumpyScan,
    FaissFlat,
    NumpyScan,
    Peer,
    UsearchGraph,
)
from tasks.bench_index_store import ScratchStore

BuildPeer = Callable[[NDArray[np.uint8]], bytes]
LoadPeer = Callable[[bytes, int], Peer]


class Subject(Protocol):
    """One kind of index of some codes, through its life."""

    def build(self) -> None:
        """Build it, and store it."""

    def load(self) -> Peer:
        """Make what is stored ready to be asked."""

    @property
    def append(self) -> Callable[[], None] | None:
        """What adds codes and stores the result; None where that is not measured."""

    @property
    def n_bytes(self) -> int:
        """Bytes that are stored."""


class Material:
    """Codes, and a folder for what is made of them.

    Parameters
    ----------
    folder : Path
        Empty.
    codes, additions : (n, code_bytes) uint8
    seed : int
    """

    def __init__(
        self, folder: Path, codes: NDArray[np.uint8], additions: NDArray[np.uint8], seed: int
    ) -> None:
        self.folder = folder
        self.codes = codes
        self._additions = additions
        self._seed = seed

    @cached_property
    def store(self) -> ScratchStore:
        """A store with the codes."""
        return ScratchStore(self.folder / "store", self.codes, self._additions, seed=self._seed)


@dataclass(frozen=True, slots=True)
class _OurIndex:
    store: ScratchStore
    kind: IndexKind

    def build(self) -> None:
        self.store.build(self.kind)

    def load(self) -> Peer:
        return _Distances(self.store.load())

    @property
    def append(self) -> Callable[[], None]:
        return partial(self.store.append, self.kind)

    @property
    def n_bytes(self) -> int:
        return self.store.n_bytes


class _Distances:
    """A loaded index, asked for distances; it gives rows and all that tie with the last, too."""

    def __init__(self, index: HashIndex) -> None:
        self._index = index
        tuned = {"n_probed": index.info["n_probed"]} if index.kind == "ivf" else {}
        self.parameters: dict[str, Any] = index.info["parameters"] | tuned

    def search(self, queries: NDArray[np.uint8], k: int) -> NDArray[np.int32]:
        """Give the nearest distances."""
        found = np.full((len(queries), k), FAR, dtype=np.int32)
        for row, answer in zip(found, self._index.candidates(queries, k), strict=True):
            nearest = answer.distances[:k]
            row[: len(nearest)] = nearest
        return found


@dataclass(frozen=True, slots=True)
class _PeerIndex:
    material: Material
    make: BuildPeer
    read: LoadPeer

    @property
    def _path(self) -> Path:
        return self.material.folder / "peer"

    def build(self) -> None:
        self._path.write_bytes(self.make(self.material.codes))

    def load(self) -> Peer:
        return self.read(self._path.read_bytes(), self.material.codes.shape[1])

    @property
    def append(self) -> None:
        return None

    @property
    def n_bytes(self) -> int:
        return self._path.stat().st_size


def _codes(data: bytes, code_bytes: int) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(-1, code_bytes)


_PEERS: dict[str, tuple[BuildPeer, LoadPeer]] = {
    "numpy": (lambda codes: codes.tobytes(), lambda data, width: NumpyScan(_codes(data, width))),
    "numpy-bounded": (
        lambda codes: codes.tobytes(),
        lambda data, width: BoundedNumpyScan(_codes(data, width)),
    ),
    "faiss-flat": (FaissFlat.build, lambda data, _: FaissFlat(data)),
    "usearch": (UsearchGraph.build, lambda data, _: UsearchGraph(data)),
}

KINDS = (*OUR_KINDS, *_PEERS)
"""All that can be measured."""


def subject_of(kind: str, material: Material) -> Subject:
    """Give a kind of index of some codes; nothing is built yet."""
    if kind in _PEERS:
        return _PeerIndex(material, *_PEERS[kind])
    return _OurIndex(material.store, cast(IndexKind, kind))
