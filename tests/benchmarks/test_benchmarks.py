"""The benchmarks run and add up; how fast they are is for people to read, not for a test."""

import importlib.util
from pathlib import Path

import pytest

from musichash_core.errors import ParameterError
from musichash_core.feature_config import FeatureConfig
from tasks.bench import STEPS, bench_extract

HERE = Path(__file__).parent
MUSIC = HERE.parent / "data" / "music"


def load(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bench_extract_times_every_step_beside_librosa_and_names_what_it_skips():
    damaged = str(MUSIC / "electronic" / "singularity-advanced-simulacra-truncated.ogg")
    good = str(MUSIC / "orchestral" / "widelands-ingame-26.flac")
    passes = []
    measured = bench_extract(
        [good, damaged], FeatureConfig(), on_progress=lambda *done: passes.append(done)
    )
    assert list(measured["skipped"]) == [damaged]
    assert measured["audio_s"] == pytest.approx(10.0, abs=0.1)
    steps = measured["cpu_s"]
    assert set(steps) == {*STEPS, "total"}
    assert sum(steps[name] for name in STEPS) == pytest.approx(steps["total"], abs=0.0005)
    assert measured["times_faster_than_librosa"] == pytest.approx(
        measured["librosa_cpu_s"] / steps["total"], rel=0.02
    )
    assert measured["decode_only_cpu_s"] > 0
    assert measured["peak_memory_mb"] > 50
    assert passes[-1] == (3, 3)


def test_bench_extract_of_no_audio_at_all_says_so():
    with pytest.raises(
        ParameterError, match=r"none of the 1 file.* decodes; /.*labels\.csv: the content"
    ):
        bench_extract([str(MUSIC / "labels.csv")], FeatureConfig())


@pytest.mark.slow
def test_pipeline_overhead_counts_every_track(tmp_path):
    for name in ("widelands-ingame-26.flac", "ufoai-van-mission.wav"):
        (tmp_path / name).write_bytes((MUSIC / "orchestral" / name).read_bytes())
    measured = load("pipeline_overhead").extraction(str(tmp_path))
    assert measured["tracks"] == 2
    assert measured["pipeline_cpu_s"] > 0
