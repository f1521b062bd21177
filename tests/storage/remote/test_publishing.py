"""Publishing to a replica over real HTTP: all or nothing, once, and one of two."""

import hashlib
import json
import random
import threading

import pytest

from storage.atomic import FileDigest
from storage.errors import ArtefactMissingError, DamagedArtefactError, FormatVersionError
from storage.remote import (
    ReplicaAccessError,
    ReplicaError,
    ReplicaMovedError,
    plan_replica,
    publish_replica,
    verify_replicated_snapshot,
)
from storage.snapshots import current_snapshot


def published_files(layout, *, with_features):
    """What a replica of a store with one snapshot should hold, from the folder alone."""
    paths = [layout.marker_path, layout.current_path]
    for folder in ("snapshots", "tables", "index", "models"):
        paths += [path for path in (layout.root / folder).rglob("*") if path.is_file()]
    for folder in ("features", "encoded"):
        pattern = "*" if with_features else "*/receipt.json"
        found = [path for path in (layout.root / folder).rglob(pattern) if path.is_file()]
        paths += found if with_features else (layout.root / folder).glob("*/*/receipt.json")
    return {layout.relative(path): path.read_bytes() for path in paths}


def is_well(place):
    replica = place.replica()
    return verify_replicated_snapshot(replica, replica.current()[0])[0] == []


# --- what is sent ---


def test_a_replica_holds_the_published_files_of_the_store_and_nothing_else(published, place):
    publish_replica(published, place.bucket())
    assert place.objects() == published_files(published, with_features=False)


def test_with_features_the_folders_of_the_partitions_are_there_too(published, place):
    publish_replica(published, place.bucket(), with_features=True)
    expected = published_files(published, with_features=True) | {"snapshots/000001.whole": b""}
    assert place.objects() == expected


def test_what_is_there_is_not_sent_again(published, place, publish_next, proxied):
    publish_replica(published, place.bucket())
    first = current_snapshot(published)
    second = publish_next(published)
    with proxied() as proxy:
        done = publish_replica(published, place.bucket(proxy.endpoint))
    new = {entry.path for entry in second.files} - {entry.path for entry in first.files}
    assert {entry.path for entry in done.missing} == new
    content = {
        path.partition(place.prefix)[2].strip("/")
        for method, path in proxy.requests
        if method == "PUT" and "/tables/" in path
    }
    assert content == new
    assert (done.before, done.snapshot.number) == (1, 2)
    assert place.objects().items() >= published_files(published, with_features=False).items()


def test_a_publish_of_what_is_there_moves_nothing(published, place):
    publish_replica(published, place.bucket())
    before = place.objects()
    assert publish_replica(published, place.bucket()).is_current
    assert place.objects() == before


def test_a_plan_says_what_a_publish_sends_and_sends_nothing(published, place, publish_next):
    plan = plan_replica(published, place.bucket(), with_features=False)
    assert plan.before is None
    assert place.objects() == {}
    sent = publish_replica(published, place.bucket())
    assert sent.missing == plan.missing
    publish_next(published)
    plan = plan_replica(published, place.bucket(), with_features=False)
    assert place.current() == 1
    assert publish_replica(published, place.bucket()).missing == plan.missing


def test_a_large_file_travels_in_pieces_and_wrong_content_never_appears(place, tmp_path, proxied):
    data = random.Random(1).randbytes(19 << 20)
    path = tmp_path / "large"
    path.write_bytes(data)
    entry = FileDigest("index/large.faiss", len(data), hashlib.sha256(data).hexdigest())
    with proxied() as proxy:
        place.bucket(proxy.endpoint).upload(path, entry, is_overwriting=False)
    assert sum("partNumber" in path for _, path in proxy.requests) == 3
    assert place.read("index/large.faiss") == data
    pieces = []
    assert place.bucket().download(entry, pieces.append) == entry
    assert b"".join(pieces) == data
    path.write_bytes(data[:-1] + b"?")
    other = FileDigest("index/other.faiss", entry.size, entry.sha256)
    with pytest.raises(DamagedArtefactError, match="was not uploaded"):
        place.bucket().upload(path, other, is_overwriting=False)
    assert place.read("index/other.faiss") is None


def test_a_damaged_file_of_the_store_is_not_published(published, place, publish_next):
    publish_replica(published, place.bucket())
    second = publish_next(published)
    path = published.root / second.tables["failures"][0]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DamagedArtefactError, match="was not uploaded"):
        publish_replica(published, place.bucket())
    assert place.current() == 1
    assert is_well(place)
    assert not [path for path in place.objects() if path.startswith("pending")]


def test_a_vanished_file_of_the_store_is_named(published, place):
    path = published.root / current_snapshot(published).index
    path.unlink()
    with pytest.raises(ArtefactMissingError, match=rf"{path.name} is missing; if a 'gc' ran"):
        publish_replica(published, place.bucket())


# --- direction and origin ---


def test_a_replica_goes_back_only_when_told(published, place, publish_next):
    publish_next(published)
    publish_replica(published, place.bucket())
    published.current_path.write_text("1\n")
    with pytest.raises(ReplicaMovedError, match=r"shows snapshot 2, which is later than .* 1;"):
        publish_replica(published, place.bucket())
    assert place.current() == 2
    publish_replica(published, place.bucket(), allow_rollback=True)
    assert place.current() == 1
    assert is_well(place)


def test_another_store_is_refused_until_it_adopts(published, place, publish_next, copy_store):
    other = copy_store(published, "other")
    publish_replica(published, place.bucket())
    current = current_snapshot(published)
    publish_next(other)
    other.snapshot_path(1).unlink()  # nothing is left that both have
    with pytest.raises(ReplicaError, match=r"this store .* did not publish; .* --adopt"):
        publish_replica(other, place.bucket())
    assert place.replica().current()[0] == current
    publish_replica(other, place.bucket(), adopt=True)
    assert place.replica().current()[0] == current_snapshot(other)


def test_a_store_knows_its_replica_when_its_old_snapshots_are_gone(published, place, publish_next):
    publish_replica(published, place.bucket())
    publish_next(published)
    published.snapshot_path(1).unlink()
    publish_replica(published, place.bucket())
    assert place.current() == 2


def test_a_number_that_another_store_took_is_never_overwritten(
    published, place, publish_next, copy_store
):
    other = copy_store(published, "other")
    publish_next(published)
    publish_next(other, n_failures=1)
    publish_replica(published, place.bucket())
    before = place.objects()
    with pytest.raises(ReplicaMovedError, match="another snapshot 2 than this store"):
        publish_replica(other, place.bucket(), adopt=True)
    assert place.objects() == before


# --- other things at the place ---


def test_a_prefix_that_holds_something_else_is_refused(published, place):
    place.write("holiday.jpg", b"beach")
    for work in (publish_replica, lambda *a: plan_replica(*a, with_features=False)):
        with pytest.raises(ReplicaError, match=r"is no replica of a store \(it holds 'holiday"):
            work(published, place.bucket())
    assert place.objects() == {"holiday.jpg": b"beach"}


def test_a_neighbour_with_the_same_beginning_is_no_part_of_a_replica(published, place):
    place.within("music/store2").write("holiday.jpg", b"beach")
    publish_replica(published, place.bucket())
    assert is_well(place)


def test_a_replica_of_another_format_is_refused(published, place):
    place.write("musichash-store.json", b'{"format": 99}')
    with pytest.raises(FormatVersionError, match="has format 99"):
        publish_replica(published, place.bucket())


def test_a_marker_that_is_none_is_refused(published, place):
    place.write("musichash-store.json", b"<html>")
    with pytest.raises(DamagedArtefactError, match="not the marker of a replica"):
        publish_replica(published, place.bucket())


# --- servers ---


@pytest.mark.parametrize("header", ["if-match", "if-none-match"])
def test_a_server_that_ignores_conditions_is_refused(published, place, proxied, header):
    with proxied() as proxy:
        proxy.dropped_headers = {header}
        with pytest.raises(ReplicaAccessError, match="ignores the conditions"):
            publish_replica(published, place.bucket(proxy.endpoint))
    assert list(place.objects()) == ["musichash-store.json"]


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (403, b"<Error><Code>InvalidAccessKeyId</Code></Error>", "refuses access .*InvalidAccess"),
        (403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", "check AWS_ACCESS_KEY_ID"),
        (401, b"", "refuses access"),
        (501, b"<Error><Code>NotImplemented</Code></Error>", "not support conditional writes"),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", "there is no bucket"),
        (400, b"<Error><Code>KeyTooLong</Code></Error>", "failed .KeyTooLong."),
    ],
)
def test_an_answer_of_the_server_becomes_a_sentence(
    published, place, proxied, status, body, sentence
):
    with proxied() as proxy:
        proxy.body = body
        proxy.before = lambda _, method, __: status if method == "PUT" else None
        with pytest.raises(ReplicaAccessError, match=sentence) as raised:
            publish_replica(published, place.bucket(proxy.endpoint))
    assert "\n" not in str(raised.value)
    assert place.objects() == {}


def test_a_bucket_that_is_not_there_is_named(published, s3_endpoint, place):
    nowhere = type(place)(s3_endpoint, "no-such-bucket")
    for work in (nowhere.replica, lambda: publish_replica(published, nowhere.bucket())):
        with pytest.raises(ReplicaAccessError, match="no bucket 'no-such-bucket' at http"):
            work()


def test_a_server_that_is_not_there_is_named(published, place):
    with pytest.raises(ReplicaAccessError, match=r"127\.0\.0\.1:9 cannot be reached"):
        publish_replica(published, place.bucket("http://127.0.0.1:9"))


def test_a_short_disturbance_is_lived_through(published, place, proxied):
    failed = set()

    def fail_once(number, method, path):
        if number % 3 == 1 and path not in failed:
            failed.add(path)
            return 503
        return None

    with proxied() as proxy:
        proxy.before = fail_once
        publish_replica(published, place.bucket(proxy.endpoint))
    assert len(failed) > 3
    assert is_well(place)


# --- two at once ---


def test_of_two_publishers_the_one_whose_pointer_was_moved_says_so(
    published, place, publish_next, copy_store, proxied
):
    publish_replica(published, place.bucket())
    publish_next(published)
    later = copy_store(published, "later")
    publish_next(later, n_failures=1)

    def overtake(_, method, path):
        if method == "PUT" and path.endswith("/CURRENT"):
            publish_replica(later, place.bucket())

    with proxied() as proxy:
        proxy.before = overtake
        with pytest.raises(ReplicaMovedError, match="from snapshot 1 to snapshot 3 meanwhile"):
            publish_replica(published, place.bucket(proxy.endpoint))
    assert place.current() == 3
    assert is_well(place)


def test_a_repeated_request_finds_its_own_work(published, place, publish_next, proxied):
    """The answer to a write is lost, and its repetition is refused: what is there is ours."""
    publish_replica(published, place.bucket())
    publish_next(published)
    lost = set()

    def lose(_, method, path):
        if method == "PUT" and path not in lost:
            lost.add(path)
            return proxy.CUT
        return None

    with proxied() as proxy:
        proxy.after = lose
        publish_replica(published, place.bucket(proxy.endpoint))
    assert any(path.endswith("/CURRENT") for path in lost)
    assert place.current() == 2
    assert is_well(place)


def test_publishers_that_race_leave_one_whole_snapshot(published, place, publish_next, copy_store):
    """Two stores that went apart publish other snapshots of the same number, three times."""
    stores = [published, copy_store(published, "other")]
    for number, layout in enumerate(stores):
        publish_next(layout, n_failures=number)
    for round_number in range(3):
        here = place.within(f"round/{round_number}")
        outcomes = {}
        start = threading.Barrier(2)

        def race(layout, outcomes=outcomes, start=start, here=here):
            start.wait()
            try:
                publish_replica(layout, here.bucket())
                outcomes[layout.root] = "won"
            except ReplicaError as error:
                outcomes[layout.root] = str(error)

        threads = [threading.Thread(target=race, args=(layout,)) for layout in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = [layout for layout in stores if outcomes[layout.root] == "won"]
        assert place.within(here.prefix).read("snapshots/000002.json") == (
            winner.snapshot_path(2).read_bytes()
        )
        assert here.current() == 2
        assert is_well(here)


# --- what it may not overwrite in the store ---


def test_the_store_remembers_no_more_than_digests(published, place):
    publish_replica(published, place.bucket())
    digest = hashlib.sha256(published.snapshot_path(1).read_bytes()).hexdigest()
    known = json.loads((published.work_root / "replicas.json").read_bytes())
    assert known == {"format": 1, "replicas": {place.url: [digest]}}


@pytest.mark.parametrize("damaged", [b"", b"[1]", b'{"replicas": 7}', b'{"format": 1}'])
def test_a_store_whose_memory_is_damaged_publishes_all_the_same(
    published, place, publish_next, damaged
):
    publish_replica(published, place.bucket())
    path = published.work_root / "replicas.json"
    path.write_bytes(damaged)
    publish_next(published)
    assert publish_replica(published, place.bucket()).snapshot.number == 2
    assert list(json.loads(path.read_bytes())["replicas"]) == [place.url]
