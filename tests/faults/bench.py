"""A catalogue, a store, and the states of it in which the commands of scenes.py are disturbed.

Public: `Bench`, `Scene`, `in_child`, `SCENES`, `ADDED`, `DURATION_S`, `FIRST`, `MUSIC`, `REMOVED`.
"""

import json
import os
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import soundfile
from injector import Control
from power_loss import Disk, Operation, read_log
from scenes import (
    CONFIG,
    backfill,
    collection_of_garbage,
    contents,
    extracted,
    night,
    promotion,
    rollback,
    second_generation,
    what_a_reader_sees,
    work_of_backfill,
)

from musichash_core.errors import MusicHashError
from storage.snapshots import current_snapshot
from storage.store import open_store
from tasks.resources import loaded_models

MUSIC = Path(__file__).parents[1] / "data" / "music"
DURATION_S = 3.3
FIRST = ("ambient/naev-ambient1.ogg", "metal/marsshooter-03-fear.ogg")
REMOVED = "orchestral/ufoai-van-mission.wav"
ADDED = ("electronic/zaz-mus1.ogg", "rock/d-toxification-copy.ogg")
OF_COLLECTION = "game/redeclipse-track-01.ogg"
SCENES = ("extract", "publish", "promote", "rollback", "gc", "backfill")


@dataclass(frozen=True)
class Scene:
    """A state of the store that trials begin with, and what an undisturbed command makes of it.

    Attributes
    ----------
    act : callable
        Runs the command.
    before : Path
        Copy of the store.
    disk : Disk
        The same on a model of a disk.
    n_operations : int
        How many of the command's operations are tried.
    operations : list of Operation
        All of them, as recorded.
    old, new : dict
        What a reader sees before and after.
    files : dict
        Digests of the finished work after it.
    extracted : str
        Digest of what is known of extracted tracks after it.
    """

    act: Callable[[], None]
    before: Path
    disk: Disk
    n_operations: int
    operations: list[Operation]
    old: dict
    new: dict
    files: dict[str, str]
    extracted: str


class Bench:
    """A catalogue, a store, and the scenes on it."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.catalogue, self.radio = work / "catalogue", work / "radio"
        self.store, self.log = work / "store", work / "log"
        self.control = Control()

    def cut(self, path: str, root: Path | None = None) -> None:
        """Put the beginning of a track into the catalogue, or below another root."""
        samples, sr = soundfile.read(MUSIC / path, frames=int(DURATION_S * 44_100))
        soundfile.write(self.place(path, root), samples, sr, subtype="PCM_16")

    def place(self, path: str, root: Path | None = None) -> Path:
        """Give where a track lies."""
        return ((root or self.catalogue) / path.replace("/", "-")).with_suffix(".wav")

    def prepare(self) -> dict[str, Scene]:
        """Publish the first night, then let each command follow, and see what it does."""
        self.catalogue.mkdir(parents=True)
        self.radio.mkdir()
        for path in (*FIRST, REMOVED):
            self.cut(path)
        self.place("no-audio").write_text("no audio")
        self.cut(OF_COLLECTION, self.radio)
        act = partial(night, self.store, self.catalogue)
        in_child(act)
        generation = current_snapshot(open_store(self.store)).generation
        loaded_models(str(self.store), generation, CONFIG.feature_fingerprint)
        for path in ADDED:
            self.cut(path)
        self.place(REMOVED).unlink()
        scenes = dict(zip(("extract", "publish"), self.nights(act), strict=True))
        second = in_child(partial(second_generation, self.store))
        scenes["promote"] = self.scene("promote", partial(promotion, self.store, second))
        scenes["rollback"] = self.scene("rollback", partial(rollback, self.store, 2))
        scenes["gc"] = self.scene("gc", partial(collection_of_garbage, self.store))
        in_child(partial(work_of_backfill, self.store, self.radio))
        scenes["backfill"] = self.scene("backfill", partial(backfill, self.store, self.radio))
        return scenes

    def nights(self, act: Callable[[], None]) -> tuple[Scene, Scene]:
        """Give the night until its tracks are extracted, and one that finds them extracted."""
        whole = self.scene("extract", act)
        n_until_extracted = next(
            number
            for number, operation in enumerate(whole.operations)
            if operation.kind != "F" and "/descriptions/" in operation.path
        )
        self.restore(whole)
        self.control.arm(self.store, "kill", n_until_extracted)
        in_child(act, may_fail=True)
        self.control.disarm()
        # The decoder's process takes long to start, so most trials find the tracks extracted.
        return replace(whole, n_operations=n_until_extracted), self.scene("publish", act)

    def scene(self, name: str, act: Callable[[], None]) -> Scene:
        """Run a command in the present state of the store, and record it."""
        before = self.work / f"before-{name}"
        shutil.copytree(self.store, before)
        disk = Disk(self.store)
        old = in_child(self.reader)
        self.log.unlink(missing_ok=True)
        self.control.arm(self.store, log=self.log)
        in_child(act)
        n_operations = self.control.count
        self.control.disarm()
        return Scene(
            act=act,
            before=before,
            disk=disk,
            n_operations=n_operations,
            operations=list(read_log(self.log)),
            old=old,
            new=in_child(self.reader),
            files=contents(self.store),
            extracted=in_child(partial(extracted, self.store)),
        )

    def reader(self) -> dict:
        """Read the store."""
        return what_a_reader_sees(self.store)

    def restore(self, scene: Scene) -> None:
        """Put the store back as it was before the command."""
        shutil.rmtree(self.store)
        shutil.copytree(scene.before, self.store)

    def undisturbed(self, *steps: Callable[[], object]) -> list[dict]:
        """Take steps in one new process, each whatever became of those before; say what they gave.

        The injector counts nothing that matters, but spares the disk its fsyncs.
        """
        self.control.arm(self.store)
        said = in_child(lambda: [outcome_of(step) for step in steps], may_fail=True)
        self.control.disarm()
        if said is None:
            return [{"error": "it died"}] * len(steps)
        outcomes: list[dict] = said["result"]
        return outcomes


def outcome_of(action: Callable[[], object]) -> dict:
    """Do something; give its ``result``, or its ``error`` and whether that is one of ours."""
    try:
        return {"result": action()}
    except MusicHashError as error:
        return {"error": str(error), "is_ours": True}
    except BaseException:  # noqa: BLE001 - whoever asked says it
        return {"error": traceback.format_exc(), "is_ours": False}


def in_child(action: Callable[[], object], *, may_fail: bool = False):
    """Do something in a forked process; give its result.

    Parameters
    ----------
    may_fail : bool
        Give its `outcome_of` instead, or None where it was killed.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        said = outcome_of(action)
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
