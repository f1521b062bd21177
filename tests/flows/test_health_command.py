"""The command ``health``, and the line of ``status``, on a small store."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

STORAGE_TESTS = Path(__file__).parents[1] / "storage"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small published store: the one that the tests of storage use."""
    source = importlib.util.spec_from_file_location("stores", STORAGE_TESTS / "conftest.py")
    stores = importlib.util.module_from_spec(source)
    source.loader.exec_module(stores)
    root = tmp_path_factory.mktemp("health") / "store"
    stores._publish_small_snapshot(root)
    return root


@pytest.fixture
def store(published, tmp_path):
    """A copy of it that has not been measured."""
    root = tmp_path / "store"
    shutil.copytree(published, root)
    return root


def test_status_says_what_is_kept_and_health_measures(musichash, store):
    unmeasured = musichash("status", "--store", store)
    assert "health       not measured yet: 'musichash health' does it" in unmeasured.out

    told = musichash("health", "--store", store)

    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("snapshot 1: ok")
    assert "fewer than 100, so shares are not judged" in told.out
    for measure in ("distinct codes", "entropy of the codes", "largest correlation", "canaries"):
        assert measure in told.out
    assert "  health       ok: " in musichash("status", "--store", store).out


def test_json_has_all_of_it(musichash, store):
    spoken = musichash("health", "--store", store, "--snapshot", 1, "--json")

    found = json.loads(spoken.out)
    assert (found["snapshot"], found["level"], found["findings"]) == (1, "ok", [])
    assert len(found["bit_means"]) == found["figures"]["codes"]["n_bits"]
    assert (
        json.loads(musichash("status", "--store", store, "--json").out)["health"]["level"] == "ok"
    )


def test_thresholds_of_a_file_are_applied(musichash, store, tmp_path):
    strict = tmp_path / "strict.toml"
    strict.write_text(
        "[health]\nmin_tracks = 2\ncorrelation_warn = 0.0\ncorrelation_alarm = 0.01\n"
    )

    spoken = musichash("health", "--store", store, "--config", strict)

    assert spoken.code == 0  # a question was answered; the run decides what blocks
    assert spoken.out.startswith("snapshot 1: alarm")
    assert "alarm: bits " in spoken.out
    assert "'musichash models list'" in spoken.out


def test_thresholds_that_contradict_one_another_are_refused(musichash, store, tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[health]\nbucket_warn = 0.5\n")

    spoken = musichash("health", "--store", store, "--config", wrong)

    assert spoken.code == 2
    assert "health.bucket_warn=0.5 is above health.bucket_alarm=0.25" in spoken.err


def test_a_snapshot_that_is_not_there_is_a_wrong_usage(musichash, store):
    spoken = musichash("health", "--store", store, "--snapshot", 9)

    assert spoken.code == 2
    assert "there is no snapshot 9" in spoken.err
    assert "the latest are: 1" in spoken.err


def test_a_store_that_cannot_be_written_is_measured_all_the_same(musichash, store):
    shutil.rmtree(store / "work" / "health", ignore_errors=True)
    (store / "work").mkdir(exist_ok=True)
    (store / "work" / "health").write_text("in the way of the folder")

    assert musichash("health", "--store", store).out.startswith("snapshot 1: ok")
