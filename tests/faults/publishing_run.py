"""Commands under faults: every trial begins with the same prepared store.

``python publishing_run.py --work FOLDER [--scenes publish gc] [--every]`` runs them by hand and
counts broken promises; the tests give ``--request`` instead, JSON: ``{"seed": 1, "trials": {SCENE:
{FAULT: N}}}``. A small catalogue of real music is published once; then tracks come and go, and the
night after that is run again and again, each time with another fault; so are the commands that
follow it. The scenes:

``extract``     the night's operations until its tracks are extracted
``publish``     all operations of a night that finds them extracted
``promote``     a second model generation
``rollback``    to the snapshot before the promotion, so to the first generation
``gc``          of the first night's snapshot
``backfill``    the publication and registration of a second collection

FAULT is one of `injector.FAULTS`, ``power`` (see power_loss.py) or ``kill-then-power`` (killed,
repeated to the end, and then the power is lost). N is a number of operations, drawn by the seed;
"third" for every third one, beginning with a drawn one; or "every". Prints one JSON object per
line: first what undisturbed commands do, then one per trial, whose ``broken`` is empty where all
promises were kept.
"""

import argparse
import gc
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import pyarrow.acero  # once, not in every child
import pyarrow.dataset  # noqa: F401
from bench import SCENES, Bench, Scene, in_child
from injector import CONTROL_VARIABLE, FAULTS, build_shim, environment
from power_loss import LOSSES, Disk, read_log
from scenes import contents, extracted, settled

from tasks.resources import tagging_network, warm_worker

AT_LENGTH = {"kill": "every", "power": "third", "kill-then-power": "third"}
"""Faults of a test as long as a night may be; every third operation for the others."""

REPEATED_EVERY = 5
"""Of how many trials of a long run one is repeated a third time."""


def judged(bench: Bench, scene: Scene, *, third_time: bool) -> dict:
    """Say what readers see of a disturbed store, and what broke when the command is repeated."""
    first, again, last, known = bench.undisturbed(
        bench.reader, scene.act, bench.reader, partial(extracted, bench.store)
    )
    seen = first.get("result")
    sees = "new" if seen == scene.new else "old" if seen == scene.old else "neither"
    broken: dict[str, object] = {} if sees != "neither" else {"sees": first}
    if "error" in again:
        broken["repeated"] = again
    if last != {"result": scene.new}:
        broken["ends_as"] = last
    if known != {"result": scene.extracted}:
        broken["extracted"] = known
    if differing := contents(bench.store).items() ^ scene.files.items():
        broken["differing"] = sorted({name for name, _ in differing})
    if left := list(bench.store.rglob(".tmp-*")):
        broken["left_over"] = list(map(str, left))
    if third_time:
        broken |= changed_by_a_third_time(bench, scene)
    return {"sees": sees, "broken": broken}


def changed_by_a_third_time(bench: Bench, scene: Scene) -> dict:
    """Repeat a command that got to its end: it changes nothing, and new readers see the same."""
    before = settled(bench.store)
    (again,) = bench.undisturbed(scene.act)
    changed = settled(bench.store).items() ^ before.items()
    (seen,) = bench.undisturbed(bench.reader)
    if "error" in again or changed or seen != {"result": scene.new}:
        return {"third_time": [again, sorted({name for name, _ in changed}), seen]}
    return {}


def with_fault(bench: Bench, scene: Scene, fault: str, at: int, *, third_time: bool) -> dict:
    """Run the command with one fault."""
    bench.restore(scene)
    bench.control.arm(bench.store, fault, at)
    said = in_child(scene.act, may_fail=True)
    operation = bench.control.struck
    bench.control.disarm()
    outcome = {"operation": operation, "said": said} | judged(bench, scene, third_time=third_time)
    if not is_expected(fault, said):
        outcome["broken"]["said"] = said
    return outcome


def is_expected(fault: str, said: dict | None) -> bool:
    """Tell whether a command died of being killed only, and says clearly what it cannot write."""
    if fault in {"kill", "tear"}:
        return said is None
    if said is None:
        return False
    text = said.get("error")
    parts = ("store", "cannot be written", "free space")
    return text is None or (said["is_ours"] and all(part in text for part in parts))


def with_power_lost(bench: Bench, scene: Scene, loss: str, at: int, *, third_time: bool) -> dict:
    """Lose the power after operations of an undisturbed command; the disk has gone that far."""
    shutil.rmtree(bench.store)
    scene.disk.write(bench.store, loss, seed=at)
    operation = scene.operations[at - 1] if at else None
    shown = f"{operation.kind} {operation.other or operation.path}" if operation else None
    return {"operation": shown, "loss": loss} | judged(bench, scene, third_time=third_time)


def with_kill_then_power(bench: Bench, scene: Scene, at: int, *, third_time: bool) -> dict:
    """Kill a command, run it again to its end, and lose the power after that."""
    bench.restore(scene)
    disk = Disk(bench.store)
    bench.log.unlink(missing_ok=True)
    bench.control.arm(bench.store, "kill", at, log=bench.log)
    in_child(scene.act, may_fail=True)
    operation = bench.control.struck
    bench.control.arm(bench.store, log=bench.log)
    in_child(scene.act)
    bench.control.disarm()
    for done in read_log(bench.log):
        disk.apply(done)
    shutil.rmtree(bench.store)
    disk.write(bench.store, "nothing")
    outcome = {"operation": operation} | judged(bench, scene, third_time=third_time)
    if outcome["sees"] != "new":
        outcome["broken"]["not_durable"] = outcome["sees"]
    return outcome


def points_of(scene: Scene, fault: str, number: int | str, random: Random) -> list[int]:
    """Give the operations to try a fault at."""
    points = list(range(len(scene.operations) + 1 if fault == "power" else scene.n_operations))
    if fault == "kill-then-power":  # only a name may be seen and not safe
        kinds = [operation.kind for operation in scene.operations[: scene.n_operations]]
        points = [at + 1 for at, kind in enumerate(kinds) if kind in "RLMU"]
    if number == "every":
        return points
    if number == "third":
        return points[random.randrange(3) :: 3]
    return sorted(random.sample(points, min(int(number), len(points))))


def trials(
    bench: Bench, scene: Scene, fault: str, number: int | str, random: Random
) -> Iterator[dict]:
    """Run the trials of one kind."""
    n_applied = 0
    for count, at in enumerate(points_of(scene, fault, number, random)):
        third_time = isinstance(number, int) or count % REPEATED_EVERY == 0
        if fault == "kill-then-power":
            yield {"at": at} | with_kill_then_power(bench, scene, at, third_time=third_time)
        elif fault != "power":
            yield {"at": at} | with_fault(bench, scene, fault, at, third_time=third_time)
        else:
            for operation in scene.operations[n_applied:at]:
                scene.disk.apply(operation)
            n_applied = at
            for loss in LOSSES if number == "every" else [random.choice(LOSSES)]:
                outcome = with_power_lost(bench, scene, loss, at, third_time=third_time)
                yield {"at": at} | outcome


def run(work: Path, request: dict) -> Counter[str]:
    """Prepare the scenes, run all trials and print them; give counts."""
    bench = Bench(work)
    warm_worker()
    tagging_network()
    scenes = bench.prepare()
    gc.freeze()  # children copy less
    facts = {
        name: {
            "n_operations": scene.n_operations,
            "kinds": Counter(operation.kind for operation in scene.operations),
            "n_files": len(scene.files),
            "old": scene.old,
            "new": scene.new,
        }
        for name, scene in scenes.items()
    }
    print(json.dumps(facts), flush=True)
    counts: Counter[str] = Counter()
    for name, faults in request["trials"].items():
        for fault, number in faults.items():
            random = Random(f"{request['seed']} {name} {fault}")
            for outcome in trials(bench, scenes[name], fault, number, random):
                print(json.dumps({"scene": name, "fault": fault} | outcome), flush=True)
                counts[f"{name}, {fault}"] += 1
                counts["broken"] += bool(outcome["broken"])
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="a new folder to work in")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=SCENES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--every",
        action="store_true",
        help="every fault at every operation; without it kills at every one and the others at a "
        "third of them",
    )
    parser.add_argument("--request", type=json.loads, help="which trials, as JSON")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    if CONTROL_VARIABLE not in os.environ:  # begin again with the injector loaded
        variables = environment(build_shim(asked.work), asked.work / "control")
        os.execve(sys.executable, [sys.executable, *sys.argv], variables)
    faults = dict.fromkeys((*list(FAULTS)[1:], "kill-then-power", "power"), "every")
    if not asked.every:
        faults = {fault: AT_LENGTH.get(fault, "third") for fault in faults}
    request = asked.request or {"seed": asked.seed, "trials": dict.fromkeys(asked.scenes, faults)}
    counts = run((asked.work / "bench").resolve(), request)
    print(json.dumps({"counts": counts}), file=sys.stderr)
    sys.exit(asked.request is None and counts["broken"] > 0)


if __name__ == "__main__":
    main()
