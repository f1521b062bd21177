"""The choice between the two front ends: streaming numba kernels, or torch on a CUDA device.

Their bytes differ by at most one step, in less than one byte of a thousand
(`musichash_core.features_torch`). Public: `choose_front_end`, `FrontEnd`.
"""

import logging
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from musichash_core.config import FrontEndName
from musichash_core.feature_config import FeatureConfig
from musichash_core.features import extract_features
from storage.log_lines import ROOT_LOGGER

log = logging.getLogger(f"{ROOT_LOGGER}.{__name__}")

CUDA_DEVICE = Path("/dev/nvidia0")
TRIAL_AUDIO_S = 60.0
TORCH_MUST_WIN_BY = 1.5
"""A clear margin, so that the choice does not change from run to run."""


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """Where features are computed, and why there.

    Attributes
    ----------
    name : "numba" or "torch"
    device : str
        What torch computes on; "cpu" for numba.
    reason : str
        For the log.
    """

    name: Literal["numba", "torch"]
    device: str
    reason: str


@lru_cache(maxsize=8)
def choose_front_end(setting: FrontEndName, config: FeatureConfig) -> FrontEnd:
    """Choose the front end of this process, by measurement where it has a CUDA device.

    Parameters
    ----------
    setting : "auto", "numba" or "torch"
        What the configuration asks for.
    """
    chosen = _choose(setting, config)
    log.info("front end %s on %s: %s", chosen.name, chosen.device, chosen.reason)
    return chosen


def _choose(setting: FrontEndName, config: FeatureConfig) -> FrontEnd:
    if setting == "numba":
        return FrontEnd("numba", "cpu", "the configuration says so")
    if setting == "auto" and not CUDA_DEVICE.exists():  # asked before torch takes its 200 MB
        return FrontEnd(
            "numba", "cpu", "there is no CUDA device, and on a CPU it is the faster one"
        )
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if setting == "torch":
        return FrontEnd("torch", device, "the configuration says so")
    if device == "cpu":
        return FrontEnd("numba", "cpu", "torch cannot use the CUDA device")
    numba_s, torch_s = _time_both(config, device)
    figures = f"{TRIAL_AUDIO_S:.0f} s of audio: numba {numba_s:.4f} s, torch {torch_s:.4f} s"
    if torch_s * TORCH_MUST_WIN_BY < numba_s:
        return FrontEnd("torch", device, figures)
    return FrontEnd("numba", "cpu", figures)


def _time_both(config: FeatureConfig, device: str) -> tuple[float, float]:
    """Time both front ends on noise, after a first pass that warms them.

    The tagger's frames come from the CPU with either, so they are not part of the trial.
    """
    import torch

    from musichash_core.features_torch import extract_features_torch

    noise = np.random.default_rng(0).standard_normal(int(TRIAL_AUDIO_S * config.sr))
    y = (0.1 * noise).astype(np.float32)
    seconds = []
    for extract in (
        lambda: extract_features(y, config),
        lambda: extract_features_torch([y], config, device=torch.device(device)),
    ):
        extract()
        started = time.perf_counter()
        extract()
        seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]
