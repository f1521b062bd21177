"""Run a writer again and again, killing it before each of its file operations in turn.

``python kill_points.py SCENARIO ROOT``: for k = 0, 1, 2, ... the scenario's store is prepared in
``ROOT/k`` and its action runs in a forked child that dies, without any clean-up, before its k-th
file operation. The last k is the first whose child was not killed; its number is printed.
"""

import os
import sys
from pathlib import Path

KILLED = 9
OPERATIONS = {"open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MAX_POINTS = 500


def die_before(number, root):
    """Let this process die before its file operation of some number below a folder."""
    count = 0

    def hook(event, arguments):
        nonlocal count
        if event not in OPERATIONS or not str(arguments[0]).startswith(str(root)):
            return
        if event == "open" and not (arguments[2] or 0) & WRITING:
            return
        if count == number:
            os._exit(KILLED)
        count += 1

    sys.addaudithook(hook)


def kill_at_each(prepare, action, root):
    """Kill an action before each of its file operations in turn, each time in a fresh place.

    Prints the number of the first place, below `root`, where it was not killed any more.

    Parameters
    ----------
    prepare, action : callable
        Take a place; the operations of `action` below it count.
    """
    for number in range(MAX_POINTS):
        place = Path(root, str(number))
        prepare(place)
        child = os.fork()
        if child == 0:
            die_before(number, place)
            action(place)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            print(number)
            return
        if status != KILLED:
            sys.exit(f"the child ended with {status}")
    sys.exit(f"it has more than {MAX_POINTS} operations")


def prepare_publish(root):
    from storage.snapshots import publish_snapshot
    from storage.store import create_store

    publish_snapshot(create_store(root), _snapshot("old"))


def publish(root):
    from storage.snapshots import publish_snapshot
    from storage.store import open_store, writing

    layout = open_store(root)
    with writing(layout):
        publish_snapshot(layout, _snapshot("new"))


def _snapshot(generation):
    from storage.snapshots import Snapshot

    return Snapshot(0, "f" * 12, generation, {}, "i", "j", {"codes": 1}, (), digest=generation)


def prepare_nothing(root):
    root.mkdir(parents=True)


def create(root):
    from storage.store import create_store

    create_store(root)


def prepare_extract(root):
    import storage.feature_store  # noqa: F401 - once, not in every child

    prepare_nothing(root)


def extract(root):
    import numpy as np

    from musichash_core.records import TrackFailure
    from storage.feature_store import FeaturePartitionWriter, StoredTrack

    frames = np.random.default_rng(0).integers(0, 256, (600, 3, 4), dtype=np.uint8)
    folder = root / "features" / "fingerprint" / "partition"
    with FeaturePartitionWriter(folder, fingerprint="fingerprint", n_mels=4) as writer:
        writer.append_frames(frames)
        writer.finish_track(
            StoredTrack("a" * 32, 0, 600, 14.0, 22_050, 1, "wav", "PCM_16", 0.5, -20.0, [])
        )
        writer.append_frames(frames[:100])
        writer.fail_track(TrackFailure("b" * 32, "/b.wav", "extract", "truncated", "short"))


SCENARIOS = {
    "publish": (prepare_publish, publish),
    "create": (prepare_nothing, create),
    "extract": (prepare_extract, extract),
}


def main():
    kill_at_each(*SCENARIOS[sys.argv[1]], sys.argv[2])


if __name__ == "__main__":
    main()
