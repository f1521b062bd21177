"""The kind of index follows from size and budget, and a budget that nothing meets is refused."""

import pytest

from musichash_core.config import parse_config
from musichash_core.errors import ConfigError
from musichash_core.index_config import (
    EXACT_UP_TO,
    IndexBudgetError,
    IndexConfig,
    choose_kind,
    estimate_latency_ms,
    estimate_memory_mb,
    hash_shape,
    list_count,
)


@pytest.mark.parametrize(
    ("n_codes", "settings", "kind", "reason"),
    [
        (0, {}, "flat", "reading all of them is quick"),
        (1000, {}, "flat", "reading all of them is quick"),
        (EXACT_UP_TO + 1, {}, "ivf", "lists are read many times quicker"),
        (EXACT_UP_TO + 1, {"max_memory_mb": 50}, "flat", "ivf does not fit the budget"),
        (EXACT_UP_TO, {"max_latency_ms": 0.3}, "ivf", "flat does not fit the budget"),
        (EXACT_UP_TO + 1, {"min_distance_recall": 1}, "flat", "leaves no other kind"),
        (10, {"kind": "multihash"}, "multihash", "multihash is set by hand"),
        (10, {"kind": "ivf"}, "ivf", "ivf is set by hand"),
    ],
)
def test_the_kind_is_chosen_with_a_reason(n_codes, settings, kind, reason):
    choice = choose_kind(n_codes, 64, IndexConfig(**settings))
    assert choice.kind == kind
    assert choice.why.startswith(f"{kind}, because ")
    assert reason in choice.why


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_memory_mb": 70}, r"max_memory_mb=70: flat needs about 80 MB .*ivf needs about 160"),
        ({"max_memory_mb": 100, "max_latency_ms": 0.2}, r"max_memory_mb=100, max_latency_ms=0\.2"),
        ({"kind": "flat", "max_latency_ms": 0.1}, "flat needs about 80 MB and 4 ms"),
    ],
)
def test_a_budget_that_no_kind_meets_names_what_each_needs(settings, named):
    with pytest.raises(IndexBudgetError, match=named) as raised:
        choose_kind(10_000_000, 64, IndexConfig(**settings))
    assert raised.value.is_wrong_input
    assert "raise the limit in [index]" in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "n_codes", "n_bits", "measured_ms"),
    [
        ("flat", 5_000_000, 64, 2.1),
        ("flat", 10_000_000, 64, 3.9),
        ("flat", 10_000_000, 128, 5.9),
        ("ivf", 10_000_000, 64, 0.09),
        ("ivf", 10_000_000, 128, 0.10),
    ],
)
def test_estimates_are_near_what_single_queries_took(kind, n_codes, n_bits, measured_ms):
    """The column 'one query, ms' of 'musichash bench index', on one thread."""
    assert 0.7 < estimate_latency_ms(kind, n_codes, n_bits) / measured_ms < 1.5


def test_estimates_grow_with_codes_and_bits():
    for kind in ("flat", "ivf", "multihash"):
        for estimate in (estimate_memory_mb, estimate_latency_ms):
            small = estimate(kind, 1_000_000, 64)
            assert small < estimate(kind, 1_000_000, 256)
            assert small < estimate(kind, 4_000_000, 64)
    assert estimate_memory_mb("flat", 10_000_000, 64) == 80


@pytest.mark.parametrize("n_codes", [0, 1, 2, 10, 1000, 10**6, 10**7, 10**9])
def test_lists_are_a_power_of_two_and_no_more_than_codes(n_codes):
    n_lists = list_count(n_codes)
    assert 1 <= n_lists <= max(1, n_codes)
    assert n_lists & (n_lists - 1) == 0 or n_lists == n_codes
    assert n_codes < 10**6 or n_codes / n_lists > 100


@pytest.mark.parametrize("n_bits", [8, 16, 64, 128, 256])
@pytest.mark.parametrize("n_codes", [0, 10, 10**6, 10**8])
def test_hashes_fit_the_code_and_share_no_bits(n_codes, n_bits):
    n_hashes, hash_bits = hash_shape(n_codes, n_bits)
    assert n_hashes >= 1
    assert 1 <= n_hashes * hash_bits <= n_bits


def test_settings_of_the_index_change_no_fingerprint():
    plain = parse_config({}, source="none")
    other = parse_config({"index": {"kind": "multihash", "max_memory_mb": 10}}, source="a file")
    assert other.index.kind == "multihash"
    assert plain.feature_fingerprint == other.feature_fingerprint


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "hnsw"}, "index.kind = 'hnsw'"),
        ({"max_memory": 1}, "did you mean 'max_memory_mb'"),
        ({"min_distance_recall": 1.5}, "index.min_distance_recall = 1.5"),
        ({"compact_share": 1}, "index.compact_share = 1"),
    ],
)
def test_a_wrong_setting_is_named(settings, said):
    with pytest.raises(ConfigError, match=said):
        parse_config({"index": settings}, source="a file")
