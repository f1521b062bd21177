"""Compile or load all kernels of the extraction before the first track is there.

Compiling takes about two seconds and happens once per machine, processor and version of the code;
loading what another process compiled takes a quarter of a second. A program that starts many
workers warms its own process first: then they load instead of compiling all at once.

Public: `warm_kernels`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from musichash_core.features import FeatureConfig, extract_features
from musichash_core.kernels_cache import KernelCacheState, kernel_cache_state, use_kernel_cache
from musichash_core.musicnn.log_mel import extract_mel_power, power_to_bytes


def warm_kernels(
    config: FeatureConfig | None = None, *, cache_dir: Path | None = None
) -> KernelCacheState:
    """Make this process ready to extract features without compiling anything more.

    Parameters
    ----------
    config : FeatureConfig, optional
        The settings that will be used: each median length has its own kernel, and so has
        ``tagger_mel``.
    cache_dir : Path, optional
        Where compiled kernels are kept; by default where they were kept so far in this process, or
        else `musichash_core.kernels_cache.default_cache_directory`.

    Returns
    -------
    KernelCacheState
        How many kernels were loaded and compiled by this process so far, from and to where, or why
        nowhere.

    Raises
    ------
    ParameterError
        If `cache_dir` was given and cannot be used safely.
    """
    if cache_dir is not None:
        use_kernel_cache(cache_dir)
    config = config or FeatureConfig()
    y = np.ones(1, dtype=np.float32)
    extract_features(y, config)
    if config.tagger_mel:
        power_to_bytes(extract_mel_power(y))
    return replace(kernel_cache_state())
