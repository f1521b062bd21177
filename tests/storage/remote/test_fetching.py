"""A fetched replica: readable, resumable, and never somebody's working store."""

import pytest

from storage.errors import DamagedArtefactError
from storage.published import read_table
from storage.remote import ReplicaError, fetch_snapshot, open_replica, publish_replica
from storage.snapshots import current_snapshot, list_snapshots
from storage.store import open_store
from storage.verify import verify_snapshot


def files_below(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".lock")
    }


def test_a_fetched_folder_reads_as_the_store(published, place, tmp_path):
    publish_replica(published, place.bucket())
    fetched = fetch_snapshot(place.replica(), tmp_path / "copy")
    copy = open_store(tmp_path / "copy")
    snapshot = current_snapshot(copy)
    assert snapshot == current_snapshot(published) == fetched.snapshot
    for name in snapshot.tables:
        assert read_table(copy, snapshot, name) == read_table(published, snapshot, name)
    theirs = files_below(published.root)
    ours = files_below(copy.root)
    assert {path for path in ours if path not in theirs} == {"fetched.json"}
    for path in set(ours) - {"fetched.json"}:
        assert ours[path] == theirs[path]
    assert not [path for path in ours if path.startswith(("features", "encoded"))]


def test_with_features_the_whole_snapshot_is_verified_there(published, place, tmp_path):
    publish_replica(published, place.bucket(), with_features=True)
    fetch_snapshot(place.replica(), tmp_path / "copy", with_features=True)
    copy = open_store(tmp_path / "copy")
    found = verify_snapshot(copy, current_snapshot(copy))
    assert found == verify_snapshot(published, current_snapshot(published))


def test_features_that_were_not_published_cannot_be_fetched(published, place, tmp_path):
    publish_replica(published, place.bucket())
    with pytest.raises(ReplicaError, match="was published without its features"):
        fetch_snapshot(place.replica(), tmp_path / "copy", with_features=True)
    assert not (tmp_path / "copy").exists()


def test_a_fetch_follows_the_replica_and_brings_only_what_is_new(
    published, place, tmp_path, publish_next
):
    publish_replica(published, place.bucket())
    first = fetch_snapshot(place.replica(), tmp_path / "copy")
    publish_next(published)
    publish_replica(published, place.bucket())
    second = fetch_snapshot(place.replica(), tmp_path / "copy")
    assert (first.n_received, second.n_received) == (first.n_files, 1)
    again = fetch_snapshot(place.replica(), tmp_path / "copy", number=1)
    assert (again.snapshot, again.n_received) == (first.snapshot, 0)
    copy = open_store(tmp_path / "copy")
    assert list_snapshots(copy) == [1, 2]
    assert current_snapshot(copy) == first.snapshot


@pytest.mark.parametrize("content", ["a store", "other files", "a file", "another replica"])
def test_a_folder_that_is_not_of_a_fetch_is_left_alone(
    published, place, tmp_path, content, copy_store
):
    publish_replica(published, place.bucket())
    target = tmp_path / "target"
    if content == "a store":
        copy_store(published, "target")
    elif content == "another replica":
        other = place.within("other")
        publish_replica(published, other.bucket())
        fetch_snapshot(other.replica(), target)
    elif content == "a file":
        target.write_text("text")
    else:
        target.mkdir()
        (target / "thesis.txt").write_text("text")
    before = files_below(target) if target.is_dir() else target.read_text()
    sentences = {
        "a store": "is a store that was not fetched",
        "other files": "is not empty",
        "a file": "is a file",
        "another replica": "was fetched from .*other, not from",
    }
    with pytest.raises(ReplicaError, match=sentences[content]):
        fetch_snapshot(place.replica(), target)
    assert (files_below(target) if target.is_dir() else target.read_text()) == before


def test_an_interrupted_fetch_shows_nothing_new_and_goes_on(
    published, place, tmp_path, publish_next, proxied
):
    publish_replica(published, place.bucket())
    copy = tmp_path / "copy"
    fetch_snapshot(place.replica(), copy)
    publish_next(published)
    publish_replica(published, place.bucket(), with_features=True)

    class CutOffError(Exception):
        pass

    def stop(done, total):
        if done > total / 2:
            raise CutOffError

    with pytest.raises(CutOffError):
        fetch_snapshot(place.replica(), copy, with_features=True, on_progress=stop)
    layout = open_store(copy)
    assert current_snapshot(layout).number == 1
    assert not list(copy.rglob(".tmp-*"))
    with proxied() as proxy:
        replica = open_replica(place.bucket(proxy.endpoint))
        done = fetch_snapshot(replica, copy, with_features=True)
    assert 0 < done.n_received < done.n_files
    received = [path for method, path in proxy.requests if method == "HEAD"]
    assert len(received) == done.n_received
    assert current_snapshot(layout).number == 2
    assert verify_snapshot(layout, current_snapshot(layout))[0] == []


def test_a_damaged_object_is_not_fetched(published, place, tmp_path, publish_next):
    publish_replica(published, place.bucket())
    copy = tmp_path / "copy"
    fetch_snapshot(place.replica(), copy)
    second = publish_next(published)
    publish_replica(published, place.bucket())
    place.flip(second.tables["failures"][0])
    with pytest.raises(DamagedArtefactError, match=r"changed; send it again with .*--mend"):
        fetch_snapshot(place.replica(), copy)
    assert current_snapshot(open_store(copy)).number == 1
    assert not (copy / second.tables["failures"][0]).exists()


def test_a_fetch_mends_its_folder(published, place, tmp_path):
    publish_replica(published, place.bucket())
    copy = tmp_path / "copy"
    fetch_snapshot(place.replica(), copy)
    path = copy / current_snapshot(published).index
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + b"?")
    assert fetch_snapshot(place.replica(), copy).n_received == 1
    assert path.read_bytes() == sound
