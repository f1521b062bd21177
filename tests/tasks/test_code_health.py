"""The health of codes over the nights of a store: measured, kept, told, and blocking if asked.

The codes are given, not computed; the stage that publishes does everything else.
"""

import json
import shutil
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
import pytest
from scipy.spatial.distance import cdist, jensenshannon

from musichash_core.health_config import HealthConfig
from musichash_core.inference import EncodedTrack
from musichash_core.records import SourceFile
from storage.catalogue import Catalogue, CatalogueRow, write_catalogue
from storage.code_health import health_path, read_health
from storage.encoded_store import write_encoded
from storage.errors import UnknownSnapshotError
from storage.feature_store import FeaturePartitionWriter, StoredTrack
from storage.garbage import collect, plan_collection
from storage.layout import StoreLayout
from storage.published import read_table
from storage.snapshots import current_snapshot, list_snapshots, read_snapshot
from storage.store import open_store
from storage.verify import verify_all
from tasks.code_health import CodeHealthAlarmError, check_health
from tasks.health_answers import current_health, snapshot_health
from tasks.health_table import escape_markdown, health_markdown, health_rows
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.report import write_report
from tasks.status import store_status

N_KNOWN = 300
N_NEW = 150
GENRES = ("high", "low")
N_BITS = 32
STORED = StoredTrack(
    track_id="",
    first_frame=0,
    n_frames=1,
    duration_s=1.0,
    sr=44_100,
    n_channels=2,
    container="ogg-vorbis",
    codec="VORBIS",
    peak=0.9,
    rms_db=-12.0,
    warnings=[],
)


def random_logits(n_tracks, seed):
    """Real-valued codes of music of many kinds: every bit is even, and no two codes are equal."""
    return np.random.default_rng(seed).normal(size=(n_tracks, N_BITS)).astype(np.float32)


@dataclass
class CodedStore:
    """A store, and the partitions that its nights brought.

    Attributes
    ----------
    store : str
    config : PipelineConfig
    generation : str
        Model that is in force; its weights are never used.
    """

    store: str
    config: object
    generation: str
    partitions: dict = field(default_factory=dict)

    @property
    def layout(self) -> StoreLayout:
        return open_store(self.store)

    def night(self, name, logits, genres=None, **health):
        """Bring tracks with such codes, and publish all there are; gives what was published.

        Other thresholds are given by name.
        """
        settings = self.config.health.model_copy(update=health)
        config = self.config.model_copy(update={"health": settings})
        self.store_codes(name, logits, genres)
        n_known = sum(len(ids) for ids in self.partitions.values())
        self.partitions[name] = self._ids(name, len(logits))
        return self._publish(config, n_done=len(logits), n_reused=n_known)

    def again(self):
        """Run once more, with nothing new."""
        n_known = sum(len(ids) for ids in self.partitions.values())
        return self._publish(self.config, n_done=0, n_reused=n_known)

    def _publish(self, config, *, n_done, n_reused):
        files = [
            SourceFile(track_id, "/music", f"{name}/{number}.ogg", b"x", n_bytes=9, mtime_ns=1)
            for name, ids in self.partitions.items()
            for number, track_id in enumerate(ids)
        ]
        files = [replace(file, path_raw=file.path.encode()) for file in files]
        with begin_run(self.store) as run:
            rows = tuple(CatalogueRow(file, None, None) for file in files)
            write_catalogue(self.layout, Catalogue(rows, ()))
            published = publish(self.store, config, run.record, n_done=n_done, n_reused=n_reused)
            run.record = published.record
        return published

    def _ids(self, name, n_tracks):
        return [
            blake2b(f"{name}-{n}".encode(), digest_size=16).hexdigest() for n in range(n_tracks)
        ]

    def store_codes(self, name, logits, genres=None):
        """Store what features and models gave for the tracks of a partition."""
        genres = np.arange(len(logits)) % len(GENRES) if genres is None else genres
        ids = self._ids(name, len(logits))
        order = np.argsort(ids)
        partition_id = blake2b(name.encode(), digest_size=8).hexdigest()
        fingerprint, n_mels = self.config.feature_fingerprint, self.config.features.n_mels
        folder = self.layout.feature_partition_path(fingerprint, partition_id)
        with FeaturePartitionWriter(folder, fingerprint=fingerprint, n_mels=n_mels) as writer:
            for row in order:
                writer.append_frames(np.full((1, 3, n_mels), 100, np.uint8))
                writer.finish_track(replace(STORED, track_id=ids[row], first_frame=writer.n_frames))
        encoded = [
            (
                ids[row],
                EncodedTrack(np.eye(2, dtype=np.float32)[genres[row]], logits[row], 1),
            )
            for row in order
        ]
        write_encoded(
            self.layout.encoded_partition_path(self.generation, partition_id),
            encoded,
            generation=self.generation,
            genres=GENRES,
            n_bits=N_BITS,
        )


@pytest.fixture
def nights(store, config, with_model):
    """A store with a model, and no tracks yet."""
    return CodedStore(store, config, with_model(store))


def names_of(found):
    return {(finding["name"], finding["level"]) for finding in found["findings"]}


def bits_of(store, number=None):
    """Read ids, codes as bits, and genres as a user would: from the published tables."""
    layout = open_store(store)
    snapshot = current_snapshot(layout) if number is None else read_snapshot(layout, number)
    codes, predictions = (read_table(layout, snapshot, name) for name in ("codes", "predictions"))
    packed = np.array([list(code) for code in codes["code"].to_pylist()], dtype=np.uint8)
    return (
        codes["track_id"].to_pylist(),
        np.unpackbits(packed, axis=1, bitorder="little"),
        predictions["genre"].to_pylist(),
    )


def test_healthy_nights_have_no_findings(nights):
    nights.night("known", random_logits(N_KNOWN, 1))
    nights.night("new", random_logits(N_NEW, 2))

    for number in (1, 2):
        found = snapshot_health(nights.store, number=number)
        assert (found["snapshot"], found["level"], found["findings"]) == (number, "ok", [])


def test_figures_are_those_of_numpy_and_scipy(nights):
    nights.night("known", random_logits(N_KNOWN, 1))
    nights.night("new", random_logits(N_NEW, 2), genres=np.zeros(N_NEW, int))

    found = snapshot_health(nights.store)

    ids, bits, genres = bits_of(nights.store)
    ids_before, bits_before, genres_before = bits_of(nights.store, 1)
    correlation = np.abs(np.triu(np.corrcoef(bits.T.astype(float)), k=1))
    codes, drift = found["figures"]["codes"], found["figures"]["drift"]
    assert codes["n_codes"] == N_KNOWN + N_NEW
    assert found["bit_means"] == pytest.approx(bits.mean(axis=0), abs=1e-6)
    assert abs(codes["largest_correlation"]) == pytest.approx(correlation.max(), abs=1e-6)
    assert (drift["n_common"], drift["n_new"], drift["n_removed"]) == (N_KNOWN, N_NEW, 0)
    change = bits.mean(axis=0) - bits_before.mean(axis=0)
    assert abs(drift["largest_bit_change"]) == pytest.approx(np.abs(change).max(), abs=1e-6)
    is_new = np.array([track_id not in set(ids_before) for track_id in ids])
    new, known = (
        [np.array(side).tolist().count(genre) for genre in GENRES]
        for side in (np.array(genres)[is_new], genres_before)
    )
    assert drift["new"]["genre_distance"] == pytest.approx(
        jensenshannon(new, known, base=2), abs=1e-6
    )


def test_canaries_find_what_brute_force_finds(nights):
    nights.night("known", random_logits(N_KNOWN, 1))

    found = snapshot_health(nights.store)

    ids, bits, genres = bits_of(nights.store)
    distances = np.rint(cdist(bits, bits, "hamming") * N_BITS)
    # Ids are sorted, so the first ones of each genre are those with the smallest ids.
    chosen = {
        ids[row] for genre in GENRES for row in np.flatnonzero(np.array(genres) == genre)[:10]
    }
    assert {canary["track_id"] for canary in found["canaries"]} == chosen
    for canary in found["canaries"]:
        row = ids.index(canary["track_id"])
        wanted = sorted(np.delete(distances[row], row))[:10]
        assert canary["finds_itself"]
        assert [answer["distance"] for answer in canary["neighbours"]] == wanted
        for answer in canary["neighbours"]:
            assert distances[row, ids.index(answer["track_id"])] == answer["distance"]
            assert answer["path"].startswith("known/")


def test_answers_that_nearer_tracks_push_out_are_kept(nights):
    nights.night("known", random_logits(N_KNOWN, 1))
    nights.night("new", random_logits(N_NEW, 2))

    canaries = snapshot_health(nights.store)["figures"]["canaries"]

    assert canaries["n_answers_before"] > 50
    assert canaries["n_answers_again"] < canaries["n_answers_before"]
    assert canaries["n_answers_kept"] == canaries["n_answers_before"]


def test_a_night_with_a_stuck_bit_raises_the_alarm_and_is_published(nights):
    nights.night("known", random_logits(N_KNOWN, 1))
    logits = random_logits(N_NEW, 2)
    logits[:, 7] = 1.0

    published = nights.night("new", logits)

    found = snapshot_health(nights.store)
    assert published.is_new
    assert (found["snapshot"], found["level"]) == (2, "alarm")
    assert ("stuck-bits", "alarm") in names_of(found)
    assert list(found["figures"]["drift"]["new"]["stuck_bits"]) == [7]
    assert store_status(nights.store)["health"]["level"] == "alarm"


def test_an_alarm_that_blocks_leaves_the_last_snapshot(nights):
    nights.night("known", random_logits(N_KNOWN, 1))
    logits = random_logits(N_NEW, 2)
    logits[:, 7] = 1.0

    with pytest.raises(
        CodeHealthAlarmError, match=r"health.block_on_alarm .* nothing is published"
    ):
        nights.night("new", logits, block_on_alarm=True)

    assert list_snapshots(nights.layout) == [1]
    assert current_snapshot(nights.layout).number == 1
    assert verify_all(nights.layout)[0] == []
    del nights.partitions["new"]  # taken out of the catalogue again
    assert not nights.again().is_new


def test_without_thresholds_those_of_the_current_snapshot_count(nights):
    nights.night("known", random_logits(N_KNOWN, 1), bit_share_alarm=0.11, bit_share_warn=0.1)
    snapshot = current_snapshot(nights.layout)

    record = check_health(nights.layout, snapshot)

    assert record.thresholds.bit_share_alarm == 0.11
    assert record.thresholds.bit_share_warn == 0.1


def test_codes_that_change_for_known_tracks_raise_the_alarm(nights):
    logits = random_logits(N_KNOWN, 1)
    nights.night("known", logits)
    partition = next((nights.layout.encoded_root(nights.generation)).iterdir())
    shutil.rmtree(partition)
    logits[3] = -logits[3]

    nights.store_codes("known", logits)
    nights.again()

    found = snapshot_health(nights.store)
    assert names_of(found) == {("changed-codes", "alarm")}
    drift = found["figures"]["drift"]
    assert (drift["n_changed"], drift["n_changed_bits"], drift["n_new"]) == (1, N_BITS, 0)


def test_removed_tracks_are_counted(nights):
    nights.night("known", random_logits(N_KNOWN, 1))
    nights.night("new", random_logits(N_NEW, 2))
    del nights.partitions["new"]

    nights.again()

    drift = snapshot_health(nights.store)["figures"]["drift"]
    assert (drift["n_common"], drift["n_new"], drift["n_removed"]) == (N_KNOWN, 0, N_NEW)


def test_an_unchanged_night_publishes_nothing_and_leaves_the_record_alone(nights):
    nights.night("known", random_logits(N_KNOWN, 1))
    path = health_path(nights.layout, current_snapshot(nights.layout).digest)
    before = path.stat()

    published = nights.again()

    assert not published.is_new
    assert list_snapshots(nights.layout) == [1]
    assert path.stat() == before


def test_equal_nights_write_equal_records(nights, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(nights.store, copy)
    other = replace(nights, store=str(copy), partitions={})
    for each in (nights, other):
        each.night("known", random_logits(N_KNOWN, 1))
        each.night("new", random_logits(N_NEW, 2))

    records = [
        health_path(each.layout, current_snapshot(each.layout).digest) for each in (nights, other)
    ]
    assert records[0].name == records[1].name
    assert records[0].read_bytes() == records[1].read_bytes()


def test_what_is_not_kept_is_measured_again_and_is_the_same(nights):
    nights.night("known", random_logits(N_KNOWN, 1))
    nights.night("new", random_logits(N_NEW, 2))
    told = snapshot_health(nights.store)
    path = health_path(nights.layout, current_snapshot(nights.layout).digest)
    kept = path.read_bytes()

    path.unlink()
    assert current_health(nights.store) is None
    assert store_status(nights.store)["health"] is None

    assert snapshot_health(nights.store) == told
    assert path.read_bytes() == kept


@pytest.mark.parametrize("spoil", [b"", b"[]", b'{"format": 99}', b"\xff\xfe", None])
def test_a_damaged_record_is_measured_again(nights, spoil):
    nights.night("known", random_logits(N_KNOWN, 1))
    told = snapshot_health(nights.store)
    path = health_path(nights.layout, current_snapshot(nights.layout).digest)
    content = json.loads(path.read_bytes())
    del content["figures"]["codes"]["n_bits"]

    path.write_bytes(json.dumps(content).encode() if spoil is None else spoil)

    assert read_health(nights.layout, current_snapshot(nights.layout)) is None
    assert snapshot_health(nights.store) == told


def test_thresholds_are_those_of_the_run_unless_others_are_given(nights):
    nights.night("known", random_logits(N_KNOWN, 1), bit_share_warn=0.1)

    assert names_of(snapshot_health(nights.store)) == {("bit-balance", "warn")}
    assert snapshot_health(nights.store, config=HealthConfig())["level"] == "ok"
    assert snapshot_health(nights.store)["level"] == "warn"  # asking changed nothing


def test_the_tracks_of_the_largest_bucket_are_named(nights):
    logits = random_logits(N_KNOWN, 1)
    logits[10:40] = logits[10]

    nights.night("known", logits)

    found = snapshot_health(nights.store)
    assert names_of(found) == {("largest-bucket", "warn")}
    assert found["figures"]["codes"]["largest_bucket"] == 30
    same = {f"known/{number}.ogg" for number in range(10, 40)}
    assert len(found["largest_bucket_tracks"]) == 5
    assert {track["path"] for track in found["largest_bucket_tracks"]} < same


def test_a_damaged_snapshot_before_does_not_stop_the_night(nights):
    nights.night("known", random_logits(N_KNOWN, 1))
    first = read_snapshot(nights.layout, 1)
    (nights.layout.root / first.tables["codes"][0]).write_bytes(b"no Parquet")

    published = nights.night("new", random_logits(N_NEW, 2))

    assert published.is_new
    assert snapshot_health(nights.store)["figures"]["drift"] is None


def test_garbage_collection_takes_the_records_of_what_it_removes(nights):
    for number in range(3):
        nights.night(f"night {number}", random_logits(N_NEW, number))
    layout = nights.layout
    paths = [health_path(layout, read_snapshot(layout, number).digest) for number in (1, 2, 3)]
    assert all(path.exists() for path in paths)

    collect(layout, plan_collection(layout, keep=1), is_alone=True)

    assert [path.exists() for path in paths] == [False, False, True]
    assert verify_all(layout)[0] == []
    assert snapshot_health(nights.store)["before"]["snapshot"] == 2  # as it was measured


def test_a_snapshot_that_is_not_there_is_a_wrong_input(nights):
    nights.night("known", random_logits(N_KNOWN, 1))

    with pytest.raises(UnknownSnapshotError, match=r"no snapshot 7 .* the latest are: 1"):
        snapshot_health(nights.store, number=7)
    assert UnknownSnapshotError.is_wrong_input


def test_what_is_told_is_json_and_fits_a_table(nights):
    nights.night("known", random_logits(N_KNOWN, 1))
    nights.night("new", random_logits(N_NEW, 2))

    found = snapshot_health(nights.store)

    assert json.loads(json.dumps(found))["snapshot"] == 2
    measures = [row.measure for row in health_rows(found)]
    assert len(measures) == len(set(measures)) >= 18
    markdown = health_markdown(found)
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {5}


def test_the_report_shows_an_alarm_first_and_draws_what_changed(nights):
    nights.night("known", random_logits(N_KNOWN, 1))
    logits = random_logits(N_NEW, 2)
    logits[:, 7] = 1.0
    nights.night("new", logits)

    page = write_report(nights.store, nights.config).read_text(encoding="utf-8")

    told = snapshot_health(nights.store)["findings"][0]
    headline = page.index("The codes need a look")
    assert headline < page.index("Account of the last run") < page.index("Health of the codes <")
    assert page.index(told["what"]) > headline
    assert page.count(told["what"]) == 2
    assert told["remedy"] in page
    for picture in ("Share of ones per bit", "Correlation of every two bits", "sizes of buckets"):
        assert picture in page
    assert "Change of the share of ones of every bit since the last snapshot" in page


def test_markdown_shows_text_as_it_stands():
    assert escape_markdown("a*b_c |d| <e>\n# f") == r"a\*b\_c \|d\| \<e\> \# f"
    assert escape_markdown("&lt;b&gt;") == r"\&lt;b\&gt;"  # or else it is shown as <b>
