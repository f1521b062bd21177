"""Every case of the nasty corpus has the outcome that is right for it, and races are noticed.

What must be heard in a decoded file is found by its spectrum: every half second of the test signal
has its own frequency (`nasty.sounds`).
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from musichash_core.decode import AudioStream, DecodeConfig, DecoderBox, open_beneath
from musichash_core.errors import DecodeError
from musichash_core.failure_codes import FAILURE_CODES

sys.path.append(str(Path(__file__).parents[2] / "data"))

from nasty.registry import CASES, write_corpus
from nasty.sounds import encode, frequency_hz, heard_steps, steps

CONFIG = DecodeConfig()
MOST_SECONDS_KEPT = 60
MOST_MEMORY_BYTES = 400_000_000
"""Resident, of the process that decodes the corpus; libraries and their code are 120 MB of it."""


class Decoded:
    """What came out of a file: samples of the first minute, length, warnings, rate."""

    def __init__(self, stream):
        kept = [np.zeros(0, np.float32)]
        n_kept = 0
        for block in stream.blocks():
            if n_kept < MOST_SECONDS_KEPT * stream.info.sr:
                kept.append(block)
                n_kept += len(block)
        self.y = np.concatenate(kept)
        self.sr = stream.info.sr
        self.n_frames = stream.n_frames
        self.warnings = stream.warnings

    @property
    def duration_s(self):
        return self.n_frames / self.sr


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The whole corpus, written once."""
    return write_corpus(tmp_path_factory.mktemp("nasty"))


@pytest.fixture(scope="module", params=["here", "boxed"])
def open_stream(request):
    """Decode in this process, or in a box that must survive all of it in little memory."""
    if request.param == "here":
        yield lambda descriptor: AudioStream(descriptor, CONFIG)
        return
    with DecoderBox(CONFIG) as box:
        yield box.open
        assert box.n_deaths == 0
        assert box.peak_memory_bytes < MOST_MEMORY_BYTES


def outcome_of(open_stream, root, path_raw):
    """Decode a file; give what came out, or the error."""
    try:
        with open_stream(open_beneath(str(root), path_raw)) as stream:
            return Decoded(stream)
    except DecodeError as error:
        return error


def check(case, outcome):
    """Compare what happened to a file with what is right."""
    if isinstance(outcome, DecodeError):
        assert outcome.code in case.codes, f"{outcome.code}: {outcome}; {case.because}"
        assert outcome.code in FAILURE_CODES
        assert len(str(outcome)) > 10
        assert "\n" not in str(outcome)
        assert "\x1b" not in str(outcome)
        return
    assert case.sound, f"decoded to {outcome.duration_s:.3f} s {outcome.warnings}; {case.because}"
    sound = case.sound
    assert abs(outcome.duration_s - sound.duration_s) <= sound.tolerance_s, outcome.warnings
    if sound.heard == "steps":
        assert heard_steps(outcome.y, outcome.sr) == list(sound.order)
    elif sound.heard == "silence":
        assert not np.any(np.abs(outcome.y) > 1e-4)
    if case.warnings == ("*",):
        assert outcome.warnings
    elif case.warnings:
        assert set(case.warnings) & set(outcome.warnings)
    elif case.warnings is not None:
        assert outcome.warnings == ()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
@pytest.mark.timeout(20)
def test_every_nasty_file_has_its_right_outcome(corpus, open_stream, case):
    check(case, outcome_of(open_stream, corpus, case.path_raw))


def test_no_case_leaves_a_descriptor_open(corpus):
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not paths
    for case in CASES:
        if not case.is_heavy and case.codes:
            outcome_of(lambda descriptor: AudioStream(descriptor, CONFIG), corpus, case.path_raw)
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_file_that_may_not_be_read_says_so(tmp_path, open_stream, ordinary_user):
    path = tmp_path / "song.wav"
    path.write_bytes(encode("WAV", "PCM_16"))
    path.chmod(0)
    with ordinary_user():
        outcome = outcome_of(open_stream, tmp_path, b"song.wav")
    assert outcome.code == "permission"


# --- races ---------------------------------------------------------------------------------------

RACE_FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
RACE_S = 12.0
LONG_AGO_NS = 1_000_000_000 * 10**9


def _overwrite(path, other):
    with path.open("r+b") as file:
        file.write(other)


def _replace(path, other):
    beside = path.with_name("beside")
    beside.write_bytes(other)
    beside.replace(path)


def _append(path, other):
    with path.open("ab") as file:
        file.write(other)


def _truncate(path, _):
    os.truncate(path, path.stat().st_size // 2)


def _delete(path, _):
    path.unlink()


@pytest.fixture(params=RACE_FORMATS)
def race(request, tmp_path):
    """Give a file of 12 s, and the bytes of another like it."""
    kind, subtype = RACE_FORMATS[request.param]
    path = tmp_path / f"song.{request.param}"
    path.write_bytes(encode(kind, subtype, duration_s=RACE_S, n_channels=2))
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))  # file systems count time in steps of some ms
    return path, encode(kind, subtype, duration_s=RACE_S, n_channels=2, first=3)


def decode_with(action, race, open_stream):
    """Decode a file, and let something happen to it after the first block."""
    path, other = race
    with open_stream(open_beneath(str(path.parent), path.name.encode())) as stream:
        blocks = stream.blocks()
        kept = [next(blocks)]
        action(path, other)
        kept.extend(blocks)
        return np.concatenate(kept), stream.info.sr


@pytest.mark.parametrize("action", [_overwrite, _append, _truncate])
def test_a_file_that_changes_while_it_is_read_is_refused(race, open_stream, action):
    with pytest.raises(DecodeError) as caught:
        decode_with(action, race, open_stream)
    assert caught.value.code == "changed-while-reading"


@pytest.mark.parametrize("action", [_replace, _delete])
def test_a_file_whose_name_goes_away_is_read_to_its_end(race, open_stream, action):
    y, sr = decode_with(action, race, open_stream)
    assert len(y) / sr == pytest.approx(RACE_S, abs=0.1)
    assert heard_steps(y, sr) == list(range(24))


# --- the corpus itself ---------------------------------------------------------------------------


def test_names_and_places_are_unique_and_outcomes_are_known():
    assert len({case.name for case in CASES}) == len(CASES) >= 150
    assert len({case.path_raw for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.sound or case.codes, case.name
        assert case.codes <= FAILURE_CODES.keys(), case.name


def test_the_signal_is_heard_as_what_it_is():
    y = steps(3.0, 16_000)[:, 0]
    assert heard_steps(y, 16_000) == [0, 1, 2, 3, 4, 5]
    for step in range(6):
        half = y[8_000 * step : 8_000 * (step + 1)]
        crossings = np.count_nonzero(np.diff(np.signbit(half)))
        assert crossings == pytest.approx(frequency_hz(step), abs=2)


@pytest.mark.parametrize(
    ("edit", "heard"),
    [
        (lambda y: np.concatenate([y[:16_000], y[24_000:]]), [0, 1, 3, 4, 5]),
        (lambda y: np.concatenate([y[:24_000], y[16_000:]]), [0, 1, 2, 2, 3, 4, 5]),
        (lambda y: np.concatenate([y[24_000:], y[:24_000]]), [3, 4, 5, 0, 1, 2]),
        (lambda y: np.concatenate([y, y]), [0, 1, 2, 3, 4, 5] * 2),
        (lambda y: np.where(np.arange(len(y)) // 8_000 == 2, 0, y), [0, 1, -1, 3, 4, 5]),
    ],
)
def test_lost_repeated_and_reordered_parts_are_heard(edit, heard):
    y = edit(steps(3.0, 16_000)[:, 0])
    # A step that is heard twice in a row is one run: its length shows it instead.
    once = [step for place, step in enumerate(heard) if not place or heard[place - 1] != step]
    assert heard_steps(y, 16_000) == once
    if once == list(range(6)):
        assert len(y) != 48_000
