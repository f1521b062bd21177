"""What people call a track, and which track it is: an id, the beginning of one, or a path.

Paths are looked for in the tracks table itself, a row group at a time; nothing is kept of them.

Public: `TrackNames`, `UnknownTrackError`.
"""

import difflib
import heapq
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.errors import MusicHashError
from musichash_core.plain_text import unescape_controls
from storage.served_snapshot import ServedSnapshot

SHORTEST_ID_PREFIX = 6
NAMED_EXAMPLES = 3
COMPARED_PATHS = 5_000
"""Paths that an unknown name is compared with letter by letter; of more, those that share most of
its words."""

SHORTEST_WORD = 2

_MARKED_BYTES = re.compile("[\udc80-\udcff]")
"""Bytes of arguments and file names that are not UTF-8, as the interpreter hands them over."""


class UnknownTrackError(MusicHashError, KeyError):
    """A track is named that the published snapshot does not have."""

    is_wrong_input = True

    def __str__(self) -> str:
        return str(self.args[0])


class TrackNames:
    """Finds the tracks of a snapshot by name.

    Parameters
    ----------
    served : ServedSnapshot
        Open for as long as this is used.
    """

    def __init__(self, served: ServedSnapshot) -> None:
        self._served = served

    def row(self, name: str) -> int:
        """Give the row of the codes table of a track.

        Parameters
        ----------
        name : str
            The id, at least its first 6 digits, or a path: with its catalogue root, below it, or
            below the working folder.

        Raises
        ------
        UnknownTrackError
            If no track has the name, several have it, or the track has no code.
        """
        (row,) = self.rows([name])
        if isinstance(row, UnknownTrackError):
            raise row
        return row

    def rows(
        self, names: Sequence[str], *, with_hints: bool = True
    ) -> list[int | UnknownTrackError]:
        """Give the row of each of several tracks, or why there is none; reads the table once.

        Parameters
        ----------
        with_hints : bool
            Whether to look for the nearest path to an unknown name, which takes a while for each.
        """
        names = [_as_stored(name) for name in names]
        by_id = {name: self._of_id(name) for name in set(names)}
        by_path = self._of_paths([name for name, found in by_id.items() if found is None])
        found = {name: ids or by_path[name] for name, ids in by_id.items()}
        outcomes = {
            name: self._row_of(name, ids, with_hint=with_hints) for name, ids in found.items()
        }
        return [outcomes[name] for name in names]

    def _of_id(self, name: str) -> set[str] | None:
        """Give the track that has a whole id, in small or capital digits; None where none has."""
        track_id = name.lower()
        rows = self._served.track_rows.rows_of([track_id])
        return None if rows[0] < 0 else {track_id}

    def _of_paths(self, names: Sequence[str]) -> dict[str, set[str]]:
        """Give the tracks that lie at each path, or else whose ids begin like the name."""
        found: dict[str, set[str]] = {name: set() for name in names}
        if names:
            spelled: dict[str, set[str]] = {}
            roots = self._roots()
            for name in names:
                spellings = {name, unescape_controls(name)}
                below = {f"{root}/{spelling}" for root in roots for spelling in spellings}
                for path in {*spellings, _as_stored(str(Path(name).absolute())), *below}:
                    spelled.setdefault(path, set()).add(name)
            for path, row in self._rows_at(list(spelled)):
                track_id = self._served.track_rows.ids_of(np.array([row]))[0]
                for name in spelled[path]:
                    found[name].add(track_id)
        for name, ids in found.items():
            if not ids and len(name) >= SHORTEST_ID_PREFIX:
                rows = self._served.track_rows.rows_beginning(name.lower())
                ids.update(self._served.track_rows.ids_of(rows))
        return found

    def _rows_at(self, paths: Sequence[str]) -> list[tuple[str, int]]:
        """Give the rows of the tracks table that lie at some paths."""
        tracks = self._served.tracks
        wanted = pa.array(paths, pa.string())
        found: list[tuple[str, int]] = []
        for group in range(tracks.n_groups):
            places = tracks.group(group, ["locations"])["locations"].combine_chunks()
            every = places.flatten()
            is_wanted = pc.is_in(every, value_set=wanted)
            owners = pc.list_parent_indices(places).filter(is_wanted).to_numpy()
            rows = (tracks.starts[group] + owners).tolist()
            found += zip(every.filter(is_wanted).to_pylist(), rows, strict=True)
        return found

    def _roots(self) -> list[str]:
        return self._served.filters.values("root")

    def _row_of(self, name: str, ids: set[str], *, with_hint: bool) -> int | UnknownTrackError:
        if not ids:
            near = self.nearest_path(name) if with_hint else None
            hint = f"; the nearest path is '{near}'" if near else ""
            return UnknownTrackError(
                f"no published track has the id or path '{name}'{hint}; use --file for a file that "
                "is not in the catalogue"
            )
        if len(ids) > 1:
            some = ", ".join(sorted(ids)[:NAMED_EXAMPLES])
            return UnknownTrackError(
                f"{len(ids)} published tracks have the id or path {name!r}; give the whole id or "
                f"the path with its catalogue root: {some}"
            )
        row = int(self._served.code_rows.rows_of(sorted(ids))[0])
        if row < 0:
            return UnknownTrackError(
                f"the track {name!r} has no code because it failed; see 'musichash failures'"
            )
        return row

    # --- a name that no track has ----------------------------------------------------------------

    def nearest_path(self, name: str) -> str | None:
        """Give the path, with or without its catalogue root, that reads most like a name."""
        roots = [f"{root}/" for root in self._roots()]
        candidates: dict[str, None] = {}
        for place in self._alike(name):
            candidates[place] = None
            for root in roots:
                if place.startswith(root):
                    candidates[place.removeprefix(root)] = None
        found = difflib.get_close_matches(name, candidates, n=1, cutoff=0.0)
        return found[0] if found else None

    def _alike(self, name: str) -> list[str]:
        """Give the places that share most words with a name; all, where there are few."""
        tracks = self._served.tracks
        words = sorted({word for word in re.split(r"\W+|_", name) if len(word) >= SHORTEST_WORD})
        best: list[tuple[int, int, str]] = []
        for group in range(tracks.n_groups):
            every = tracks.group(group, ["locations"])["locations"].combine_chunks().flatten()
            shared = np.zeros(len(every), np.int64)
            for word in words if tracks.n_rows > COMPARED_PATHS else ():
                shared += pc.match_substring(every, word, ignore_case=True).to_numpy(
                    zero_copy_only=False
                )
            chosen = np.argsort(-shared, kind="stable")[:COMPARED_PATHS]
            first = int(tracks.starts[group])
            some = zip(
                (-shared[chosen]).tolist(),
                (first + chosen).tolist(),
                every.take(pa.array(chosen)).to_pylist(),
                strict=True,
            )
            best = heapq.nsmallest(COMPARED_PATHS, [*best, *some])
        return [place for _, _, place in best]


def _as_stored(name: str) -> str:
    r"""Spell a name that is not UTF-8 as the tables do: ``\xe9`` for the byte that Python marks."""
    spelled = _MARKED_BYTES.sub(lambda mark: f"\\x{ord(mark[0]) & 0xFF:02x}", name)
    return spelled.encode("utf-8", "backslashreplace").decode("utf-8")
