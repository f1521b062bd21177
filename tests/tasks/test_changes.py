"""What changed since the published tracks, compared with a model in plain Python."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musichash_core.records import SourceFile
from storage import id_ranges, temporary_rows
from storage.catalogue import Catalogue, CatalogueRow
from storage.id_ranges import count_ranges
from tasks.changes import Comparison, RootCounts, compare, why_refused
from tasks.published_tracks import PublishedTracks, published_schema

ROOTS = ("/a", "/b")
CONTENTS = "uvwxyz"
LABELS = (None, "low", "high")


def track_id(content):
    return f"{ord(content) * 0x9E3779B1 % 2**32:08x}{ord(content):024x}"


def catalogue_of(files):
    """Make a catalogue of (root, path) -> (content, label)."""
    rows = [
        CatalogueRow(SourceFile(track_id(content), root, path, path.encode(), 10, 0), label=label)
        for (root, path), (content, label) in sorted(files.items())
    ]
    return Catalogue(tuple(rows), ())


def by_content(files):
    """Group files by content: content -> (first root, path, all places, first label)."""
    tracks = {}
    for (root, path), (content, label) in sorted(files.items()):
        first = tracks.setdefault(content, [root, path, [], None])
        first[2].append(f"{root}/{path}")
        first[3] = first[3] or label
    return tracks


def published_of(files, batch_rows=3):
    """Make what a run on these files publishes."""
    tracks = sorted(by_content(files).items(), key=lambda entry: track_id(entry[0]))
    columns = {
        "track_id": [track_id(content) for content, _ in tracks],
        "root": [track[0] for _, track in tracks],
        "path": [track[1] for _, track in tracks],
        "locations": [track[2] for _, track in tracks],
        "label": [track[3] for _, track in tracks],
        "n_bytes": [10] * len(tracks),
        "duration_s": [1.0] * len(tracks),
    }
    table = pa.table(columns, schema=published_schema())
    return PublishedTracks(table.to_batches(batch_rows), count_ranges(len(files)))


def compared(before, after):
    with published_of(before) as published:
        return compare(published, catalogue_of(after))


def tracks_compared(before, after):
    """Give each track of the catalogue with its first row and whether it is changed, in order."""
    catalogue = catalogue_of(after)
    n_ranges = count_ranges(max(len(before), len(after)))
    with (
        published_of(before) as published,
        Comparison(published, catalogue, n_ranges) as comparison,
    ):
        return [
            track
            for tracks in comparison.ranges()
            for track in zip(
                tracks.track_ids.to_pylist(),
                tracks.files["row"].take(pa.array(tracks.first)).to_pylist(),
                tracks.is_changed.tolist(),
                strict=True,
            )
        ]


catalogues = st.dictionaries(
    st.tuples(
        st.sampled_from(ROOTS), st.sampled_from(["1.ogg", "\\xff.ogg", "d/3", "d-e/3", "d.e"])
    ),
    st.tuples(st.sampled_from(CONTENTS), st.sampled_from(LABELS)),
)


@given(before=catalogues, after=catalogues, rows_at_once=st.sampled_from([1, 2, 65_536]))
@settings(max_examples=300, deadline=None)
def test_every_count_is_that_of_a_plain_comparison(before, after, rows_at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_ranges, "RANGE_ROWS", rows_at_once)
        patch.setattr(id_ranges, "BUFFER_ROWS", rows_at_once)
        patch.setattr(temporary_rows, "KEPT_ROWS", rows_at_once)
        check_every_count(before, after)


def check_every_count(before, after):
    old, new = by_content(before), by_content(after)
    was_at = {place: content for content, track in old.items() for place in track[2]}
    is_at = {place: content for content, track in new.items() for place in track[2]}

    changed = {
        content
        for content, track in new.items()
        if content not in old and any(place in was_at for place in track[2])
    }
    moved = {c for c in new if c in old and not set(new[c][2]) & set(old[c][2])}
    removed = old.keys() - new.keys()
    replaced = {content for content in removed if any(place in is_at for place in old[content][2])}
    relabelled = {
        content for content in old.keys() & new.keys() if old[content][3] != new[content][3]
    }

    changes = compared(before, after)
    tracks = tracks_compared(before, after)
    assert [id for id, _, _ in tracks] == sorted(map(track_id, new))
    assert {id for id, _, is_changed in tracks if is_changed} == set(map(track_id, changed))
    rows = catalogue_of(after).rows
    for id, row, _ in tracks:
        assert rows[row].file.track_id == id
        assert all(other.file.track_id != id for other in rows[:row])
    assert changes.n_tracks == len(new)
    assert changes.n_published == len(old)
    assert changes.n_moved == len(moved)
    assert changes.n_removed == len(removed)
    assert changes.n_replaced == len(replaced)
    assert changes.n_relabelled == len(relabelled)
    assert changes.n_labelled == sum(track[3] is not None for track in new.values())
    lost = removed - replaced
    assert changes.roots == tuple(
        RootCounts(
            root,
            n_published=sum(track[0] == root for track in old.values()),
            n_lost=sum(old[content][0] == root for content in lost),
            n_files=sum(place[0] == root for place in after),
        )
        for root in ROOTS
        if any(track[0] == root for track in old.values())
    )


def files(root, contents):
    return {(root, f"{content}.ogg"): (content, None) for content in contents}


def test_two_files_that_change_places_have_moved_and_nothing_changed():
    before = {("/a", "1"): ("u", None), ("/a", "2"): ("v", None)}
    after = {("/a", "1"): ("v", None), ("/a", "2"): ("u", None)}
    changes = compared(before, after)
    assert (changes.n_moved, changes.n_removed) == (2, 0)
    assert not any(is_changed for _, _, is_changed in tracks_compared(before, after))


def test_a_parent_folder_named_as_root_moves_nothing():
    before = {("/m/a", "1"): ("u", None), ("/m/b", "1"): ("v", None)}
    after = {("/m", "a/1"): ("u", None), ("/m", "b/1"): ("v", None)}
    changes = compared(before, after)
    assert (changes.n_moved, changes.n_removed) == (0, 0)
    assert why_refused(changes, 1.0) is None


# --- the prune guard ---


def test_an_unmounted_root_is_refused_although_most_tracks_of_all_are_there():
    both = files("/a", "uvwxy") | files("/b", "z")
    refusal = why_refused(compared(both, files("/a", "uvwxy")), 0.5)
    assert refusal.startswith(
        "the scan finds none of the 1 published tracks of the catalogue /b (no file below it in "
        "this scan); "
    )
    assert "mount the missing disk" in refusal
    assert "--allow-shrink" in refusal


def test_a_root_that_lost_most_is_refused_with_its_numbers():
    both = files("/a", "uvw") | files("/b", "xyz")
    refusal = why_refused(compared(both, files("/a", "uvw") | files("/b", "x")), 0.5)
    assert (
        "the scan finds 1 of the 3 published tracks, fewer than 50% (min_kept_share), of the "
        "catalogue /b; mount" in refusal
    )
    assert "/a" not in refusal


def test_enough_of_every_root_is_accepted():
    both = files("/a", "uvw") | files("/b", "xyz")
    assert why_refused(compared(both, files("/a", "uv") | files("/b", "xy")), 0.5) is None
    assert why_refused(compared({}, both), 0.5) is None


def test_what_moved_to_another_root_is_not_lost():
    both = files("/a", "uvw") | files("/b", "xyz")
    assert why_refused(compared(both, files("/a", CONTENTS)), 1.0) is None


def test_other_bytes_at_the_same_places_are_not_lost():
    # Every tag of a collection was rewritten: nothing is missing, all is to be extracted anew.
    before = {("/a", f"{number}.ogg"): (content, None) for number, content in enumerate("uvw")}
    after = {("/a", f"{number}.ogg"): (content, None) for number, content in enumerate("xyz")}
    changes = compared(before, after)
    assert (changes.n_removed, changes.n_replaced) == (3, 3)
    assert why_refused(changes, 1.0) is None


@pytest.mark.parametrize(("left", "is_refused"), [("u", False), ("", True)])
def test_with_a_share_of_0_only_an_empty_root_is_refused(left, is_refused):
    before = files("/a", "uvw") | files("/b", "xyz")
    changes = compared(before, files("/a", left) | files("/b", "xyz"))
    assert (why_refused(changes, 0.0) is not None) == is_refused


def test_a_refusal_names_three_roots_and_counts_the_others():
    before = {}
    for number, content in enumerate("uvwxy"):
        before |= files(f"/root{number}", content)
    refusal = why_refused(compared(before, files("/root0", "u")), 0.5)
    assert "/root1" in refusal
    assert "/root3" in refusal
    assert "/root4" not in refusal
    assert "1 more roots" in refusal
