"""A collection of garbage on a replica: what it keeps, what it excludes, what interrupts it."""

import time

import pytest

from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.remote import (
    ReplicaError,
    ReplicaMovedError,
    collect_replica,
    publish_replica,
    roll_back_replica,
    verify_replicated_snapshot,
)
from storage.snapshots import current_snapshot


@pytest.fixture
def three(published, place, publish_next):
    """A replica with three snapshots; give them."""
    snapshots = [current_snapshot(published)]
    publish_replica(published, place.bucket(), with_features=True)
    for n_failures in (0, 1):
        snapshots.append(publish_next(published, n_failures=n_failures))
        publish_replica(published, place.bucket())
    return snapshots


def findings_of(place, number):
    replica = place.replica()
    return verify_replicated_snapshot(replica, replica.snapshot(number))[0]


# --- gc ---


def test_gc_deletes_what_only_removed_snapshots_need(three, place):
    before = set(place.objects())
    parts = [snapshot.tables["failures"][0] for snapshot in three]
    assert len(set(parts)) == 3
    collected = collect_replica(place.replica(), keep=2)
    gone = {parts[0], "snapshots/000001.json", "snapshots/000001.whole"}
    assert before - set(place.objects()) == gone
    assert set(place.objects()) <= before
    assert (collected.kept, collected.removed, collected.n_objects) == ([2, 3], [1], 1)
    assert findings_of(place, 2) == findings_of(place, 3) == []


def test_gc_keeps_the_current_snapshot_however_old(three, place):
    roll_back_replica(place.replica(), 1)
    collected = collect_replica(place.replica(), keep=1)
    assert (collected.kept, collected.removed) == ([1, 3], [2])
    assert findings_of(place, 1) == findings_of(place, 3) == []


def test_gc_removes_what_killed_uploads_left(three, place):
    stray = "tables/tracks/" + "0" * 24 + ".parquet"
    place.write(stray, b"half")
    place.write("notes.txt", b"of somebody else")
    assert collect_replica(place.replica(), keep=9).n_objects == 1
    assert place.read(stray) is None
    assert place.read("notes.txt") == b"of somebody else"


def test_a_dry_run_of_gc_says_the_same_and_deletes_nothing(three, place):
    before = place.objects()
    planned = collect_replica(place.replica(), keep=1, dry_run=True)
    assert place.objects() == before
    assert collect_replica(place.replica(), keep=1) == planned


def test_gc_keeps_what_is_about_to_become_current(three, place, publish_next, published, proxied):
    """A snapshot goes back to a part that only an old one needs, while that one is collected."""
    again = publish_next(published)
    (part,) = again.tables["failures"]
    assert part == three[1].tables["failures"][0]
    seen = []

    def collect_meanwhile(_, method, path):
        if method == "PUT" and path.endswith("/CURRENT"):
            seen.append(collect_replica(place.replica(), keep=1))

    with proxied() as proxy:
        proxy.before = collect_meanwhile
        publish_replica(published, place.bucket(proxy.endpoint))
    assert seen[0].removed == [1, 2]
    assert findings_of(place, 4) == []
    assert set(place.objects()) >= {part}


def test_nobody_publishes_while_objects_are_deleted(three, place, publish_next, published, proxied):
    publish_next(published)
    refusals = []

    def publish_meanwhile(_, method, path):
        if method == "POST" and "delete" in path and not refusals:
            for work in (
                lambda: publish_replica(published, place.bucket()),
                lambda: roll_back_replica(place.replica(), 2),
                lambda: collect_replica(place.replica(), keep=1),
            ):
                with pytest.raises(ReplicaMovedError, match="wait for it") as raised:
                    work()
                refusals.append(raised.value)

    with proxied() as proxy:
        proxy.before = publish_meanwhile
        bucket = place.bucket(proxy.endpoint)
        collect_replica(type(place.replica())(bucket), keep=1)
    assert len(refusals) == 3
    publish_replica(published, place.bucket())
    assert place.current() == 4
    assert not [path for path in place.objects() if path.startswith("pending")]


def test_a_killed_gc_is_gone_on_with(three, place, published, publish_next):
    place.write("pending/gc.json", b"{}")
    place.remove("snapshots/000001.json")
    publish_next(published)
    with pytest.raises(ReplicaMovedError, match="'musichash replica gc --take-over'"):
        publish_replica(published, place.bucket())
    with pytest.raises(ReplicaMovedError, match="go on with --take-over"):
        collect_replica(place.replica(), keep=3)
    collect_replica(place.replica(), keep=3, take_over=True)
    assert three[0].tables["failures"][0] not in place.objects()
    publish_replica(published, place.bucket())
    assert findings_of(place, 4) == []


def test_gc_of_an_unreadable_replica_deletes_nothing(three, place):
    place.flip("snapshots/000003.json")
    before = place.objects()
    with pytest.raises(DamagedArtefactError):
        collect_replica(place.replica(), keep=1)
    assert place.objects() == before


# --- rollback ---


def test_a_rollback_goes_one_back_or_to_what_is_named(three, place):
    assert roll_back_replica(place.replica(), None) == (3, 2)
    assert place.replica().current()[0] == three[1]
    assert roll_back_replica(place.replica(), 3) == (2, 3)
    assert roll_back_replica(place.replica(), 1) == (3, 1)
    with pytest.raises(ReplicaError, match=r"no snapshot before 1; name one of \[1, 2, 3\]"):
        roll_back_replica(place.replica(), None)
    with pytest.raises(ArtefactMissingError, match=r"has no snapshot 7; it has \[1, 2, 3\]"):
        roll_back_replica(place.replica(), 7)


def test_the_store_publishes_forward_again_after_a_rollback(three, place, published):
    roll_back_replica(place.replica(), 1)
    publish_replica(published, place.bucket())
    assert place.current() == 3


def test_a_rollback_to_an_incomplete_snapshot_is_refused(three, place):
    place.remove(three[1].tables["failures"][0])
    with pytest.raises(ReplicaError, match="is not complete"):
        roll_back_replica(place.replica(), 2)
    assert place.current() == 3


@pytest.mark.parametrize("text", [b"", b"seven\n", b"0\n", b"3 sha256:" + b"0" * 64 + b"\n"])
def test_a_damaged_pointer_is_mended_by_a_rollback(three, place, text):
    place.write("CURRENT", text)
    with pytest.raises(DamagedArtefactError, match="'musichash replica rollback --snapshot N'"):
        place.replica().current()
    roll_back_replica(place.replica(), 3)
    assert place.replica().current()[0] == three[2]


def test_pins_are_old_by_the_clock_of_the_server(three, place, monkeypatch):
    from datetime import timedelta

    from storage.remote import collecting

    manifest = place.read("snapshots/000001.json")
    place.write("pending/000001-0011223344556677.json", manifest)
    assert collect_replica(place.replica(), keep=1, dry_run=True).n_objects == 1
    monkeypatch.setattr(collecting, "PIN_LIFETIME", timedelta(seconds=1))
    time.sleep(2.1)
    collect_replica(place.replica(), keep=1)
    assert three[0].tables["failures"][0] not in place.objects()
    assert not [path for path in place.objects() if path.startswith("pending")]
