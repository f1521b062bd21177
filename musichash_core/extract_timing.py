"""CPU seconds of feature extraction, step by step.

Public: `ExtractionTimes`, `time_extraction`.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.features import FeatureConfig, FeatureExtractor


@dataclass(slots=True)
class ExtractionTimes:
    """CPU seconds of this thread by step, and what they were spent on.

    Attributes
    ----------
    stft_s : float
        Checking and collecting samples, windows, transforms, power.
    medians_s : float
        Both medians and the transpositions between them.
    masks_mel_s : float
        Masks, mel filters, bytes.
    n_samples, n_frames : int
        Samples taken, frames given.
    """

    stft_s: float = 0.0
    medians_s: float = 0.0
    masks_mel_s: float = 0.0
    n_samples: int = 0
    n_frames: int = 0

    @property
    def total_s(self) -> float:
        """Sum of the steps."""
        return self.stft_s + self.medians_s + self.masks_mel_s


def time_extraction(
    blocks: Iterable[NDArray[np.float32]], config: FeatureConfig
) -> ExtractionTimes:
    """Extract the features of one track and say where the time went.

    Time spent in `blocks` (decoding, resampling) does not count; call
    `musichash_core.kernel_warmup.warm_kernels` first, or compiling does.

    Parameters
    ----------
    blocks : iterable of (n,) float32
        Mono samples at ``config.sr``.

    Raises
    ------
    ParameterError
        As `FeatureExtractor.push` and `finish`.
    """
    times = ExtractionTimes()
    mark = 0.0

    def charge(step: str) -> None:
        nonlocal mark
        now = time.thread_time()
        setattr(times, f"{step}_s", getattr(times, f"{step}_s") + now - mark)
        mark = now

    extractor = FeatureExtractor(config, on_step=charge)
    for y in blocks:
        mark = time.thread_time()
        times.n_frames += len(extractor.push(y))
        charge("stft")
    mark = time.thread_time()
    times.n_frames += len(extractor.finish())
    charge("masks_mel")
    times.n_samples = extractor.n_samples
    return times
