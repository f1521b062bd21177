"""Evaluation of a small catalogue: the split, the tables, what shuffled labels and resuming do."""

import csv
import json
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from sklearn.metrics import average_precision_score

from musichash_core.config import parse_config
from musichash_core.descriptors import N_DESCRIPTORS
from musichash_core.errors import ParameterError, TrainingError
from musichash_core.evaluation.split_audit import SplitAudit
from musichash_core.segments import TrackFrames
from musichash_core.splits import DividedTracks
from storage.catalogue import read_catalogue
from storage.errors import ArtefactMissingError, ManifestError
from storage.evaluation_schemas import COMPARISONS, RECOGNITION, RETRIEVAL
from storage.layout import StoreLayout
from storage.store import create_store, open_store
from tasks.evaluate import evaluate
from tasks.evaluation_methods import BASELINE_KEYS, INPUT_CHANNELS, METHOD_KEYS, check_methods
from tasks.evaluation_networks import with_channels
from tasks.evaluation_recognition import cepstral_statistics
from tasks.evaluation_request import EvaluationRequest
from tasks.evaluation_scores import score_logits
from tasks.evaluation_tables import Finished, Unit, recognition_rows
from tasks.evaluation_text import describe_evaluation
from tasks.evaluation_tracks import EvaluationTracks, divide_tracks, labelled_tracks
from tasks.extract import extract_partition

SR = 22_050
N_GROUPS, TRACKS_PER_GROUP = 5, 2
GENRES = ("<i>low</i>", "high", "hiss")
N_TRACKS = len(GENRES) * N_GROUPS * TRACKS_PER_GROUP

SETTINGS = {
    "front_end": "numba",
    "features": {"n_mels": 32},
    "decode": {"min_duration_s": 0.5},
    "partitions": {"max_tracks": 16},
    "models": {
        "encoder": "hpss-cnn",
        "segments": {"n_frames": 32, "max_per_track": 3},
        "genre_cnn": {"widths": [8, 8], "dropout": 0.0},
        "crnn_hash": {"n_bits": 32, "n_maps": 2, "map_shape": [4, 4], "n_hidden": 8, "n_pooled": 8},
        "training": {
            "n_threads": 1,
            "augmentation": {"mask_bands": 0, "mask_frames": 0},
            "genre_stage": {"epochs": 12, "batch_size": 8, "learning_rate": 1e-2},
            "hash_stage": {"epochs": 6, "learning_rate": 1e-2},
        },
    },
}
FAST = ("itq", "itq-cca", "cls-hash", "real")


def melody(genre, rng):
    """Eight notes in the genre's range, or eight levels of noise; no two tracks are alike."""
    times = np.arange(round(0.2 * SR)) / SR
    parts = []
    for _ in range(8):
        if genre == "hiss":
            parts.append(10 ** rng.uniform(-2, -0.5) * rng.standard_normal(len(times)))
            continue
        low_hz, high_hz = (2500, 5000) if genre == "high" else (120, 480)
        note = np.sin(2 * np.pi * rng.uniform(low_hz, high_hz) * times)
        parts.append(0.4 * note + 0.003 * rng.standard_normal(len(times)))
    return np.concatenate(parts).clip(-1, 1).astype(np.float32)


class Music(NamedTuple):
    """A labelled catalogue."""

    root: object
    rows: list[tuple[str, str, str]]  # path, genre, group

    def extracted(self, folder, config, rows=None):
        """Make a store of it; `rows` replaces labels and groups."""
        from tasks.plan import make_plan
        from tasks.scan import look, record

        create_store(folder / "store")
        store = str(folder / "store")
        labels = folder / "labels.csv"
        with labels.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(
                [("track path", "label", "group"), *(self.rows if rows is None else rows)]
            )
        record(store, look(store, [str(self.root)], labels=str(labels)).catalogue)
        for partition in make_plan(store, read_catalogue(open_store(store)), config).partitions:
            extract_partition(store, partition, config)
        return store


def make_music(root, name_of):
    """Write every track under the name that `name_of` gives its number."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(N_TRACKS):
        genre = GENRES[number % len(GENRES)]
        group = f"{genre} {number // len(GENRES) % N_GROUPS}"
        path = name_of(number)
        soundfile.write(root / path, melody(genre, rng), SR, subtype="PCM_16")
        rows.append((path, genre, group))
    return Music(root, rows)


@pytest.fixture(scope="session")
def settings():
    return parse_config(SETTINGS, source="the tests")


@pytest.fixture(scope="session")
def music(tmp_path_factory):
    return make_music(tmp_path_factory.mktemp("music"), lambda number: f"{number:03d}.wav")


@pytest.fixture(scope="session")
def music_store(tmp_path_factory, music, settings):
    return music.extracted(tmp_path_factory.mktemp("evaluated"), settings)


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory, music_store, settings):
    """One evaluation of a few methods, and where it lies."""
    output = tmp_path_factory.mktemp("output")
    request = EvaluationRequest(bits=(16, 32), n_seeds=2, methods=("crnnh+", "configured", *FAST))
    return evaluate(music_store, settings, request, output=str(output)), output, request


def figure(told, method, n_bits, database="held", name="map"):
    (row,) = [
        row
        for row in told["retrieval"]
        if (row["method"], row["n_bits"], row["database"]) == (method, n_bits, database)
    ]
    return row[name]["mean"]


# --- the split ---


def test_a_dry_run_divides_audits_and_writes_no_tables(music_store, settings, tmp_path):
    request = EvaluationRequest(unseen_genres=("hiss",), methods=("itq",))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.tmp-frames-of-a-killed-run.u8").write_bytes(b"frames")
    told = evaluate(music_store, settings, request, output=str(tmp_path / "out"), is_dry_run=True)
    split = told["about"]["split"]
    assert split["n_shared_groups"] == split["n_shared_audio_pairs"] == 0
    assert split["n_unseen_db_tracks"] + split["n_unseen_query_tracks"] == 10
    assert sum(count for key, count in split.items() if key.endswith("_tracks")) == N_TRACKS
    # One unseen genre among itself would be right whatever the codes are.
    assert told["about"]["databases"] == ["held", "train", "unseen-all"]
    assert told["about"]["genres"] == ["<i>low</i>", "high"]
    assert list((tmp_path / "out").iterdir()) == []
    assert "30 tracks of 2 genres" in describe_evaluation(told)[0]


def test_a_copy_under_another_artist_joins_the_groups(tmp_path, music, settings):
    (tmp_path / "music").mkdir()
    copied = make_music(tmp_path / "music", lambda number: f"{number:03d}.wav")
    y, _ = soundfile.read(tmp_path / "music" / "001.wav", dtype="float32")
    soundfile.write(tmp_path / "music" / "copy.wav", 0.7 * y, SR, subtype="PCM_24")
    rows = [*copied.rows, ("copy.wav", copied.rows[1][1], "somebody else")]
    (tmp_path / "made").mkdir()
    store = copied.extracted(tmp_path / "made", settings, rows)
    told = evaluate(store, settings, EvaluationRequest(), is_dry_run=True)
    assert told["about"]["n_merged_groups"] == 1


def test_the_order_of_the_tracks_decides_nothing(music_store, settings):
    layout = open_store(music_store)
    found = labelled_tracks(layout, settings.feature_fingerprint)
    rng = np.random.default_rng(0)
    tracks = [
        TrackFrames(name, rng.integers(0, 255, (40, 3, 32), dtype=np.uint8), 0.5)
        for name in sorted(found.labels)
    ]
    one = divide_tracks(tracks, found, unseen_genres=("high",))
    other = divide_tracks(tracks[::-1], found, unseen_genres=("high",))
    assert one.fingerprint == other.fingerprint
    assert one.divided == other.divided
    assert divide_tracks(tracks, found, seed=1).fingerprint != one.fingerprint


def test_a_published_split_is_used_as_it_is(music_store, music, settings, tmp_path):
    sides = {}
    for number, (path, _, group) in enumerate(music.rows):
        of_group = ("train", "train", "validation", "test", "test")[int(group[-1])]
        sides[path] = "test" if number == 0 else of_group  # its group is trained on, too
    sides.pop(music.rows[1][0])
    file = tmp_path / "split.csv"
    lines = [f"{path},x,{side}" for path, side in sides.items()]
    file.write_text("\n".join(["path,label,split", *lines]), encoding="utf-8")
    request = EvaluationRequest(split_file=str(file))
    told = evaluate(music_store, settings, request, output=str(tmp_path / "out"), is_dry_run=True)
    split = told["about"]["split"]
    assert (split["n_train_tracks"], split["n_val_tracks"], split["n_left_out_tracks"]) == (
        10,
        6,
        1,
    )
    assert split["n_db_tracks"] + split["n_query_tracks"] == 13
    assert told["about"]["n_shared_groups"] == 1
    assert "1 group(s) and no pair(s) of the same audio" in describe_evaluation(told)[0]
    file.write_text("path,split\na.wav,train\na.wav,test", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"line 3: 'a.wav' is there twice"):
        evaluate(music_store, settings, request, output=str(tmp_path / "out"))


# --- figures ---


def test_separable_genres_are_found_and_recognised(evaluated):
    told, _, _ = evaluated
    for method in ("crnnh+", "configured", "itq-cca", "cls-hash"):
        for n_bits in (16, 32):
            assert figure(told, method, n_bits) > 0.9, method
    assert figure(told, "real", None) > 0.6
    recognition = {row["method"]: row["accuracy"]["mean"] for row in told["recognition"]}
    assert set(recognition) == {"hpss-cnn", "mfcc-rf"}
    assert min(recognition.values()) > 0.9


def test_shuffled_labels_are_near_chance(tmp_path, music, settings):
    rng = np.random.default_rng(3)
    genres = rng.permutation([genre for _, genre, _ in music.rows])
    rows = [(path, genre, path) for (path, _, _), genre in zip(music.rows, genres, strict=True)]
    store = music.extracted(tmp_path, settings, rows)
    request = EvaluationRequest(bits=(16,), n_seeds=2, methods=("crnnh+", "itq-cca", "cls-hash"))
    told = evaluate(store, settings, request)
    chance = figure(told, "itq-cca", 16, name="chance")
    # Of random orders of a dozen items, average precision is above the share of relevant ones.
    for method in ("crnnh+", "itq-cca", "cls-hash"):
        assert chance - 0.15 < figure(told, method, 16) < chance + 0.3
    (network,) = [row for row in told["recognition"] if row["method"] == "hpss-cnn"]
    assert network["accuracy"]["mean"] < network["chance"]["mean"] + 0.25


def by_hand(sides, labels, groups):
    """An evaluation without a store, for scores that can be computed elsewhere."""
    tracks = tuple(
        TrackFrames(f"{n:02d}", np.zeros((8, 3, 4), np.uint8), 1.0) for n in range(len(sides))
    )
    audit = SplitAudit({}, {}, (), None)
    return EvaluationTracks(
        tracks, tuple(labels), tuple(groups), DividedTracks(tuple(sides)), audit, 0, ()
    )


def test_scores_equal_those_of_scikit_learn_where_nothing_ties():
    rng = np.random.default_rng(11)
    n = 40
    sides = ["query"] * 8 + ["db"] * 20 + ["train"] * 12
    labels = [str(label) for label in rng.integers(0, 3, n)]
    groups = [str(group) for group in rng.integers(0, 12, n)]
    vectors = rng.standard_normal((n, 6))
    found = by_hand(sides, labels, groups)
    scored = score_logits(found, np.arange(n), vectors, ("held", "train"), is_binary=False)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for database, items in (("held", range(8, 28)), ("train", range(28, 40))):
        expected = []
        for query in range(8):
            others = [item for item in items if groups[item] != groups[query]]
            relevant = [labels[item] == labels[query] for item in others]
            expected.append(
                average_precision_score(relevant, units[others] @ units[query])
                if any(relevant)
                else None
            )
        given = scored["databases"][database]["average_precision"]
        assert given == [
            None if value is None else pytest.approx(value, abs=1e-12) for value in expected
        ]


def test_codes_that_tell_nothing_are_at_the_tied_chance_level():
    # One query, four items, two relevant, all tied: the mean of AP over all orders.
    found = by_hand(["query"] + ["db"] * 4, ["a", "a", "a", "b", "b"], list("vwxyz"))
    scored = score_logits(found, np.arange(5), np.ones((5, 16)), ("held",), is_binary=True)
    assert scored["databases"]["held"]["average_precision"] == [pytest.approx(mean_over_orders())]
    assert scored["map"] == [[0.0, 0.0]] * 4


def mean_over_orders():
    from itertools import permutations

    return np.mean(
        [average_precision_score(order, [4, 3, 2, 1]) for order in permutations([1, 1, 0, 0])]
    )


# --- tables ---


def test_tables_have_a_row_per_method_length_database_and_seed(evaluated):
    told, output, _ = evaluated
    retrieval = pq.read_table(output / "retrieval.parquet")
    assert retrieval.schema.equals(RETRIEVAL)
    keys = retrieval.select(["method", "n_bits", "database", "seed"]).to_pylist()
    assert len({tuple(key.values()) for key in keys}) == len(keys) == (5 * 2 + 1) * 2 * 2
    assert pq.read_table(output / "recognition.parquet").schema.equals(RECOGNITION)
    comparisons = pq.read_table(output / "comparisons.parquet")
    assert comparisons.schema.equals(COMPARISONS)
    rows = json.loads((output / "tables.json").read_text())
    assert rows["retrieval"] == retrieval.to_pylist()
    assert rows["comparisons"] == comparisons.to_pylist() == told["comparisons"]


def test_methods_are_compared_with_the_best_baseline_query_by_query(evaluated):
    told, _, request = evaluated
    best = {row["n_bits"]: row["against"] for row in told["comparisons"] if row["n_bits"]}
    for n_bits in request.bits:
        means = {method: figure(told, method, n_bits) for method in ("itq", "itq-cca", "cls-hash")}
        assert means[best[n_bits]] == max(means.values())
        (row,) = [
            row
            for row in told["comparisons"]
            if (row["method"], row["n_bits"], row["task"]) == ("real", n_bits, "retrieval")
        ]
        assert row["difference"] == pytest.approx(
            figure(told, "real", None) - means[best[n_bits]], abs=1e-12
        )
        assert row["low"] <= row["difference"] <= row["high"]
    assert {row["method"] for row in told["comparisons"] if row["task"] == "recognition"} == {
        "hpss-cnn"
    }


def test_the_page_is_whole_and_escapes_what_comes_from_outside(evaluated):
    _, output, _ = evaluated
    page = (output / "evaluation.html").read_text(encoding="utf-8")
    assert "&lt;i&gt;low&lt;/i&gt;" in page
    assert "<i>low" not in page
    assert page.count("data:image/png;base64,") == 3
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.rstrip().endswith("</html>")


# --- resuming ---


def test_a_second_run_makes_nothing_and_changes_nothing(evaluated, music_store, settings):
    told, output, request = evaluated
    tables = {path.name: path.read_bytes() for path in output.glob("*.parquet")}
    rows = sorted((output / "rows").rglob("*.json"))
    times = [path.stat().st_mtime_ns for path in rows]
    steps = []
    again = evaluate(
        music_store,
        settings,
        request,
        output=str(output),
        on_progress=lambda *step: steps.append(step),
    )
    assert steps == []
    assert again["about"]["n_units_to_do"] == 0
    assert [path.stat().st_mtime_ns for path in rows] == times
    assert {path.name: path.read_bytes() for path in output.glob("*.parquet")} == tables
    assert again["retrieval"] == told["retrieval"]


def test_a_lost_row_is_made_again_to_the_digit(evaluated, music_store, settings):
    _, output, request = evaluated
    (path,) = (output / "rows").rglob("retrieval-crnnh+-32bits-seed1.json")
    content = path.read_bytes()
    path.unlink()
    steps = []
    evaluate(
        music_store,
        settings,
        request,
        output=str(output),
        on_progress=lambda *step: steps.append(step),
    )
    assert path.read_bytes() == content
    assert (steps[0][:2], steps[-1][:2]) == ((0, 1), (1, 1))


def test_another_catalogue_order_gives_the_same_digits(
    tmp_path, evaluated, music, settings, music_store
):
    """The same files under names in reverse order, extracted in other partitions."""
    root = tmp_path / "music"
    root.mkdir()
    renamed = []
    for path, genre, group in music.rows:
        name = f"{999 - int(path[:3]):03d}.wav"
        (root / name).write_bytes((music.root / path).read_bytes())
        renamed.append((name, genre, group))
    partitions = settings.partitions.model_copy(update={"max_tracks": 7})
    other = settings.model_copy(update={"partitions": partitions})
    store = Music(root, renamed[::-1]).extracted(tmp_path, other)
    request = EvaluationRequest(bits=(16,), n_seeds=1, methods=("crnnh+", "itq", "real"))
    results = [
        evaluate(one, how, request, output=str(tmp_path / name))
        for one, how, name in ((music_store, settings, "a"), (store, other, "b"))
    ]
    assert results[0]["retrieval"] == results[1]["retrieval"]
    assert results[0]["recognition"] == results[1]["recognition"]
    assert results[0]["about"]["fingerprint"] == results[1]["about"]["fingerprint"]


# --- the study of inputs ---


def test_the_study_of_inputs_compares_every_choice_of_channels(music_store, settings, tmp_path):
    request = EvaluationRequest(n_seeds=1, study="inputs")
    told = evaluate(music_store, settings, request, output=str(tmp_path))
    assert [row["method"] for row in told["recognition"]] == [*INPUT_CHANNELS, "mfcc-rf"]
    compared = {(row["method"], row["against"]) for row in told["comparisons"]}
    assert ("O+H+P", "O+O+O") in compared
    assert ("O+H+P", "O") in compared
    assert told["retrieval"] == []
    assert "O+O+O" in (tmp_path / "evaluation.html").read_text(encoding="utf-8")


def test_channels_are_picked_when_frames_are_read():
    frames = np.arange(5 * 3 * 2, dtype=np.uint8).reshape(5, 3, 2)
    seen = with_channels(TrackFrames("a", frames, 0.5), (0, 0, 2)).frames
    assert (len(seen), seen.shape, seen.ndim) == (5, (5, 3, 2), 3)
    np.testing.assert_array_equal(seen[1:4], frames[1:4][:, [0, 0, 2]])


def test_cepstral_statistics_of_a_steady_sound_do_not_vary():
    frames = np.tile(np.arange(40, dtype=np.uint8), (9, 3, 1))
    found = cepstral_statistics(TrackFrames("a", frames, 1.0))
    assert found.shape == (80,)
    # The first coefficient of an orthonormal cosine transform is the sum over sqrt(n).
    assert found[0] == pytest.approx((np.arange(40) * 0.5 - 80).sum() / np.sqrt(40))
    np.testing.assert_allclose(found[20:], 0.0, atol=1e-9)


# --- the pretrained encoder ---


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory, music):
    """A store with what the pretrained encoder reads, and settings that use it."""
    models = SETTINGS["models"] | {"encoder": "musicnn"}
    models["training"] = models["training"] | {"hash_stage": {"epochs": 4, "cached_crops": 4}}
    models["heads"] = {"n_perceptrons": 1, "n_hidden": 16, "min_steps": 30, "epochs": 1}
    plain = SETTINGS | {"features": {"n_mels": 128, "tagger_mel": True}, "models": models}
    settings = parse_config(plain, source="the tests")
    return music.extracted(tmp_path_factory.mktemp("pretrained"), settings), settings


def test_the_pretrained_encoder_serves_networks_and_baselines(pretrained, tmp_path):
    store, settings = pretrained
    methods = ("crnnh+", "ctrl-gap", "ctrl-last", "ctrl-time", "descriptor-hash", "itq-cca")
    request = EvaluationRequest(bits=(16,), n_seeds=1, methods=methods)
    told = evaluate(store, settings, request, output=str(tmp_path))
    assert told["about"]["request"]["encoder"] == "musicnn"
    assert told["about"]["request"]["pooled"] == "descriptors"
    for method in ("crnnh+", "descriptor-hash", "itq-cca"):
        assert figure(told, method, 16) > 0.9, method
    recognition = {row["method"]: row for row in told["recognition"]}
    assert set(recognition) == {"descriptor-head", "musicnn", "mfcc-rf"}
    assert min(row["accuracy"]["mean"] for row in recognition.values()) > 0.9
    assert recognition["musicnn"]["macro_recall_without_classical"] is None
    (vectors,) = (tmp_path / "rows").rglob("descriptors.npy")
    assert np.load(vectors).shape == (N_TRACKS, N_DESCRIPTORS)
    (row,) = (tmp_path / "rows").rglob("retrieval-crnnh+-16bits-seed0.json")
    content = row.read_bytes()
    row.unlink()
    evaluate(store, settings, request, output=str(tmp_path))
    assert row.read_bytes() == content


def test_pooled_maps_can_stand_in_for_vectors(pretrained, tmp_path):
    store, settings = pretrained
    maps = {}
    for pooled in ("last", "all"):
        request = EvaluationRequest(bits=(16,), n_seeds=1, methods=("itq-cca",), pooled=pooled)
        told = evaluate(store, settings, request, output=str(tmp_path))
        maps[told["about"]["fingerprint"]] = figure(told, "itq-cca", 16)
    assert len(maps) == 2
    assert min(maps.values()) > 0.8


def test_a_store_without_tagger_frames_says_what_it_lacks(music, settings, tmp_path):
    features = settings.features.model_copy(update={"tagger_mel": False})
    lacking = settings.model_copy(update={"features": features})
    store = music.extracted(tmp_path, lacking)
    with pytest.raises(ArtefactMissingError, match="tagger_mel"):
        evaluate(store, lacking, EvaluationRequest(encoder="musicnn"), output=str(tmp_path / "o"))
    with pytest.raises(ParameterError, match="features 'descriptors' with the encoder 'hpss-cnn'"):
        evaluate(store, lacking, EvaluationRequest(pooled="descriptors"))
    with pytest.raises(ParameterError, match="method 'descriptor-hash' with the encoder"):
        evaluate(store, lacking, EvaluationRequest(methods=("descriptor-hash",)))


def test_recall_without_classical_is_the_mean_over_the_other_genres():
    confusion = [[8, 2, 0], [0, 5, 0], [1, 1, 2]]
    content = {"figures": {"n_tracks": 19.0, "accuracy": 15 / 19}, "confusion": confusion}
    one = Finished(Unit("recognition", "x", 0), content)
    (row,) = recognition_rows([one], {"x": "X"}, ("blues", "classical", "rock"))
    assert row["macro_recall_without_classical"] == pytest.approx((0.8 + 0.5) / 2)
    (row,) = recognition_rows([one], {"x": "X"}, ("blues", "jazz", "rock"))
    assert row["macro_recall_without_classical"] is None


# --- wrong questions ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bits": (12,)}, r"bits=\[12\]: want different multiples of 8"),
        ({"bits": ()}, "want different multiples of 8"),
        ({"bits": (16, 16)}, "want different multiples of 8"),
        ({"n_seeds": 0}, "n_seeds=0"),
        ({"split_file": "a.csv", "unseen_genres": ("hiss",)}, "with a split file"),
        ({"methods": ("itqq",)}, "no method 'itqq'; did you mean 'itq'"),
    ],
)
def test_wrong_requests_are_refused(wrong, message):
    with pytest.raises(ParameterError, match=message):
        EvaluationRequest(**wrong)


def test_an_unknown_genre_and_a_store_without_labels_say_what_to_do(
    music_store, settings, tmp_path
):
    with pytest.raises(ParameterError, match=r"unseen genres \['jazz'\] have no tracks"):
        evaluate(
            music_store,
            settings,
            EvaluationRequest(unseen_genres=("jazz",)),
            output=str(tmp_path / "out"),
        )
    create_store(tmp_path / "empty")
    StoreLayout(tmp_path / "empty").work_root.mkdir()
    from storage.catalogue import Catalogue, write_catalogue

    write_catalogue(StoreLayout(tmp_path / "empty"), Catalogue((), ()))
    with pytest.raises(TrainingError, match=r"no labelled track .* --labels"):
        evaluate(str(tmp_path / "empty"), settings, EvaluationRequest())


def test_the_methods_are_those_of_the_registry():
    from musichash_core.hash_baselines.registry import BASELINES

    assert tuple(BASELINES) == BASELINE_KEYS
    assert set(check_methods(())) < set(METHOD_KEYS)
    assert check_methods(("real", "crnnh")) == ("crnnh", "real")
