"""The working part of a nightly run under faults: every trial from the same prepared store.

``python publishing_run.py WORK MUSIC REQUEST``, with the shim loaded (`injector.environment`). A
catalogue of short real tracks is published once; then tracks come and go, and the night after that
is run again and again, each time with another fault. The stages are those of flows/stages.py, in
one process without Prefect and Dask. REQUEST is JSON: ``{"seed": 1, "trials": {SCENE: {FAULT:
N}}}``, where SCENE is ``extract`` (the night's operations until its tracks are extracted) or
``publish`` (a night that finds them extracted), FAULT is one of `injector.FAULTS`, ``power`` (see
power_loss.py) or ``kill-then-power``, and N is the number of trials, drawn by the seed, or "every"
for every operation. Prints one JSON object per line: first what an undisturbed night does, then one
per trial.
"""

import hashlib
import json
import os
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import soundfile
from injector import Control
from power_loss import LOSSES, Disk, Operation, read_log

from musichash_core.config import parse_config
from musichash_core.errors import MusicHashError
from storage.published import read_table
from storage.snapshots import current_snapshot
from storage.store import open_store
from tasks.describe import describe_partition, partitions_to_describe
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.plan import make_plan
from tasks.resources import loaded_models, tagging_network, warm_worker
from tasks.scan import look, record
from tasks.search import search_track
from tasks.status import verify_store
from tasks.train import train

CONFIG = parse_config(
    {
        "max_failed_share": 0.5,
        "front_end": "numba",
        "partitions": {"max_tracks": 2},
        "models": {"training": {"n_threads": 1}},
    },
    source="the tests",
)
DURATION_S = 3.3
FIRST = ("ambient/naev-ambient1.ogg", "metal/marsshooter-03-fear.ogg")
REMOVED = "orchestral/ufoai-van-mission.wav"
ADDED = ("electronic/zaz-mus1.ogg", "rock/d-toxification-copy.ogg")


@dataclass(frozen=True)
class Scene:
    """A state of the store that trials begin with, and what an undisturbed night does from there.

    Attributes
    ----------
    before : Path
        Copy of the store.
    n_operations : int
        How many of the night's operations are tried.
    operations : list of Operation
        All of them, as recorded.
    disk : Disk
        The store at the beginning, on a model of a disk.
    """

    before: Path
    n_operations: int
    operations: list[Operation]
    disk: Disk


class Bench:
    """A catalogue, a store, and what the store is before and after a night."""

    def __init__(self, work: Path, music: Path) -> None:
        self.work, self.music = work, music
        self.catalogue, self.store, self.log = work / "catalogue", work / "store", work / "log"
        self.control = Control()

    def cut(self, path: str) -> None:
        """Put the beginning of a track into the catalogue."""
        samples, sr = soundfile.read(self.music / path, frames=int(DURATION_S * 44_100))
        soundfile.write(self.place(path), samples, sr, subtype="PCM_16")

    def place(self, path: str) -> Path:
        """Give where a track lies in the catalogue."""
        return (self.catalogue / path.replace("/", "-")).with_suffix(".wav")

    def night(self) -> bool:
        """Run a night on the store."""
        return night(self.store, self.catalogue)

    def reader(self) -> dict:
        """Read the store."""
        return what_a_reader_sees(self.store)

    def prepare(self) -> dict[str, Scene]:
        """Publish the first night, change the catalogue, and see what the next one does."""
        self.catalogue.mkdir(parents=True)
        for path in (*FIRST, REMOVED):
            self.cut(path)
        self.place("no-audio").write_text("no audio")
        in_child(self.night)
        generation = current_snapshot(open_store(self.store)).generation
        loaded_models(str(self.store), generation, CONFIG.feature_fingerprint)
        for path in ADDED:
            self.cut(path)
        self.place(REMOVED).unlink()
        self.old = in_child(self.reader)
        whole = self.scene("before")
        self.new = in_child(self.reader)
        self.files = contents(self.store)
        # The decoder's process takes long to start, so most trials find the tracks extracted.
        n_until_extracted = next(
            number
            for number, operation in enumerate(whole.operations)
            if operation.kind != "F" and "/descriptions/" in operation.path
        )
        self.restore(whole)
        self.control.arm(self.store, "kill", n_until_extracted)
        in_child(self.night, may_fail=True)
        self.control.disarm()
        return {
            "extract": replace(whole, n_operations=n_until_extracted),
            "publish": self.scene("extracted"),
        }

    def scene(self, name: str) -> Scene:
        """Run a night from the present state of the store, and record it."""
        before = self.work / name
        shutil.copytree(self.store, before)
        disk = Disk(self.store)
        self.log.unlink(missing_ok=True)
        self.control.arm(self.store, log=self.log)
        in_child(self.night)
        n_operations = self.control.count
        self.control.disarm()
        return Scene(before, n_operations, list(read_log(self.log)), disk)

    def restore(self, scene: Scene) -> None:
        """Put the store back as it was before the night."""
        shutil.rmtree(self.store)
        shutil.copytree(scene.before, self.store)


def night(store: Path, catalogue: Path) -> bool:
    """Run the stages of a night; tell whether a snapshot was published."""
    place = str(store)
    found = look(place, [str(catalogue)], labels="none").catalogue
    with begin_run(place, create=True) as run:
        plan = make_plan(place, found, CONFIG)
        record(place, found)
        n_done = 0
        for partition in plan.largest_first:
            n_done += extract_partition(place, partition, CONFIG).n_done
        fingerprint = CONFIG.feature_fingerprint
        for name in partitions_to_describe(place, fingerprint)[0]:
            describe_partition(place, name, fingerprint)
        generation = plan.generation or train(place, CONFIG, device="cpu").generation
        for name in partitions_to_encode(place, fingerprint, generation)[0]:
            encode_partition(place, name, fingerprint, generation)
        published = publish(place, CONFIG, run.record, n_done=n_done, n_reused=plan.n_reused)
        run.record = published.record
    return published.is_new


def what_a_reader_sees(store: Path) -> dict:
    """Read everything that the current snapshot promises."""
    layout = open_store(store)
    snapshot = current_snapshot(layout)
    tables = {name: read_table(layout, snapshot, name) for name in snapshot.tables}
    track_id = tables["codes"]["track_id"][0].as_py()
    answer = search_track(str(store), track_id, k=3)
    return {
        "digest": snapshot.digest,
        "rows": {name: len(table) for name, table in tables.items() if name != "runs"},
        "neighbours": [match.track_id for match in answer.matches],
        "findings": verify_store(str(store))["findings"],
    }


def contents(store: Path) -> dict[str, str]:
    """Give the SHA-256 of each file that two stores of the same content share."""
    kept = ("features", "descriptions", "encoded", "models", "index", "tables")
    return {
        path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in kept
        for path in sorted((store / folder).rglob("*"))
        if path.is_file() and path.parent.name != "runs"
    }


def in_child(action, *, may_fail: bool = False):
    """Run something in a forked process; give its result or error, or None where it was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            said = {"result": action()}
        except MusicHashError as error:
            said = {"error": str(error), "is_ours": True}
        except BaseException:  # noqa: BLE001 - the parent says it
            said = {"error": traceback.format_exc(), "is_ours": False}
        with os.fdopen(writer, "w") as pipe:
            json.dump(said, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    said = json.loads(text) if text else None
    if may_fail:
        return said
    if said is None or "error" in said:
        raise RuntimeError(said["error"] if said else "the child died")
    return said["result"]


def judged(bench: Bench) -> dict:
    """Say what readers see of a disturbed store, and what the next night makes of it."""
    first = in_child(bench.reader, may_fail=True)
    if first and first.get("result") in (bench.old, bench.new):
        sees = "old" if first["result"] == bench.old else "new"
    else:
        sees = f"neither: {first}"
    again = in_child(bench.night, may_fail=True)
    last = in_child(bench.reader, may_fail=True)
    files = contents(bench.store)
    return {
        "sees": sees,
        "why_not_completed": "it died" if again is None else again.get("error"),
        "ends_as": "new" if last and last.get("result") == bench.new else f"otherwise: {last}",
        "differing": sorted(
            name
            for name in files.keys() | bench.files.keys()
            if files.get(name) != bench.files.get(name)
        ),
        "left_over": [str(path) for path in bench.store.rglob(".tmp-*")],
    }


def with_fault(bench: Bench, scene: Scene, fault: str, at: int) -> dict:
    """Run the night with one fault."""
    bench.restore(scene)
    bench.control.arm(bench.store, fault, at)
    said = in_child(bench.night, may_fail=True)
    operation = bench.control.struck
    bench.control.disarm()
    return {"operation": operation, "said": said} | judged(bench)


def with_power_lost(bench: Bench, scene: Scene, at: int, loss: str) -> dict:
    """Lose the power after operations of an undisturbed night; the disk has gone that far."""
    shutil.rmtree(bench.store)
    scene.disk.write(bench.store, loss, seed=at)
    operation = scene.operations[at - 1] if at else None
    shown = f"{operation.kind} {operation.other or operation.path}" if operation else None
    return {"operation": shown, "loss": loss} | judged(bench)


def with_kill_then_power(bench: Bench, scene: Scene, at: int) -> dict:
    """Kill a night, run it again to its end, and lose the power after that."""
    bench.restore(scene)
    disk = Disk(bench.store)
    bench.log.unlink(missing_ok=True)
    bench.control.arm(bench.store, "kill", at, log=bench.log)
    in_child(bench.night, may_fail=True)
    operation = bench.control.struck
    bench.control.arm(bench.store, log=bench.log)
    in_child(bench.night)
    bench.control.disarm()
    for done in read_log(bench.log):
        disk.apply(done)
    shutil.rmtree(bench.store)
    disk.write(bench.store, "nothing")
    return {"operation": operation} | judged(bench)


def trials(
    bench: Bench, scene: Scene, fault: str, number: int | str, random: Random
) -> Iterator[dict]:
    """Run the trials of one kind, at operations that are drawn, or at every one."""
    n_points = len(scene.operations) + 1 if fault == "power" else scene.n_operations
    every = list(range(n_points))
    if fault == "kill-then-power":  # only a name may be seen and not safe
        kinds = [operation.kind for operation in scene.operations[: scene.n_operations]]
        every = [at + 1 for at, kind in enumerate(kinds) if kind in "RLMU"]
    points = every if number == "every" else sorted(random.sample(every, min(number, len(every))))
    n_applied = 0
    for at in points:
        if fault == "kill-then-power":
            yield {"at": at} | with_kill_then_power(bench, scene, at)
        elif fault != "power":
            yield {"at": at} | with_fault(bench, scene, fault, at)
        else:
            for operation in scene.operations[n_applied:at]:
                scene.disk.apply(operation)
            n_applied = at
            for loss in LOSSES if number == "every" else [random.choice(LOSSES)]:
                yield {"at": at} | with_power_lost(bench, scene, at, loss)


def main() -> None:
    bench = Bench(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
    request = json.loads(sys.argv[3])
    warm_worker()
    tagging_network()
    scenes = bench.prepare()
    facts = {name: {"n_operations": scene.n_operations} for name, scene in scenes.items()}
    kinds = Counter(operation.kind for operation in scenes["extract"].operations)
    facts |= {"old": bench.old, "new": bench.new, "n_files": len(bench.files), "kinds": kinds}
    print(json.dumps(facts), flush=True)
    for name, faults in request["trials"].items():
        for fault, number in faults.items():
            random = Random(f"{request['seed']} {name} {fault}")
            for outcome in trials(bench, scenes[name], fault, number, random):
                print(json.dumps({"scene": name, "fault": fault} | outcome), flush=True)


if __name__ == "__main__":
    main()
