"""What is worth a warning or an alarm, on codes that are healthy or spoiled in one way each."""

import json
from dataclasses import replace

import numpy as np
import pytest

from musichash_core.code_drift import CodeSet, changed_bits, compare_codes
from musichash_core.code_health import measure_codes
from musichash_core.codes import pack_bits
from musichash_core.config import parse_config
from musichash_core.errors import ConfigError
from musichash_core.health_config import HealthConfig
from musichash_core.health_figures import CanaryFigures, CodeFigures, DriftFigures, HealthFigures
from musichash_core.health_findings import find_faults, level_of

CONFIG = HealthConfig()
N_BITS = 64


def healthy_bits(n_codes=400, seed=1):
    return np.random.default_rng(seed).random((n_codes, N_BITS)) < 0.5


def figures_of(bits):
    measures = measure_codes(pack_bits(bits))
    return HealthFigures(CodeFigures.of(measures, unsure=(0.04, 0.9)))


def drifted(bits_before, bits_new):
    """Figures of a snapshot that has the tracks of the one before and some new ones."""
    before, now = (pack_bits(bits) for bits in (bits_before, np.vstack([bits_before, bits_new])))
    sets = [CodeSet(codes, np.zeros(len(codes), np.int64)) for codes in (before, now)]
    drift = compare_codes(*sets, np.arange(len(now)) >= len(before))
    changed = changed_bits(before, now[: len(before)])
    return replace(
        figures_of(np.vstack([bits_before, bits_new])),
        drift=DriftFigures.of(drift, tracks=(len(before), len(bits_new), 0), changed=changed),
    )


def names_of(figures, config=CONFIG):
    return {(finding.name, finding.level) for finding in find_faults(figures, config)}


def stuck(bits):
    bits[:, 5] = True
    return bits


def nearly_stuck(bits):
    bits[:, 5] = True
    bits[:5, 5] = False  # 98.75 % of 400
    return bits


def doubled(bits):
    bits[:, 9] = ~bits[:, 3]
    return bits


def nearly_doubled(bits):
    bits[:, 9] = bits[:, 3]
    bits[:10, 9] ^= True  # of 400: a correlation of about 0.95
    return bits


def in_ten_buckets(bits):
    return bits[np.arange(len(bits)) % 10]


def with_a_bucket(share):
    def change(bits):
        bits[: int(share * len(bits))] = bits[0]
        return bits

    return change


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (lambda bits: bits, set()),
        (stuck, {("bit-balance", "alarm")}),
        (nearly_stuck, {("bit-balance", "warn")}),
        (doubled, {("bit-correlation", "alarm")}),
        (nearly_doubled, {("bit-correlation", "warn")}),
        (with_a_bucket(0.1), {("largest-bucket", "warn")}),
        (with_a_bucket(0.3), {("largest-bucket", "alarm"), ("entropy", "warn")}),
    ],
)
def test_codes_spoiled_in_one_way_raise_that_finding(spoil, wanted):
    assert names_of(figures_of(spoil(healthy_bits()))) == wanted


def test_codes_that_have_collapsed_to_the_genres_raise_an_alarm():
    found = find_faults(figures_of(in_ten_buckets(healthy_bits())), CONFIG)

    assert level_of(found) == "alarm"
    assert {finding.name for finding in found} >= {"entropy", "largest-bucket"}
    assert found[0].level == "alarm"  # alarms come first


def test_few_codes_are_not_judged():
    assert names_of(figures_of(stuck(healthy_bits(CONFIG.min_tracks - 1)))) == set()
    assert names_of(figures_of(stuck(healthy_bits(CONFIG.min_tracks)))) != set()


def test_a_snapshot_without_codes_has_no_findings():
    found = find_faults(HealthFigures(None), CONFIG)

    assert (found, level_of(found)) == ([], "ok")


def test_a_night_in_which_a_bit_is_stuck_raises_the_alarm():
    night = healthy_bits(150, seed=2)

    assert names_of(drifted(healthy_bits(), night)) == set()
    assert names_of(drifted(healthy_bits(), stuck(night))) == {("stuck-bits", "alarm")}
    assert names_of(drifted(healthy_bits(), stuck(night)[:50])) == set()  # too few to tell


def test_a_night_of_silence_raises_the_alarm():
    silence = np.repeat(healthy_bits(1, seed=2), 150, axis=0)

    assert names_of(drifted(healthy_bits(), silence)) >= {
        ("stuck-bits", "alarm"),  # all of them, so that there are no others
        ("new-codes", "alarm"),
        ("new-bucket", "alarm"),
    }


def test_a_stuck_bit_in_tracks_of_a_new_kind_is_a_warning():
    rng = np.random.default_rng(3)
    unlike = rng.random((150, N_BITS)) < rng.choice([0.3, 0.7], N_BITS)  # all bits 0.2 off

    assert names_of(drifted(healthy_bits(), stuck(unlike))) == {
        ("stuck-bits", "warn"),
        ("new-codes", "warn"),
    }


def test_other_codes_of_the_same_tracks_are_an_alarm():
    figures = drifted(healthy_bits(), healthy_bits(150, seed=2))
    drift = replace(figures.drift, n_changed=1, n_changed_bits=3)

    (finding,) = find_faults(replace(figures, drift=drift), CONFIG)

    assert (finding.name, finding.level) == ("changed-codes", "alarm")
    assert "1 of 400 tracks" in finding.what
    assert "3.0 bits" in finding.what
    tolerant = CONFIG.model_copy(update={"max_changed_share": 0.01})
    assert names_of(replace(figures, drift=drift), tolerant) == set()


def test_of_another_model_no_bits_are_compared():
    figures = replace(
        figures_of(healthy_bits()), drift=DriftFigures(False, 400, 0, 0, n_changed=400)
    )

    assert names_of(figures) == set()


@pytest.mark.parametrize(
    ("canaries", "wanted"),
    [
        (CanaryFigures(20, 20, 200, 150, 200), set()),
        (CanaryFigures(20, 19, 200, 150, 200), {("lost-canaries", "alarm")}),
        (CanaryFigures(20, 20, 200, 150, 181), set()),
        (CanaryFigures(20, 20, 200, 150, 179), {("lost-answers", "warn")}),
    ],
)
def test_canaries_that_find_less_are_findings(canaries, wanted):
    figures = drifted(healthy_bits(), healthy_bits(150, seed=2))

    assert names_of(replace(figures, canaries=canaries)) == wanted


def test_every_finding_says_what_to_do_next():
    silence = np.repeat(healthy_bits(1, seed=2), 250, axis=0)
    figures = drifted(nearly_doubled(healthy_bits()), silence)
    lost = replace(figures, canaries=CanaryFigures(20, 0, 200, 0, 0))

    found = find_faults(lost, CONFIG)

    assert len(found) >= 6
    for finding in found:
        assert len(finding.remedy) > 40
        assert any(character.isdigit() for character in finding.what)


def test_figures_come_back_from_json():
    figures = replace(
        drifted(healthy_bits(), stuck(healthy_bits(150, seed=2))),
        canaries=CanaryFigures(20, 20, 10, 5, 7),
    )

    assert HealthFigures.from_dict(json.loads(json.dumps(figures.as_dict()))) == figures


def test_settings_are_read_from_the_section_health():
    config = parse_config({"health": {"min_tracks": 7, "block_on_alarm": True}}, source="a test")

    assert (config.health.min_tracks, config.health.block_on_alarm) == (7, True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bit_share_warn": 0.9999}, "bit_share_warn=0.9999 is above health.bit_share_alarm"),
        ({"entropy_alarm": 0.9}, "entropy_alarm=0.9 is above health.entropy_warn=0.8"),
        ({"bucket_warn": 1.5}, "health.bucket_warn = 1.5"),
        ({"bucket_wran": 0.1}, "did you mean 'bucket_warn'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        parse_config({"health": settings}, source="a test")
