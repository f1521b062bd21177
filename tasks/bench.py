"""Time the extraction step by step beside what a user would write with librosa, in one run.

Public: `bench_extract`.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
from numpy.typing import NDArray

from musichash_core.decode import AudioStream, DecodeConfig, open_beneath, resample_blocks
from musichash_core.errors import DecodeError, ParameterError
from musichash_core.extract_timing import time_extraction
from musichash_core.feature_config import FeatureConfig
from musichash_core.kernel_warmup import warm_kernels
from musichash_core.process_memory import peak_memory_bytes

N_NAMED = 5
"""Files that a refusal names."""

STEPS = ("decode", "resample", "stft", "medians", "masks_mel")


class _StopwatchedBlocks:
    """An iterator that adds up the CPU time spent in another one."""

    def __init__(self, blocks: Iterator[NDArray[np.float32]]) -> None:
        self._blocks = blocks
        self.cpu_s = 0.0

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return self

    def __next__(self) -> NDArray[np.float32]:
        started = time.thread_time()
        try:
            return next(self._blocks)
        finally:
            self.cpu_s += time.thread_time() - started


def bench_extract(
    paths: Sequence[str],
    config: FeatureConfig,
    *,
    repeat: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Extract files on one thread of this process, and the same files with plain librosa.

    Parameters
    ----------
    paths : sequence of str
        Audio files that libsndfile reads.
    repeat : int
        Passes of each kind; medians are given.
    on_progress : callable, optional
        Called with the number of passes over a file done and to do.

    Returns
    -------
    dict
        ``skipped`` (files that do not decode, with the reason); ``audio_s``; CPU seconds
        ``cpu_s`` by step and in total, ``decode_only_cpu_s`` (`soundfile.read`),
        ``librosa_cpu_s``; their ratios; ``peak_memory_mb`` of the extraction.
    """
    warm_kernels(config)
    total = done = 0

    def passed() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total)

    paths, skipped = _decodable(paths, config)
    total = 3 * repeat * len(paths)
    ours: list[dict[str, float]] = []
    for _ in range(repeat):
        sums = dict.fromkeys(("audio", *STEPS), 0.0)
        for path in paths:
            for step, seconds in _extract(path, config).items():
                sums[step] += seconds
            passed()
        ours.append(sums)
    peak_mb = peak_memory_bytes() / 1e6
    decode_only = _median_cpu_s(paths, _read_whole, repeat, passed)
    _librosa_pipeline(paths[0], config)  # its own kernels are compiled outside the measurement
    plain = _median_cpu_s(paths, lambda path: _librosa_pipeline(path, config), repeat, passed)
    cpu_s = {step: statistics.median(sums[step] for sums in ours) for step in STEPS}
    cpu_s["total"] = statistics.median(sum(sums[step] for step in STEPS) for sums in ours)
    audio_s = ours[0]["audio"]
    return {
        "files": len(paths),
        "skipped": skipped,
        "audio_s": round(audio_s, 2),
        "cpu_s": {step: round(seconds, 4) for step, seconds in cpu_s.items()},
        "decode_only_cpu_s": round(decode_only, 4),
        "librosa_cpu_s": round(plain, 4),
        "audio_s_per_cpu_s": round(audio_s / cpu_s["total"], 1),
        "librosa_audio_s_per_cpu_s": round(audio_s / plain, 1),
        "times_faster_than_librosa": round(plain / cpu_s["total"], 2),
        "times_decode_only": round(cpu_s["total"] / decode_only, 3),
        "peak_memory_mb": round(peak_mb, 1),
        "repeat": repeat,
    }


def _decodable(paths: Sequence[str], config: FeatureConfig) -> tuple[list[str], dict[str, str]]:
    """Leave out files that do not decode, and say why; the rest is in the page cache then."""
    good: list[str] = []
    skipped: dict[str, str] = {}
    for path in paths:
        try:
            _extract(path, config)
        except DecodeError as error:
            skipped[path] = str(error)
        else:
            good.append(path)
    if not good:
        why = "; ".join(f"{path}: {reason}" for path, reason in [*skipped.items()][:N_NAMED])
        raise ParameterError(f"none of the {len(paths)} file(s) decodes; {why}")
    return good, skipped


def _extract(path: str, config: FeatureConfig) -> dict[str, float]:
    """Decode, resample and extract one file; seconds of audio and of CPU by step."""
    resolved = Path(path).resolve()
    started = time.thread_time()
    descriptor = open_beneath(str(resolved.parent), os.fsencode(resolved.name))
    with AudioStream(descriptor, DecodeConfig()) as stream:
        opened_s = time.thread_time() - started
        decoded = _StopwatchedBlocks(stream.blocks())
        resampled = _StopwatchedBlocks(resample_blocks(decoded, stream.info.sr, config.sr))
        times = time_extraction(resampled, config)
        audio_s = stream.n_frames / stream.info.sr
    return {
        "audio": audio_s,
        "decode": opened_s + decoded.cpu_s,
        "resample": resampled.cpu_s - decoded.cpu_s,
        "stft": times.stft_s,
        "medians": times.medians_s,
        "masks_mel": times.masks_mel_s,
    }


def _median_cpu_s(
    paths: Sequence[str], work: Callable[[str], object], repeat: int, passed: Callable[[], None]
) -> float:
    sums = []
    for _ in range(repeat):
        spent = 0.0
        for path in paths:
            started = time.process_time()
            work(path)
            spent += time.process_time() - started
            passed()
        sums.append(spent)
    return statistics.median(sums)


def _read_whole(path: str) -> object:
    return soundfile.read(path, dtype="float32")


def _librosa_pipeline(path: str, config: FeatureConfig) -> object:
    """Do what a user would write: load, transform, separate, and a mel spectrogram of each part."""
    y, _ = librosa.load(path, sr=config.sr, mono=True)
    magnitude = np.abs(librosa.stft(y, n_fft=config.n_fft, hop_length=config.hop_length))
    harmonic, percussive = librosa.decompose.hpss(
        magnitude, kernel_size=config.kernel_size, power=config.power, margin=config.margin
    )
    filters = librosa.filters.mel(sr=config.sr, n_fft=config.n_fft, n_mels=config.n_mels)
    parts = (magnitude, harmonic, percussive)
    return [np.log10(1 + 1e4 * (filters @ (part * part))) for part in parts]
