"""Promotion: wholly the old generation or wholly the new one, whatever kills it, never both."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pytest

from musichash_core.records import partition_of
from storage.atomic import digest_tree, read_json, write_json
from storage.errors import DamagedArtefactError, FingerprintMismatchError
from storage.generations import (
    UnknownGenerationError,
    announce_generation,
    select_generation,
    selected_generation,
)
from storage.indexes import read_index_info
from storage.published import read_table, require_snapshot
from storage.receipts import finished_partitions
from storage.runs import finish_run, read_runs, start_run
from storage.snapshots import current_snapshot, list_snapshots
from storage.store import open_store
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.promotion import preview_comparison, promote
from tasks.promotion_plan import (
    IncompleteGenerationError,
    NoGenerationBeforeError,
    generation_before,
    plan_promotion,
)
from tasks.scan import look, record
from tasks.search import search_track
from tasks.status import verify_store

N_TRACKS = 8


def encode_all(store, config, generation):
    for name in partitions_to_encode(store, config.feature_fingerprint, generation)[0]:
        encode_partition(store, name, config.feature_fingerprint, generation)


@pytest.fixture
def ready(two_generations, config):
    """A store where every published track has codes of both generations."""
    encode_all(two_generations.store, config, two_generations.second)
    return two_generations


def run_promotion(store, generation):
    with begin_run(store, kind="promote") as opened:
        promoted = promote(store, opened.record, generation)
        opened.record = promoted.record
    return promoted


def run_night(store, config):
    """Publish as a night does on which nothing has changed; give what it published."""
    layout = open_store(store)
    generation = selected_generation(layout)
    encode_all(store, config, generation)
    opened = start_run(layout)
    published = publish(store, config, opened, n_done=0, n_reused=N_TRACKS)
    finish_run(layout, published.record, state="done")
    return published


def generations_in(store):
    """Read everything that a snapshot says of its generation."""
    layout = open_store(store)
    snapshot = require_snapshot(layout)
    found = {snapshot.generation, read_index_info(layout, snapshot.index_info)["generation"]}
    for name in ("predictions", "codes"):
        found |= set(pc.unique(read_table(layout, snapshot, name)["generation"]).to_pylist())
    folders = {Path(entry.path).parts for entry in snapshot.files}
    return found | {parts[1] for parts in folders if parts[0] in {"models", "encoded"}}


def test_a_promotion_publishes_tables_and_index_of_the_new_generation_alone(ready):
    store, first, second = ready
    layout = open_store(store)
    before = require_snapshot(layout)
    promoted = run_promotion(store, second)
    after = require_snapshot(layout)
    assert (promoted.is_new, after.number, after.generation) == (True, before.number + 1, second)
    assert generations_in(store) == {second}
    assert selected_generation(layout) == second
    assert after.tables["tracks"] == before.tables["tracks"]
    assert after.tables["failures"] == before.tables["failures"]
    assert after.counts == before.counts
    assert read_index_info(layout, after.index_info)["n_bits"] == 64
    assert verify_store(store)["findings"] == []
    path = read_table(layout, after, "tracks").to_pylist()[0]["path"]
    assert search_track(store, path, k=3).n_bits == 64
    assert (promoted.comparison["first"], promoted.comparison["second"]) == (first, second)
    assert layout.comparison_path(first, second).is_file()


def test_the_account_of_a_promotion_balances(ready):
    run_promotion(ready.store, ready.second)
    last = read_runs(open_store(ready.store))[-1]
    assert (last.kind, last.state, last.snapshot) == ("promote", "done-with-failures", 2)
    assert (last.seen, last.reused, last.failed) == (N_TRACKS + 1, N_TRACKS, 1)
    assert (last.done, last.quarantined, last.removed) == (0, 0, 0)


def test_a_night_after_a_promotion_changes_nothing(ready, config):
    store, _, second = ready
    run_promotion(store, second)
    before = require_snapshot(open_store(store))
    published = run_night(store, config)
    assert not published.is_new
    assert require_snapshot(open_store(store)) == before


def test_a_generation_without_codes_of_every_track_is_refused_with_numbers(two_generations):
    store, first, second = two_generations
    layout = open_store(store)
    before = digest_tree(layout.root)
    plan = plan_promotion(store, second)
    assert (plan.n_tracks, plan.n_unextracted, len(plan.to_encode)) == (N_TRACKS, 0, 1)
    with pytest.raises(
        IncompleteGenerationError,
        match=rf"{plan.n_unencoded} of the 8 tracks of snapshot 1 have no codes of {second}; "
        rf"nothing is published, {first} stays: 'musichash backfill --model {second}'",
    ):
        promote(store, start_run(layout), second)
    assert [entry for entry in digest_tree(layout.root) if "runs/" not in entry.path] == [
        entry for entry in before if "runs/" not in entry.path
    ]


def test_codes_of_another_partition_with_the_same_tracks_will_do(two_generations, config):
    """A backfill may have encoded tracks in its own partition, which no snapshot lists."""
    store, _, second = two_generations
    (without,) = plan_promotion(store, second).to_encode
    root = open_store(store).features_root(config.feature_fingerprint)
    shutil.copytree(root / without, root / "zz-of-a-backfill")
    receipt = root / "zz-of-a-backfill" / "receipt.json"
    write_json(receipt, read_json(receipt) | {"partition_id": "zz-of-a-backfill"})
    assert plan_promotion(store, second).to_encode == (without,)
    encode_partition(store, "zz-of-a-backfill", config.feature_fingerprint, second)
    plan = plan_promotion(store, second)
    assert plan.to_encode == ()
    assert "zz-of-a-backfill" in plan.partition_ids
    assert without not in plan.partition_ids
    promoted = run_promotion(store, second)
    assert generations_in(store) == {second}
    assert verify_store(store)["findings"] == []
    # A night encodes what comes first by name too, and lists that: the content stays.
    assert run_night(store, config).snapshot.digest == promoted.snapshot.digest
    assert not run_night(store, config).is_new


def test_planning_and_previewing_write_nothing(ready):
    store, first, second = ready
    before = digest_tree(open_store(store).root)
    plan = plan_promotion(store, second[:7])
    assert (plan.generation, plan.before, plan.is_done) == (second, first, False)
    assert preview_comparison(store, plan)["n_common"] == N_TRACKS
    assert digest_tree(open_store(store).root) == before


def test_a_generation_that_is_published_already_stays(ready):
    store, first, _ = ready
    layout = open_store(store)
    promoted = run_promotion(store, first)
    assert (promoted.is_new, promoted.comparison) == (False, None)
    assert list_snapshots(layout) == [1]
    assert read_runs(layout)[-1].snapshot == 1
    with pytest.raises(UnknownGenerationError, match="musichash models list"):
        run_promotion(store, "g-none")


def test_a_scan_that_is_not_finished_does_not_matter(ready, catalogue, config):
    store, _, second = ready
    layout = open_store(store)
    before = require_snapshot(layout)
    catalogue.add("high/new.wav", 990)
    record(store, look(store, [str(catalogue.root)]).catalogue)  # all others are gone from it
    promoted = run_promotion(store, second)
    assert promoted.snapshot.tables["tracks"] == before.tables["tracks"]
    assert promoted.snapshot.counts["codes"] == N_TRACKS


def test_codes_of_another_generation_stop_a_promotion(ready):
    store, first, second = ready
    layout = open_store(store)
    name = finished_partitions(layout.encoded_root(first))[0]
    shutil.rmtree(layout.encoded_partition_path(second, name))
    shutil.copytree(
        layout.encoded_partition_path(first, name), layout.encoded_partition_path(second, name)
    )
    with pytest.raises(FingerprintMismatchError, match=f"holds encoded of {first}"):
        run_promotion(store, second)
    assert generations_in(store) == {first}
    assert selected_generation(layout) == first


def test_codes_of_other_tracks_stop_a_promotion(ready):
    store, first, second = ready
    layout = open_store(store)
    one, other = finished_partitions(layout.encoded_root(second))[:2]
    shutil.rmtree(layout.encoded_partition_path(second, one))
    shutil.copytree(
        layout.encoded_partition_path(second, other), layout.encoded_partition_path(second, one)
    )
    with pytest.raises(DamagedArtefactError, match=r"'musichash backfill --model"):
        run_promotion(store, second)
    assert generations_in(store) == {first}


# --- back again ---


def test_rolling_back_puts_the_generation_before_in_force_and_its_content_too(ready, config):
    store, first, second = ready
    layout = open_store(store)
    finish_run(layout, run_night(store, config).record, state="done")  # the ledger names snapshot 1
    before = require_snapshot(layout)
    run_promotion(store, second)
    assert generation_before(store) == first
    back = run_promotion(store, generation_before(store)).snapshot
    assert (back.generation, back.digest) == (first, before.digest)
    assert back.tables | {"runs": []} == before.tables | {"runs": []}
    assert back.index == before.index
    assert generation_before(store) == second
    assert not run_night(store, config).is_new


def test_without_another_generation_in_the_history_the_others_are_named(ready):
    with pytest.raises(NoGenerationBeforeError, match=rf"models promote': {ready.second}"):
        generation_before(ready.store)


def test_tracks_that_came_later_are_to_be_encoded_for_a_roll_back(ready, config, catalogue):
    store, first, second = ready
    run_promotion(store, second)
    layout = open_store(store)
    for name in finished_partitions(layout.encoded_root(first))[:2]:
        shutil.rmtree(layout.encoded_partition_path(first, name))
    plan = plan_promotion(store, first)
    assert len(plan.to_encode) == 2
    assert plan.n_unencoded > 0
    encode_all(store, config, first)
    assert plan_promotion(store, first).to_encode == ()


# --- features of another configuration ---


def test_codes_of_other_features_are_never_taken_for_those_of_these(ready, config):
    """Partitions are named by their tracks: two configurations share the names."""
    store, first, _ = ready
    with pytest.raises(FingerprintMismatchError, match=f"{first} reads features"):
        partitions_to_encode(store, "0" * 12, first)


def test_a_generation_of_other_features_brings_their_partitions_and_facts(
    ready, config, catalogue, tmp_path
):
    import torch

    from musichash_core.config import parse_config
    from musichash_core.inference import build_models
    from storage.checkpoints import save_models

    store, first, _ = ready
    layout = open_store(store)
    settings = config.model_dump(mode="json")
    settings["features"]["n_mels"] = 40
    other = parse_config(settings, source="the tests")
    assert other.feature_fingerprint != config.feature_fingerprint
    torch.manual_seed(1)
    models = build_models(other.models, ["high", "low"], n_channels=3, n_mels=40)
    third = save_models(layout, models, feature_fingerprint=other.feature_fingerprint, summary={})
    with pytest.raises(
        IncompleteGenerationError,
        match=rf"8 of the 8 .* \(8 of them have no features {other.feature_fingerprint}",
    ):
        run_promotion(store, third)
    tracks = read_table(layout, require_snapshot(layout), "tracks").to_pylist()
    roots = {row["root"] for row in tracks}
    found = look(str(tmp_path / "elsewhere"), sorted(roots))  # where the sound still lies
    from tasks.plan import make_plan

    items = [
        item
        for partition in make_plan(str(tmp_path / "elsewhere"), found.catalogue, other).partitions
        for item in partition.items
    ]
    extract_partition(store, partition_of(items), other)
    encode_all(store, other, third)
    promoted = run_promotion(store, third).snapshot
    assert promoted.feature_fingerprint == other.feature_fingerprint
    assert promoted.counts == {"tracks": 9, "codes": 8, "failures": 1, "partitions": 1}
    assert read_table(layout, promoted, "tracks").to_pylist() == tracks  # the same sound
    assert verify_store(store)["findings"] == []
    assert generations_in(store) == {third}
    assert run_promotion(store, first).snapshot.feature_fingerprint == config.feature_fingerprint


# --- killed ---


def test_an_announcement_alone_is_nothing_to_a_night(ready, config):
    store, first, second = ready
    announce_generation(open_store(store), second)
    published = run_night(store, config)
    assert (published.is_new, published.snapshot.generation) == (False, first)
    assert run_promotion(store, second).snapshot.generation == second


def test_a_night_goes_on_with_what_was_published_before_the_kill(ready, config):
    store, first, second = ready
    layout = open_store(store)
    run_promotion(store, second)
    select_generation(layout, first)
    announce_generation(layout, second)  # as a kill between pointer and selection leaves it
    assert selected_generation(layout) == second
    assert not run_night(store, config).is_new
    assert generations_in(store) == {second}


@pytest.fixture
def killed_promotions(ready, tmp_path):
    """Give the stores that a promotion leaves when it is killed before each of its operations."""
    root = tmp_path / "killed"
    root.mkdir()
    script = Path(__file__).with_name("promotion_kills.py")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    printed = subprocess.run(
        [sys.executable, script, ready.store, root, ready.second],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return [str(root / str(number)) for number in range(int(printed.stdout) + 1)]


def test_a_kill_at_any_operation_leaves_one_generation_wholly(ready, config, killed_promotions):
    assert len(killed_promotions) > 20
    outcomes = []
    for number, store in enumerate(killed_promotions):
        layout = open_store(store)
        snapshot = current_snapshot(layout)
        assert selected_generation(layout) == snapshot.generation
        assert generations_in(store) == {snapshot.generation}
        outcomes.append(snapshot.generation)
        if number % 4 and number < len(killed_promotions) - 6:
            continue  # the last ones are about the pointer; of the others a sample
        assert verify_store(store)["findings"] == []
        night = run_night(store, config)
        assert (night.is_new, night.snapshot.generation) == (False, snapshot.generation)
        after = run_promotion(store, ready.second).snapshot
        undisturbed = current_snapshot(open_store(killed_promotions[-1]))
        assert after.digest == undisturbed.digest
        assert generations_in(store) == {ready.second}
    n_old = outcomes.count(ready.first)
    assert outcomes == [ready.first] * n_old + [ready.second] * (len(outcomes) - n_old)
    assert len(outcomes) - n_old > 1  # the pointer is not the last operation
