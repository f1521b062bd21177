"""Which published tracks an answer may name: by collection, genre, label, duration and year.

Columns are read when a filter first needs them and kept as numbers: 4 bytes a row for genre and for
label, 8 for the duration, 2 for the year, one for each collection that was asked for.

Public: `Filters`, `RowFilters`, `UnknownFilterError`.
"""

import difflib
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from storage.collections import read_collections
from storage.errors import DamagedArtefactError, StoreError
from storage.layout import StoreLayout
from storage.served_table import ServedTable

T = TypeVar("T")

SHOWN_VALUES = 12
NEAR_VALUES = 3
NO_YEAR = -1
BELOW = "below"
KEPT_FOLDERS = 64
"""Folders of which it is remembered which tracks lie below, a byte for each: anybody may ask for
any."""


class UnknownFilterError(StoreError, ValueError):
    """A filter names a genre, label or collection that no published track has."""

    is_wrong_input = True


@dataclass(frozen=True, slots=True)
class Filters:
    """What tracks must have to be answers; nothing given means that all may be.

    Attributes
    ----------
    genres : tuple of str
        Predicted genres, of which a track has one; upper and lower case are the same.
    labels : tuple of str
        Labels that the owner gave, likewise.
    collections : tuple of str
        Names of registered collections, or folders: a track lies below one of them.
    duration_s : (float, float), optional
        Least and greatest duration in seconds, both included.
    years : (int, int), optional
        First and last year that the file's tags may name, both included.

    Raises
    ------
    ParameterError
        If one text is given where several may be.
    """

    genres: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    duration_s: tuple[float, float] | None = None
    years: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("genres", "labels", "collections"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise ParameterError(f"{name}={value!r} is one text; give several: ({value!r},)")
            object.__setattr__(self, name, tuple(value))
        for name in ("duration_s", "years"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))

    def __bool__(self) -> bool:
        return self != Filters()

    def as_dict(self) -> dict[str, Any]:
        """Give what is filtered by, for JSON; the open end of a span is None."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: [None if end in {math.inf, -math.inf} else end for end in value]
            for name, value in named.items()
            if value
        }


class RowFilters:
    """Finds the rows of the codes table that filters select; safe under threads.

    Parameters
    ----------
    tracks, predictions : ServedTable
        Of the snapshot.
    n_codes : int
        Rows of its codes table: one for each row of `predictions`, and for each of `tracks` that
        did not fail, in the same order.
    """

    def __init__(
        self, layout: StoreLayout, *, tracks: ServedTable, predictions: ServedTable, n_codes: int
    ) -> None:
        self._layout = layout
        self._tracks = tracks
        self._predictions = predictions
        self._n_codes = n_codes
        self._made: dict[tuple[str, ...], Any] = {}
        self._lock = threading.RLock()

    def rows(self, filters: Filters) -> NDArray[np.int64]:
        """Give the selected rows, ascending.

        Raises
        ------
        UnknownFilterError
            If no published track has a genre or label, or there is no such collection.
        """
        is_chosen = np.ones(self._n_codes, dtype=bool)
        if filters.genres:
            is_chosen &= self._has_one(self._predictions, "genre", filters.genres)
        if filters.labels:
            is_chosen &= self._of_codes(self._has_one(self._tracks, "label", filters.labels))
        if filters.collections:
            below = [self._is_below(self._root_of(name)) for name in filters.collections]
            is_chosen &= self._of_codes(np.any(below, axis=0))
        if filters.duration_s is not None:
            is_chosen &= self._of_codes(self._between("duration_s", np.nan, filters.duration_s))
        if filters.years is not None:
            is_chosen &= self._of_codes(self._between("tag_year", NO_YEAR, filters.years))
        return np.flatnonzero(is_chosen)

    def values(self, name: str) -> list[str]:
        """List the different texts of the column ``genre``, ``label`` or ``root``, sorted."""
        table = self._predictions if name == "genre" else self._tracks
        return sorted(self._terms(table, name)[0])

    # --- one condition each ----------------------------------------------------------------------

    def _has_one(self, table: ServedTable, name: str, wanted: Sequence[str]) -> NDArray[np.bool_]:
        terms, places = self._terms(table, name)
        by_folded: dict[str, list[int]] = {}
        for term, place in terms.items():
            by_folded.setdefault(term.casefold(), []).append(place)
        chosen: list[int] = []
        for one in wanted:
            if one.casefold() not in by_folded:
                raise _unknown(f"no published track has the {name} {one!r}", one, sorted(terms))
            chosen += by_folded[one.casefold()]
        return np.isin(places, chosen)

    def _terms(self, table: ServedTable, name: str) -> tuple[dict[str, int], NDArray[np.int32]]:
        """Give the texts of a column a number each, and each row its number; -1 without text."""

        def read() -> tuple[dict[str, int], NDArray[np.int32]]:
            terms: dict[str, int] = {}
            places = np.empty(table.n_rows, np.int32)
            for start, group in zip(table.starts[:-1], table.groups([name]), strict=True):
                column = group[name].combine_chunks().dictionary_encode()
                some = [
                    terms.setdefault(term, len(terms)) for term in column.dictionary.to_pylist()
                ]
                numbers = pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)
                places[start : start + len(column)] = np.array([*some, -1], np.int32)[numbers]
            return terms, places

        return self._once(("terms", name), read)

    def _is_below(self, root: str) -> NDArray[np.bool_]:
        def read() -> NDArray[np.bool_]:
            is_below = np.zeros(self._tracks.n_rows, dtype=bool)
            for start, group in zip(
                self._tracks.starts[:-1], self._tracks.groups(["locations"]), strict=True
            ):
                places = group["locations"].combine_chunks()
                begins = pc.starts_with(places.flatten(), f"{root.rstrip('/')}/")
                owners = pc.list_parent_indices(places).filter(begins).to_numpy()
                is_below[start + owners] = True
            return is_below

        return self._once((BELOW, root), read)

    def _root_of(self, name: str) -> str:
        """Give the folder of a collection, or the folder itself where one is named."""
        registered = {one.name: one.root for one in read_collections(self._layout)}
        if name in registered:
            return registered[name]
        root = name.rstrip("/")
        if root.startswith("/") and self._is_below(root).any():
            return root
        roots = self._terms(self._tracks, "root")[0]
        raise _unknown(
            f"there is no collection {name!r}, and no published track lies below such a folder",
            name,
            sorted([*registered, *roots]),
        )

    def _between(self, name: str, empty: float, bounds: tuple[float, float]) -> NDArray[np.bool_]:
        dtype = np.float64 if np.isnan(empty) else np.int16

        def read() -> NDArray[Any]:
            columns = [
                pc.fill_null(group[name], empty).to_numpy() for group in self._tracks.groups([name])
            ]
            return np.concatenate([np.empty(0, dtype), *columns]).astype(dtype)

        values = self._once(("values", name), read)
        return np.asarray((values >= bounds[0]) & (values <= bounds[1]) & (values != NO_YEAR))

    # --- rows of tracks and rows of codes --------------------------------------------------------

    def _of_codes(self, of_tracks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Give of a value per track those of the tracks that have codes."""

        def read() -> NDArray[np.bool_]:
            statuses = [
                pc.equal(group["status"], "ok").to_numpy()
                for group in self._tracks.groups(["status"])
            ]
            return np.concatenate([np.empty(0, bool), *statuses])

        is_encoded = self._once(("encoded",), read)
        if int(is_encoded.sum()) != self._n_codes:
            raise DamagedArtefactError(
                f"the tables disagree: {int(is_encoded.sum())} tracks did not fail, "
                f"{self._n_codes} have codes; 'musichash reconcile --store {self._layout.root}' "
                "mends it"
            )
        return np.asarray(of_tracks[is_encoded])

    def _once(self, key: tuple[str, ...], read: Callable[[], T]) -> T:
        with self._lock:
            if key not in self._made:
                self._made[key] = read()
                folders = [made for made in self._made if made[0] == BELOW]
                for oldest in folders[:-KEPT_FOLDERS]:
                    del self._made[oldest]
            made: T = self._made[key]
            return made


def _unknown(what: str, name: str, known: Sequence[str]) -> UnknownFilterError:
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=NEAR_VALUES, cutoff=0.5)
    if near:
        return UnknownFilterError(
            f"{what}; the nearest: {', '.join(repr(folded[one]) for one in near)}"
        )
    shown = ", ".join(map(repr, known[:SHOWN_VALUES])) or "none"
    dots = f" and {len(known) - SHOWN_VALUES} more" if len(known) > SHOWN_VALUES else ""
    return UnknownFilterError(f"{what}; there are {shown}{dots}")
