"""A few hundred damaged sound files through the box; `make fuzz` runs thousands."""

import importlib.util
from pathlib import Path

import pytest

from musichash_core.decode import DecodeConfig, DecoderBox
from musichash_core.failure_codes import FAILURE_CODES

N_MUTANTS = 350
"""Ten of each format."""


@pytest.fixture(scope="module")
def fuzzing():
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz_decoder.py"
    spec = importlib.util.spec_from_file_location("fuzz_decoder", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_mutant_escapes_the_box(fuzzing):
    report = fuzzing.fuzz(range(N_MUTANTS), seed=20)
    assert report.escaped == []
    assert report.crashed == []
    assert report.codes.total() == N_MUTANTS
    assert report.codes.keys() <= FAILURE_CODES.keys() | {"decoded"}
    assert report.outcomes.keys() == fuzzing.seed_files().keys()
    assert report.codes["decoded"] > 10  # a mutant of PCM is sound as a rule
    assert report.codes["damaged"] > 50


def test_every_seed_file_decodes_before_it_is_damaged(fuzzing):
    with DecoderBox(fuzzing.CONFIG) as box:
        outcomes = {
            name: fuzzing.decode_in_box(box, content).code
            for name, content in fuzzing.seed_files().items()
        }
    refused = {name for name, code in outcomes.items() if code != "decoded"}
    assert refused <= {"mp3-joined", "vorbis-chained"}


def test_a_mutant_follows_from_its_number(fuzzing):
    files = fuzzing.seed_files()
    assert fuzzing.mutant(files, 1, 7) == fuzzing.mutant(files, 1, 7)
    assert fuzzing.mutant(files, 1, 7) != fuzzing.mutant(files, 2, 7)


def test_a_file_that_takes_too_long_is_counted_as_stopped(fuzzing):
    config = DecodeConfig(deadline_s=0.001, deadline_per_audio_s=0.0)
    content = fuzzing.encode("OGG", "OPUS", sr=48_000, duration_s=20.0)
    with DecoderBox(config) as box:
        outcome = fuzzing.decode_in_box(box, content)
        assert (outcome.code, outcome.escape, box.n_deaths) == ("timeout", "", 1)
    assert outcome.code in fuzzing.STOPPED_CODES
