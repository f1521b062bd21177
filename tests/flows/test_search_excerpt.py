"""Ten seconds of a track find that track, with the models that the demonstration trains."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musichash_core.config import load_config
from tasks.search import search_file

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1200)]

DEMO = Path(__file__).parents[2] / "deploy" / "demo.toml"
EXCERPT_S = 10.0
FIRST_RESULTS = 3
MIN_FOUND_SHARE = 0.9
"""Of all clips; a clip beside its own remix or remake may come after it."""


@pytest.fixture(scope="module")
def demo_store(run_night, sample, tmp_path_factory):
    store = tmp_path_factory.mktemp("demo") / "store"
    run_night(
        sample.music, store, load_config(DEMO), n_workers=2, labels=str(sample.music / "labels.csv")
    )
    return store


def clips(sample):
    """Clips long enough that a third of them is no more than an excerpt, and not damaged."""
    with (sample.music / "sample.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if float(row["seconds"]) > 2.5 * EXCERPT_S]
    return [row["path"] for row in rows if not row["note"].startswith("damaged")]


def write_excerpt(source, target):
    """Cut the middle out of a clip; 16 bits at its own rate, as an operator would."""
    samples, sr = soundfile.read(source, dtype="float32", always_2d=True)
    start = (len(samples) - round(EXCERPT_S * sr)) // 2
    excerpt = samples[start : start + round(EXCERPT_S * sr)]
    with soundfile.SoundFile(target, "w", sr, excerpt.shape[1], subtype="PCM_16") as file:
        for begin in range(0, len(excerpt), sr):
            file.write(np.ascontiguousarray(excerpt[begin : begin + sr]))


def test_excerpts_find_their_tracks_among_the_first_results(demo_store, sample, tmp_path):
    config = load_config(DEMO)
    missed = {}
    paths = clips(sample)
    assert len(paths) > 40
    for path in paths:
        write_excerpt(sample.music / path, tmp_path / "excerpt.wav")
        answer = search_file(
            str(demo_store), str(tmp_path / "excerpt.wav"), config, k=FIRST_RESULTS
        )
        found = [match.path.removeprefix(f"{sample.music}/") for match in answer.matches]
        same = {path, *sample.duplicates} if path in sample.duplicates else {path}
        if not same & set(found):
            missed[path] = found
    print(f"{len(paths) - len(missed)} of {len(paths)} excerpts found among the first")
    assert len(missed) <= (1 - MIN_FOUND_SHARE) * len(paths), missed
