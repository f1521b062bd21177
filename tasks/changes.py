"""What differs between the published tracks and a catalogue, and whether too much is missing.

All of it is computed in columns: a million tracks take seconds, and no Python object each. Tracks
are compared range by range of their ids, and places part by part, so that memory hardly grows with
the catalogue: by 4 bytes per file and 2 per published track. A place is ``root/path``. A track is
one of these:

* *known* when its bytes are published. It *moved* when none of its places is one it was published
  at;
* *changed* when its bytes are not published and one of its places was, with other bytes;
* otherwise not known at all.

A published track that the catalogue no longer has is *removed*; it is *replaced* when one of its
places holds other bytes now, and *lost* when none does. Only lost tracks are what an unmounted disk
looks like.

Public: `Changes`, `RootCounts`, `Comparison`, `TracksInRange`, `compare`, `why_refused`.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.catalogue import Catalogue, places_by_track
from storage.id_ranges import IdRanges, count_ranges, first_id_after
from storage.place_parts import PlaceParts
from storage.sorted_rows import SortedRows
from storage.source_files import FILES
from tasks.published_tracks import PLACE_ROWS, TRACK_ROWS, PublishedTracks
from tasks.value_counts import value_counts

FILE_ROWS = pa.schema(
    [
        pa.field("row", pa.int64()),
        *(pa.field(field.name, field.type) for field in FILES),
        pa.field("label", pa.string()),
    ]
)
"""Files of a catalogue, with the numbers of their rows in it."""

_NAMED_ROOTS = 3


@dataclass(frozen=True, slots=True)
class RootCounts:
    """What is left of one catalogue root.

    Attributes
    ----------
    root : str
        The folder.
    n_published : int
        Published tracks whose first place lies below it.
    n_lost : int
        Those of them that have no place any more, below any root, and whose places are empty.
    n_files : int
        Files that the catalogue has below it.
    """

    root: str
    n_published: int
    n_lost: int
    n_files: int

    @property
    def n_kept(self) -> int:
        """Published tracks that the catalogue still has, or has other bytes in the place of."""
        return self.n_published - self.n_lost


@dataclass(frozen=True, slots=True)
class Changes:
    """A catalogue compared with what is published.

    Attributes
    ----------
    n_tracks : int
        Tracks of the catalogue.
    n_published : int
        Published tracks.
    n_moved : int
        Published tracks that the catalogue has at other places only.
    n_removed : int
        Published tracks that the catalogue no longer has.
    n_replaced : int
        Removed tracks of which a place holds other bytes now.
    n_relabelled : int
        Published tracks that the catalogue has under another label.
    n_labelled : int
        Tracks of the catalogue that have a label.
    roots : tuple of RootCounts
        Every root that has published tracks, sorted.
    """

    n_tracks: int = 0
    n_published: int = 0
    n_moved: int = 0
    n_removed: int = 0
    n_replaced: int = 0
    n_relabelled: int = 0
    n_labelled: int = 0
    roots: tuple[RootCounts, ...] = ()


@dataclass(frozen=True, slots=True)
class TracksInRange:
    """The tracks of a catalogue whose ids are in one range.

    Attributes
    ----------
    files : pyarrow.Table
        All their files, `FILE_ROWS`, in the order of the catalogue.
    track_ids : (n_tracks,) pyarrow.Array of str
        Sorted.
    first : (n_tracks,) int64
        Where the first file of each track stands in `files`.
    is_changed : (n_tracks,) bool
        Whether it is a place's new content.
    """

    files: pa.Table
    track_ids: pa.Array
    first: NDArray[np.int64]
    is_changed: NDArray[np.bool_]


class Comparison:
    """A catalogue beside what is published: its tracks range by range, and what became of all.

    Parameters
    ----------
    published : PublishedTracks
        As `tasks.published_tracks.read_published` gives it.
    catalogue : Catalogue
        Its rows are read once.
    n_ranges : int
        Ranges of ids, as `storage.id_ranges.count_ranges` gives them.
    """

    def __init__(self, published: PublishedTracks, catalogue: Catalogue, n_ranges: int) -> None:
        self._published = published
        self._files = IdRanges(FILE_ROWS, n_ranges)
        self._n_files_below: Counter[str] = Counter()
        self._was = np.full(catalogue.n_files, -1, np.int32)
        """The published track that each file's place had; -1 for none."""
        self._is_removed = np.zeros(len(published), bool)
        self._is_replaced = np.zeros(len(published), bool)
        """Of published tracks: whether a place of theirs holds other bytes, be they removed or not.
        """
        self._n_tracks = self._n_moved = self._n_relabelled = self._n_labelled = 0
        with ExitStack() as undone, PlaceParts(PLACE_ROWS, published.places.n_ranges) as places:
            undone.callback(self.close)
            self._read(catalogue, places)
            self._look_up(places)
            undone.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the files."""
        self._files.close()

    def _read(self, catalogue: Catalogue, places: PlaceParts) -> None:
        """Spread the files by the ids of their tracks and, where any was published, by place."""
        n_read = 0
        for batch in catalogue.batches(FILE_ROWS.names[1:]):
            rows = pa.array(np.arange(n_read, n_read + len(batch)))
            n_read += len(batch)
            columns = [batch[name] for name in FILE_ROWS.names[1:]]
            files = pa.table([rows, *columns], schema=FILE_ROWS)
            self._files.add(files)
            self._n_files_below += value_counts(batch["root"])
            if len(self._published):
                names = pc.binary_join_element_wise(batch["root"], batch["path"], "/")
                places.add(pa.table([names, rows], schema=PLACE_ROWS))

    def _look_up(self, places: PlaceParts) -> None:
        """Find what was published at the place of each file."""
        if not len(self._published):
            return
        for is_at, was_at in zip(places.tables(), self._published.places.tables(), strict=True):
            found = pc.index_in(is_at["place"], value_set=was_at["place"].combine_chunks())
            tracks = pc.fill_null(was_at["row"].combine_chunks().take(found), -1)
            self._was[is_at["row"].to_numpy()] = tracks.to_numpy()

    def ranges(self) -> Iterator[TracksInRange]:
        """Compare the tracks range by range, in the order of their ids; to be run through once."""
        pieces = (pa.Table.from_batches([batch]) for batch in self._published.rows)
        rows = SortedRows(pieces, TRACK_ROWS, source="the published table tracks")
        n_before = 0
        for number, files in enumerate(self._files.tables()):
            published = rows.below(first_id_after(number, self._files.n_ranges))
            yield self._compare(files, published, n_before)
            n_before += len(published)

    def _compare(self, files: pa.Table, published: pa.Table, n_before: int) -> TracksInRange:
        """Compare the tracks of a range; the published ones have `n_before` others before them."""
        grouped = places_by_track(files)
        ids = files["track_id"].take(pa.array(grouped.first)).combine_chunks()
        known = pc.index_in(ids, value_set=published["track_id"].combine_chunks())
        is_known = pc.is_valid(known).to_numpy(zero_copy_only=False)
        known = pc.fill_null(known, -1).to_numpy()
        # Row by row of `grouped.order`: its track here, and that which was published at its place.
        lengths = np.diff(grouped.starts, append=len(grouped.order))
        track = np.repeat(np.arange(len(ids)), lengths)
        was = self._was[files["row"].to_numpy()[grouped.order]]
        is_same = (was >= 0) & is_known[track] & (was == known[track] + n_before)
        is_other = (was >= 0) & ~is_same
        is_at_place, has_place_of_other = np.zeros((2, len(ids)), bool)
        is_at_place[track[is_same]] = True
        has_place_of_other[track[is_other]] = True
        self._is_replaced[was[is_other]] = True

        is_removed = np.ones(len(published), bool)
        is_removed[known[is_known]] = False
        self._is_removed[n_before : n_before + len(published)] = is_removed
        self._n_tracks += len(ids)
        self._n_moved += int((is_known & ~is_at_place).sum())
        labels = _labels_of_tracks(files["label"].combine_chunks(), grouped.order, track)
        self._n_labelled += len(ids) - labels.null_count
        before = published["label"].take(pa.array(known[is_known]))
        self._n_relabelled += _count_differing(labels.filter(pa.array(is_known)), before)
        return TracksInRange(files, ids, grouped.first, has_place_of_other & ~is_known)

    def changes(self) -> Changes:
        """Sum up, after the last range."""
        return Changes(
            n_tracks=self._n_tracks,
            n_published=len(self._published),
            n_moved=self._n_moved,
            n_removed=int(self._is_removed.sum()),
            n_replaced=int((self._is_removed & self._is_replaced).sum()),
            n_relabelled=self._n_relabelled,
            n_labelled=self._n_labelled,
            roots=self._count_by_root(),
        )

    def _count_by_root(self) -> tuple[RootCounts, ...]:
        is_lost = self._is_removed & ~self._is_replaced
        n_published: Counter[str] = Counter()
        n_lost: Counter[str] = Counter()
        start = 0
        for batch in self._published.rows:
            end = start + len(batch)
            lost = batch["root"].filter(pa.array(is_lost[start:end]))
            n_published += value_counts(batch["root"])
            n_lost += value_counts(lost)
            start = end
        return tuple(
            RootCounts(root, n_published[root], n_lost[root], self._n_files_below[root])
            for root in sorted(n_published)
        )


def compare(published: PublishedTracks, catalogue: Catalogue) -> Changes:
    """Tell what became of every published track, and of what kind those of a catalogue are."""
    n_ranges = count_ranges(max(catalogue.n_files, len(published)))
    with Comparison(published, catalogue, n_ranges) as comparison:
        for _ in comparison.ranges():
            pass
        return comparison.changes()


def _labels_of_tracks(
    labels: pa.Array, order: NDArray[np.int64], track: NDArray[np.int64]
) -> pa.Array:
    """Give the label of each track: that of the first of its files that has one.

    Parameters
    ----------
    labels : (n_files,) pyarrow.Array of str
        Of the files.
    order, track : (n_files,) int64
        The files by track, and the track of each, from 0.
    """
    is_labelled = pc.is_valid(labels).to_numpy(zero_copy_only=False)[order]
    tracks, places = np.unique(track[is_labelled], return_index=True)
    files = np.full(track[-1] + 1 if len(track) else 0, -1)
    files[tracks] = order[is_labelled][places]
    return labels.take(pa.array(files, mask=files < 0))


def _count_differing(now: pa.Array, before: pa.ChunkedArray) -> int:
    only_one = pc.xor(pc.is_valid(now), pc.is_valid(before))
    differs = pc.or_(only_one, pc.fill_null(pc.not_equal(now, before), fill_value=False))
    return int(pc.sum(differs).as_py() or 0)


def why_refused(changes: Changes, min_kept_share: float) -> str | None:
    """Say why a run on this catalogue must stop; None when enough of every root is left.

    A root of which nothing is left is refused whatever the share: it was left out, or its disk is
    not mounted. Enough of every root is enough of all.
    """
    short = [
        root
        for root in changes.roots
        if root.n_kept == 0 or root.n_kept < min_kept_share * root.n_published
    ]
    if not short:
        return None
    named = "; it finds ".join(_describe(root, min_kept_share) for root in short[:_NAMED_ROOTS])
    more = f"; {len(short) - _NAMED_ROOTS} more roots" if len(short) > _NAMED_ROOTS else ""
    return (
        f"the scan finds {named}{more}; mount the missing disk, name every catalogue root, or "
        "accept the loss with --allow-shrink"
    )


def _describe(root: RootCounts, min_kept_share: float) -> str:
    if root.n_kept == 0:
        files = f"{root.n_files} other files" if root.n_files else "no file"
        return (
            f"none of the {root.n_published} published tracks of the catalogue {root.root} "
            f"({files} below it in this scan)"
        )
    return (
        f"{root.n_kept} of the {root.n_published} published tracks, fewer than "
        f"{min_kept_share:.0%} (min_kept_share), of the catalogue {root.root}"
    )
