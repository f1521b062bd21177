"""The published index: told, chosen by hand, built anew, mended."""

import json

import pytest

from musichash_core.config import PipelineConfig
from musichash_core.index_config import IndexBudgetError, IndexConfig
from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.indexes import HashIndex
from storage.packed_codes import packed_codes
from storage.published import read_table
from storage.runs import start_run
from storage.snapshots import current_snapshot, list_snapshots
from storage.store import open_store
from tasks.reindex import WantedIndex, describe_index, preview_index, reindex
from tasks.status import verify_store


@pytest.fixture
def published(two_generations):
    return two_generations.store


def run(store, wanted=None, **options):
    return reindex(store, start_run(open_store(store), kind="reindex"), wanted, **options)


def codes_of(store):
    layout = open_store(store)
    return packed_codes(read_table(layout, current_snapshot(layout), "codes"))


def test_an_index_is_told(published):
    told = describe_index(published)
    assert (told["kind"], told["n_codes"], told["n_bits"]) == ("flat", 8, 32)
    assert told["segments"] == {"base": 8, "delta": 0, "died": 0}
    assert told["distance_recall_at_10"] == 1
    assert told["latency"]["n_queries"] == 8
    assert told["latency"]["latency_ms_median"] > 0
    assert "flat, because" in told["why"]
    json.dumps(told)


def test_what_is_built_already_is_not_published_again(published):
    before = list_snapshots(open_store(published))
    done = run(published)
    assert (done.is_new, done.mended) == (False, ())
    assert done.record.snapshot == done.snapshot.number == before[-1]
    assert done.record.reused == 8
    assert list_snapshots(open_store(published)) == before


def test_a_kind_by_hand_is_published_and_stays_in_force(published):
    layout = open_store(published)
    before = current_snapshot(layout)
    done = run(published, WantedIndex(kind="ivf"))
    assert done.is_new
    assert done.snapshot.number == before.number + 1
    assert done.snapshot.digest == before.digest
    assert {name: paths for name, paths in done.snapshot.tables.items() if name != "runs"} == {
        name: paths for name, paths in before.tables.items() if name != "runs"
    }
    told = describe_index(published)
    assert (told["kind"], told["settings"]["set_by_command"]) == ("ivf", True)
    assert verify_store(published)["findings"] == []
    # Built again without a word, and previewed without one, it is still by these settings.
    assert not run(published).is_new
    assert preview_index(published, WantedIndex())["kind"] == "ivf"
    # A configuration that says something about the index counts more.
    config = IndexConfig(kind="multihash")
    assert preview_index(published, WantedIndex(config=config))["kind"] == "multihash"
    assert run(published, WantedIndex(config=config)).is_new
    assert not describe_index(published)["settings"]["set_by_command"]
    assert preview_index(published, WantedIndex(config=PipelineConfig().index))["kind"] == "flat"


def test_all_kinds_find_each_code_first(published):
    codes = codes_of(published)
    for kind in ("ivf", "multihash", "flat"):
        run(published, WantedIndex(kind=kind))
        layout = open_store(published)
        index = HashIndex.load(layout, current_snapshot(layout))
        assert index.kind == kind
        for row, answer in enumerate(index.candidates(codes, 1)):
            assert row in answer.rows
            assert answer.distances[0] == 0


def test_a_damaged_index_comes_back_to_the_byte(published):
    snapshot = current_snapshot(open_store(published))
    path = open_store(published).root / snapshot.index
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\xff")
    with pytest.raises(DamagedArtefactError, match="differs from its snapshot"):
        describe_index(published)
    done = run(published)
    assert (done.is_new, done.mended) == (False, (snapshot.index,))
    assert path.read_bytes() == whole
    path.unlink()
    assert run(published).mended == (snapshot.index,)
    assert path.read_bytes() == whole


def test_a_damaged_description_comes_back_too(published):
    snapshot = current_snapshot(open_store(published))
    path = open_store(published).root / snapshot.index_info
    whole = path.read_bytes()
    path.write_bytes(b"{")
    assert run(published).mended == (snapshot.index_info,)
    assert path.read_bytes() == whole


def test_a_damaged_codes_table_is_not_built_upon(published):
    layout = open_store(published)
    snapshot = current_snapshot(layout)
    path = layout.root / snapshot.tables["codes"][0]
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DamagedArtefactError, match="no index is built from it: 'musichash recon"):
        run(published)
    assert current_snapshot(layout) == snapshot


def test_lists_may_be_built_by_others(published):
    from storage.indexes import build_ivf

    asked = []

    def builder(codes, parameters):
        asked.append(len(codes))
        return build_ivf(codes, parameters)

    done = run(published, WantedIndex(kind="ivf"), builder=builder)
    assert asked == [8]
    assert not run(published).is_new
    assert done.snapshot.index == current_snapshot(open_store(published)).index


def test_a_budget_that_nothing_meets_changes_nothing(published):
    before = list_snapshots(open_store(published))
    for wanted in (WantedIndex(max_memory_mb=1e-6), WantedIndex(kind="flat", max_latency_ms=1e-9)):
        with pytest.raises(IndexBudgetError, match="no index of 8 codes of 32 bits"):
            preview_index(published, wanted)
        with pytest.raises(IndexBudgetError):
            run(published, wanted)
    assert list_snapshots(open_store(published)) == before


def test_a_budget_keeps_the_other_settings(published):
    config = IndexConfig(min_distance_recall=0.9, compact_share=0.2)
    run(published, WantedIndex(config=config))
    run(published, WantedIndex(max_memory_mb=50))
    settings = describe_index(published)["settings"]
    assert (settings["min_distance_recall"], settings["max_memory_mb"]) == (0.9, 50)
    assert (settings["compact_share"], settings["kind"]) == (0.2, "auto")


def test_a_store_that_has_published_nothing_says_so(store):
    for ask in (describe_index, run, lambda path: preview_index(path, WantedIndex())):
        with pytest.raises(ArtefactMissingError, match="has published nothing yet"):
            ask(store)
