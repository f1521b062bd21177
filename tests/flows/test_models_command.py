"""``musichash models``: what operators see and type; workers start only where codes are missing."""

import json
import shutil

import pytest

from storage.generations import selected_generation
from storage.receipts import finished_partitions
from storage.runs import read_runs
from storage.store import create_store, open_store
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.plan import make_plan
from tasks.scan import look, record
from tasks.train import train


@pytest.fixture
def two_models(tones, tmp_path, tiny_config):
    """A published store, and a candidate with codes of every track; made without workers."""
    store, fingerprint = str(tmp_path / "store"), tiny_config.feature_fingerprint
    create_store(store)
    catalogue = look(store, [str(tones)]).catalogue
    record(store, catalogue)
    for partition in make_plan(store, catalogue, tiny_config).partitions:
        extract_partition(store, partition, tiny_config)
    first = train(store, tiny_config, device="cpu").generation
    hashing = tiny_config.models.crnn_hash.model_copy(update={"n_bits": 32})
    models = tiny_config.models.model_copy(update={"crnn_hash": hashing})
    other = tiny_config.model_copy(update={"models": models})
    second = train(store, other, device="cpu", as_candidate=True).generation
    for generation in (first, second):
        for name in partitions_to_encode(store, fingerprint, generation)[0]:
            encode_partition(store, name, fingerprint, generation)
    with begin_run(store) as opened:
        published = publish(store, tiny_config, opened.record, n_done=6, n_reused=0)
        opened.record = published.record
    return store, first, second


def test_list_shows_which_is_in_force_and_which_is_a_candidate(musichash, two_models):
    store, first, second = two_models
    spoken = musichash("models", "list", "--store", store)
    assert spoken.code == 0
    lines = {
        name: line for line in spoken.out.splitlines() for name in (first, second) if name in line
    }
    assert "in force" in lines[first]
    assert "candidate" in lines[second]
    assert "6 of 6" in lines[second]
    described = json.loads(musichash("models", "list", "--store", store, "--json").out)
    assert {entry["generation"]: entry["n_bits"] for entry in described}[second] == 32


def test_compare_prints_and_stores_figures(musichash, two_models):
    store, first, second = two_models
    arguments = ["models", "compare", first, second, "--store", store, "--k", 2, "--seed", 3]
    figures = json.loads(musichash(*arguments, "--json").out)
    assert (figures["n_common"], figures["neighbours"]["k"]) == (6, 2)
    spoken = musichash(*arguments)
    assert spoken.code == 0
    assert f"{figures['predictions']['agreement']:.1%} keep their genre" in spoken.out
    assert "codes of" in spoken.out
    assert open_store(store).comparison_path(first, second).is_file()
    assert "stay" in musichash("models", "list", "--store", store).out


def test_promote_and_roll_back(musichash, two_models):
    store, first, second = two_models
    layout = open_store(store)
    spoken = musichash("models", "promote", second[:8], "--store", store, "--dry-run")
    assert spoken.code == 0
    assert f"{second} would take the place of {first}: 6 of 6 tracks" in spoken.out
    assert "dry run: nothing was written" in spoken.out
    assert selected_generation(layout) == first
    spoken = musichash("models", "promote", second[:8], "--store", store)
    assert spoken.code == 0
    assert f"{second} is in force: snapshot 2 with 6 codes; {first} was before" in spoken.out
    again = json.loads(musichash("models", "promote", second, "--store", store, "--json").out)
    assert (again["is_new"], again["snapshot"]) == (False, 2)
    back = json.loads(musichash("models", "rollback", "--store", store, "--json").out)
    assert (back["generation"], back["before"], back["snapshot"]) == (first, second, 3)
    assert selected_generation(layout) == first
    last = read_runs(layout)[-1]
    assert (last.kind, last.seen, last.reused, last.snapshot) == ("rollback", 6, 6, 3)
    assert last.stages["promote"]["n_reused"] == 6


def test_a_roll_back_encodes_what_came_since(musichash, two_models):
    store, first, second = two_models
    layout = open_store(store)
    assert musichash("models", "promote", second, "--store", store).code == 0
    (name, *_) = finished_partitions(layout.encoded_root(first))
    shutil.rmtree(layout.encoded_partition_path(first, name))
    spoken = musichash("models", "rollback", "--store", store, "--workers", 1)
    assert spoken.code == 0, spoken.err
    assert f"{first} is in force: snapshot 3" in spoken.out
    stages = read_runs(layout)[-1].stages
    assert stages["encode"]["n_done"] > 0


def test_what_goes_wrong_is_one_sentence_and_leaves_no_run(musichash, two_models):
    store, first, second = two_models
    layout = open_store(store)
    n_runs = len(read_runs(layout))
    (name, *_) = finished_partitions(layout.encoded_root(second))
    shutil.rmtree(layout.encoded_partition_path(second, name))
    spoken = musichash("models", "promote", second, "--store", store)
    assert spoken.code == 1
    assert f"have no codes of {second}; nothing is published, {first} stays" in spoken.err
    spoken = musichash("models", "promote", "g-none", "--store", store)
    assert spoken.code == 2
    assert f"it has {', '.join(sorted([first, second]))}" in spoken.err
    spoken = musichash("models", "rollback", "--store", store, "--dry-run")
    assert spoken.code == 2
    assert "name one to 'musichash models promote'" in spoken.err
    assert len(read_runs(layout)) == n_runs


def test_every_subcommand_has_an_example(musichash):
    for name in ("list", "compare", "promote", "rollback"):
        assert f"musichash models {name}" in musichash("models", name, "--help").out
