"""``musichash runs`` and what ``status`` says of runs, as people and programs read them."""

import json
from dataclasses import replace

import pytest

from storage.errors import StoreError
from storage.runs import finish_run, read_runs, start_run
from storage.store import create_store
from tasks.ledger import begin_run

STAGE = {"n_done": 8, "n_reused": 1, "n_failed": 1, "audio_s": 3725.0, "wall_s": 60.0}
STAGE |= {"cpu_s": 90.5, "n_bytes": 5_000_000, "peak_memory_bytes": 400_000_000}


@pytest.fixture
def store(tmp_path):
    """A store whose ledger has three runs."""
    layout = create_store(tmp_path / "store")
    for number in range(3):
        run = start_run(layout, kind="nightly")
        if number == 1:
            run = replace(run, seen=10, done=8, reused=1, failed=1, snapshot=1, wall_s=61.0)
            run = replace(run, audio_s=3725.0, cpu_s=90.5, stages={"extract": STAGE})
        finish_run(layout, run, state="done-with-failures" if number == 1 else "done")
    return layout


def test_runs_are_listed_with_their_accounts_and_totals(musichash, store):
    spoken = musichash("runs", "--store", store.root)
    assert spoken.code == 0
    lines = [line.split() for line in spoken.out.splitlines()]
    ids = [run.run_id for run in read_runs(store)]
    assert [line[0] for line in lines if line and line[0] in ids] == ids[::-1]
    (row,) = [line for line in spoken.out.splitlines() if ids[1] in line]
    assert "10 = 8 + 1 + 1 + 0 + 0" in row
    assert "1:02:05" in row  # of audio
    assert "3 runs (2 done, 1 done-with-failures); 8 tracks and 1.03 hours of audio" in spoken.out
    assert ids[0] not in musichash("runs", "--store", store.root, "--limit", 2).out
    assert ids[0] in musichash("runs", "--store", store.root, "--limit", 0).out


def test_one_run_is_shown_with_its_stages(musichash, store):
    run_id = read_runs(store)[1].run_id
    spoken = musichash("runs", run_id, "--store", store.root)
    assert "10 seen = 8 done + 1 reused + 1 failed + 0 quarantined + 0 removed" in spoken.out
    (stage,) = [line for line in spoken.out.splitlines() if line.split()[:1] == ["extract"]]
    assert stage.split() == ["extract", "8", "1", "1", "1:02:05", "90.5", "60.0", "5.0", "400"]


def test_runs_are_json_for_programs(musichash, store):
    found = json.loads(musichash("runs", "--store", store.root, "--limit", 1, "--json").out)
    assert (found["n_runs"], len(found["runs"]), found["totals"]["done"]) == (3, 1, 8)
    run_id = read_runs(store)[1].run_id
    run = json.loads(musichash("runs", run_id, "--store", store.root, "--json").out)
    assert run["stages"]["extract"] == STAGE


def test_an_unknown_run_is_wrong_input_and_an_empty_ledger_is_not(musichash, store, tmp_path):
    spoken = musichash("runs", "1999", "--store", store.root)
    assert spoken.code == 2
    assert "there is no run '1999'" in spoken.err
    create_store(tmp_path / "empty")
    spoken = musichash("runs", "--store", tmp_path / "empty")
    assert (spoken.code, "no run yet" in spoken.out) == (0, True)


def test_status_says_who_writes(musichash, store):
    assert "writes now" not in musichash("status", "--store", store.root).out
    with begin_run(str(store.root), kind="nightly") as run:
        spoken = musichash("status", "--store", store.root)
    assert f"writes now: nightly run {run.record.run_id}, pid " in spoken.out


def test_a_run_that_stopped_names_the_command_that_tells_why(musichash, store):
    root = str(store.root)
    assert "tells why" not in musichash("status", "--store", root).out
    with pytest.raises(StoreError, match="no music"), begin_run(root, kind="nightly") as run:
        raise StoreError("no music")
    command = f"musichash logs {run.record.run_id} --store {root}"
    for asked in (("status",), ("runs", run.record.run_id)):
        assert f"'{command}' tells why" in musichash(*asked, "--store", root).out
    assert "no music" in musichash(*command.split()[1:]).out
