"""An index through nights of additions, changes and removals answers for the codes there are now.

The truth is a dictionary of codes by track, and bits counted one code at a time.
"""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musichash_core.index_config import IndexBudgetError, IndexConfig, estimate_latency_ms
from storage.errors import DamagedArtefactError
from storage.indexes import (
    CodesOrigin,
    HashIndex,
    IndexSettings,
    KeyedCodes,
    RecallError,
    building,
    keyed_codes,
    read_changes,
    read_description,
    read_parts,
    recall,
    remake_files,
    settings_in_force,
    write_index,
)
from storage.indexes.changes import changes_from_table, changes_to_table
from storage.indexes.comparing import kept_rows
from storage.layout import StoreLayout
from storage.schemas import codes_schema
from storage.snapshots import Snapshot, snapshot_bytes, snapshot_from_bytes
from storage.tables import table_of, write_part

GENERATION = "g-1"


class Nights:
    """A store of which only codes and index are published, night after night."""

    def __init__(self, root, n_bytes=8, **config):
        self.layout = StoreLayout(root)
        self.n_bytes = n_bytes
        self.settings = IndexSettings(IndexConfig(**config))
        self.codes = {}
        self.generation = GENERATION
        self.snapshot = None

    def table(self):
        rows = [
            {
                "track_id": track_id,
                "code": self.codes[track_id].tobytes(),
                "logits": [0.0] * (8 * self.n_bytes),
                "n_segments": 1,
                "generation": self.generation,
            }
            for track_id in sorted(self.codes)
        ]
        schema = codes_schema(8 * self.n_bytes)
        extra = {"segment_codes": [], "segment_starts_s": []}
        names = set(schema.names)
        rows = [row | {key: extra[key] for key in extra.keys() & names} for row in rows]
        return table_of(rows, schema)

    def publish(self, **options):
        """Write the index of the codes there are; give the snapshot."""
        table = self.table()
        part = write_part(self.layout, "codes", table)
        written = write_index(
            self.layout,
            keyed_codes(table),
            CodesOrigin(self.generation, (part.sha256,)),
            settings=self.settings,
            previous=self.snapshot,
            **options,
        )
        self.snapshot = Snapshot(
            number=1,
            feature_fingerprint="f" * 12,
            generation=self.generation,
            tables={"codes": [part.path]},
            index=written.index.path,
            index_info=written.info.path,
            counts={},
            files=(part, *written.files),
        )
        data = snapshot_bytes(self.snapshot)
        assert snapshot_from_bytes(data, number=1, source="it") == self.snapshot
        return self.snapshot

    def index(self):
        return HashIndex.load(self.layout, self.snapshot)

    def rows(self):
        """Give the codes by row, as the table is sorted."""
        ordered = [self.codes[track_id] for track_id in sorted(self.codes)]
        return np.array(ordered, np.uint8).reshape(-1, self.n_bytes)

    def info(self):
        return read_description(self.layout, self.snapshot)

    def remade(self):
        """Make the files of the index again from its Parquet files."""
        info = self.info()
        changes = read_changes(self.layout, self.snapshot, info)
        return remake_files(info, keyed_codes(self.table()), changes)


def some_id(number):
    return hashlib.blake2b(bytes([number]), digest_size=16).hexdigest()


def filled(root, n, truth, spread=None, **config):
    """Begin with n codes."""
    nights = Nights(root, **config)
    codes = truth.clustered_codes(n, nights.n_bytes, **(spread or {}))
    rng = np.random.default_rng(0)
    for code in codes:
        nights.codes[rng.bytes(16).hex()] = code
    nights.publish()
    return nights


def check(nights, truth, queries, k, radius):
    """Compare with counting bits; an ivf index reads all its lists, and so misses nothing."""
    index, rows = nights.index(), nights.rows()
    if index.kind == "ivf":
        parts = read_parts(nights.layout, nights.snapshot)[1]
        index = HashIndex.of_parts(replace(parts, n_probed=parts.parameters["n_lists"]))
    assert index.holds(rows)
    for query, found in zip(queries, index.candidates(queries, k), strict=True):
        assert truth.pairs_of(found) == (truth.nearest(rows, query, k) if len(rows) else [])
    for query, found in zip(queries, index.within(queries, radius), strict=True):
        assert truth.pairs_of(found) == truth.within(rows, query, radius)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "change", "remove", "publish"]),
        st.integers(0, 25),
        st.sampled_from([0, 1, 3, 7, 255]),
    ),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize("kind", ["flat", "multihash", "ivf"])
@pytest.mark.parametrize("are_ids_hashes", [True, False])
def test_any_nights_answer_like_counting_bits(truth, tmp_path_factory, kind, are_ids_hashes):
    @settings(max_examples=15, deadline=None)
    @given(ACTIONS, st.sampled_from([0, 3, 10]), st.sampled_from([0.0, 0.3, 0.9]))
    def run(actions, delta_from, compact_share):
        nights = Nights(
            tmp_path_factory.mktemp("nights"),
            n_bytes=2,
            kind=kind,
            delta_from=delta_from,
            compact_share=compact_share,
            min_distance_recall=0.5,
        )
        queries = np.array([[0, 0], [255, 1]], np.uint8)
        for action, number, byte in [*actions, ("publish", 0, 0)]:
            track_id = some_id(number) if are_ids_hashes else f"{number:032x}"
            if action in {"add", "change"}:
                nights.codes[track_id] = np.array([byte, number % 3], np.uint8)
            elif action == "remove":
                nights.codes.pop(track_id, None)
            else:
                nights.publish()
                check(nights, truth, queries, 4, 5)
                for path, data in nights.remade().items():
                    assert (nights.layout.root / path).read_bytes() == data

    run()


def test_few_changes_carry_the_base_and_write_a_delta(truth, tmp_path):
    nights = filled(tmp_path, 400, truth, kind="ivf", delta_from=100, compact_share=0.1)
    base = nights.info().base
    assert (nights.info().delta, nights.info().changes) == (None, None)
    ids = sorted(nights.codes)
    for track_id in ids[:5]:
        del nights.codes[track_id]
    nights.codes[ids[200]] = np.zeros(8, np.uint8)
    nights.codes["0" * 32] = np.full(8, 255, np.uint8)
    nights.publish()
    info = nights.info()
    assert info.base == base
    assert (info.n_codes, info.delta.n_codes, info.changes.n_codes) == (396, 2, 8)
    assert info.n_bytes == sum(part.n_bytes for part in info.files)
    assert info.distance_recall_at_10 >= 0.95
    check(nights, truth, nights.rows()[::60], 10, 12)
    again = nights.snapshot
    assert nights.publish() == again  # nothing changed, so nothing does
    for path, data in nights.remade().items():
        assert (nights.layout.root / path).read_bytes() == data
    nights.codes[ids[0]] = truth.random_codes(1)[0]  # comes back with another code
    nights.publish()
    assert nights.info().base == base
    assert nights.index().holds(nights.rows())


def test_what_died_is_never_an_answer(truth, tmp_path):
    nights = filled(tmp_path, 300, truth, kind="ivf", delta_from=1, compact_share=0.5)
    gone = sorted(nights.codes)[::4]
    codes = np.array([nights.codes.pop(track_id) for track_id in gone])
    nights.publish()
    assert nights.info().changes.n_codes == len(gone)
    rows = nights.rows()
    for code, found in zip(codes, nights.index().candidates(codes, 5), strict=True):
        for bits, row in truth.pairs_of(found):
            assert truth.distance(code, rows[row]) == bits


@pytest.mark.parametrize(
    ("why", "config", "change"),
    [
        ("small", {"delta_from": 500}, None),
        ("changed-too-much", {"delta_from": 1, "compact_share": 0.002}, None),
        ("generation", {"delta_from": 1}, lambda nights: setattr(nights, "generation", "g-2")),
        (
            "kind",
            {"delta_from": 1},
            lambda nights: setattr(
                nights, "settings", IndexSettings(IndexConfig(kind="multihash", delta_from=1))
            ),
        ),
        (
            "damaged",
            {"delta_from": 1},
            lambda nights: (nights.layout.root / nights.snapshot.index).write_bytes(b"none"),
        ),
        (
            "table-gone",
            {"delta_from": 1},
            lambda nights: (nights.layout.root / nights.snapshot.tables["codes"][0]).unlink(),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_index_is_built_whole_when(truth, tmp_path, why, config, change):
    nights = filled(tmp_path, 400, truth, kind="ivf", **config)
    nights.codes["0" * 32] = np.zeros(8, np.uint8)
    nights.codes["1" + "0" * 31] = np.zeros(8, np.uint8)
    if change is not None:
        change(nights)
    nights.publish()
    info = nights.info()
    assert (info.delta, info.changes, info.base.n_codes) == (None, None, 402), why
    check(nights, truth, nights.rows()[:2], 5, 9)


def test_a_small_index_depends_on_its_codes_alone(truth, tmp_path):
    one = filled(tmp_path / "one", 50, truth)
    other = Nights(tmp_path / "other")
    for track_id in sorted(one.codes)[::-1]:
        other.codes[track_id] = one.codes[track_id]
        if len(other.codes) % 10 == 0:
            other.publish()
    assert other.snapshot == one.snapshot


# --- the gate ------------------------------------------------------------------------------------


def test_lists_are_read_until_the_bar_is_reached(truth, tmp_path):
    spread = {"n_centres": 300, "n_flipped": 10}
    low, high = (
        filled(tmp_path / name, 3000, truth, spread, kind="ivf", min_distance_recall=bar)
        for name, bar in (("low", 0.5), ("high", 0.97))
    )
    assert low.info().base == high.info().base  # how many are read is no part of the file
    assert low.info().n_probed < high.info().n_probed
    assert high.info().distance_recall_at_10 >= 0.97
    measured = building.measure_recall(high.index()._served, high.rows())
    assert measured.mean >= 0.96


def test_codes_that_lists_cannot_serve_get_a_flat_index_if_the_budget_allows(
    truth, tmp_path, caplog
):
    nights = Nights(tmp_path, kind="ivf", min_distance_recall=1.0, delta_from=1)
    for number, code in enumerate(truth.random_codes(400)):  # far from everything
        nights.codes[f"{number:032x}"] = code
    nights.publish()
    assert "a flat index takes its place" in caplog.text
    info = nights.info()
    assert (info.kind, info.wanted_kind) == ("flat", "ivf")
    check(nights, truth, nights.rows()[:2], 5, 20)
    caplog.clear()
    nights.codes["f" * 32] = np.zeros(8, np.uint8)
    nights.publish()  # it is not tried again every night
    assert nights.info().given_up_at == info.given_up_at == 400
    assert caplog.text == ""
    for number in range(30):
        nights.codes[f"{number:02x}" + "f" * 30] = np.full(8, number, np.uint8)
    nights.publish()
    assert "a flat index takes its place" in caplog.text


def test_a_flat_index_in_place_of_lists_keeps_to_a_budget_that_was_set_since(truth, tmp_path):
    nights = Nights(tmp_path, kind="ivf", min_distance_recall=1.0, delta_from=1)
    for number, code in enumerate(truth.random_codes(400)):
        nights.codes[f"{number:032x}"] = code
    nights.publish()
    assert nights.info().given_up_at == 400
    lists_ms, flat_ms = (estimate_latency_ms(kind, 401, 64) for kind in ("ivf", "flat"))
    assert lists_ms < flat_ms
    between = {"max_latency_ms": (lists_ms + flat_ms) / 2}
    nights.settings = IndexSettings(nights.settings.config.model_copy(update=between))
    nights.codes["f" * 32] = np.zeros(8, np.uint8)
    with pytest.raises(RecallError, match="the budget allows no flat one"):
        nights.publish()


def test_an_index_that_misses_neighbours_is_not_published(truth, tmp_path, monkeypatch):
    nights = Nights(tmp_path)
    for number, code in enumerate(truth.random_codes(100)):
        nights.codes[f"{number:032x}"] = code
    real = building.serve
    monkeypatch.setattr(
        building,
        "serve",
        lambda parts: real(replace(parts, base=building.build_flat(nights.rows()[::2]), n_base=50)),
    )
    with pytest.raises(RecallError, match=r"finds 0\.\d+ of the nearest.*nothing is published"):
        nights.publish()
    assert not nights.layout.index_root.exists()


def test_a_budget_that_no_kind_meets_names_what_would_do(truth, tmp_path):
    with pytest.raises(IndexBudgetError, match=r"max_memory_mb=0\.001: flat needs about"):
        filled(tmp_path, 400, truth, max_memory_mb=0.001)


def test_recall_on_a_sample_is_that_of_counting_bits(truth):
    codes = truth.clustered_codes(300)
    sample = recall.sample_recall(codes, is_exact=False, is_tuned=False)
    for query, farthest in zip(sample.queries, sample.farthest, strict=True):
        assert farthest == truth.nearest(codes, query, 11)[10][0]
    index = HashIndex.of_codes(codes[::2])
    found = recall.measured_recall(
        sample,
        lambda queries, k: np.array([a.distances[:k] for a in index.candidates(queries, k)]),
    )
    by_hand = []
    for query in sample.queries:
        true = [bits for bits, _ in truth.nearest(codes, query, 11)][10]
        kept = [bits for bits, _ in truth.nearest(codes[::2], query, 11)][:11]
        by_hand.append(max(0, sum(bits <= true for bits in kept) - 1) / 10)
    assert found.mean == pytest.approx(np.mean(by_hand))
    assert 0.2 < found.mean < 0.9


def test_latency_is_measured_one_query_at_a_time(truth):
    codes = truth.random_codes(50)
    asked = []
    told = recall.measure_latency(lambda some, k: asked.append((some.shape, k)), codes, n_queries=9)
    assert set(asked) == {((1, 8), 10)}
    assert told["n_queries"] == 9
    assert 0 <= told["latency_ms_median"] <= told["latency_ms_p95"]


# --- settings ------------------------------------------------------------------------------------


def test_settings_of_a_command_stay_in_force_until_the_configuration_says_something(
    truth, tmp_path
):
    nights = filled(tmp_path, 20, truth)
    layout, default = nights.layout, IndexConfig()

    def in_force(config):
        return settings_in_force(layout, nights.snapshot, config)

    assert in_force(default) == IndexSettings(default)
    nights.settings = IndexSettings(IndexConfig(kind="multihash"), is_by_command=True)
    nights.publish()
    assert in_force(default) == nights.settings
    assert in_force(None) == nights.settings
    assert in_force(IndexConfig(kind="ivf")) == IndexSettings(IndexConfig(kind="ivf"))
    nights.settings = in_force(IndexConfig(kind="ivf"))
    nights.publish()
    assert in_force(default) == IndexSettings(default)  # the line was taken out again
    assert in_force(None) == nights.settings
    (layout.root / nights.snapshot.index_info).unlink()
    assert in_force(None) == IndexSettings(default)


# --- changes -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(0, 60), st.integers(0, 3), max_size=40),
    st.dictionaries(st.integers(0, 60), st.integers(0, 3), max_size=40),
    st.booleans(),
    st.integers(1, 3),
)
def test_rows_are_kept_by_track_and_code(earlier, later, are_ids_hashes, n_chunks):
    def keyed(codes):
        named = {some_id(n) if are_ids_hashes else f"id-{n:03}": c for n, c in codes.items()}
        ids, schema = sorted(named), codes_schema(8)
        pieces = [pa.array(list(part), pa.string()) for part in np.array_split(ids, n_chunks)]
        return keyed_codes(
            pa.table(
                {
                    "track_id": pa.chunked_array(pieces),
                    "code": pa.array([bytes([named[i]]) for i in ids], schema.field("code").type),
                }
            )
        ), named

    (before, codes_before), (after, codes_after) = keyed(earlier), keyed(later)
    places = {name: row for row, name in enumerate(sorted(codes_after))}
    expected = [
        places[name] if codes_after.get(name) == codes_before[name] else -1
        for name in sorted(codes_before)
    ]
    middle = len(before) // 2
    parts = [
        KeyedCodes(before.track_ids[part], before.codes[part])
        for part in (slice(0, middle), slice(middle, None))
    ]
    kept = kept_rows(parts, after)
    assert kept.rows.tolist() == expected
    lost = [row for row, found in enumerate(expected) if found < 0]
    assert kept.lost_codes.tolist() == before.codes[lost].tolist()


def test_changes_that_name_places_that_are_not_there_are_refused(truth, tmp_path):
    nights = filled(
        tmp_path, 30, truth, kind="ivf", delta_from=1, compact_share=0.5, min_distance_recall=0.5
    )
    for track_id in sorted(nights.codes)[3:6]:
        del nights.codes[track_id]
    nights.codes["0" * 32] = np.zeros(8, np.uint8)
    nights.publish()
    changes = read_changes(nights.layout, nights.snapshot, nights.info())
    assert (changes.died.tolist(), changes.added.tolist()) == ([3, 4, 5], [0])
    rows = changes.base_rows(28)
    assert changes.numbers_of(rows).tolist() == changes.living(30).tolist()
    assert changes.rows_of(changes.living(30), 30).tolist() == rows.tolist()
    table = changes_to_table(changes)
    again = changes_from_table(table, code_bytes=8, n_base=30)
    assert again.died_codes.tolist() == changes.died_codes.tolist()
    for wrong in (
        {"table": table, "code_bytes": 7, "n_base": 30},
        {"table": table, "code_bytes": 8, "n_base": 5},
        {"table": table.take([1, 0, 2, 3]), "code_bytes": 8, "n_base": 30},
        {"table": table.take([0, 0, 1, 3]), "code_bytes": 8, "n_base": 30},
        {"table": table.take([3, 0, 1, 2]), "code_bytes": 8, "n_base": 30},
        {"table": table.select(["place", "code"]), "code_bytes": 8, "n_base": 30},
    ):
        with pytest.raises(DamagedArtefactError, match="changes of an index"):
            changes_from_table(wrong.pop("table"), **wrong)
