"""The studies of recognition: their rows, what they compare with, features that are missing."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musichash_core.config import PipelineConfig, load_config, parse_config
from musichash_core.errors import TrainingError
from storage.catalogue import read_catalogue
from storage.store import create_store, open_store
from tasks.evaluate import evaluate
from tasks.evaluation_front_ends import settings_text
from tasks.evaluation_request import EvaluationRequest
from tasks.evaluation_studies import STUDIES, study_variants
from tasks.evaluation_study_figures import study_rows
from tasks.evaluation_text import describe_evaluation
from tasks.extract import extract_partition

SR = 22_050
N_GROUPS = 10
SETTINGS = {
    "front_end": "numba",
    "features": {"n_mels": 32, "tagger_mel": False},
    "decode": {"min_duration_s": 0.5},
    "partitions": {"max_tracks": 16},
    "models": {
        "encoder": "hpss-cnn",
        "segments": {"n_frames": 64, "hop_frames": 32, "max_per_track": 2},
        "genre_cnn": {"widths": [8, 8]},
        "crnn_hash": {"n_maps": 8},
        "training": {
            "n_threads": 1,
            "augmentation": {"mask_bands": 0, "mask_frames": 0},
            "genre_stage": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2},
        },
    },
}


@pytest.fixture(scope="module")
def settings():
    return parse_config(SETTINGS, source="the tests")


def melody(genre, rng):
    """Eight notes, high or low; no two tracks are alike."""
    low_hz, high_hz = (2500, 5000) if genre == "high" else (120, 480)
    times = np.arange(round(0.2 * SR)) / SR
    notes = [np.sin(2 * np.pi * rng.uniform(low_hz, high_hz) * times) for _ in range(8)]
    quiet = 0.003 * rng.standard_normal(8 * len(times))
    return (0.4 * np.concatenate(notes) + quiet).astype(np.float32)


def extract(store, config):
    from tasks.plan import make_plan

    for partition in make_plan(store, read_catalogue(open_store(store)), config).partitions:
        extract_partition(store, partition, config)


@pytest.fixture(scope="module")
def store(tmp_path_factory, settings):
    """Two genres of ten artists with one track each."""
    from tasks.scan import look, record

    folder, rng = tmp_path_factory.mktemp("studied"), np.random.default_rng(3)
    (folder / "music").mkdir()
    rows = [("track path", "label", "group")]
    for number in range(2 * N_GROUPS):
        genre = ("high", "low")[number % 2]
        path = f"{number:02d}.wav"
        soundfile.write(folder / "music" / path, melody(genre, rng), SR, subtype="PCM_16")
        rows.append((path, genre, f"artist {number}"))
    labels = folder / "labels.csv"
    with labels.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    create_store(folder / "store")
    name = str(folder / "store")
    record(name, look(name, [str(folder / "music")], labels=str(labels)).catalogue)
    extract(name, settings)
    return name


def keys(study, config):
    return [variant.key for variant in study_variants(study, config)]


# --- the rows ---


def test_the_studies_have_the_rows_of_the_method():
    config = PipelineConfig()
    assert keys("methods", config) == []
    assert keys("inputs", config) == ["O", "H", "P", "O+H", "O+P", "H+P", "O+H+P", "O+O+O"]
    assert keys("hpss", config) == ["default", "median-17", "median-61", "margin-2", "power-1"]
    assert keys("network", config) == [
        *("default", "depth-3", "depth-4", "width-x0.5", "width-x2", "kernel-5", "pooling-avg"),
        *("segment-64", "segment-256"),
    ]
    for study, plan in STUDIES.items():
        assert set(plan.references) <= set(keys(study, config))


def test_rows_that_would_repeat_the_configured_settings_follow_the_configuration():
    config = parse_config(
        {"models": {"genre_cnn": {"widths": [32, 64, 64], "kernel_size": 5, "pooling": "avg"}}},
        source="a test",
    )
    assert keys("network", config) == [
        *("default", "depth-4", "depth-5", "width-x0.5", "width-x2", "kernel-3", "pooling-max"),
        *("segment-64", "segment-256"),
    ]
    deeper = {one.key: one for one in study_variants("network", config)}["depth-5"]
    assert deeper.models.genre_cnn.widths == (32, 64, 64, 64, 64)


def test_matched_towers_have_as_many_parameters_and_wide_ones_three_times():
    sizes = {one.key: one.n_parameters(10) for one in study_variants("fusion", PipelineConfig())}
    assert sizes["early"] == 391_466  # METHOD 3
    assert sizes["towers-matched"] == pytest.approx(sizes["early"], rel=0.02)
    assert sizes["towers"] == pytest.approx(3 * sizes["early"], rel=0.01)
    for key in ("early", "towers", "towers-matched"):
        assert sizes[f"{key}-O+O+O"] == sizes[key]


def test_settings_files_give_the_features_of_their_rows(settings, tmp_path):
    decoding = settings.decode.model_copy(update={"max_channels": 2})
    config = settings.model_copy(update={"decode": decoding})
    fingerprints = set()
    for variant in study_variants("hpss", config):
        path = tmp_path / f"{variant.key}.toml"
        path.write_text(settings_text(config, variant), encoding="utf-8")
        read = load_config(path)
        assert read.features == variant.features
        assert (read.decode, read.partitions) == (config.decode, config.partitions)
        assert read.front_end == "numba"
        fingerprints.add(read.feature_fingerprint)
    assert len(fingerprints) == 5


# --- the tables ---


@pytest.mark.parametrize("study", ["inputs", "fusion", "network"])
def test_a_study_compares_all_its_rows_with_its_references(study, store, settings, tmp_path):
    request = EvaluationRequest(n_seeds=1, study=study)
    told = evaluate(store, settings, request, output=str(tmp_path))
    variants = study_variants(study, settings)
    assert [row["method"] for row in told["recognition"]] == [*keys(study, settings), "mfcc-rf"]
    assert [row["n_parameters"] for row in told["recognition"]] == [
        *(variant.n_parameters(2) for variant in variants),
        None,
    ]
    accuracy = {row["method"]: row["accuracy"]["mean"] for row in told["recognition"]}
    assert len(told["comparisons"]) == len(variants) * len(STUDIES[study].references)
    for row in told["comparisons"]:
        expected = accuracy[row["method"]] - accuracy[row["against"]]
        assert row["difference"] == pytest.approx(expected)
        assert row["low"] <= row["difference"] <= row["high"]
    tables = json.loads((tmp_path / "tables.json").read_text(encoding="utf-8"))
    assert {row["n_parameters"] for row in tables["recognition"]} == {
        None,
        *(variant.n_parameters(2) for variant in variants),
    }
    page = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    assert STUDIES[study].title in page
    assert "data:image/png" in page
    assert all(variant.name in page for variant in variants)
    lines = describe_evaluation(told)
    assert any("95 % of the draws of groups" in line for line in lines)


def test_an_interrupted_study_goes_on_to_the_same_tables(store, settings, tmp_path):
    request = EvaluationRequest(n_seeds=2, study="fusion")

    def interrupt(done, total, what):
        if done == 3:  # and its row is not kept yet
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(store, settings, request, output=str(tmp_path / "a"), on_progress=interrupt)
    resumed = evaluate(store, settings, request, output=str(tmp_path / "a"))
    whole = evaluate(store, settings, request, output=str(tmp_path / "b"))
    assert resumed["about"]["n_units_to_do"] == whole["about"]["n_units_to_do"] - 2
    for name in ("recognition", "comparisons"):
        assert resumed[name] == whole[name]


def test_rows_that_differ_clearly_are_drawn_so():
    def row(method, mean):
        return {"method": method, "name": method, "accuracy": {"mean": mean, "deviation": None}}

    def against(method, low, high, n_groups=20, reference="a"):
        middle = (low + high) / 2
        found = {"method": method, "against": reference, "task": "recognition"}
        return found | {"difference": middle, "low": low, "high": high, "n_groups": n_groups}

    recognition = [row(method, 0.5) for method in "abcde"]
    comparisons = [
        *(against("b", 0.1, 0.3), against("c", -0.1, 0.3), against("d", -0.3, -0.1, n_groups=9)),
        *(against("e", -0.3, -0.1), against("c", 0.2, 0.4, reference="b")),
    ]
    rows = study_rows(recognition, comparisons, "a")
    assert [one.is_clear for one in rows] == [False, True, False, False, True]
    assert rows[0].difference is None
    assert rows[2].difference == pytest.approx(0.1)


# --- features of other settings ---


def test_a_study_of_features_says_how_to_make_those_it_misses(store, settings, tmp_path):
    request = EvaluationRequest(n_seeds=1, study="hpss")
    output = str(tmp_path / "a folder")
    with pytest.raises(TrainingError, match="nothing to compare yet"):
        evaluate(store, settings, request, output=output)
    planned = evaluate(store, settings, request, output=output, is_dry_run=True)
    absent = [line for line in planned["about"]["absent"] if "musichash extract" in line]
    assert len(absent) == 4
    # The command of the first, word by word as a shell reads it; done here without a cluster.
    found = re.search(r"make them with: (.*)$", absent[0])
    words = shlex.split(found[1])
    assert words[:5] == ["musichash", "extract", "--store", store, "--config"]
    extract(store, load_config(Path(words[5])))

    told = evaluate(store, settings, request, output=output)
    assert [row["method"] for row in told["recognition"]] == ["default", "median-17", "mfcc-rf"]
    assert sum("musichash extract" in line for line in told["about"]["absent"]) == 3
    right = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((tmp_path / "a folder" / "rows").glob("*/*-seed0.json"))
    ]
    assert len(right) == 3
    assert len({tuple(map(len, one["confusion"])) for one in right}) == 1


def test_other_features_are_what_the_network_sees(store, settings, tmp_path):
    from storage.evaluations import EvaluationFolder
    from tasks.evaluation_front_ends import FrontEnds
    from tasks.evaluation_tracks import divide_tracks, labelled_tracks

    layout = open_store(store)
    found = labelled_tracks(layout, settings.feature_fingerprint)
    folder = EvaluationFolder(tmp_path, "")
    front_ends = FrontEnds(layout, settings, found, folder)
    default, _, _, margin, _ = study_variants("hpss", settings)
    extract(store, settings.model_copy(update={"features": margin.features}))

    from storage.training_cache import training_tracks

    reading = folder.reading(layout)
    with training_tracks(reading, settings.feature_fingerprint, found.partitions) as read:
        tracks = divide_tracks(read, found)
        with front_ends.tracks_seen_by(default, tracks) as seen:
            assert seen is tracks
        with front_ends.tracks_seen_by(margin, tracks) as seen:
            assert (seen.divided, seen.groups) == (tracks.divided, tracks.groups)
            for one, other in zip(seen.tracks, tracks.tracks, strict=True):
                assert one.track_id == other.track_id
                np.testing.assert_array_equal(one.frames[:, 0], other.frames[:, 0])
                # A margin only takes away from both parts.
                assert (one.frames[:, 1:] <= other.frames[:, 1:]).all()
                assert (one.frames[:, 1:] < other.frames[:, 1:]).any()
