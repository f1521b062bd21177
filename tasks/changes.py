"""What differs between the published tracks and a catalogue, and whether too much is missing.

All of it is computed in columns: a million tracks take seconds, and no Python object each. A place
is ``root/path``. A track is one of these:

* *known* when its bytes are published. It *moved* when none of its places is one it was published
  at;
* *changed* when its bytes are not published and one of its places was, with other bytes;
* otherwise not known at all.

A published track that the catalogue no longer has is *removed*; it is *replaced* when one of its
places holds other bytes now, and *lost* when none does. Only lost tracks are what an unmounted disk
looks like.

Public: `Changes`, `RootCounts`, `compare`, `places_of`, `read_published`, `why_refused`.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.catalogue import Catalogue
from storage.layout import StoreLayout
from storage.published import read_batches
from storage.schemas import TRACKS
from storage.snapshots import current_snapshot

PUBLISHED_COLUMNS = [
    *("track_id", "root", "path", "locations", "label", "n_bytes", "duration_s"),
]

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
    tracks : pyarrow.Table
        Each track of the catalogue once, sorted by ``track_id``; ``row`` is the number of its
        first file in the catalogue, ``is_changed`` whether it is a place's new content.
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

    tracks: pa.Table
    n_published: int
    n_moved: int
    n_removed: int
    n_replaced: int
    n_relabelled: int
    n_labelled: int
    roots: tuple[RootCounts, ...]


def read_published(layout: StoreLayout | None) -> pa.Table:
    """Read the columns of the published tracks table that planning needs; empty before the first.

    A few rows at a time: the published table is never in memory as a whole.
    """
    schema = pa.schema([TRACKS.field(name).remove_metadata() for name in PUBLISHED_COLUMNS])
    snapshot = None if layout is None else current_snapshot(layout)
    if layout is None or snapshot is None:
        return schema.empty_table()
    _, batches = read_batches(layout, snapshot, "tracks", columns=PUBLISHED_COLUMNS)
    parts = [batch.select(PUBLISHED_COLUMNS).cast(schema) for batch in batches]
    return pa.Table.from_batches(parts, schema).combine_chunks()


def places_of(catalogue: Catalogue) -> pa.Table:
    """Give the files of a catalogue as columns: row, track_id, root, place, label."""
    table = catalogue.table
    return pa.table(
        {
            "row": pa.array(np.arange(len(table))),
            "track_id": table["track_id"],
            "root": table["root"],
            "place": pc.binary_join_element_wise(table["root"], table["path"], "/"),
            "label": table["label"],
        }
    )


def compare(published: pa.Table, places: pa.Table) -> Changes:
    """Tell what became of every published track, and what every track of a catalogue was.

    Parameters
    ----------
    published : pyarrow.Table
        As `read_published` gives it.
    places : pyarrow.Table
        As `places_of` gives it.
    """
    by_track = places.sort_by([("track_id", "ascending"), ("row", "ascending")])
    tracks = _first_of_each_track(by_track)
    labelled = _first_of_each_track(by_track.filter(pc.is_valid(by_track["label"])))
    ids, published_ids = tracks["track_id"], published["track_id"]
    was = _published_at(published, places["place"])
    is_same = pc.fill_null(pc.equal(was, places["track_id"]), fill_value=False)
    is_other = pc.fill_null(pc.not_equal(was, places["track_id"]), fill_value=False)

    is_known = _is_in(ids, published_ids)
    is_at_place = _is_in(ids, places["track_id"].filter(is_same))
    has_place_of_other = _is_in(ids, places["track_id"].filter(is_other))
    is_removed = pc.invert(_is_in(published_ids, ids))
    is_replaced = pc.and_(is_removed, _is_in(published_ids, was.filter(is_other)))
    is_lost = pc.and_not(is_removed, is_replaced)
    return Changes(
        tracks=tracks.select(["track_id", "row"]).append_column(
            "is_changed", pc.and_not(has_place_of_other, is_known)
        ),
        n_published=len(published),
        n_moved=_count(pc.and_not(is_known, is_at_place)),
        n_removed=_count(is_removed),
        n_replaced=_count(is_replaced),
        n_relabelled=_count_relabelled(published, labelled, is_removed),
        n_labelled=len(labelled),
        roots=_counts_by_root(published["root"], is_lost, places["root"]),
    )


def _first_of_each_track(by_track: pa.Table) -> pa.Table:
    ids = by_track["track_id"].combine_chunks()
    if len(ids) < 2:
        return by_track
    return by_track.filter(pa.concat_arrays([pa.array([True]), pc.not_equal(ids[1:], ids[:-1])]))


def _published_at(published: pa.Table, places: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give the track that each place was published with; null where none was."""
    locations = published["locations"].combine_chunks()
    ids = published["track_id"].take(pc.list_parent_indices(locations))
    return ids.take(pc.index_in(places, value_set=pc.list_flatten(locations)))


def _is_in(values: pa.ChunkedArray, others: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(values, value_set=others)


def _count(flags: pa.ChunkedArray) -> int:
    return int(pc.sum(flags).as_py() or 0)


def _count_relabelled(published: pa.Table, labelled: pa.Table, is_removed: pa.ChunkedArray) -> int:
    """Count label changes; a track's label is that of the first of its places that has one."""
    rows = pc.index_in(published["track_id"], value_set=labelled["track_id"])
    now, before = labelled["label"].take(rows), published["label"]
    only_one = pc.xor(pc.is_valid(now), pc.is_valid(before))
    differs = pc.or_(only_one, pc.fill_null(pc.not_equal(now, before), fill_value=False))
    return _count(pc.and_not(differs, is_removed))


def _counts_by_root(
    published_roots: pa.ChunkedArray, is_lost: pa.ChunkedArray, roots: pa.ChunkedArray
) -> tuple[RootCounts, ...]:
    table = pa.table({"root": published_roots, "lost": pc.cast(is_lost, pa.int64())})
    counted = table.group_by("root").aggregate([("lost", "count"), ("lost", "sum")])
    n_files = {entry["values"]: entry["counts"] for entry in pc.value_counts(roots).to_pylist()}
    return tuple(
        RootCounts(row["root"], row["lost_count"], row["lost_sum"], n_files.get(row["root"], 0))
        for row in counted.sort_by("root").to_pylist()
    )


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
