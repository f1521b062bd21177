"""An open catalogue follows what is published, and no answer mixes two snapshots."""

import shutil
import threading

import numpy as np
import pytest

from storage import served_catalogue
from storage.errors import DamagedArtefactError, StoreError
from storage.garbage import collect, plan_collection
from storage.snapshots import current_snapshot
from storage.store import open_store
from tasks.search import NoCodesError, Reach, open_catalogue, search_track

N_TRACKS = 60
N_BITS = 32
N_SNAPSHOTS = 10


def publish(made_up, store, number):
    """Publish a snapshot all of whose tracks have the number for a genre."""
    rng = np.random.default_rng(number)
    logits = rng.standard_normal((N_TRACKS + number % 3, N_BITS)).astype(np.float32)
    n = len(logits)
    return made_up.publish_made_up(
        store, logits, genre=[f"genre {number}"] * n, path=[f"{number}/{at}" for at in range(n)]
    )


def test_an_open_catalogue_answers_from_the_newest_snapshot(store, made_up):
    publish(made_up, store, 1)
    first = made_up.track_ids(range(N_TRACKS + 1))[0]
    with open_catalogue(store) as catalogue:
        assert catalogue.search_track(first).matches[0].genre == "genre 1"
        publish(made_up, store, 2)
        answer = catalogue.search_track(first)
        assert answer.snapshot == catalogue.snapshot == 2
        assert {match.genre for match in answer.matches} == {"genre 2"}


def test_one_that_seldom_looks_keeps_to_its_snapshot(store, made_up):
    publish(made_up, store, 1)
    with open_catalogue(store, look_every_s=3600) as catalogue:
        publish(made_up, store, 2)
        assert catalogue.snapshot == 1


def test_searching_while_snapshots_come_and_go_never_fails_and_never_mixes(store, made_up):
    layout = open_store(store)
    publish(made_up, store, 1)
    is_over = threading.Event()
    seen, problems = set(), []

    def search():
        try:
            while not is_over.is_set():
                answer = catalogue.search_track("00000000", Reach(20))
                genres = {match.genre for match in answer.matches}
                folders = {match.path.split("/")[2] for match in answer.matches}
                expected = f"{answer.snapshot}"
                if genres != {f"genre {expected}"} or folders != {expected}:
                    problems.append((answer.snapshot, genres, folders))
                seen.add(answer.snapshot)
        except BaseException as error:
            problems.append(error)
            raise

    with open_catalogue(store) as catalogue:
        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(2, N_SNAPSHOTS + 1):
            publish(made_up, store, number)
            collect(layout, plan_collection(layout, keep=1), is_alone=True)
        while max(seen, default=0) < N_SNAPSHOTS and not problems:
            is_over.wait(0.01)
        is_over.set()
        for thread in threads:
            thread.join()
    assert problems == []
    assert len(seen) > 2
    assert catalogue.problem is None


def test_opening_while_snapshots_come_and_go_never_fails(store, made_up):
    layout = open_store(store)
    publish(made_up, store, 1)
    is_over = threading.Event()
    problems = []

    def come_and_go():
        for number in range(2, N_SNAPSHOTS):
            publish(made_up, store, number)
            collect(layout, plan_collection(layout, keep=1), is_alone=True)
        is_over.set()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    while not is_over.is_set():
        try:
            answer = search_track(store, "00000000")
        except StoreError as error:
            problems.append(str(error))
        else:
            assert {match.genre for match in answer.matches} == {f"genre {answer.snapshot}"}
    thread.join()
    assert problems == []


def test_a_new_snapshot_that_is_damaged_leaves_the_one_before_in_service(store, made_up):
    layout = open_store(store)
    publish(made_up, store, 1)
    with open_catalogue(store) as catalogue:
        publish(made_up, store, 2)
        index = layout.root / current_snapshot(layout).index
        whole = index.read_bytes()
        index.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert catalogue.search_track("00000000").snapshot == 1
        assert "index" in catalogue.problem
        index.write_bytes(whole)
        publish(made_up, store, 3)
        assert catalogue.search_track("00000000").snapshot == 3
        assert catalogue.problem is None


def damage(path):
    """Turn the last bit of a file; give what it held."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return whole


def test_a_snapshot_that_is_mended_in_place_is_served_again(store, made_up, monkeypatch):
    layout = open_store(store)
    publish(made_up, store, 1)
    with open_catalogue(store) as catalogue:
        publish(made_up, store, 2)
        index = layout.root / current_snapshot(layout).index
        whole = damage(index)
        assert catalogue.search_track("00000000").snapshot == 1
        index.write_bytes(whole)
        assert catalogue.search_track("00000000").snapshot == 1, "it is not tried at every question"
        monkeypatch.setattr(served_catalogue, "TRY_AGAIN_S", 0.0)
        assert catalogue.search_track("00000000").snapshot == 2
        assert catalogue.problem is None


def test_going_back_from_a_damaged_snapshot_ends_the_problem(store, made_up):
    layout = open_store(store)
    publish(made_up, store, 1)
    first = layout.current_path.read_bytes()
    with open_catalogue(store) as catalogue:
        publish(made_up, store, 2)
        damage(layout.root / current_snapshot(layout).index)
        assert catalogue.search_track("00000000").snapshot == 1
        assert catalogue.problem is not None
        layout.current_path.write_bytes(first)
        assert catalogue.search_track("00000000").snapshot == 1
        assert catalogue.problem is None


def test_a_pointer_that_cannot_be_read_is_a_problem_for_as_long_as_it_lasts(store, made_up):
    layout = open_store(store)
    publish(made_up, store, 1)
    pointer = layout.current_path.read_bytes()
    with open_catalogue(store) as catalogue:
        for content in (b"no number\n", None):
            layout.current_path.unlink()
            if content is not None:
                layout.current_path.write_bytes(content)
            assert catalogue.search_track("00000000").snapshot == 1
            assert str(layout.current_path) in catalogue.problem
            layout.current_path.write_bytes(pointer)
            assert catalogue.search_track("00000000").snapshot == 1
            assert catalogue.problem is None


@pytest.mark.parametrize("change", ["truncated", "foreign", "turned"])
def test_a_damaged_index_is_refused_and_the_message_names_the_way_out(store, made_up, change):
    layout = open_store(store)
    publish(made_up, store, 1)
    index = layout.root / current_snapshot(layout).index
    whole = index.read_bytes()
    index.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "foreign": b"#!/bin/sh\n",
            "turned": whole[:-1] + bytes([whole[-1] ^ 1]),
        }[change]
    )
    with pytest.raises(DamagedArtefactError, match="musichash reconcile --store"):
        search_track(store, "00000000")


def test_a_damaged_table_is_refused(store, made_up):
    layout = open_store(store)
    publish(made_up, store, 1)
    (path,) = current_snapshot(layout).tables["predictions"]
    (layout.root / path).write_bytes(b"no Parquet")
    with pytest.raises(DamagedArtefactError, match=r"is damaged: .*musichash verify --store"):
        search_track(store, "00000000")


def test_tables_of_different_tracks_are_refused(store, made_up, tmp_path):
    layout = open_store(store)
    publish(made_up, store, 2)
    (longer,) = current_snapshot(layout).tables["predictions"]
    shutil.copy(layout.root / longer, tmp_path / "longer")
    publish(made_up, store, 3)
    (path,) = current_snapshot(layout).tables["predictions"]
    shutil.copy(tmp_path / "longer", layout.root / path)
    with pytest.raises(DamagedArtefactError, match=r"predictions has 62 rows.*reconcile"):
        search_track(store, "00000000")


def test_a_snapshot_without_codes_says_so(store, made_up):
    made_up.publish_made_up(store, np.empty((0, N_BITS), np.float32))
    with open_catalogue(store) as catalogue:
        with pytest.raises(NoCodesError, match=r"snapshot 1 .* has no codes") as raised:
            catalogue.search_track("x")
        assert raised.value.is_wrong_input
        with pytest.raises(NoCodesError):
            catalogue.search_code("00000000")


def test_a_closed_catalogue_says_so(store, made_up):
    publish(made_up, store, 1)
    catalogue = open_catalogue(store)
    catalogue.close()
    with pytest.raises(StoreError, match="was closed; open it again"):
        catalogue.search_track("x")
