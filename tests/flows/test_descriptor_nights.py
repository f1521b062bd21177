"""Nights with the default encoder: without labels, then with them."""

import numpy as np
import pytest
import soundfile

from musichash_core.config import parse_config
from musichash_core.descriptor_models.tag_genres import N_GENRE_TAGS, TAGS
from storage.published import read_table, require_snapshot
from storage.store import open_store
from tasks.search import search_file, search_track
from tasks.status import verify_store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

QUICK = parse_config(
    {
        "partitions": {"max_tracks": 3},
        "models": {
            "heads": {"n_perceptrons": 1, "n_hidden": 8, "min_steps": 10, "epochs": 1},
            "training": {"n_threads": 1},
        },
    },
    source="the tests",
)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory, sample):
    root = tmp_path_factory.mktemp("catalogue")
    for path in sample.first_night:
        target = root / path
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((sample.music / path).read_bytes())
    return root


def table(store, name):
    layout = open_store(str(store))
    return read_table(layout, require_snapshot(layout), name).to_pylist()


def test_without_labels_the_shipped_model_names_genres_and_makes_codes(
    run_night, catalogue, tmp_path
):
    store = tmp_path / "store"
    run_night(catalogue, store, QUICK, n_workers=1, labels="none")
    predictions, codes = table(store, "predictions"), table(store, "codes")
    assert len(predictions) == len(codes) > 4
    assert all(row["genre"] in TAGS[:N_GENRE_TAGS] for row in predictions)
    assert {name for name, _ in predictions[0]["probabilities"]} == set(TAGS)
    for row in codes:
        bits = np.unpackbits(np.frombuffer(row["code"], np.uint8), bitorder="little")
        assert len(bits) == 64
    assert {row["label"] for row in table(store, "tracks")} == {None}
    again = run_night(catalogue, store, QUICK, n_workers=1, labels="none")
    assert "nothing to describe" in again.said["describe"]
    assert table(store, "codes") == codes
    assert not verify_store(str(store))["findings"]


def test_verify_names_a_description_that_was_changed(run_night, catalogue, tmp_path):
    store = tmp_path / "store"
    run_night(catalogue, store, QUICK, n_workers=1, labels="none")
    path = min((store / "descriptions").rglob("descriptions.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    (finding,) = verify_store(str(store))["findings"]
    assert "descriptions.parquet" in str(finding)


def test_labels_train_heads_whose_night_can_be_searched(run_night, catalogue, tmp_path):
    store = tmp_path / "store"
    run_night(catalogue, store, QUICK, n_workers=1)
    labels = {row["label"] for row in table(store, "tracks")} - {None}
    predictions = table(store, "predictions")
    assert {name for name, _ in predictions[0]["probabilities"]} <= labels
    assert all(
        sum(share for _, share in row["probabilities"]) == pytest.approx(1, abs=1e-4)
        for row in predictions
    )
    path = next(row["path"] for row in table(store, "tracks") if row["status"] == "ok")
    assert search_track(str(store), path, k=2).matches
    samples, sr = soundfile.read(catalogue / path, dtype="float32")
    soundfile.write(tmp_path / "copy.wav", samples, sr, subtype="PCM_16")
    (first,) = search_file(str(store), str(tmp_path / "copy.wav"), QUICK, k=1).matches
    assert first.path.endswith(path)
