"""The FAISS binary index: built from the codes table, verified before it is loaded, exact.

Row ``i`` of the index is row ``i`` of the codes table, so no ids are stored. The index is a cache:
it can always be rebuilt from the table.

Public: `build_index`, `measure_distance_recall`, `write_index`, `read_index_info`, `HashIndex`,
`Neighbours`, `rank`.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import asymmetric_distance, brute_force_neighbours
from musichash_core.errors import ParameterError
from storage.atomic import (
    FileDigest,
    digest_file,
    make_folder,
    place_file,
    read_json,
    to_json,
    write_file,
)
from storage.errors import ArtefactMissingError, DamagedArtefactError, StoreError
from storage.layout import StoreLayout

RECALL_SAMPLE = 200
RECALL_K = 10
MIN_DISTANCE_RECALL = 0.99
"""An index that finds less of the true nearest distances on a sample is not published."""

MAX_INDEX_BYTES = 1 << 36
WRITE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Ranked answers to one query.

    Attributes
    ----------
    rows : (k,) int64
        Rows of the codes table, best first.
    distances : (k,) int32
        Hamming distances.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.int32]


def build_index(codes: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - faiss has no types
    """Build an exact (flat) index of packed codes ``(n, code_bytes)`` uint8, in row order."""
    index = faiss.IndexBinaryFlat(codes.shape[1] * 8)
    index.add(np.ascontiguousarray(codes))
    return index


def measure_distance_recall(index: Any, codes: NDArray[np.uint8]) -> float:  # noqa: ANN401
    """Compare the index with brute force on an evenly spaced sample of its own codes.

    Returns
    -------
    float
        Share of the true `RECALL_K` nearest distances that the index returned; ids are not
        compared, because most queries tie at the last rank.
    """
    k = min(RECALL_K, len(codes))
    n_sampled = min(RECALL_SAMPLE, len(codes))
    rows = np.unique(np.linspace(0, len(codes) - 1, n_sampled).astype(np.int64))
    found, _ = index.search(np.ascontiguousarray(codes[rows]), k)
    true, _ = brute_force_neighbours(codes[rows], codes, k)
    return float((np.asarray(found) <= true[:, -1:]).mean())


def write_index(
    layout: StoreLayout, codes: NDArray[np.uint8], *, generation: str, codes_sha256: list[str]
) -> tuple[FileDigest, FileDigest]:
    """Build, check and store the index of a codes table under the name of its content.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        In the row order of the table.
    generation : str
        Model generation of the codes.
    codes_sha256 : list of str
        Digests of the table parts that the rows count through.

    Returns
    -------
    index, info : FileDigest
        With paths below the store root.

    Raises
    ------
    StoreError
        If its distance-recall is below `MIN_DISTANCE_RECALL`.
    """
    index = build_index(codes)
    recall = measure_distance_recall(index, codes) if len(codes) else 1.0
    if recall < MIN_DISTANCE_RECALL:
        raise StoreError(
            f"the index finds {recall:.3f} of the nearest distances, at least "
            f"{MIN_DISTANCE_RECALL} is required; nothing is published"
        )
    make_folder(layout.index_root)
    temporary = layout.index_root / ".tmp-codes.faiss"
    with temporary.open("wb") as file:
        # Given a path, FAISS only prints that the last bytes did not reach a full disk.
        write = faiss.PyCallbackIOWriter(file.write, WRITE_BYTES)  # type: ignore[attr-defined]
        faiss.write_index_binary(index, write)
    digest = digest_file(temporary, layout.root)
    final = layout.index_path(digest.sha256)
    place_file(temporary, final)
    info = {
        "kind": "flat",
        "n_codes": len(codes),
        "n_bits": int(codes.shape[1]) * 8,
        "n_bytes": digest.size,
        "generation": generation,
        "rows_of": codes_sha256,
        "distance_recall_at_10": recall,
    }
    # Two codes tables can have the same codes, so the index's name is none for its description.
    data = to_json(info)
    info_path = layout.index_info_path(hashlib.sha256(data).hexdigest())
    write_file(info_path, data)
    return (
        FileDigest(layout.relative(final), digest.size, digest.sha256),
        digest_file(info_path, layout.root),
    )


class HashIndex:
    """A published index, loaded and ready to answer.

    Parameters
    ----------
    index : faiss.IndexBinary
        Loaded index.
    """

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - faiss has no types
        self._index = index

    @classmethod
    def load(cls, layout: StoreLayout, entry: FileDigest) -> Self:
        """Load an index whose bytes are those that the snapshot lists.

        Raises
        ------
        ArtefactMissingError, DamagedArtefactError
            If it is missing or differs; FAISS is never given bytes that we did not write.
        """
        path = layout.root / entry.path
        way_out = f"'musichash reconcile --store {layout.root}' rebuilds it"
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise ArtefactMissingError(f"the index {path} is missing; {way_out}") from error
        except OSError as error:
            raise StoreError(f"the index {path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise DamagedArtefactError(f"the index {path} differs from its snapshot; {way_out}")
        if hasattr(faiss, "set_deserialization_vector_byte_limit"):
            faiss.set_deserialization_vector_byte_limit(MAX_INDEX_BYTES)
        return cls(faiss.deserialize_index_binary(np.frombuffer(data, dtype=np.uint8)))

    @property
    def n_codes(self) -> int:
        """Number of codes in the index."""
        return int(self._index.ntotal)

    @property
    def n_bits(self) -> int:
        """Length of a code in bits."""
        return int(self._index.d)

    def holds(self, codes: NDArray[np.uint8]) -> bool:
        """Whether the index holds exactly these codes ``(n, code_bytes)``, in this order."""
        flat: Any = faiss.downcast_IndexBinary(self._index)
        stored = faiss.vector_to_array(flat.xb)
        return bool(np.array_equal(stored, codes.reshape(-1)))

    def candidates(self, code: NDArray[np.uint8], k: int) -> Neighbours:
        """Find the `k` nearest rows and all rows that tie with the last of them.

        Parameters
        ----------
        code : (code_bytes,) uint8
            The query.

        Returns
        -------
        Neighbours
            By distance, then row; at least ``min(k, n_codes)`` of them.

        Raises
        ------
        ParameterError
            If the code has another width than the index.
        """
        query = np.ascontiguousarray(code, dtype=np.uint8).reshape(1, -1)
        if query.shape[1] * 8 != self.n_bits:
            raise ParameterError(
                f"the query has {query.shape[1] * 8} bits, the index {self.n_bits}; "
                "encode it with the model of the index"
            )
        k = min(k, self.n_codes)
        if k < 1:
            return Neighbours(np.empty(0, np.int64), np.empty(0, np.int32))
        nearest, _ = self._index.search(query, k)
        radius = int(nearest[0, -1]) + 1  # range_search is exclusive
        _, distances, rows = self._index.range_search(query, radius)
        order = np.lexsort((rows, distances))
        return Neighbours(np.asarray(rows[order], np.int64), np.asarray(distances[order], np.int32))


def rank(
    candidates: Neighbours, query_logits: NDArray[np.float32], codes: NDArray[np.uint8], k: int
) -> Neighbours:
    """Order candidates by Hamming distance, then asymmetric distance, then row; keep `k`.

    Parameters
    ----------
    query_logits : (n_bits,) float32
        Real-valued code of the query.
    codes : (n_candidates, code_bytes) uint8
        Codes of the candidates, in their order.
    """
    asymmetric = asymmetric_distance(query_logits[None], codes)[0]
    order = np.lexsort((candidates.rows, asymmetric, candidates.distances))[:k]
    return Neighbours(candidates.rows[order], candidates.distances[order])


def read_index_info(layout: StoreLayout, info_path: str) -> dict[str, Any]:
    """Read what is in an index and how well it answers."""
    return read_json(layout.root / info_path)
