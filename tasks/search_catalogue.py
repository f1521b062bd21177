"""A published catalogue that is open for questions: by track, by file, by code, and in numbers.

Public: `PublishedCatalogue`, `Found`, `NoCodesError`, `check_has_codes`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import MusicHashError
from storage.row_filters import Filters
from storage.search_terms import Hits, Query, Reach, Windows
from storage.served_catalogue import ServedCatalogue
from storage.served_snapshot import ServedSnapshot
from storage.track_names import TrackNames, UnknownTrackError
from tasks.search_answers import Answer
from tasks.search_asking import Asking, Compared, is_excerpt, queries_at_once

if TYPE_CHECKING:  # importing it loads what features are made with
    from musichash_core.config import PipelineConfig


class NoCodesError(MusicHashError):
    """The published snapshot has no codes to search in."""

    is_wrong_input = True


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What is nearest to a query, without what the tables say of it.

    Attributes
    ----------
    track_ids : list of str
        Best first.
    distances : (n,) int32
        Hamming distances, bits.
    asymmetric : (n,) float64 or None
        Asymmetric distances, of queries that have logits.
    """

    track_ids: list[str]
    distances: NDArray[np.int32]
    asymmetric: NDArray[np.float64] | None


class PublishedCatalogue:
    """A store's published catalogue, open for questions until it is closed; safe under threads.

    Parameters
    ----------
    store : str
        Its folder.
    catalogue : ServedCatalogue
        What answers; closed with this object.
    config : PipelineConfig, optional
        Settings that the features of files are made with; by default the usual ones.
    """

    def __init__(
        self, store: str, catalogue: ServedCatalogue, config: "PipelineConfig | None"
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._config = config

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the service; questions that are being answered still are."""
        self._catalogue.close()

    @property
    def problem(self) -> str | None:
        """Why the current snapshot does not answer but the one before; None when all is well."""
        return self._catalogue.problem

    @property
    def snapshot(self) -> int:
        """Number of the snapshot that answers now."""
        with self._catalogue.serving() as served:
            return served.snapshot.number

    # --- with what is known of the answers -------------------------------------------------------

    def search_track(
        self,
        name: str,
        reach: Reach | None = None,
        filters: Filters | None = None,
        *,
        by: Compared = "track",
        is_explained: bool = False,
    ) -> Answer:
        """Find the tracks most similar to one of the catalogue; that track itself is left out.

        Parameters
        ----------
        name : str
            Its id (at least the first 6 digits) or its path, with or without the catalogue root.
        reach : Reach, optional
            The 10 nearest by default.
        filters : Filters, optional
            What matches must have.
        by : str
            ``track`` compares codes of whole tracks: what sounds alike; ``segments`` compares
            windows of ten seconds: what has the same sound in it; ``auto`` gives what has the same
            sound first, and then what sounds alike.
        is_explained : bool
            Whether each match says why it was found.

        Raises
        ------
        UnknownTrackError
            If the snapshot does not have the track, or several have the name.
        UnknownFilterError
            If a filter names what no track has.
        NoCodesError, NoWindowsError
            If the snapshot has no codes, or no windows to compare.
        """
        with self._searching() as served:
            row = TrackNames(served).row(name)
            about: dict[str, Any] = {}
            if is_explained:
                (about,) = served.facts(np.array([row]), with_probabilities=True)
            windows = None if by == "track" else served.segments.windows_of(row)
            asking = Asking(reach or Reach(), filters or Filters(), by, is_explained)
            return asking.answer(served, name, served.query_of_row(row), windows, about)

    def search_file(
        self,
        path: str,
        reach: Reach | None = None,
        filters: Filters | None = None,
        *,
        by: Compared = "auto",
        is_explained: bool = False,
    ) -> Answer:
        """Find the tracks most similar to an audio file, which need not be in the catalogue.

        Parameters
        ----------
        path : str
            The file.
        by : str
            As for `search_track`; ``auto`` looks for the same sound only where the file is an
            excerpt, of 10 to 35 s. The others as there, too.

        Raises
        ------
        QueryFileError
            If the file cannot be decoded.
        FingerprintMismatchError
            If the models read other features than the configuration makes.
        UnknownFilterError, NoCodesError, NoWindowsError
            As `search_track`.
        """
        from musichash_core.config import PipelineConfig
        from tasks.search_files import query_of_file

        config = self._config or PipelineConfig()
        with self._searching() as served:
            file = query_of_file(self._store, path, config, generation=served.snapshot.generation)
            if by == "auto" and not is_excerpt(file.facts["duration_s"]):
                by = "track"
            query = _query_of_logits(file.encoded.hash_logits)
            starts_s = file.windows.starts_s if is_excerpt(file.facts["duration_s"]) else None
            windows = Windows(file.windows.codes, file.windows.logits, starts_s)
            asking = Asking(reach or Reach(), filters or Filters(), by, is_explained)
            return asking.answer(served, path, query, windows, file.facts)

    def search_code(
        self,
        code: str,
        reach: Reach | None = None,
        filters: Filters | None = None,
        *,
        is_explained: bool = False,
    ) -> Answer:
        """Find the tracks whose codes are nearest to a code; equal distances are ordered by id.

        Parameters
        ----------
        code : str
            Hexadecimal, as 'musichash export codes' writes codes; the others as for `search_track`.

        Raises
        ------
        ParameterError
            If it is no code of the snapshot's length.
        UnknownFilterError, NoCodesError
            As `search_track`.
        """
        with self._searching() as served:
            query = Query(served.code_from_hex(code))
            asking = Asking(reach or Reach(), filters or Filters(), "track", is_explained)
            return asking.answer(served, code, query, None, {})

    # --- ids and distances alone, many queries at once -------------------------------------------

    def nearest_to_tracks(
        self,
        track_ids: Sequence[str],
        reach: Reach | None = None,
        filters: Filters | None = None,
    ) -> list[Found]:
        """Find what is nearest to each of several tracks, in one snapshot; as `search_track`.

        Parameters
        ----------
        track_ids : sequence of str
            Whole ids.

        Raises
        ------
        UnknownTrackError
            If the snapshot has no code of one of them.
        """
        with self._searching() as served:
            rows = served.code_rows.rows_of(track_ids)
            if (rows < 0).any():
                missing = track_ids[int(np.flatnonzero(rows < 0)[0])]
                raise UnknownTrackError(
                    f"snapshot {served.snapshot.number} has no code of a track {missing!r}"
                )
            return _found(served, served.queries_of_rows(rows), reach, filters)

    def nearest_to_codes(
        self,
        codes: NDArray[np.uint8],
        reach: Reach | None = None,
        filters: Filters | None = None,
    ) -> list[Found]:
        """Find what is nearest to each of several codes ``(n, code_bytes)``, in one snapshot.

        Raises
        ------
        ParameterError
            If the codes have another width than the snapshot's.
        """
        with self._searching() as served:
            return _found(served, [Query(code) for code in codes], reach, filters)

    def nearest_to_logits(
        self,
        logits: NDArray[np.float32],
        reach: Reach | None = None,
        filters: Filters | None = None,
    ) -> list[Found]:
        """Find what is nearest to real-valued codes ``(n, n_bits)``; as `nearest_to_codes`."""
        with self._searching() as served:
            queries = [_query_of_logits(one) for one in logits]
            return _found(served, queries, reach, filters)

    @contextmanager
    def _searching(self) -> Iterator[ServedSnapshot]:
        with self._catalogue.serving() as served:
            check_has_codes(served)
            yield served


def check_has_codes(served: ServedSnapshot) -> None:
    """Refuse to search where nothing can be found; raises NoCodesError."""
    if not served.n_codes:
        raise NoCodesError(
            f"snapshot {served.snapshot.number} of {served.layout.root} has no codes: no track of "
            f"it has features; 'musichash failures --store {served.layout.root}' says why"
        )


def _query_of_logits(logits: NDArray[np.float32]) -> Query:
    from musichash_core.codes import logits_to_codes

    return Query(logits_to_codes(logits), np.asarray(logits, np.float32))


def _found(
    served: ServedSnapshot,
    queries: Sequence[Query],
    reach: Reach | None,
    filters: Filters | None,
) -> list[Found]:
    reach = reach or Reach()
    at_once = queries_at_once(reach)
    answers: list[Hits] = []
    for start in range(0, len(queries), at_once):
        answers += served.nearest(queries[start : start + at_once], reach, filters)
    return [
        Found(served.code_rows.ids_of(hits.rows), hits.distances, hits.asymmetric)
        for hits in answers
    ]
