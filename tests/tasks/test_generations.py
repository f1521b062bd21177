"""What a store says of its generations, and how far two of them agree on its tracks."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from storage.comparisons import read_comparison
from storage.errors import ArtefactMissingError
from storage.generations import UnknownGenerationError
from storage.published import read_table, require_snapshot
from storage.receipts import finished_partitions
from storage.store import open_store
from tasks.generation_comparison import Comparing, NothingInCommonError, compare_generations
from tasks.generations import describe_generations, named_generation
from tasks.train import train

N_TRACKS = 8
"""Of the store with two generations."""


def encoded_rows(store, generation):
    """Read the rows of a generation file by file."""
    import pyarrow.parquet as pq

    root = open_store(store).encoded_root(generation)
    tables = {}
    for name in ("predictions", "codes"):
        rows = [
            row
            for partition in finished_partitions(root)
            for row in pq.read_table(root / partition / f"{name}.parquet").to_pylist()
        ]
        tables[name] = {row["track_id"]: row for row in rows}
    return tables


def test_generations_say_what_they_are_and_what_is_encoded(two_generations, config):
    store, first, second = two_generations
    described = {entry["generation"]: entry for entry in describe_generations(store)}
    assert described.keys() == {first, second}
    old, new = described[first], described[second]
    assert (old["state"], old["snapshots"]) == ("in force", [1])
    assert (new["state"], new["snapshots"]) == ("candidate", [])
    assert (old["n_bits"], new["n_bits"]) == (32, 64)
    assert new["genres"] == ["high", "middle"]
    assert (old["n_published"], old["n_encoded"]) == (N_TRACKS, N_TRACKS)
    assert new["n_encoded"] == len(encoded_rows(store, second)["codes"]) < N_TRACKS
    assert {entry["feature_fingerprint"] for entry in (old, new)} == {config.feature_fingerprint}
    assert old["comparison"] is new["comparison"] is None
    assert old["origin"] == "trained here"


def test_a_trained_generation_has_its_validation_figures(store, second_model):
    summary = {
        "tracks_per_genre": [3, 4],
        "validation_track_ids": ["a", "b"],
        "validation_accuracy": 0.5,
        "validation_macro_f1": 0.4,
        "validation_map": 0.3,
    }
    second_model(store, summary=summary)
    (entry,) = describe_generations(store)
    assert entry["n_trained_on"] == 7
    assert entry["validation"] == {"n_tracks": 2, "accuracy": 0.5, "macro_f1": 0.4, "map": 0.3}
    assert (entry["n_published"], entry["state"]) == (0, "candidate")


def test_a_damaged_card_does_not_hide_the_others(two_generations):
    store, first, second = two_generations
    (open_store(store).model_path(second) / "model.json").write_text("{")
    described = {entry["generation"]: entry for entry in describe_generations(store)}
    assert described[first]["problem"] is None
    assert "its card cannot be read" in described[second]["problem"]


def test_a_store_without_models_has_an_empty_list(store):
    assert describe_generations(store) == []


def test_a_beginning_names_a_generation(two_generations):
    store, first, _ = two_generations
    assert named_generation(store, first[:8]) == first
    with pytest.raises(UnknownGenerationError, match="musichash models list"):
        named_generation(store, "g-?")


def nearest_by_search(rows, k):
    """Rank by Hamming distance, asymmetric distance and id, track by track, in plain Python."""
    ids = sorted(rows)
    bits = {one: np.array(rows[one]["logits"], np.float32) >= 0 for one in ids}
    found = {}
    for one in ids:
        weights = np.rint(np.tanh(np.array(rows[one]["logits"], np.float64)) * 2**15)
        keys = [
            (
                int((bits[one] != bits[other]).sum()),
                -int(np.where(bits[other], weights, -weights).sum()),
                other,
            )
            for other in ids
            if other != one
        ]
        found[one] = {key[2] for key in sorted(keys)[:k]}
    return found


def test_a_comparison_is_what_a_model_of_plain_python_counts(two_generations):
    store, first, second = two_generations
    compared = compare_generations(store, first, second, Comparing(k=2))
    old, new = encoded_rows(store, first), encoded_rows(store, second)
    shared = sorted(new["codes"])
    assert (compared["n_common"], compared["n_published"]) == (len(shared), N_TRACKS)
    before = [old["predictions"][one]["genre"] for one in shared]
    after = [new["predictions"][one]["genre"] for one in shared]
    predictions = compared["predictions"]
    n_agreed = sum(a == b for a, b in zip(before, after, strict=True))
    assert predictions["n_agreed"] == n_agreed
    assert predictions["agreement"] == pytest.approx(n_agreed / len(shared), abs=1e-6)
    assert predictions["kappa"] == pytest.approx(cohen_kappa_score(before, after), abs=1e-6)
    nearest = [
        nearest_by_search({one: table["codes"][one] for one in shared}, 2) for table in (old, new)
    ]
    overlaps = {one: len(nearest[0][one] & nearest[1][one]) / 2 for one in shared}
    neighbours = compared["neighbours"]
    assert neighbours["n_queries"] == len(shared)
    assert neighbours["overlap"] == pytest.approx(np.mean(list(overlaps.values())), abs=1e-6)
    assert neighbours["overlap_by_chance"] == pytest.approx(2 / (len(shared) - 1), abs=1e-6)
    changed = [one for one in shared if overlaps[one] < 1]
    expected = sorted(changed, key=lambda one: (overlaps[one], one))
    assert [canary["track_id"] for canary in compared["canaries"]] == expected[:10]
    for place, table in (("first", old), ("second", new)):
        codes = [table["codes"][one]["code"] for one in shared]
        figures = compared["codes"][place]
        assert figures["n_distinct"] == len(set(codes))
        assert figures["largest_bucket"] == max(codes.count(code) for code in codes)
        logits = np.array([table["codes"][one]["logits"] for one in shared])
        means = (logits >= 0).mean(axis=0)
        assert figures["mean_bias"] == pytest.approx(np.abs(means - 0.5).mean(), abs=1e-6)


def test_canaries_name_the_tracks_and_their_neighbours(two_generations):
    store, first, second = two_generations
    compared = compare_generations(store, first, second, Comparing(k=1))
    layout = open_store(store)
    rows = read_table(layout, require_snapshot(layout), "tracks").to_pylist()
    paths = {row["track_id"]: row for row in rows}
    assert compared["canaries"]
    for canary in compared["canaries"]:
        row = paths[canary["track_id"]]
        assert (canary["path"], canary["label"]) == (row["path"], row["label"])
        assert canary["nearest"]["first"] != canary["nearest"]["second"]


def test_a_comparison_is_stored_with_the_same_bytes_each_time(two_generations):
    store, first, second = two_generations
    layout = open_store(store)
    compared = compare_generations(store, first[:6], second, Comparing(n_sampled=3, seed=4))
    assert compared["neighbours"]["n_queries"] == 3
    path = layout.comparison_path(first, second)
    before = path.read_bytes()
    assert read_comparison(layout, first, second) == compared
    assert str(layout.root).encode() not in before
    compare_generations(store, first, second, Comparing(n_sampled=3, seed=4))
    assert path.read_bytes() == before
    (entry,) = [one for one in describe_generations(store) if one["generation"] == second]
    assert entry["comparison"]["with"] == first
    assert entry["comparison"]["agreement"] == compared["predictions"]["agreement"]


def test_a_generation_agrees_with_itself(two_generations):
    store, first, _ = two_generations
    compared = compare_generations(store, first, first, Comparing())
    assert compared["predictions"]["agreement"] == compared["neighbours"]["overlap"] == 1.0
    assert compared["canaries"] == compared["predictions"]["changes"] == []


def test_generations_without_a_common_track_cannot_be_compared(two_generations, second_model):
    store, first, _ = two_generations
    third = second_model(store, seed=6)
    with pytest.raises(NothingInCommonError, match=r"backfill --model"):
        compare_generations(store, first, third, Comparing())


def test_nothing_can_be_compared_before_anything_is_published(store, with_model):
    generation = with_model(store)
    with pytest.raises(ArtefactMissingError, match="has published nothing yet"):
        compare_generations(store, generation, generation, Comparing())


# --- candidates of a training ---


def test_a_candidate_leaves_the_model_in_force(catalogue, config, publish_all):
    for path, hz in (("high/a", 1760), ("high/b", 1600), ("low/a", 220), ("low/b", 240)):
        catalogue.add(f"{path}.wav", hz)
    published = publish_all(catalogue.root)
    trained = train(published.store, config, as_candidate=True)
    assert trained.is_candidate
    assert f"'musichash backfill --model {trained.generation}'" in trained.next_step
    described = {entry["generation"]: entry for entry in describe_generations(published.store)}
    assert described[trained.generation]["state"] == "candidate"
    assert described[published.generation]["state"] == "in force"
    at_once = train(published.store, config)
    assert (at_once.generation, at_once.is_candidate) == (trained.generation, False)
    assert at_once.next_step is None
