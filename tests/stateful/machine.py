"""Years in a minute: everything that may happen to a store, in any order, against a plain model.

After each step the store is read as its users read it, and compared with what the model says it
must hold. Most commands may be killed before one of their file operations; then the store must be
as before the command or as after it, wholly, and the model learns which.

Public: `Bench`, `machine_for`.
"""

import shutil
from pathlib import Path

import faiss
import numpy as np
import pyarrow.compute as pc
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from nights import (
    CONFIG,
    abandon_backfill,
    add_candidate,
    die_at,
    encode_missing,
    fill,
    has_open_backfill,
    night,
    promote_generation,
    roll_generation_back,
)
from plain_model import Model, Published, Row, fails_too_often, is_refused, rows_of
from sounds import BAD, make_sounds

from musichash_core.errors import MusicHashError
from storage.backfills import open_backfills
from storage.collections import read_collections
from storage.generations import list_generations, selected_generation
from storage.indexes import read_index_info
from storage.packed_codes import packed_codes
from storage.published import read_table
from storage.runs import read_runs
from storage.snapshots import current_snapshot, list_snapshots, read_snapshot
from storage.store import lock_owner, open_store
from tasks.backfill_orders import Request
from tasks.garbage import collect_garbage
from tasks.mending import reconcile_store
from tasks.registered_collections import deregister
from tasks.rollback import roll_back
from tasks.snapshots import list_all, verify_everything

PATHS = [f"{folder}{name}.wav" for folder in ("", "rock/", "folk/deep/") for name in "ab"]
ROOTS = ("attic", "music", "radio")
LABELS = ("calm", "loud")
FIRST = ("ambient-0", "metal-0", "electronic-0", "rock-0", "too-short-0")
N_BITS = (32, 128)
LAST_POINT = 90
"""File operations of a night, as Python does them, are fewer."""

DECISIVE = ("CURRENT", "generation.json", ".json", "collections.json", "state.json")
"""Ends of paths of files that decide what has happened."""

KILLS = (
    st.none() | st.integers(0, LAST_POINT) | st.tuples(st.sampled_from(DECISIVE), st.integers(0, 3))
)


class Bench:
    """Folders that all histories use in turn, and a published store that each begins with."""

    def __init__(self, work, music):
        self.sounds = make_sounds(music)
        self.work, self.template = work / "now", work / "at the beginning"
        self.folders = {name: self.work / name for name in ROOTS}
        self.store = str(self.work / "store")
        self.labels = self.work / "labels.csv"
        self.work.mkdir(parents=True)
        for folder in self.folders.values():
            folder.mkdir()
        for path, name in zip(PATHS, FIRST, strict=False):
            self.put("music", path, self.sounds[name])
        night(self.store, [str(self.folders["music"])], "none")
        shutil.copytree(self.work, self.template)

    def put(self, root, path, content):
        """Write a file."""
        place = self.folders[root] / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.data)

    def restore(self):
        """Go back to the beginning; give the files that are there."""
        shutil.rmtree(self.work)
        shutil.copytree(self.template, self.work)
        first = zip(PATHS, FIRST, strict=False)
        return {("music", path): self.sounds[name] for path, name in first}


class Years(RuleBasedStateMachine):
    """A catalogue that changes and a store that follows it."""

    bench: Bench

    def __init__(self):
        super().__init__()
        self.files = self.bench.restore()
        self.labels = {}
        self.store = self.bench.store
        self.digests = {}
        self.layout = open_store(self.store)
        generation = selected_generation(self.layout)
        places = self.places({"music"})
        published = Published(rows_of(places), generation)
        self.model = Model({1: published}, 1, [places], {1})
        self.model.extracted = published.ok_ids
        self.model.coded = {generation: published.ok_ids}

    # --- the catalogue ---

    @rule(
        edits=st.lists(
            st.tuples(
                st.sampled_from(["write", "write", "write", "move", "copy", "delete", "label"]),
                st.sampled_from([*ROOTS, "music"]),
                st.sampled_from(PATHS),
                st.sampled_from(["ambient", "metal", "electronic", "rock", *BAD]),
                st.integers(0, 5),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def change(self, edits):
        """Add, change, corrupt, move, copy, delete and label files."""
        for kind, root, path, name, number in edits:
            if kind == "write":
                self.put(root, path, self.sound(name, number))
            elif kind == "label":
                self.labels[path] = (*LABELS, None)[number % 3]
            elif self.files:
                source = sorted(self.files)[number % len(self.files)]
                content = self.files[source]
                if kind != "copy":
                    self.drop(source)
                if kind != "delete":
                    self.put(root, path, content)

    def sound(self, name, number):
        """Give one of the contents of a kind."""
        fitting = sorted(key for key in self.bench.sounds if key.rsplit("-", 1)[0] == name)
        return self.bench.sounds[fitting[number % len(fitting)]]

    def put(self, root, path, content):
        self.bench.put(root, path, content)
        self.files[root, path] = content

    def drop(self, place):
        (self.bench.folders[place[0]] / place[1]).unlink()
        del self.files[place]

    @rule(root=st.sampled_from(["music", "radio"]))
    def lose_most(self, root):
        """Delete all files below a root but one."""
        for place in [place for place in sorted(self.files) if place[0] == root][1:]:
            self.drop(place)

    def places(self, roots):
        """Give what a scan of some roots must find."""
        return {
            (str(self.bench.folders[root]), path): (content, self.label(root, path))
            for (root, path), content in self.files.items()
            if root in roots
        }

    def label(self, root, path):
        """Give the label that a file must get: the collection's are its folders."""
        if root == "radio":
            return path.split("/")[0] if "/" in path else None
        return self.labels.get(path)

    def write_labels(self, roots):
        """Write the labels file; give what is said to a run."""
        paths = sorted({path for root, path in self.files if root in roots})
        lines = [f"{path},{self.labels[path]}" for path in paths if self.labels.get(path)]
        if not lines:
            return "none"
        self.bench.labels.write_text("\n".join(["path,label", *lines]) + "\n")
        return str(self.bench.labels)

    # --- nights ---

    @rule(with_attic=st.booleans(), allow_shrink=st.sampled_from([False, False, True]), at=KILLS)
    def run(self, with_attic, allow_shrink, at):
        """Run a night."""
        named = {"music", "attic"} if with_attic else {"music"}
        scanned = named | ({"radio"} if self.model.is_registered else set())
        places = self.places(scanned)
        has_files = {root for root, _ in self.files}
        sees_files = bool(named & has_files) and scanned - named <= has_files
        refused = not allow_shrink and is_refused(self.model.published, places)
        following = Published(rows_of(places), self.model.published.generation)
        roots = [str(self.bench.folders[root]) for root in sorted(named)]
        labels = self.write_labels(named)
        outcome = self.perform(
            lambda: night(self.store, roots, labels, allow_shrink=allow_shrink), at
        )
        if not sees_files or refused:
            assert outcome in {"refused", "killed"}
            return
        self.night_was(outcome, following, places)

    def night_was(self, outcome, following, places):
        """Learn what a run that is not refused by its plan has come to."""
        before = self.model.published
        is_publishing = not fails_too_often(following.rows)
        if outcome == "killed":
            self.model.recorded = [*self.model.recorded, places]
            self.learn([following] if is_publishing else [])
            return
        assert outcome == ("ended" if is_publishing else "refused")
        self.model.recorded = [places]
        bound = following.ok_ids - self.model.extracted
        self.model.extracted |= following.ok_ids
        if is_publishing:
            self.learn([following], must=True)
            self.model.coded[following.generation] |= following.ok_ids
            self.check_account(before, bound)

    def check_account(self, before, undone):
        """Compare the ledger with what there was to do; at most `undone` was to be decoded."""
        after, record = self.model.published, read_runs(self.layout)[-1]
        n_failed = len(after.rows) - len(after.ok_ids)
        assert record.state == ("done-with-failures" if n_failed else "done")
        assert (record.seen, record.failed, record.removed, record.quarantined) == (
            *(len(after.ids | before.ids), n_failed),
            *(len(before.ids - after.ids), 0),
        )
        assert record.done + record.reused == len(after.ok_ids)
        assert record.done <= len(undone)
        assert record.snapshot == self.model.current

    @rule(at_all=st.booleans())
    def run_without_the_disk(self, at_all):
        """A night while the disk is not mounted changes nothing."""
        folder = self.bench.folders["music"]
        away = folder.with_name("away")
        folder.rename(away)
        if not at_all:
            folder.mkdir()
        assert self.perform(lambda: night(self.store, [str(folder)], "none"), None) == "refused"
        if not at_all:
            folder.rmdir()
        away.rename(folder)

    # --- backfills ---

    @property
    def radio(self):
        """What is said to fill the collection."""
        return Request(collection="radio", catalogue=str(self.bench.folders["radio"]))

    @precondition(lambda self: any(root == "radio" for root, _ in self.files))
    @rule(limit=st.none() | st.integers(1, 4), at=KILLS)
    def fill_collection(self, limit, at):
        """Work on the collection; when that is complete, it is published and registered."""
        radio = self.places({"radio"})
        root = str(self.bench.folders["radio"])
        elsewhere = [
            {place: what for place, what in places.items() if place[0] != root}
            for places in self.model.recorded
        ]
        if any(self.is_stale(places) for places in elsewhere):
            return
        outcomes = [places | radio for places in elsewhere]
        generation = self.model.published.generation
        refused = [is_refused(self.model.published, places) for places in outcomes]
        following = [Published(rows_of(places), generation) for places in outcomes]
        fails = [fails_too_often(one.rows) for one in following]
        was_registered = self.model.is_registered
        outcome = self.perform(lambda: fill(self.store, self.radio, limit), at)
        self.model.is_registered = bool(read_collections(self.layout))
        is_open = has_open_backfill(self.store, "collection-radio")
        if outcome == "refused":
            assert any(refused) or any(fails)
            assert self.model.is_registered == was_registered
            self.model.recorded = [*self.model.recorded, *outcomes]
        elif outcome == "killed":
            self.model.recorded = [*self.model.recorded, *outcomes]
            self.learn(following)
        elif is_open:
            assert limit is not None
            assert self.model.is_registered == was_registered
        else:
            assert self.model.is_registered
            assert not all(map(bool.__or__, refused, fails))
            before = self.model.published
            self.learn(following, must=True)
            published = self.model.published
            self.model.recorded = [
                places for places, one in zip(outcomes, following, strict=True) if one == published
            ]
            bound = published.ok_ids
            self.model.extracted |= published.ok_ids
            self.model.coded[generation] |= published.ok_ids
            self.check_account(before, bound)

    def is_stale(self, places):
        """Tell whether tracks that may not be extracted yet are no longer where a scan saw them."""
        here = {
            (str(self.bench.folders[root]), path): content.track_id
            for (root, path), content in self.files.items()
        }
        return any(
            content.track_id not in self.model.extracted and here.get(place) != content.track_id
            for place, (content, _) in places.items()
        )

    @precondition(lambda self: self.model.is_registered)
    @rule()
    def remove_collection(self):
        """Take the collection out of the register."""
        deregister(self.store, "radio")
        self.model.is_registered = False

    @precondition(lambda self: has_open_backfill(self.store, "collection-radio"))
    @rule()
    def give_collection_up(self):
        """Abandon the backfill."""
        abandon_backfill(self.store, self.radio)

    # --- generations ---

    @rule(n_bits=st.sampled_from(N_BITS))
    def add_candidate(self, n_bits):
        """Store a model with codes of another length."""
        self.model.coded.setdefault(add_candidate(self.store, n_bits), set())

    def generation(self, number):
        """Choose a generation."""
        names = sorted(self.model.coded)
        return names[number % len(names)]

    @precondition(lambda self: len(self.model.coded) > 1)
    @rule(number=st.integers(0, 2), limit=st.none() | st.integers(1, 3), at=KILLS)
    def fill_generation(self, number, limit, at):
        """Encode what is published with a generation."""
        generation = self.generation(number)
        outcome = self.perform(lambda: fill(self.store, Request(model=generation), limit), at)
        assert outcome != "refused"
        if outcome == "ended" and not has_open_backfill(self.store, f"model-{generation}"):
            self.model.coded[generation] |= self.model.published.ok_ids

    @precondition(lambda self: len(self.model.coded) > 1)
    @rule(number=st.integers(0, 2), at=KILLS)
    def promote(self, number, at):
        """Publish with the codes of a generation."""
        generation = self.generation(number)
        following = self.model.published._replace(generation=generation)
        outcome = self.perform(lambda: promote_generation(self.store, generation), at)
        self.promoted(outcome, following)

    def promoted(self, outcome, following):
        """Learn what a promotion has come to."""
        if outcome == "refused":
            assert not following.ok_ids <= self.model.coded[following.generation]
        elif outcome == "killed":
            self.learn([following])
        else:
            self.learn([following], must=True)
            self.model.coded[following.generation] |= following.ok_ids

    @rule(at=KILLS)
    def roll_generation_back(self, at):
        """Publish with the codes of the generation before."""
        generation = self.model.generation_before()
        outcome = self.perform(lambda: roll_generation_back(self.store), at)
        if generation is None:
            assert outcome in {"refused", "killed"}
            return
        following = self.model.published._replace(generation=generation)
        if outcome != "killed":
            assert outcome == "ended"
        self.promoted(outcome, following)

    # --- the life of snapshots ---

    @rule(number=st.none() | st.integers(0, 5), at=KILLS)
    def roll_snapshot_back(self, number, at):
        """Make an earlier snapshot the current one."""
        numbers = sorted(self.model.snapshots)
        target = None if number is None else numbers[number % len(numbers)]
        earlier = [one for one in numbers if one < self.model.current]
        seen = [one for one in earlier if one in self.model.were_current]
        expected = target or max(seen or earlier, default=None)
        outcome = self.perform(lambda: roll_back(self.store, target), at)
        if expected is None:
            assert outcome in {"refused", "killed"}
            return
        pointed = current_snapshot(self.layout).number
        assert pointed in {expected} | ({self.model.current} if outcome == "killed" else set())
        self.model.current = pointed
        self.model.were_current.add(pointed)
        assert outcome != "refused"

    @rule(keep=st.integers(1, 3), with_models=st.booleans(), at=KILLS)
    def collect(self, keep, with_models, at):
        """Collect garbage."""
        before = set(list_generations(self.layout))
        states = open_backfills(self.layout)
        outcome = self.perform(
            lambda: collect_garbage(self.store, CONFIG, keep=keep, with_models=with_models), at
        )
        assert outcome != "refused"
        generations = {state.generation for state in states} - {None}
        snapshots = set(self.model.snapshots)
        kept = self.model.collect(keep, is_all_needed=bool(states), generations_needed=generations)
        listed = set(list_snapshots(self.layout))
        assert kept <= listed <= snapshots
        assert outcome == "killed" or listed == kept
        self.model.snapshots = {number: self.model.snapshots[number] for number in listed}
        stays = set(list_generations(self.layout))
        needed = {self.model.snapshots[number].generation for number in kept} | generations
        assert needed <= stays <= before
        assert with_models or stays == before
        assert outcome == "killed" or not with_models or stays == needed
        self.model.coded = {name: self.model.coded[name] for name in stays}

    @rule(
        what=st.sampled_from(["nothing", "index", "info", "codes", "predictions", "encoded"]),
        is_removed=st.booleans(),
        at=KILLS,
    )
    def damage_and_reconcile(self, what, is_removed, at):
        """Damage what can be made anew; reconcile, killed or not, and again to its end."""
        snapshot = current_snapshot(self.layout)
        paths = {"index": snapshot.index, "info": snapshot.index_info}
        paths |= {name: snapshot.tables[name][0] for name in ("codes", "predictions")}
        if what == "encoded":
            encoded = [entry.path for entry in snapshot.files if entry.path.startswith("encoded/")]
            paths["encoded"] = f"{Path(encoded[0]).parent}/codes.parquet"
        if what != "nothing":
            damage(self.layout.root / paths[what], is_removed=is_removed)
        if at is not None:
            assert self.perform(lambda: reconcile_store(self.store), at) != "refused"
        done = reconcile_store(self.store)
        assert done["is_mended"], done
        assert done["disagreements"] == []
        if what == "encoded":
            encode_missing(self.store, snapshot.generation)

    # --- what becomes of it ---

    def perform(self, action, at):
        """Do something, or have it killed before its operation of some number."""
        if at is not None:
            return die_at(at, self.bench.work / "store", action)
        try:
            action()
        except MusicHashError:
            return "refused"
        return "ended"

    def learn(self, possible, *, must=False):
        """See which snapshot is current now, and whether a new one holds what it may hold."""
        before = self.model.published
        number = max(self.model.snapshots, default=0) + 1
        new = set(list_snapshots(self.layout)) - set(self.model.snapshots)
        assert new <= {number}
        pointed = current_snapshot(self.layout).number
        assert pointed in {self.model.current, *new}
        if new:
            found = self.content(number)
            assert found in possible
            self.model.snapshots[number] = found
            if pointed == number or not must:
                self.model.current = pointed
            self.model.were_current.add(self.model.current)
        if must:
            assert self.model.current == pointed
            assert self.model.published in possible
            assert not new or pointed == number
            assert before != self.model.published or before in possible

    def content(self, number):
        """Read a snapshot as a user does."""
        snapshot = read_snapshot(self.layout, number)
        tables = {name: read_table(self.layout, snapshot, name) for name in snapshot.tables}
        codes = {row["track_id"]: row["code"] for row in tables["failures"].to_pylist()}
        rows = tables["tracks"].to_pylist()
        assert len({row["track_id"] for row in rows}) == len(rows)
        for row in rows:
            assert row["status"] == ("failed" if row["track_id"] in codes else "ok")
            assert f"{row['root']}/{row['path']}" == row["locations"][0]
        coded = tables["codes"]["track_id"].to_pylist()
        assert coded == tables["predictions"]["track_id"].to_pylist()
        assert coded == sorted({row["track_id"] for row in rows} - codes.keys())
        for name in ("codes", "predictions"):
            assert set(pc.unique(tables[name]["generation"]).to_pylist()) == {snapshot.generation}
        self.check_index(snapshot, packed_codes(tables["codes"]))
        return Published(
            frozenset(
                Row(
                    row["track_id"],
                    tuple(row["locations"]),
                    row["root"],
                    row["label"],
                    codes.get(row["track_id"]),
                )
                for row in rows
            ),
            snapshot.generation,
        )

    def check_index(self, snapshot, codes):
        """Compare the rows of the index with those of the codes table."""
        info = read_index_info(self.layout, snapshot.index_info)
        assert info["generation"] == snapshot.generation
        index = faiss.read_index_binary(str(self.layout.root / snapshot.index))
        assert index.ntotal == len(codes)
        rows = faiss.vector_to_array(index.xb).reshape(codes.shape)
        assert np.array_equal(rows, codes)

    @invariant()
    def holds_what_it_must(self):
        """Read everything, every byte, and compare it with the model."""
        assert verify_everything(self.store)["findings"] == []
        assert lock_owner(self.layout) is None
        told = list_all(self.store)
        assert told["problem"] is None
        assert told["current"] == self.model.current
        shown = {row["number"]: row for row in told["snapshots"]}
        assert shown.keys() == self.model.snapshots.keys()
        for number, row in shown.items():
            assert row["is_readable"], row
            assert self.digests.setdefault(number, row["digest"]) == row["digest"]
        self.digests = {number: self.digests[number] for number in shown}
        assert self.content(self.model.current) == self.model.published
        assert selected_generation(self.layout) == self.model.published.generation
        assert set(list_generations(self.layout)) == self.model.coded.keys()
        assert bool(read_collections(self.layout)) == self.model.is_registered
        for record in read_runs(self.layout)[:-1]:
            assert record.state != "running"
            assert record.is_balanced

    def teardown(self):
        """Run a last night, whatever has happened: the store is as good as a new one."""
        self.put("music", PATHS[0], self.sound("ambient", 0))
        for root in ("music", "attic", "radio"):
            bad = [place for place in sorted(self.files) if self.files[place].code is not None]
            for place in [place for place in bad if place[0] == root]:
                self.drop(place)
        if self.model.is_registered:
            self.put("radio", PATHS[0], self.sound("rock", 0))
        self.run(with_attic=True, allow_shrink=True, at=None)
        self.holds_what_it_must()


def damage(path, *, is_removed):
    """Remove a file, or change a bit of it."""
    if is_removed:
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def machine_for(bench):
    """Give the state machine that works on some folders."""
    return type("YearsOnABench", (Years,), {"bench": bench})
