"""``musichash metrics``, as a collector reads it."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from storage.store import open_store
from tasks.ledger import begin_run


@pytest.fixture
def store(tmp_path):
    """A store with one run in its ledger."""
    with begin_run(str(tmp_path / "mine.store"), create=True):
        pass
    return tmp_path / "mine.store"


def test_both_forms_are_printed_and_name_the_store(musichash, store):
    spoken = musichash("metrics", "--store", store)
    assert (spoken.code, spoken.err) == (0, "")
    families = {one.name: one for one in text_string_to_metric_families(spoken.out)}
    (done,) = [one for one in families["musichash_runs"].samples if one.labels["state"] == "done"]
    assert (done.value, done.labels["store"]) == (1, "mine.store")
    printed = json.loads(musichash("metrics", "--store", store, "--format", "json").out)
    names = {metric["name"].removesuffix("_total") for metric in printed["metrics"]}
    assert names == set(families)


def test_a_file_is_written_instead(musichash, store, tmp_path):
    spoken = musichash("metrics", "--store", store, "--output", tmp_path / "x.prom")
    assert (spoken.code, spoken.out, spoken.err) == (0, "", "")
    assert list(text_string_to_metric_families((tmp_path / "x.prom").read_text()))
    assert (tmp_path / "x.prom").stat().st_mode & 0o044  # node_exporter is another user


def test_a_folder_that_is_missing_is_named(musichash, store, tmp_path):
    spoken = musichash("metrics", "--store", store, "--output", tmp_path / "none" / "x.prom")
    assert spoken.code == 2
    assert f"there is no folder {tmp_path / 'none'}" in spoken.err
    assert not (tmp_path / "none").exists()


def test_asking_changes_nothing_in_the_store(musichash, store, file_times):
    before = file_times(store)
    assert musichash("metrics", "--store", store).code == 0
    assert file_times(store) == before
    assert open_store(str(store)).metrics_path("prom").is_file()
