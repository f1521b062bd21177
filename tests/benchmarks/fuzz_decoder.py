"""Decode damaged sound files of every format in the box, and report what became of them.

    python tests/benchmarks/fuzz_decoder.py [--mutants 10000] [--seed 0] [--keep FOLDER]

Each mutant follows from the seed and its number. One escapes if the decoder box raises anything but
`DecodeError`, keeps its owner waiting for more than its deadline and a second, or takes more memory
than it may; then the exit status is 1, and the file is kept in FOLDER. A decoder that crashed
inside the box is counted and kept too, but it has not escaped: that is what the box is for.

Public: `fuzz`, `mutant`, `decode_in_box`, `seed_files`, `FuzzReport`, `main`.
"""

import argparse
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musichash_core.decode import DecodeConfig, DecoderBox
from musichash_core.errors import DecodeError

sys.path.append(str(Path(__file__).parents[1] / "data"))

from nasty.ffmpeg_formats import dsf
from nasty.flac import id3
from nasty.mpeg import mp3
from nasty.ogg import vorbis
from nasty.ogg_bytes import with_checksums, with_serial
from nasty.sounds import encode, encode_with_ffmpeg

DURATION_S = 0.5

CONFIG = DecodeConfig(
    min_duration_s=0.05, max_duration_s=120.0, deadline_s=5.0, deadline_per_audio_s=0.02
)
"""Short limits, so that a mutant that unfolds into hours is stopped soon."""

GRACE_S = 1.0
"""How much longer than its deadline the box may take on a busy machine."""

BY_LIBSNDFILE = (
    ("wav", "WAV", "PCM_16", 44_100),
    ("wav-float", "WAV", "FLOAT", 44_100),
    ("wav-ima", "WAV", "IMA_ADPCM", 44_100),
    ("wav-ms", "WAV", "MS_ADPCM", 44_100),
    ("wav-gsm", "WAV", "GSM610", 8_000),
    ("wavex", "WAVEX", "PCM_24", 44_100),
    ("rf64", "RF64", "PCM_16", 44_100),
    ("w64", "W64", "PCM_16", 44_100),
    ("aiff", "AIFF", "PCM_16", 44_100),
    ("aifc", "AIFF", "IMA_ADPCM", 44_100),
    ("caf", "CAF", "PCM_16", 44_100),
    ("caf-alac", "CAF", "ALAC_16", 44_100),
    ("au", "AU", "PCM_16", 44_100),
    ("flac", "FLAC", "PCM_16", 44_100),
    ("vorbis", "OGG", "VORBIS", 44_100),
    ("opus", "OGG", "OPUS", 48_000),
    ("mp3", "MP3", "MPEG_LAYER_III", 44_100),
    ("mp3-8khz", "MP3", "MPEG_LAYER_III", 8_000),
)

BY_FFMPEG = (
    ("m4a", "ipod", "aac", 44_100),
    ("m4a-alac", "ipod", "alac", 44_100),
    ("wma", "asf", "wmav2", 44_100),
    ("webm", "webm", "libopus", 48_000),
    ("mka-flac", "matroska", "flac", 44_100),
    ("mka-pcm", "matroska", "pcm_s16le", 44_100),
    ("ac3", "ac3", "ac3", 44_100),
    ("eac3", "eac3", "eac3", 44_100),
    ("wavpack", "wv", "wavpack", 44_100),
    ("tta", "tta", "tta", 44_100),
    ("adts", "adts", "aac", 44_100),
    ("ogg-flac", "ogg", "flac", 44_100),
    ("mp2", "mp2", "mp2", 44_100),
)

WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
"""What header fields are set to: where programs count wrongly."""

HEADER_BYTES = 600

STOPPED_CODES = {"timeout", "memory", "decoder-crashed"}
"""Failures for which the decoder process ends."""

Mutator = Callable[[bytearray, np.random.Generator], None]


def seed_files() -> dict[str, bytes]:
    """Give a small sound file of each format, and some that joins and tags made."""
    files = {
        name: encode(kind, subtype, sr=sr, duration_s=DURATION_S)
        for name, kind, subtype, sr in BY_LIBSNDFILE
    }
    files |= {
        name: encode_with_ffmpeg(kind, codec, sr=sr, duration_s=DURATION_S)
        for name, kind, codec, sr in BY_FFMPEG
    }
    files["dsf"] = dsf(0.1)
    files["mp3-joined"] = id3(200) + mp3(duration_s=0.3) + mp3(duration_s=0.3, sr=48_000)
    files["vorbis-chained"] = with_serial(vorbis(), 7) + encode("OGG", "VORBIS", duration_s=0.3)
    files["flac-tagged"] = id3(300) + encode("FLAC", "PCM_16", duration_s=0.3)
    return files


def _flip_bits(content: bytearray, rng: np.random.Generator, reach: int | None = None) -> None:
    reach = min(len(content), reach or len(content))
    for at in rng.integers(0, reach, rng.integers(1, 9)):
        content[at] ^= 1 << int(rng.integers(8))


def _overwrite_run(content: bytearray, rng: np.random.Generator) -> None:
    at, n_bytes = int(rng.integers(len(content))), int(rng.integers(1, 2000))
    run = bytes(n_bytes) if rng.random() < 0.5 else rng.bytes(n_bytes)
    content[at : at + n_bytes] = run[: len(content) - at]


def _truncate(content: bytearray, rng: np.random.Generator) -> None:
    del content[int(rng.integers(1, len(content))) :]


def _insert(content: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(content)))
    content[at:at] = rng.bytes(int(rng.integers(1, 500)))


def _remove(content: bytearray, rng: np.random.Generator) -> None:
    at = int(rng.integers(len(content)))
    del content[at : at + int(rng.integers(1, 2000))]


def _repeat(content: bytearray, rng: np.random.Generator) -> None:
    start, end = sorted(int(place) for place in rng.integers(0, len(content), 2))
    content[end:end] = content[start : min(end, start + 5000)]


def _edit_field(content: bytearray, rng: np.random.Generator) -> None:
    width = int(rng.choice([1, 2, 4]))
    at = int(rng.integers(min(len(content), HEADER_BYTES)))
    order = "little" if rng.random() < 0.5 else "big"
    word = int(rng.choice(WORDS)) & ((1 << 8 * width) - 1)
    content[at : at + width] = word.to_bytes(width, order)


MUTATORS: tuple[Mutator, ...] = (
    _flip_bits,
    partial(_flip_bits, reach=HEADER_BYTES),
    _overwrite_run,
    _truncate,
    _insert,
    _remove,
    _repeat,
    _edit_field,
    _edit_field,
)


def mutant(files: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """Give one damaged file and the format that it was."""
    rng = np.random.default_rng([seed, number])
    names = list(files)
    name = names[number % len(names)]
    content = bytearray(files[name])
    if rng.random() < 0.1:  # the head of one file and the rest of another
        other = files[names[int(rng.integers(len(names)))]]
        content[int(rng.integers(1, len(content))) :] = other[int(rng.integers(len(other))) :]
    for place in rng.integers(0, len(MUTATORS), rng.integers(1, 4)):
        if content:
            MUTATORS[place](content, rng)
    if content.startswith(b"OggS") and rng.random() < 0.5:
        return name, with_checksums(bytes(content))  # damage that only the codec can notice
    return name, bytes(content)


@dataclass(slots=True)
class FuzzReport:
    """What became of the mutants.

    Attributes
    ----------
    outcomes : dict of str to Counter
        By format: how often each failure code was given, and ``decoded``.
    escaped : list of (int, str, str)
        Number, format and what happened, of those that escaped.
    crashed : list of (int, str, str)
        The same of those that the box had to stop, or that ended its process.
    slowest : list of (float, int, str)
        Seconds by the clock, number and format of the slowest ten.
    peak_memory_bytes : int
        Largest resident size of a decoder process.
    n_deaths : int
        Decoder processes lost.
    cpu_s : float
        CPU time of the decoder processes, seconds.
    """

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    escaped: list[tuple[int, str, str]] = field(default_factory=list)
    crashed: list[tuple[int, str, str]] = field(default_factory=list)
    slowest: list[tuple[float, int, str]] = field(default_factory=list)
    peak_memory_bytes: int = 0
    n_deaths: int = 0
    cpu_s: float = 0.0

    def note(self, number: int, name: str, code: str, escape: str, seconds: float) -> None:
        """Count what became of one mutant."""
        self.outcomes[name][code] += 1
        self.slowest = sorted([*self.slowest, (seconds, number, name)], reverse=True)[:10]
        if escape:
            self.escaped.append((number, name, escape))
        if code in STOPPED_CODES:
            self.crashed.append((number, name, code))

    @property
    def codes(self) -> Counter[str]:
        """How often each outcome was met, over all formats."""
        return sum(self.outcomes.values(), Counter())


def fuzz(
    numbers: range, *, seed: int = 0, config: DecodeConfig = CONFIG, keep: Path | None = None
) -> FuzzReport:
    """Decode mutants of some numbers in one box, one after the other."""
    files = seed_files()
    report = FuzzReport()
    with DecoderBox(config) as box:
        for number in numbers:
            name, content = mutant(files, seed, number)
            started = time.monotonic()
            outcome = decode_in_box(box, content)
            seconds = time.monotonic() - started
            escape = outcome.escape or _excess(box, seconds, outcome.duration_s)
            report.note(number, name, outcome.code, escape, seconds)
            if keep is not None and (escape or outcome.code in STOPPED_CODES):
                (keep / f"{seed}-{number}.{name}").write_bytes(content)
        report.peak_memory_bytes = box.peak_memory_bytes
        report.n_deaths = box.n_deaths
        report.cpu_s = box.cpu_s
    return report


def _excess(box: DecoderBox, seconds: float, duration_s: float) -> str:
    """Say which limit was exceeded; "" if none was."""
    config = box.config
    allowed_s = config.deadline_s + config.deadline_per_audio_s * duration_s + GRACE_S
    if seconds > allowed_s:
        return f"{seconds:.1f} s by the clock, {allowed_s:.1f} s are allowed"
    if box.peak_memory_bytes > config.memory_mb * 1_000_000:
        return f"{box.peak_memory_bytes / 1e6:.0f} MB of memory"
    return ""


class Outcome(NamedTuple):
    """A failure code or ``decoded``, seconds of audio, and what escaped ("" if nothing did)."""

    code: str
    duration_s: float
    escape: str = ""


def decode_in_box(box: DecoderBox, content: bytes) -> Outcome:
    """Decode the bytes of a file."""
    duration_s = 0.0
    try:
        with box.open(_as_file(content)) as stream:
            for block in stream.blocks():
                duration_s = stream.n_frames / stream.info.sr
                if not np.isfinite(block).all():
                    return Outcome("decoded", duration_s, "samples that are no numbers")
    except DecodeError as error:
        return Outcome(error.code, duration_s)
    except Exception as error:  # noqa: BLE001 - exactly this is looked for
        return Outcome("escaped", duration_s, f"{type(error).__name__}: {error}")
    return Outcome("decoded", duration_s)


def _as_file(content: bytes) -> int:
    """Give a descriptor of a file in memory."""
    descriptor = os.memfd_create("mutant", os.MFD_CLOEXEC)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _lines(report: FuzzReport, n_mutants: int, seconds: float) -> Iterator[str]:
    codes = [code for code, _ in report.codes.most_common()]
    yield f"{n_mutants} mutants, {seconds:.0f} s by the clock, {report.cpu_s:.0f} s of CPU time"
    yield ""
    yield "| format | " + " | ".join(codes) + " |"
    yield "|---|" + "---|" * len(codes)
    for name, counts in sorted(report.outcomes.items()):
        yield f"| {name} | " + " | ".join(str(counts[code]) for code in codes) + " |"
    yield "| all | " + " | ".join(str(report.codes[code]) for code in codes) + " |"
    yield ""
    yield f"peak memory of the decoder: {report.peak_memory_bytes / 1e6:.0f} MB"
    yield f"decoder processes lost: {report.n_deaths}"
    slowest = ", ".join(f"{s:.2f} s ({number} {name})" for s, number, name in report.slowest[:5])
    yield f"slowest: {slowest}"
    yield from (f"stopped: {number} {name}: {what}" for number, name, what in report.crashed)
    yield from (f"ESCAPED: {number} {name}: {what}" for number, name, what in report.escaped)


def main(n_mutants: int, seed: int, keep: Path | None) -> int:
    """Fuzz, print the report, give the exit status."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    report = fuzz(range(n_mutants), seed=seed, keep=keep)
    print("\n".join(_lines(report, n_mutants, time.monotonic() - started)))
    return 1 if report.escaped else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where mutants that escape or crash are put")
    chosen = parser.parse_args()
    sys.exit(main(chosen.mutants, chosen.seed, chosen.keep))
