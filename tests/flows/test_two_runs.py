"""Two runs at once on one store, round after round, and runs by a clock that is set back.

The runs are those of `flows.nightly` without Prefect and Dask, each in a process of its own that
stays for all rounds.
"""

import os
import random
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from storage.owned_locks import STALE_AFTER_S
from storage.published import read_table, require_snapshot, table_paths
from storage.runs import read_runs
from storage.snapshots import list_snapshots, read_snapshot
from storage.store import lock_owner, open_store
from tasks.status import store_status, verify_store

RUNNER = """
import os, signal, sys, time
from pathlib import Path
from musichash_core.config import load_config
from storage.errors import StoreLockedError
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.plan import make_plan
from tasks.scan import look, record
from tasks.train import train

catalogue, store, config = sys.argv[1], sys.argv[2], load_config(Path(sys.argv[3]))

def night(order):
    found = look(store, [catalogue]).catalogue
    with begin_run(store, create=True) as run:
        plan = make_plan(store, found, config)
        record(store, found)
        n_done = sum(extract_partition(store, part, config).n_done for part in plan.partitions)
        generation = plan.generation or train(store, config, device="cpu").generation
        fingerprint = config.feature_fingerprint
        for name in partitions_to_encode(store, fingerprint, generation)[0]:
            encode_partition(store, name, fingerprint, generation)
        if order == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        run.check_still_writing()
        run.record = publish(
            store, config, run.record, n_done=n_done, n_reused=plan.n_reused
        ).record

print("ready", flush=True)
for line in sys.stdin:
    order, wait_s = line.split()
    time.sleep(float(wait_s))
    try:
        night(order)
        print("published", flush=True)
    except StoreLockedError as error:
        print("refused", str(error), flush=True)
"""

SHIFTED_CLOCK = """
import datetime, os, time

shift_s = float(os.environ["SHIFTED_CLOCK_S"])
true_time = time.time

class Shifted(datetime.datetime):
    __slots__ = ()  # of the size that compiled modules expect

    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(true_time() + shift_s, tz)

time.time = lambda: true_time() + shift_s
time.time_ns = lambda: int((true_time() + shift_s) * 1e9)
datetime.datetime = Shifted
"""
DAY_S = 86_400


@pytest.fixture
def start_runner(tiny_config_path, tones, tmp_path):
    """Start a process that makes a night's run whenever it is told to."""
    runners = []
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(SHIFTED_CLOCK)

    def start(store, *, clock_s=0):
        environment = dict(os.environ)
        if clock_s:
            paths = [str(tmp_path / "clock"), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment |= {"SHIFTED_CLOCK_S": str(clock_s), "PYTHONPATH": os.pathsep.join(paths)}
        runner = subprocess.Popen(
            [sys.executable, "-c", RUNNER, tones, store, tiny_config_path],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        runners.append(runner)
        return runner

    yield start
    for runner in runners:
        runner.kill()
        runner.communicate()


def tell(runner, order="go", wait_s=0.0):
    runner.stdin.write(f"{order} {wait_s}\n")
    runner.stdin.flush()


def hear(runner):
    """Give what a runner says; nothing when it died."""
    return runner.stdout.readline().strip()


def add_tone(catalogue, label, number):
    times = np.arange(3 * 16_000) / 16_000
    samples = 0.3 * np.sin(2 * np.pi * (300 + 7 * number) * times)
    path = catalogue / label / f"more-{number}.wav"
    soundfile.write(path, samples.astype(np.float32), 16_000, subtype="PCM_16")
    return path


def published_paths(layout):
    rows = read_table(layout, require_snapshot(layout), "tracks").to_pylist()
    return sorted(row["path"] for row in rows)


def paths_below(catalogue):
    return sorted(path.relative_to(catalogue).as_posix() for path in catalogue.glob("*/*"))


@pytest.mark.parametrize(
    "n_rounds", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_two_runs_at_once_serialise_or_refuse(start_runner, tones, tmp_path, n_rounds):
    rng = random.Random(n_rounds)
    store = tmp_path / "store"
    runners = [start_runner(store) for _ in range(2)]
    assert [hear(runner) for runner in runners] == ["ready", "ready"]
    said, n_killed = [], 0
    for number in range(n_rounds):
        if number % 3 == 2:
            rng.choice(sorted(tones.glob("*/more-*"))).unlink()
        add_tone(tones, ("hum", "hiss")[number % 2], number)
        dies = number % 5 == 1
        for place, runner in enumerate(runners):
            tell(runner, "die" if dies and place == 0 else "go", wait_s=rng.uniform(0, 0.1))
        outcomes = [hear(runner) for runner in runners]
        if dies and not outcomes[0]:
            n_killed += 1
            runners[0] = start_runner(store)
            assert hear(runners[0]) == "ready"
        if "published" not in outcomes:  # one died, and the other had been refused before
            assert not outcomes[0]
            tell(runners[0])
            outcomes.append(hear(runners[0]))
        layout = open_store(store)
        assert "published" in outcomes
        for words in outcomes:
            assert not words or words == "published" or "another run is writing to" in words
        assert lock_owner(layout) is None
        assert verify_store(str(store))["findings"] == []
        assert list_snapshots(layout) == list(range(1, number + 2))
        assert published_paths(layout) == paths_below(tones)
        said += outcomes
    records = read_runs(layout)
    assert sum(record.state == "killed" for record in records) == n_killed
    assert sum(record.state == "done" for record in records) == said.count("published")
    assert len(records) == n_killed + said.count("published")
    assert all(record.finished is not None for record in records)
    for before, after in pairwise(records):  # one after another, never two at once
        assert before.finished <= after.started


def published_files(store):
    """Give the bytes of everything that a reader of the last snapshot gets, but of the ledger."""
    layout = open_store(store)
    snapshot = read_snapshot(layout, list_snapshots(layout)[-1])
    runs = {path.relative_to(layout.root) for path in table_paths(layout, snapshot, "runs")}
    return {
        entry.path: (layout.root / entry.path).read_bytes()
        for entry in snapshot.files
        if Path(entry.path) not in runs
    }


def test_a_clock_set_back_a_day_changes_no_published_byte_and_blocks_nobody(
    start_runner, tones, tmp_path
):
    steady, back = tmp_path / "steady", tmp_path / "set back"
    undisturbed, ahead, later = (
        start_runner(steady),
        start_runner(back, clock_s=DAY_S),
        start_runner(back),
    )
    for runner in (undisturbed, ahead, later):
        assert hear(runner) == "ready"
    for runner in (undisturbed, ahead):
        tell(runner)
        assert hear(runner) == "published"
    add_tone(tones, "hum", 1)
    tell(ahead, "die")
    assert hear(ahead) == ""
    assert ahead.wait() < 0
    for runner in (undisturbed, later):
        began = time.monotonic()
        tell(runner)
        assert hear(runner) == "published"
        assert time.monotonic() - began < STALE_AFTER_S
    assert published_files(steady) == published_files(back)
    assert store_status(str(steady))["digest"] == store_status(str(back))["digest"]
    records = read_runs(open_store(back))
    assert [record.state for record in records] == ["done", "killed", "done"]
    assert records[0].started > records[2].started  # by that clock
    assert records[0].run_id < records[1].run_id < records[2].run_id
    assert all(record.wall_s >= 0 for record in records)
