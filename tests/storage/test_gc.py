"""Collecting garbage removes what nobody needs, never what somebody does, killed or not."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from musichash_core.inference import build_models
from storage.assembling import SnapshotParts, assemble_snapshot, with_runs_table
from storage.catalogue import Catalogue, CatalogueRow, write_catalogue
from storage.checkpoints import save_models
from storage.errors import DamagedArtefactError, FormatVersionError, StoreLockedError
from storage.extracted import read_extracted
from storage.garbage import AlsoNeeded, collect, measure_leftovers, plan_collection
from storage.generations import select_generation, selected_generation
from storage.live_tables import Wanted, collect_tables, write_tables
from storage.published import read_table, require_snapshot
from storage.runs import finish_run, start_run
from storage.snapshots import list_snapshots, point_at, publish_snapshot, read_snapshot
from storage.store import holding_off_backfills, open_store, working_beside, writing
from storage.tables import read_part
from storage.verify import verify_all, verify_snapshot


@dataclass(frozen=True)
class Story:
    """A store on which nights are played by hand."""

    layout: object
    helpers: object

    def model(self, name):
        """Train a generation, as it were."""
        models = build_models(
            self.helpers.small_models,
            self.helpers.genres,
            n_channels=3,
            n_mels=self.helpers.n_mels,
        )
        return save_models(
            self.layout,
            models,
            feature_fingerprint=self.helpers.features,
            summary={"name": name},
        )

    def extract(self, name, numbers, failures=()):
        frames = {number: self.helpers.random_frames(600, number) for number in numbers}
        folder = self.layout.feature_partition_path(self.helpers.features, name)
        self.helpers.write_partition(folder, frames, failures)

    def encode(self, generation, name, numbers):
        self.helpers.write_encoded(self.layout, generation, name, numbers)

    def record(self, numbers):
        rows = [CatalogueRow(self.helpers.source_file(number), "blues") for number in numbers]
        catalogue = Catalogue(tuple(rows), ())
        write_catalogue(self.layout, catalogue)
        return catalogue

    def publish(self, numbers, generation):
        """Publish some tracks, as a night does."""
        catalogue = self.record(numbers)
        features = self.helpers.features
        wanted = Wanted(features, generation, self.helpers.n_bits)
        with collect_tables(self.layout, catalogue, wanted) as tables:
            stored = write_tables(self.layout, tables)
        parts = SnapshotParts(
            feature_fingerprint=features,
            generation=generation,
            tables={name: [part] for name, part in stored.parts.items()},
            receipts=tables.receipts,
            counts={name: stored.n_rows[name] for name in ("tracks", "codes", "failures")},
        )
        run = finish_run(self.layout, start_run(self.layout), state="done")
        codes = read_part(self.layout.root / stored.parts["codes"].path)
        snapshot = assemble_snapshot(self.layout, parts, codes)
        select_generation(self.layout, generation)
        return publish_snapshot(self.layout, with_runs_table(self.layout, snapshot, run))

    def collect(self, **how):
        how = {"keep": 1} | how
        with writing(self.layout), holding_off_backfills(self.layout) as is_alone:
            plan = plan_collection(self.layout, **how)
            collect(self.layout, plan, is_alone=is_alone)
        return plan

    def names(self, kind):
        return sorted(
            self.layout.relative(path).split("/", 1)[1]
            for path in (self.layout.root / kind).glob("*/*")
            if path.is_dir()
        )


@pytest.fixture
def story(layout, helpers):
    return Story(layout, helpers)


@pytest.fixture
def three_nights(story):
    """Track 1 leaves and 4 comes; then a second model is promoted. Two tracks failed."""
    first = story.model("first")
    story.extract("p1", (1, 2))
    story.extract("p2", (3,), [story.helpers.failure_of(9)])
    for name, numbers in {"p1": (1, 2), "p2": (3,)}.items():
        story.encode(first, name, numbers)
    story.publish((1, 2, 3, 9), first)
    story.extract("p3", (4,), [story.helpers.failure_of(9, attempts=2)])
    story.encode(first, "p3", (4,))
    story.publish((3, 4, 9), first)
    second = story.model("second")
    for name, numbers in {"p2": (3,), "p3": (4,)}.items():
        story.encode(second, name, numbers)
    story.publish((3, 4, 9), second)
    return first, second


def files_of(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(Path(root).rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


def test_a_store_with_nothing_to_collect_is_left_as_it_is(story, three_nights):
    before = files_of(story.layout.root)
    assert story.collect(keep=3).removals == ()
    assert files_of(story.layout.root) == before


def test_only_what_the_current_snapshot_needs_stays(story, three_nights):
    _, second = three_nights
    tables = {
        name: read_table(story.layout, require_snapshot(story.layout), name)
        for name in ("tracks", "predictions", "codes", "failures", "runs")
    }
    plan = story.collect()
    assert (plan.kept, plan.removed) == ((3,), (1, 2))
    assert list_snapshots(story.layout) == [3]
    assert story.names("features") == ["f" * 12 + "/p2", "f" * 12 + "/p3"]
    assert story.names("encoded") == [f"{second}/p2", f"{second}/p3"]
    snapshot = require_snapshot(story.layout)
    assert verify_snapshot(story.layout, snapshot)[0] == []
    for name, table in tables.items():
        assert read_table(story.layout, snapshot, name).equals(table)
        assert len(list(story.layout.table_root(name).iterdir())) == 1
    assert sorted(path.suffix for path in story.layout.index_root.iterdir()) == [".faiss", ".json"]


def test_what_is_said_to_be_freed_is_freed(story, three_nights):
    def size():
        return sum(len(data) for data in files_of(story.layout.root).values())

    before = size()
    plan = story.collect()
    assert plan.n_bytes == before - size() > 0


def test_kept_snapshots_stay_whole(story, three_nights):
    assert story.collect(keep=2).removed == (1,)
    assert verify_all(story.layout)[0] == []
    assert list_snapshots(story.layout) == [2, 3]


def test_a_snapshot_that_was_gone_back_to_stays(story, three_nights):
    point_at(story.layout, 1)
    plan = story.collect()
    assert plan.kept == (1, 3)
    assert verify_all(story.layout)[0] == []


def test_models_go_only_when_asked(story, three_nights):
    first, second = three_nights
    story.collect()
    assert story.layout.model_path(first).is_dir()
    story.collect(with_models=True)
    assert not story.layout.model_path(first).exists()
    assert story.layout.model_path(second).is_dir()
    assert verify_all(story.layout)[0] == []


def test_a_candidate_and_its_codes_stay_unless_models_go(story, three_nights):
    candidate = story.model("candidate")
    story.encode(candidate, "p3", (4,))
    story.collect()
    assert f"{candidate}/p3" in story.names("encoded")
    story.collect(with_models=True)
    assert f"{candidate}/p3" not in story.names("encoded")
    assert not story.layout.model_path(candidate).exists()


def test_the_generation_in_force_stays_though_nothing_is_published_with_it(story, three_nights):
    chosen = story.model("chosen")
    story.encode(chosen, "p3", (4,))
    select_generation(story.layout, chosen)
    story.collect(with_models=True)
    assert story.layout.model_path(chosen).is_dir()
    assert f"{chosen}/p3" in story.names("encoded")


# --- what the next run needs ---------------------------------------------------------------------


def test_extracted_tracks_of_the_catalogue_stay_before_they_are_published(story, three_nights):
    story.extract("p4", (5,))
    story.extract("p5", (6,))
    story.record((3, 4, 5, 9))
    story.collect()
    features = story.helpers.features
    assert story.names("features") == [f"{features}/{name}" for name in ("p2", "p3", "p4")]


def test_of_several_partitions_with_a_track_one_stays(story, three_nights):
    for name in ("p4", "p5"):
        story.extract(name, (5,))
    story.record((3, 4, 5))
    story.collect()
    assert "f" * 12 + "/p4" in story.names("features")
    assert "f" * 12 + "/p5" not in story.names("features")


def test_the_attempts_of_failures_are_not_forgotten(story, three_nights):
    story.extract("p4", (), [story.helpers.failure_of(9, attempts=3)])
    story.extract("p5", (), [story.helpers.failure_of(8, attempts=4)])
    story.record((3, 4, 8, 9))
    before = read_extracted(story.layout, story.helpers.features).failures
    story.collect()
    assert read_extracted(story.layout, story.helpers.features).failures.equals(before)
    story.record((3, 4, 9))
    story.collect()
    assert "f" * 12 + "/p5" not in story.names("features")


def test_features_of_another_configuration_stay_where_somebody_needs_them(story, three_nights):
    other = story.layout.feature_partition_path("e" * 12, "p1")
    story.helpers.write_partition(other, {4: story.helpers.random_frames(600)})
    story.collect(also_needed=AlsoNeeded(fingerprints=frozenset({"e" * 12})))
    assert other.is_dir()
    story.collect()
    assert not other.exists()


# --- backfills -----------------------------------------------------------------------------------


def test_all_that_an_open_backfill_fills_stays(story, three_nights):
    first, _ = three_nights
    story.extract("p7", (70,))
    story.encode(first, "p7", (70,))
    needs = AlsoNeeded(frozenset({story.helpers.features}), frozenset({first}))
    story.collect(also_needed=needs, with_models=True)
    assert "f" * 12 + "/p7" in story.names("features")
    assert f"{first}/p7" in story.names("encoded")
    assert story.layout.model_path(first).is_dir()


def test_unfinished_folders_stay_while_a_backfill_works(story, three_nights):
    unfinished = story.layout.features_root("e" * 12) / ".tmp-p1-12345678"
    unfinished.mkdir(parents=True)
    (unfinished / "spool").write_bytes(b"12345")
    assert measure_leftovers(story.layout) == (1, 5)
    with working_beside(story.layout):
        story.collect()
        assert unfinished.is_dir()
    story.collect()
    assert not unfinished.parent.exists()


def test_nothing_is_collected_beside_a_writer(story, three_nights):
    with writing(story.layout), pytest.raises(StoreLockedError):
        story.collect()


# --- damage --------------------------------------------------------------------------------------


def test_a_damaged_manifest_is_garbage_unless_it_is_the_current_one(story, three_nights):
    story.layout.snapshot_path(1).write_text("{}x")
    assert story.collect(keep=3).removed == (1,)
    story.layout.snapshot_path(3).write_text("{}x")
    with pytest.raises(DamagedArtefactError, match="'musichash snapshots rollback 2"):
        story.collect()
    assert list_snapshots(story.layout) == [2, 3]


def test_a_manifest_of_another_version_stops_the_collection(story, three_nights):
    story.layout.snapshot_path(1).write_text('{"format": 9}')
    with pytest.raises(FormatVersionError, match="format 9"):
        story.collect()
    assert list_snapshots(story.layout) == [1, 2, 3]


def test_a_damaged_partition_stays_for_mending(story, three_nights):
    story.extract("p6", (60,))
    folder = story.layout.feature_partition_path(story.helpers.features, "p6")
    (folder / "tracks.parquet").write_bytes(b"")
    story.collect()
    assert folder.is_dir()


def test_foreign_files_stay(story, three_nights):
    notes = [story.layout.index_root / "notes.txt", story.layout.table_root("codes") / "a.parquet"]
    for path in notes:
        path.write_text("of the operator")
    story.collect()
    assert all(path.is_file() for path in notes)


def test_who_reads_a_removed_snapshot_is_told(story, three_nights):
    old = read_snapshot(story.layout, 1)
    story.collect()
    with pytest.raises(Exception, match=r"snapshot 1 is no longer whole.*gc.*ask again"):
        read_table(story.layout, old, "codes")


# --- interruption --------------------------------------------------------------------------------


def test_a_kill_at_any_operation_harms_nothing_and_the_next_collection_ends_alike(
    story, three_nights, tmp_path
):
    _, second = three_nights
    story.extract("p4", (5,))
    story.record((3, 4, 5, 9))
    (story.layout.root / "features" / ("e" * 12)).mkdir()
    shutil.copytree(story.layout.root, tmp_path / "undisturbed")
    undisturbed = Story(open_store(tmp_path / "undisturbed"), story.helpers)
    undisturbed.collect()
    expected = files_of(undisturbed.layout.root)
    script = Path(__file__).with_name("gc_kill_points.py")
    (tmp_path / "killed").mkdir()
    printed = subprocess.run(
        [sys.executable, script, story.layout.root, tmp_path / "killed"],
        capture_output=True,
        text=True,
        check=True,
    )
    n_points = int(printed.stdout)
    assert n_points > 20
    for number in range(n_points + 1):
        killed = Story(open_store(tmp_path / "killed" / str(number)), story.helpers)
        findings, _, _ = verify_all(killed.layout)
        assert findings == [], number  # no manifest that is left lists what is gone
        assert require_snapshot(killed.layout).number == 3
        assert selected_generation(killed.layout) == second
        killed.collect()
        assert files_of(killed.layout.root) == expected, number


def test_what_was_kept_of_features_that_are_gone_goes_too(story, three_nights):
    layout, features = story.layout, story.helpers.features
    read_extracted(layout, features, keep=True)
    gone = [layout.facts_cache_path("0" * 12), layout.failures_cache_path("0" * 12)]
    filled = [layout.facts_cache_path("1" * 12), layout.failures_cache_path("1" * 12)]
    for path in gone + filled:
        path.write_bytes(b"x")
    other = layout.work_root / "facts.txt"
    other.touch()
    plan = story.collect(also_needed=AlsoNeeded(whole_fingerprints=frozenset({"1" * 12})))
    assert [(one.path, one.n_bytes) for one in plan.removals if one.kind == "cache"] == [
        (layout.relative(path), 1) for path in gone
    ]
    assert not any(path.exists() for path in gone)
    stays = [layout.facts_cache_path(features), layout.failures_cache_path(features), other]
    assert all(path.exists() for path in stays + filled)
