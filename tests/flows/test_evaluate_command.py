"""The command ``musichash evaluate``: what it prints, what it refuses."""

import json

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from flows import commands_evaluate
from musichash_core.config import load_config
from musichash_core.errors import ParameterError

SR = 22_050
QUICK = """
front_end = "numba"
[features]
n_mels = 32
[decode]
min_duration_s = 0.5
[models]
encoder = "hpss-cnn"
[models.segments]
n_frames = 32
max_per_track = 2
[models.genre_cnn]
widths = [4, 4]
[models.crnn_hash]
n_maps = 2
map_shape = [4, 4]
n_hidden = 8
n_pooled = 8
[models.training]
n_threads = 1
[models.training.genre_stage]
epochs = 2
"""


@pytest.fixture(scope="module")
def evaluable(tmp_path_factory):
    """A store with two labels of four groups each, and the settings it was made with."""
    from storage.catalogue import read_catalogue
    from storage.store import create_store, open_store
    from tasks.extract import extract_partition
    from tasks.plan import make_plan
    from tasks.scan import look, record

    root = tmp_path_factory.mktemp("evaluable")
    rng = np.random.default_rng(2)
    lines = ["track path,label,group"]
    (root / "music").mkdir()
    for number in range(8):
        genre, hz = (("high", 3000), ("low", 200))[number % 2]
        notes = hz * rng.uniform(0.7, 1.6, 8)
        times = np.arange(SR // 8) / SR
        y = np.concatenate([0.4 * np.sin(2 * np.pi * note * times) for note in notes])
        y += 0.003 * rng.standard_normal(len(y))
        soundfile.write(root / f"music/{number}.wav", y.astype(np.float32), SR, subtype="PCM_16")
        lines.append(f"{number}.wav,{genre},artist {number}")
    (root / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    (root / "quick.toml").write_text(QUICK, encoding="utf-8")
    config = load_config(root / "quick.toml")
    create_store(root / "store")
    store = str(root / "store")
    found = look(store, [str(root / "music")], labels=str(root / "labels.csv"))
    record(store, found.catalogue)
    for partition in make_plan(store, read_catalogue(open_store(store)), config).partitions:
        extract_partition(store, partition, config)
    return root


@pytest.fixture
def speak(evaluable):
    app = typer.Typer(rich_markup_mode="rich")
    commands_evaluate.add_to(app)

    def ask(*words):
        where = ["--store", evaluable / "store", "--config", evaluable / "quick.toml"]
        return CliRunner().invoke(app, [str(word) for word in (*where, *words)])

    return ask


def test_a_dry_run_says_what_would_be_done(speak, tmp_path):
    spoken = speak("--dry-run", "--json", "--seeds", 2, "--methods", "itq, real", "--bits", "16,24")
    assert spoken.exit_code == 0, spoken.output
    about = json.loads(spoken.stdout)["about"]
    # Per seed: two recognisers, ITQ at two lengths, REAL once.
    assert (about["n_units"], about["n_units_to_do"]) == (10, 10)
    assert about["request"]["methods"] == ["itq", "real"]
    told = speak("--dry-run").stdout
    assert "8 tracks of 2 genres" in told
    assert "no group(s) and no pair(s) of the same audio on two sides" in told


def test_an_evaluation_prints_its_tables_and_goes_on_where_it_was(speak, tmp_path):
    words = ("--seeds", 1, "--bits", "16", "--methods", "itq,real", "--output", tmp_path / "out")
    first = speak(*words)
    assert first.exit_code == 0, first.output
    assert "4 rows made, 0 were there" in first.stdout
    assert "mAP, database held, chance" in first.stdout
    assert f"tables and page: {tmp_path}/out/evaluation.html" in first.stdout
    again = speak(*words, "--methods", "itq,real,lsh")
    assert "1 rows made, 4 were there" in again.stdout
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {
        *("rows", "tables.json", "evaluation.html"),
        *("retrieval.parquet", "recognition.parquet", "comparisons.parquet"),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bits", "16,many"), "--bits 16,many: want whole numbers"),
        (("--bits", "8"), r"bits=\[8\]: want different multiples of 8, 16 to 256"),
        (("--methods", "crnn"), "no method 'crnn'; did you mean 'crnnh'"),
        (("--features", "descriptors"), "features 'descriptors' with the encoder 'hpss-cnn'"),
        (("--unseen", "jazz"), r"unseen genres \['jazz'\] have no tracks"),
    ],
)
def test_wrong_words_are_refused(speak, words, message):
    with pytest.raises(ParameterError, match=message):
        raise speak(*words).exception
    assert speak("--encoder", "vgg").exit_code == 2
    assert speak("--study", "moods").exit_code == 2
