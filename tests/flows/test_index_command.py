"""``musichash index``, ``reindex`` and ``bench index``: what operators type, and what they get."""

import hashlib
import json
import shutil
from dataclasses import replace

import pyarrow as pa
import pytest

from flows.cluster import Workers
from flows.cluster_settings import ClusterSettings
from flows.index_shards import shard_builder
from flows.progress import Reporter
from musichash_core.synthetic_codes import clustered_codes
from storage.atomic import to_json, write_file
from storage.indexes import IvfParameters, build_ivf
from storage.runs import read_runs
from storage.snapshots import (
    Snapshot,
    current_snapshot,
    list_snapshots,
    publish_snapshot,
    snapshot_bytes,
)
from storage.store import create_store, open_store
from storage.tables import write_part
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.plan import make_plan
from tasks.scan import look, record
from tasks.train import train


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """Where the store lies that the tests copy."""
    return tmp_path_factory.mktemp("once") / "store"


@pytest.fixture
def store(request, made_once, tmp_path, tiny_config):
    """Give a published store of six tracks; made without workers."""
    if not made_once.exists():
        make_store(str(made_once), request.getfixturevalue("tones"), tiny_config)
    shutil.copytree(made_once, tmp_path / "store")
    return str(tmp_path / "store")


def make_store(store, tones, tiny_config):
    fingerprint = tiny_config.feature_fingerprint
    create_store(store)
    catalogue = look(store, [str(tones)]).catalogue
    record(store, catalogue)
    for partition in make_plan(store, catalogue, tiny_config).partitions:
        extract_partition(store, partition, tiny_config)
    generation = train(store, tiny_config, device="cpu").generation
    for name in partitions_to_encode(store, fingerprint, generation)[0]:
        encode_partition(store, name, fingerprint, generation)
    with begin_run(store) as opened:
        published = publish(store, tiny_config, opened.record, n_done=6, n_reused=0)
        opened.record = published.record


# --- the published index ---


def test_an_index_is_shown_chosen_and_stays_in_force_the_next_night(musichash, store, tiny_config):
    spoken = musichash("index", "--show", "--store", store)
    assert (spoken.code, "index of snapshot 1: flat, 6 codes" in spoken.out) == (0, True)
    assert "by the configuration" in spoken.out

    budget = ["--max-memory", "2GB", "--max-latency", "50ms"]
    planned = musichash("index", "--store", store, "--kind", "multihash", *budget, "--dry-run")
    assert "would be built: multihash, because multihash is set by hand" in planned.out
    assert list_snapshots(open_store(store)) == [1]

    chosen = musichash("index", "--store", store, "--kind", "multihash", *budget, "--json")
    told = json.loads(chosen.out)
    assert (told["is_new"], told["snapshot"], told["kind"]) == (True, 2, "multihash")
    assert told["settings"]["max_memory_mb"] == 2000
    assert told["settings"]["max_latency_ms"] == 50
    assert (read_runs(open_store(store))[-1].kind, told["n_codes"]) == ("reindex", 6)
    assert read_runs(open_store(store))[-1].state == "done"

    # The night after: nothing has changed, and the index by command is kept.
    with begin_run(store) as opened:
        night = publish(store, tiny_config, opened.record, n_done=0, n_reused=6)
        opened.record = night.record
    assert not night.is_new
    assert (
        json.loads(musichash("index", "--show", "--store", store, "--json").out)["kind"]
        == "multihash"
    )

    again = musichash("reindex", "--store", store)
    assert "snapshot 2 stays: its index is what is built from its codes" in again.out


def test_a_damaged_index_is_mended(musichash, store):
    layout = open_store(store)
    path = layout.root / current_snapshot(layout).index
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    shown = musichash("index", "--show", "--store", store)
    assert shown.code == 1
    assert "differs from its snapshot; 'musichash reconcile" in shown.err
    spoken = musichash("reindex", "--store", store)
    assert spoken.code == 0
    assert "snapshot 1 stays; mended to the byte: index/" in spoken.out
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-memory", "lots"], "--max-memory 'lots' is no amount above 0"),
        (["--max-memory", "0"], "give one such as 500MB or 2GB"),
        (["--max-latency", "5GB"], "no amount above 0 in us, ms, s; give one such as 5ms or 0.5s"),
        (["--max-memory", "0.001kb"], "no index of 6 codes"),
        (["--kind", "flat", "--max-latency", "0.001us"], "keeps to max_latency_ms"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(musichash, store, arguments, said):
    n_runs = len(read_runs(open_store(store)))
    spoken = musichash("index", "--store", store, *arguments)
    assert (spoken.code, said in spoken.err) == (2, True)
    assert list_snapshots(open_store(store)) == [1]
    assert len(read_runs(open_store(store))) == n_runs


@pytest.mark.parametrize("option", [("--kind", "ivf"), ("--dry-run",)])
def test_showing_builds_nothing_and_says_so(musichash, store, option):
    spoken = musichash("index", "--show", "--store", store, *option)
    assert (spoken.code, spoken.out) == (2, "")
    assert "--show says what is published" in spoken.err


def test_a_dry_run_heeds_the_configuration(musichash, store, tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text('[index]\nkind = "multihash"\nmin_distance_recall = 0.9\n')
    planned = musichash("index", "--store", store, "--config", settings, "--dry-run")
    assert "would be built: multihash" in planned.out
    by_hand = ("--kind", "flat", "--dry-run", "--json")
    told = json.loads(musichash("index", "--store", store, "--config", settings, *by_hand).out)
    assert told["kind"] == "flat"
    assert told["settings"]["min_distance_recall"] == 0.9


def test_what_was_not_measured_is_not_shown_as_perfect(musichash, store):
    layout = open_store(store)
    snapshot = current_snapshot(layout)
    content = json.loads((layout.root / snapshot.index_info).read_bytes())
    data = to_json(content | {"recall_queries": 0})  # as earlier versions are read
    (layout.root / snapshot.index_info).write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    files = tuple(
        replace(entry, size=len(data), sha256=sha256)
        if entry.path == snapshot.index_info
        else entry
        for entry in snapshot.files
    )
    publish_snapshot(layout, replace(snapshot, files=files))
    shown = musichash("index", "--show", "--store", store)
    assert "recall@10   not measured when it was built" in shown.out
    told = json.loads(musichash("index", "--show", "--store", store, "--json").out)
    assert (told["distance_recall_at_10"], told["recall_queries"]) == (None, 0)


# --- shards on workers ---


@pytest.mark.integration
def test_shards_of_two_workers_are_what_one_process_builds(tmp_path):
    codes = clustered_codes(9000, 64, seed=6)
    layout = create_store(tmp_path / "store")
    column = pa.array([code.tobytes() for code in codes], pa.binary(8))
    part = write_part(layout, "codes", pa.table({"code": column}))
    snapshot = Snapshot(3, "f", "g", {"codes": [part.path]}, "index/x", "index/x", {}, (part,))
    write_file(layout.snapshot_path(3), snapshot_bytes(snapshot))
    parameters = IvfParameters(n_lists=30, n_training=1500, n_rounds=3)
    with Workers(ClusterSettings(n_workers=2)) as workers:
        build = shard_builder(str(layout.root), 3, workers, Reporter())
        assert build(codes, parameters) == build_ivf(codes, parameters)
    assert list(layout.index_root.iterdir()) == []


# --- bench index ---


def test_measuring_writes_rows_and_shows_a_table(musichash, tmp_path):
    path = tmp_path / "rows.json"
    arguments = ["--codes", 500, 900, "--bits", 64, "--kinds", "flat", "numpy", "--queries", 20]
    spoken = musichash("bench", "index", *arguments, "--json", path)
    assert spoken.code == 0
    rows = json.loads(path.read_text())
    assert [(row["kind"], row["codes"]) for row in rows] == [
        ("flat", 500),
        ("numpy", 500),
        ("flat", 900),
        ("numpy", 900),
    ]
    assert "queries/CPU s" in spoken.out
    assert "4 indexes: about" in spoken.err


def test_rows_on_standard_output_are_json_alone(musichash):
    spoken = musichash(
        "bench", "index", "--codes", "300", "--bits", "64", "--kinds", "ivf,numpy", "--json"
    )
    assert [row["kind"] for row in json.loads(spoken.out)] == ["ivf", "numpy"]


def test_a_dry_run_says_what_it_takes_and_measures_nothing(musichash):
    arguments = ["bench", "index", "--codes", "10_000_000", "--bits", "64,128", "--dry-run"]
    spoken = musichash(*arguments)
    assert (spoken.code, "10,000,000" in spoken.out) == (0, True)
    planned = json.loads(musichash(*arguments, "--json").out)
    assert {row["bits"] for row in planned} == {64, 128}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--codes", "many"], "--codes 'many' is no list of whole numbers"),
        (["--kinds", "hnsw"], "there is no kind 'hnsw' to measure"),
        (["--bits", "48"], "bits=48: want a multiple of 64"),
        (["--codes", "99999999999999"], "GB of memory"),
        (["--codes", "10", "--json", "/nowhere/rows.json"], "the folder /nowhere does not exist"),
    ],
)
def test_what_cannot_be_measured_is_refused(musichash, arguments, said):
    spoken = musichash("bench", "index", *arguments)
    assert (spoken.code, said in spoken.err) == (2, True)
