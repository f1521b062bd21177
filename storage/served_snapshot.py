"""One snapshot, open for questions: its index, its codes, and what its tables say of an answer.

Answers are in one order, whatever finds them: Hamming distance, then asymmetric distance (of
queries that have logits), then ``track_id``, which is the order of the rows.

Public: `ServedSnapshot`.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from musichash_core.codes import asymmetric_distance, hamming_distance
from musichash_core.errors import ParameterError
from storage.errors import DamagedArtefactError
from storage.exact_codes import ExactCodes
from storage.indexes import HashIndex, Neighbours
from storage.layout import StoreLayout
from storage.packed_codes import packed_column
from storage.row_filters import Filters, RowFilters
from storage.search_terms import Hits, Query, Reach, Windows
from storage.served_segments import ServedSegments
from storage.served_table import ColumnCache, GroupedArray, ServedTable
from storage.snapshots import Snapshot
from storage.track_rows import TrackRows

SHARE_FOR_CODES = 0.7
"""Of the cache: logits take 256 bytes a track at 64 bits, what answers say of a track about 100."""

KEPT_FILTERS = 4
"""Filters whose codes stay laid side by side, for the next question."""

RANKED_AT_ONCE = 16_384

FACT_COLUMNS = (
    *("locations", "label", "external_id", "duration_s"),
    *("tag_title", "tag_artist", "tag_album", "tag_genre", "tag_year"),
)


class ServedSnapshot:
    """A snapshot that answers questions, on any thread, until it is closed.

    Parameters
    ----------
    snapshot : Snapshot
        Which one.
    cache_bytes : int
        Most bytes of decoded columns that are kept.

    Attributes
    ----------
    index : HashIndex
    tracks, predictions, codes : ServedTable
    code_rows, track_rows : TrackRows
        Rows of the codes table and of the tracks table by identity.

    Raises
    ------
    ArtefactMissingError, DamagedArtefactError
        If a file of it is missing, or its parts do not belong together.
    """

    def __init__(self, layout: StoreLayout, snapshot: Snapshot, *, cache_bytes: int) -> None:
        self.layout = layout
        self.snapshot = snapshot
        # Columns of codes are large, and must not drive out those that every answer needs.
        of_codes = int(SHARE_FOR_CODES * cache_bytes)
        caches = {"codes": ColumnCache(of_codes)}
        others = ColumnCache(cache_bytes - of_codes)
        with ExitStack() as opened:
            tables = {}
            for name in ("codes", "tracks", "predictions"):
                tables[name] = ServedTable(layout, snapshot, name, cache=caches.get(name, others))
                opened.callback(tables[name].close)
            self.codes, self.tracks = tables["codes"], tables["tracks"]
            self.predictions = tables["predictions"]
            self.index = HashIndex.load(layout, snapshot)
            self._check_counts()
            self._opened = opened.pop_all()
        self.code_rows, self.track_rows = TrackRows(self.codes), TrackRows(self.tracks)
        self._packed = GroupedArray(
            self.codes, "code", shape=(self.code_bytes,), dtype=np.uint8, convert=packed_column
        )
        self.segments = ServedSegments(self.codes)
        self.filters = RowFilters(
            layout, tracks=self.tracks, predictions=self.predictions, n_codes=self.codes.n_rows
        )
        self._chosen: OrderedDict[Filters, ExactCodes] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close its files."""
        self._opened.close()

    @property
    def n_codes(self) -> int:
        """Number of codes."""
        return self.codes.n_rows

    @property
    def code_bytes(self) -> int:
        """Length of a code in bytes."""
        return int(self.codes.schema.field("code").type.byte_width)

    def codes_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Give the codes of some rows, ``(n, code_bytes)``, in the order asked for."""
        return self._packed.take(rows)

    def all_codes(self) -> NDArray[np.uint8]:
        """Give all codes, ``(n_codes, code_bytes)``, in the order of rows; not to be written to."""
        return self._packed.whole()

    # --- queries ---------------------------------------------------------------------------------

    def query_of_row(self, row: int) -> Query:
        """Ask for what is like a track of the snapshot, but for that track."""
        return self.queries_of_rows(np.array([row]))[0]

    def queries_of_rows(self, rows: NDArray[np.int64]) -> list[Query]:
        """Ask for what is like each of several tracks, but for that track."""
        logits = self.codes.take(rows, ["logits"])["logits"].combine_chunks()
        values = logits.flatten().to_numpy().reshape(len(rows), 8 * self.code_bytes)
        return [
            Query(code, some, int(row))
            for code, some, row in zip(self._packed.take(rows), values, rows, strict=True)
        ]

    def code_from_hex(self, text: str) -> NDArray[np.uint8]:
        """Read a code as people write it: two hex digits a byte, in the order of the table.

        Raises
        ------
        ParameterError
            If it is no code, or one of another length than the snapshot's.
        """
        try:
            code = np.frombuffer(bytes.fromhex(text.strip().removeprefix("0x")), np.uint8)
        except ValueError as error:
            raise ParameterError(
                f"the code {text!r} is not hexadecimal: give two digits a byte, as "
                "'musichash export codes' writes them"
            ) from error
        if len(code) != self.code_bytes:
            raise ParameterError(
                f"the code {text!r} has {8 * len(code)} bits, those of snapshot "
                f"{self.snapshot.number} have {8 * self.code_bytes}: give {2 * self.code_bytes} "
                f"hex digits, made with the model {self.snapshot.generation}"
            )
        return code

    # --- answers ---------------------------------------------------------------------------------

    def nearest(
        self,
        queries: Sequence[Query],
        reach: Reach,
        filters: Filters | None = None,
        *,
        index: Any = None,  # noqa: ANN401 - anything with `candidates` and `within`
    ) -> list[Hits]:
        """Find what is nearest to each query.

        Parameters
        ----------
        filters : Filters, optional
            What answers must have. Then the codes of these tracks are searched exactly, whatever
            the kind of the index, so that as many answers come as there are.
        index : HashIndex or GraphicsCodes, optional
            What is searched where nothing is filtered; by default the published index.

        Raises
        ------
        ParameterError
            If a query has another width than the codes.
        UnknownFilterError
            If a filter names what no track has.
        """
        if not queries:
            return []
        for query in queries:
            if query.code.shape != (self.code_bytes,):
                raise ParameterError(
                    f"the query has {8 * query.code.size} bits, the codes of snapshot "
                    f"{self.snapshot.number} have {8 * self.code_bytes}; encode it with the model "
                    f"{self.snapshot.generation}"
                )
        searched: Any = self._chosen_codes(filters) if filters else index or self.index
        codes = np.stack([query.code for query in queries])
        if reach.radius is not None:
            found = searched.within(codes, min(reach.radius, 8 * self.code_bytes))
        else:
            with_own = any(query.row is not None for query in queries)
            found = searched.candidates(codes, reach.k + with_own)
        return [
            self._ranked(query, neighbours, reach)
            for query, neighbours in zip(queries, found, strict=True)
        ]

    def nearest_by_windows(
        self, query: Query, windows: Windows, reach: Reach, filters: Filters | None = None
    ) -> Hits:
        """Find the tracks that have windows like those of a query.

        Parameters
        ----------
        query : Query
            Its code gives the distances of the whole tracks, which decide nothing here.

        Returns
        -------
        Hits
            By the mean distance of windows; then as `SegmentCodes.nearest_tracks` orders them.
            A radius bounds that distance.

        Raises
        ------
        NoWindowsError
            If no track has windows.
        """
        rows = self.filters.rows(filters) if filters else None
        n_asked = reach.k + (query.row is not None)
        found = self.segments.nearest(windows, n_asked, filters=filters, rows=rows)
        is_kept = found.rows != (-1 if query.row is None else query.row)
        if reach.radius is not None:
            is_kept &= found.distances <= reach.radius
        kept = np.flatnonzero(is_kept)[: reach.k]
        starts_s = found.starts_s
        if windows.starts_s is not None:
            starts_s = np.maximum(0.0, starts_s - windows.starts_s[found.query_windows])
        rows = found.rows[kept]
        return Hits(
            rows,
            hamming_distance(query.code, self.codes_of(rows)).astype(np.int32),
            None if query.logits is None else self._asymmetric(query.logits, rows),
            starts_s=starts_s[kept],
            window_distances=found.distances[kept],
            misses_none=found.misses_none,
        )

    def _ranked(self, query: Query, found: Neighbours, reach: Reach) -> Hits:
        rows, distances = found.rows, found.distances
        if query.row is not None:
            is_other = rows != query.row
            rows, distances = rows[is_other], distances[is_other]
        n_within = None if reach.radius is None else len(rows)
        if len(rows) > reach.k:  # they are in order: what is farther than the k-th has no chance
            n_kept = int(np.searchsorted(distances, distances[reach.k - 1], side="right"))
            rows, distances = rows[:n_kept], distances[:n_kept]
        if query.logits is None:
            return Hits(rows[: reach.k], distances[: reach.k], None, n_within)
        asymmetric = self._asymmetric(query.logits, rows)
        order = np.lexsort((rows, asymmetric, distances))[: reach.k]
        return Hits(rows[order], distances[order], asymmetric[order], n_within)

    def _asymmetric(
        self, logits: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Compare real-valued query and codes; a few at a time, for thousands may tie."""
        parts = [np.empty(0, np.float64)]
        for start in range(0, len(rows), RANKED_AT_ONCE):
            codes = self._packed.take(rows[start : start + RANKED_AT_ONCE])
            parts.append(asymmetric_distance(logits[None], codes)[0])
        return np.concatenate(parts)

    def _chosen_codes(self, filters: Filters) -> ExactCodes:
        with self._lock:
            found = self._chosen.get(filters)
            if found is None:
                rows = self.filters.rows(filters)
                found = self._chosen[filters] = ExactCodes(self._packed.take(rows), rows)
                if len(self._chosen) > KEPT_FILTERS:
                    self._chosen.popitem(last=False)
            self._chosen.move_to_end(filters)
            return found

    def n_selected(self, filters: Filters) -> int:
        """Count the tracks that filters leave."""
        return self._chosen_codes(filters).n_codes if filters else self.n_codes

    # --- what the tables say ---------------------------------------------------------------------

    def facts(
        self, rows: NDArray[np.int64], *, with_probabilities: bool = False
    ) -> list[dict[str, Any]]:
        """Give what the tables say of some rows of the codes table, in the order asked for.

        Returns
        -------
        list of dict
            ``track_id``, `FACT_COLUMNS`, ``genre``, ``probability``, and if asked for
            ``probabilities``, a list of (genre, probability).
        """
        columns = ["genre", "probability", *FACT_COLUMNS]
        columns += ["probabilities"] if with_probabilities else []
        said: list[dict[str, Any]] = self.facts_table(rows, columns).to_pylist()
        return said

    def facts_table(self, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Read columns of the tables of tracks and predictions for some rows of the codes table.

        Returns
        -------
        pyarrow.Table
            ``track_id`` and the columns asked for, in the order asked for.
        """
        track_ids = self.code_rows.ids_of(rows)
        track_rows = self.track_rows.rows_of(track_ids)
        predicted = [name for name in columns if name in self.predictions.schema.names]
        of_tracks = [name for name in columns if name not in predicted]
        said = self.predictions.take(rows, ["track_id", *predicted])
        if (track_rows < 0).any() or said["track_id"].to_pylist() != track_ids:
            raise self._disagreement("tracks, predictions and codes are not of the same tracks")
        told = self.tracks.take(track_rows, of_tracks)
        for name in of_tracks:
            said = said.append_column(name, told[name])
        return said.select(["track_id", *columns])

    def _check_counts(self) -> None:
        counts = {
            "index": self.index.n_codes,
            "codes": self.codes.n_rows,
            "predictions": self.predictions.n_rows,
        }
        if len(set(counts.values())) > 1:
            raise self._disagreement(
                ", ".join(f"{name} has {count} rows" for name, count in counts.items())
            )
        if self.index.n_bits != 8 * self.code_bytes:
            raise self._disagreement(
                f"the index has {self.index.n_bits} bits, the codes {8 * self.code_bytes}"
            )

    def _disagreement(self, what: str) -> DamagedArtefactError:
        return DamagedArtefactError(
            f"snapshot {self.snapshot.number} is not in order: {what}; 'musichash reconcile "
            f"--store {self.layout.root}' mends it"
        )
