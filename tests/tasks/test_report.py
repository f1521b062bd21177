"""The report of tiny real stores, made with storage and task functions and without decoding."""

import base64
import io
import re
from collections import Counter
from dataclasses import asdict, dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pyarrow as pa
import pytest

from musichash_core.config import PipelineConfig
from musichash_core.decibels import db_to_bytes
from musichash_core.failure_codes import FAILURE_CODES
from musichash_core.features import FeatureConfig
from musichash_core.inference import build_models
from musichash_core.model_config import CRNNHashConfig, GenreCNNConfig, ModelConfig
from musichash_core.records import SourceFile, TrackFailure
from musichash_core.segments import SegmentConfig
from musichash_core.training_records import StageSummary, TrainingSummary
from storage.catalogue import Catalogue, CatalogueRow, write_catalogue
from storage.checkpoints import save_models
from storage.errors import ArtefactMissingError, StoreError
from storage.feature_store import FeaturePartitionWriter, StoredTrack
from storage.generations import select_generation
from storage.layout import StoreLayout
from storage.runs import RunRecord, close_killed_runs, start_run
from storage.schemas import FAILURES
from storage.store import create_store, open_store
from tasks.encode import encode_partition
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.report import write_report
from tasks.report_codes import CodedTracks, pair_rows, separation
from tasks.report_facts import failure_facts, run_facts
from tasks.report_text import bytes_text, printable, seconds_text
from tasks.report_training import OTHERS, training_facts

CONFIG = PipelineConfig(
    features=FeatureConfig(sr=8000, n_fft=512, hop_length=128, n_mels=16),
    models=ModelConfig(
        encoder="hpss-cnn",
        segments=SegmentConfig(n_frames=32, hop_frames=32, max_per_track=2),
        genre_cnn=GenreCNNConfig(widths=(4, 4, 4)),
        crnn_hash=CRNNHashConfig(n_bits=16, n_maps=4, map_shape=(2, 2), n_hidden=8, n_pooled=8),
    ),
    max_failed_share=0.9,
)
N_FRAMES = 80
TRACK = StoredTrack(
    track_id="",
    first_frame=0,
    n_frames=N_FRAMES,
    duration_s=1.28,
    sr=44_100,
    n_channels=2,
    container="ogg-vorbis",
    codec="VORBIS",
    peak=0.9,
    rms_db=-12.0,
    warnings=[],
)
SMALLEST_CONTRAST = 0.01
"""Standard deviation of an image's values, 0 to 1: an empty picture has none."""


@dataclass(frozen=True)
class Song:
    path: str
    label: str | None = None
    group: str | None = None
    failure: str | None = None
    warnings: tuple[str, ...] = ()


SONGS = (
    Song("rock/one.ogg", "rock", "ada", warnings=("length-differs",)),
    Song("rock/two.ogg", "rock", "bob"),
    Song("jazz/three.flac", "jazz", "cem"),
    Song("jazz/four.flac", "jazz", "dora"),
    Song("jazz/five.flac", "jazz", "eve"),
    Song("jazz/broken.wav", "jazz", "eve", failure="truncated"),
)


def track_id(song: Song) -> str:
    return base64.b16encode(song.path.encode()[-16:].rjust(16, b"-")).decode().lower()


def source_file(song: Song) -> SourceFile:
    raw = song.path.encode("utf-8", "surrogateescape")
    return SourceFile(track_id(song), "/music", song.path, raw, n_bytes=1000, mtime_ns=1)


def training_summary(songs: tuple[Song, ...], *, n_held_out: int) -> TrainingSummary:
    genres = sorted({song.label for song in songs if song.label}) or ["a", "b"]
    count = Counter(song.label for song in songs)
    held_out = [song for song in songs if song.label and not song.failure][:n_held_out]
    confusion = np.zeros((len(genres), len(genres)), dtype=int)
    for song in held_out:
        confusion[genres.index(song.label or ""), 0] += 1
    curve = StageSummary("mAP", (3.0, 2.0, 1.5), (0.2, 0.4, 0.3) if held_out else (), 2)
    score = 0.5 if held_out else None
    return TrainingSummary(
        genres=tuple(genres),
        tracks_per_genre=tuple(count[genre] for genre in genres),
        validation_tracks_per_genre=tuple(int(row.sum()) for row in confusion),
        n_parameters_genre=1234,
        n_parameters_hash=5678,
        validation_track_ids=tuple(sorted(track_id(song) for song in held_out)),
        genre_stage=replace(curve, metric_name="track accuracy"),
        hash_stage=curve,
        validation_accuracy=score,
        validation_macro_f1=score,
        chance_accuracy=score,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        validation_map=score,
        chance_map=score,
        map_database="all",
    )


def write_features(layout: StoreLayout, songs: tuple[Song, ...]) -> str:
    """Write one partition of noise with a steady tone (harmonic) and a beat (percussive)."""
    rng = np.random.default_rng(7)
    folder = layout.feature_partition_path(CONFIG.feature_fingerprint, "p1")
    writer = FeaturePartitionWriter(
        folder, fingerprint=CONFIG.feature_fingerprint, n_mels=CONFIG.features.n_mels
    )
    with writer:
        for song in sorted(songs, key=track_id):
            if song.failure:
                where = f"/music/{song.path}"
                writer.fail_track(
                    TrackFailure(track_id(song), where, "extract", song.failure, "<b>no</b> end")
                )
                continue
            db = rng.uniform(-60, -40, (N_FRAMES, 3, 16)).astype(np.float32)
            db[:, :2, rng.integers(16)] = 20.0
            db[::10, ::2] = 10.0
            writer.append_frames(db_to_bytes(db))
            facts = replace(TRACK, track_id=track_id(song), first_frame=writer.n_frames)
            writer.finish_track(replace(facts, warnings=list(song.warnings)))
    return "p1"


def make_store(
    root: Path, songs: tuple[Song, ...] = SONGS, *, n_held_out: int = 3, has_summary: bool = True
) -> str:
    """Publish a snapshot of some songs, encoded with untrained networks."""
    store = str(root / "store")
    genres = sorted({song.label for song in songs if song.label}) or ["a", "b"]
    with begin_run(store, create=True) as run:
        layout = create_store(store)
        rows = [CatalogueRow(source_file(song), song.label, song.group) for song in songs]
        write_catalogue(layout, Catalogue(tuple(rows), ()))
        partition_id = write_features(layout, songs)
        summary = asdict(training_summary(songs, n_held_out=n_held_out)) if has_summary else {}
        models = build_models(CONFIG.models, genres, n_channels=3, n_mels=16)
        fingerprint = CONFIG.feature_fingerprint
        generation = save_models(layout, models, feature_fingerprint=fingerprint, summary=summary)
        select_generation(layout, generation)
        encode_partition(store, partition_id, fingerprint, generation)
        record = replace(run.record, audio_s=600.0, cpu_s=4.0, peak_memory_bytes=321_000_000)
        n_done = sum(song.failure is None for song in songs)
        run.record = publish(store, CONFIG, record, n_done=n_done, n_reused=0).record
    return store


class Page(HTMLParser):
    """The visible text and the tags of a page; every tag that is opened must be closed."""

    VOID = frozenset({"meta", "img", "br", "wbr"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.images: list[str] = []
        self._open: list[str] = []
        self._pieces: list[str] = []
        self.feed(self.source)
        self.close()
        assert self._open == []
        self.text = re.sub(r"\s+", " ", "".join(self._pieces))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag not in self.VOID:
            self._open.append(tag)
        for name, value in attributes:
            if name in {"src", "href", "srcset", "data", "action"}:
                self.links.append(value or "")
            if name == "src":
                self.images.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag != "bdi":
            self._pieces.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self._pieces.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    store = make_store(tmp_path_factory.mktemp("report"))
    path = write_report(store, CONFIG)
    assert path == Path(store).resolve() / "report.html"
    return Page(path)


def test_page_gives_the_account_and_the_cost_of_the_run(page: Page) -> None:
    assert "6 seen = 5 done + 0 reused + 1 failed + 0 quarantined + 0 removed balances" in page.text
    assert "321 MB peak memory per worker" in page.text
    assert "150.0 audio seconds per CPU second" in page.text


def test_page_explains_the_failure_and_counts_the_warning(page: Page) -> None:
    assert FAILURE_CODES["truncated"].cause in page.text
    assert FAILURE_CODES["truncated"].remedy in page.text
    assert "/music/jazz/broken.wav" in page.text
    assert "length-differs" in page.text


def test_tables_of_sentences_scroll_where_the_screen_is_narrow(page: Page) -> None:
    section = page.source[page.source.index('<section id="failures">') :]
    section = section[: section.index("<h3>Warnings</h3>")]
    assert (
        section.count("<table") == section.count('<div class="scroll"><table class="prose">') == 2
    )
    assert re.search(r"\.prose \{ min-width: \d+px; \}", page.source)


def test_page_counts_labels_and_says_what_was_held_out(page: Page) -> None:
    assert re.search(r"jazz 4 \d", page.text)
    assert re.search(r"rock 2 \d", page.text)
    assert "Confusion of the 3 held-out tracks" in page.text
    assert "flatters" in page.text


def test_page_embeds_pictures_that_show_something(page: Page) -> None:
    assert len(page.images) == 7
    for uri in page.images:
        kind, _, data = uri.partition(",")
        assert kind == "data:image/png;base64"
        pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format="png")
        assert min(pixels.shape[:2]) > 200
        assert pixels.std() > SMALLEST_CONTRAST


def test_page_needs_nothing_from_elsewhere(page: Page) -> None:
    assert page.links == page.images
    assert not re.search(r"https?://|url\(|@import", page.source)
    assert page.tags["script"] == page.tags["link"] == 0


def test_neighbours_are_other_tracks_nearest_first(page: Page) -> None:
    section = page.text[page.text.index("Nearest neighbours") :]
    for query in ("rock", "jazz"):
        start = re.search(rf"{query} (held out )?({query}/\w+\.\w+) · predicted", section)
        assert start
        rows = re.findall(r" (\d+) (?:rock|jazz) +(?:rock|jazz) +(\S+/\S+)", section[start.end() :])
        nearest = rows[:4]
        assert len(nearest) == 4
        assert start[2] not in {path for _, path in nearest}
        distances = [int(distance) for distance, _ in nearest]
        assert distances == sorted(distances)


def test_names_from_outside_are_shown_and_do_nothing(tmp_path: Path) -> None:
    nasty = "<script>alert('x')</script>&amp;"
    songs = (
        Song(f"{nasty}/a.ogg", nasty),
        Song("left‮right/line\nbreak\x1b[31m.ogg", "left‮right"),
        Song("שיר/" + "long" * 300 + ".ogg", "שיר", failure="damaged"),
        Song("$\\frac{/two.ogg", "$\\frac{"),
    )
    page = Page(write_report(make_store(tmp_path, songs, n_held_out=2), CONFIG))
    assert page.tags["script"] == 0
    assert "&lt;script&gt;" in page.source
    assert f"{nasty}/a.ogg" in page.text
    assert r"line\nbreak\x1b[31m.ogg" in page.text
    assert r"left\u202eright" in page.text
    assert "\u202e" not in page.source
    assert "\x1b" not in page.source
    assert "<b>no</b> end" in page.text
    assert "long" * 300 not in page.source


def test_store_without_a_snapshot_says_what_to_do(tmp_path: Path) -> None:
    create_store(tmp_path / "store")
    with pytest.raises(ArtefactMissingError, match=r"has published nothing yet.*musichash run"):
        write_report(str(tmp_path / "store"), CONFIG)
    with pytest.raises(ArtefactMissingError, match="is not a musichash store"):
        write_report(str(tmp_path / "nothing"), CONFIG)


def test_failures_that_the_next_run_tries_are_told_from_those_that_stay() -> None:
    rows = [
        ("a", "scan", "not-a-regular-file", False),  # as older versions wrote it
        ("b", "extract", "timeout", True),
        ("c", "extract", "truncated", False),
        ("d", "scan", "truncated", True),
    ]
    columns = dict(
        zip(("path", "stage", "code", "retryable"), zip(*rows, strict=True), strict=True)
    )
    rest = {"track_id": [""] * 4, "message": [""] * 4, "attempts": [1] * 4}
    facts = failure_facts(pa.table(columns | rest, schema=FAILURES))
    assert {group.code: group.is_retryable for group in facts.groups} == {
        "not-a-regular-file": True,
        "timeout": True,
        "truncated": False,
    }


def test_one_track_without_label_makes_a_page(tmp_path: Path) -> None:
    store = make_store(tmp_path, (Song("one.ogg"),), n_held_out=0, has_summary=False)
    page = Page(write_report(store, CONFIG))
    assert "No failures" in page.text
    assert "No track has a label" in page.text
    assert "holds no account of its training" in page.text
    assert "There are no two tracks to compare" in page.text
    assert "there is no other track" in page.text


def test_no_held_out_track_is_said_instead_of_scored(tmp_path: Path) -> None:
    page = Page(write_report(make_store(tmp_path, n_held_out=0), CONFIG))
    assert "No track was held out" in page.text
    assert "Confusion of" not in page.text
    assert "this flatters" in page.text


def test_many_labels_are_cut_to_the_largest(tmp_path: Path) -> None:
    songs = tuple(Song(f"{n:03}/x{n:03}.ogg", f"label{n:03}") for n in range(40))
    page = Page(write_report(make_store(tmp_path, songs, n_held_out=40), CONFIG))
    assert "The 20 largest of 40 labels" in page.text
    assert OTHERS in page.text
    assert "12 of 40 labels" in page.text


def test_features_removed_or_of_other_settings_cost_only_the_spectrogram(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    page = Page(write_report(store, PipelineConfig()))
    assert "other settings" in page.text
    layout = StoreLayout(Path(store))
    layout.features_root(CONFIG.feature_fingerprint).rename(tmp_path / "elsewhere")
    page = Page(write_report(store, CONFIG))
    assert "no features that can be read" in page.text
    assert len(page.images) == 6


def test_report_goes_where_it_is_told_or_says_why_not(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    wanted = tmp_path / "new" / "page.html"
    assert write_report(store, CONFIG, str(wanted)) == wanted
    assert wanted.stat().st_size > 100_000
    with pytest.raises(StoreError, match=r"cannot be written to .*store: .*--output"):
        write_report(store, CONFIG, store)


def test_run_under_way_is_described_by_its_own_account(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with begin_run(store) as run:
        unchanged = publish(store, CONFIG, run.record, n_done=0, n_reused=5)
        page = Page(write_report(store, CONFIG, record=unchanged.record))
        assert "6 seen = 0 done + 5 reused + 1 failed" in page.text
        assert "no worker was needed" in page.text
        without = Page(write_report(store, CONFIG))
        assert "it is under way, or was killed" in without.text
        run.record = unchanged.record


def test_latest_failed_run_is_announced_above_the_older_account() -> None:
    begin, end = "2026-01-01T00:00:00+00:00", "2026-01-01T00:01:00+00:00"
    good = RunRecord("1", begin, finished=end, state="done", seen=3, done=3)
    failed = replace(good, run_id="2", state="failed")
    facts = run_facts([good, failed], [], None)
    assert facts.accounted == good
    assert facts.latest == failed
    assert facts.recent == [failed, good]


def test_killed_run_is_named_so_with_what_it_had_counted(tmp_path: Path) -> None:
    begin, end = "2026-01-01T00:00:00+00:00", "2026-01-01T00:01:00+00:00"
    good = RunRecord("1", begin, finished=end, state="done", seen=3, done=3)
    killed = RunRecord("2", begin, finished=end, state="killed", wall_s=60.0)
    facts = run_facts([good, killed], [good], None)
    assert facts.accounted == good
    assert facts.latest == killed
    published = replace(killed, state="done", finished=None, seen=4, reused=4, snapshot=9)
    facts = run_facts([good, killed], [published], None)
    assert facts.accounted == facts.latest == replace(published, state="killed", finished=end)
    store = make_store(tmp_path)
    layout = open_store(store)
    begun = start_run(layout)
    close_killed_runs(layout, last_signs={begun.run_id: begun.started})
    page = Page(write_report(store, CONFIG))
    assert "it was killed; the next run goes on where it stopped." in page.text
    assert "or was killed" not in page.text


def test_publishing_run_is_known_from_the_runs_table_before_the_ledger_has_it() -> None:
    ledger = RunRecord("1", "2026-01-01T00:00:00+00:00")
    published = replace(ledger, seen=4, done=3, failed=1, snapshot=9)
    facts = run_facts([ledger], [published], None)
    assert facts.accounted is not None
    assert facts.accounted.state == "done-with-failures"
    assert facts.accounted.snapshot == 9
    assert facts.accounted.wall_s == 0
    own = run_facts([ledger], [], published).accounted
    assert own is not None
    assert own.wall_s > 0


def test_confusion_of_many_genres_folds_the_small_ones() -> None:
    songs = tuple(Song(f"{n}.ogg", f"g{n:02}") for n in range(30))
    summary = training_summary(songs, n_held_out=30)
    diagonal = tuple(map(tuple, np.diag(np.arange(30)).tolist()))
    facts = training_facts({"summary": asdict(replace(summary, confusion=diagonal))})
    assert facts is not None
    assert facts.confusion is not None
    assert facts.confusion.names == [*(f"g{n:02}" for n in range(10, 30)), OTHERS]
    np.testing.assert_array_equal(facts.confusion.counts, np.diag([*range(10, 30), sum(range(10))]))


def test_pairs_are_counted_once_and_never_within_a_group() -> None:
    packed = np.array([[0], [1], [3], [7], [255]], dtype=np.uint8)
    labels = np.array([0, 0, 1, 1, 0], dtype=np.int32)
    groups = dict(enumerate(["x", "x", "y", "z", None]))
    tracks = CodedTracks(packed, labels, ("a", "b"), np.zeros(5, dtype=bool))
    found = separation(tracks, pair_rows(tracks), groups)
    assert found is not None
    # Within: 0-4 (8 bits), 1-4 (7), 2-3 (1). The pair 0-1 is of one group.
    assert np.flatnonzero(found.within).tolist() == [1, 7, 8]
    # Between: 0-2 (2), 0-3 (3), 1-2 (1), 1-3 (2), 2-4 (6), 3-4 (5).
    assert found.between.tolist() == [0, 1, 2, 1, 0, 1, 1, 0, 0]
    held_out = replace(tracks, is_held_out=np.array([False, False, False, True, False]))
    found = separation(held_out, pair_rows(held_out), groups)
    assert found is not None
    assert found.within.sum() == 1
    assert found.between.sum() == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 音楽.ogg", "plain é 音楽.ogg"),
        ("a\tb\x00", r"a\tb\x00"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("\ud800", r"\ud800"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_printable_shows_what_cannot_be_seen(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_names_lose_their_middle() -> None:
    short = printable("a" * 50 + "b" * 50, 31)
    assert len(short) == 31
    assert short.startswith("aaaa")
    assert short.endswith("bbbb")
    assert "…" in short


def test_quantities_have_units() -> None:
    assert [bytes_text(n) for n in (0, 999, 1000, 123_456_789, 2.5e12)] == [
        "0 B", "999 B", "1 kB", "123 MB", "2.5 TB",
    ]  # fmt: skip
    assert [seconds_text(s) for s in (0, 119.96, 320, 3600, 11_040, 3.6e9)] == [
        "0.0 s", "120.0 s", "5 min 20 s", "1 h 00 min", "3 h 04 min", "1,000,000 h",
    ]  # fmt: skip
