"""The front end of `musichash_core.features` on a torch device, many tracks at a time.

For workers with a GPU that already have samples of many tracks in memory. Tracks are laid end to
end along the frames, each with its own reflected edges, so that one run of the median network
serves them all. The arithmetic is the same but its order is not, so a byte may differ by one step
from the CPU's: both round a power that lies within rounding error of a threshold.

Memory on the device is about 50 kB per frame at the default settings (30 s of audio: 65 MB).

Public: `extract_features_torch`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.feature_kernels import byte_table
from musichash_core.features import LARGEST_SAMPLE, FeatureConfig
from musichash_core.median_network import median_network
from musichash_core.medians import reflected_rows


def extract_features_torch(
    tracks: Sequence[NDArray[np.float32]], config: FeatureConfig, *, device: torch.device
) -> list[NDArray[np.uint8]]:
    """Extract the features of several tracks at once.

    Parameters
    ----------
    tracks : each (n_samples,) float32
        Mono, at ``config.sr``; at least one sample each.
    device : torch.device
        Where to compute.

    Returns
    -------
    list, each (n_frames, 3, n_mels) uint8
        What `musichash_core.features.extract_features` gives, except that at most one byte in a
        thousand is one step (0.5 dB) higher or lower.

    Raises
    ------
    ParameterError
        If a track is not one row of at least one float32, or has a NaN, an infinity or a sample
        beyond `LARGEST_SAMPLE`.
    """
    if not tracks:
        return []
    powers = [_power(_on_device(y, i, device), config) for i, y in enumerate(tracks)]
    lengths = [len(power) for power in powers]
    power = torch.cat(powers)

    harmonic = _medians_along_time(power, lengths, config.kernel_size)
    bins = _index(reflected_rows(0, config.n_bins, config.kernel_size, config.n_bins), device)
    percussive = _running_medians(power.T[bins], config.kernel_size)[: config.n_bins].T
    parts = [power, *_masked(power, harmonic, percussive, config)]

    bank = torch.from_numpy(config.mel_filter_bank()).to(device)
    mel = torch.stack([part @ bank.T for part in parts], dim=1)
    edges = torch.from_numpy(byte_table().threshold[1:256]).to(device)
    stored = torch.bucketize(mel, edges, right=True).to(torch.uint8).cpu().numpy()
    return np.split(stored, np.cumsum(lengths)[:-1])


def _on_device(y: NDArray[np.float32], number: int, device: torch.device) -> torch.Tensor:
    if y.ndim != 1 or y.dtype != np.float32 or not y.size:
        raise ParameterError(
            f"track {number} is {y.shape} of {y.dtype}; give one row of at least one float32"
        )
    if not np.abs(y).max() <= LARGEST_SAMPLE:
        raise ParameterError(
            f"track {number} has a sample that is not finite or exceeds {LARGEST_SAMPLE:.0e}"
        )
    return torch.tensor(y, device=device)


def _power(y: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """Give squared magnitudes, ``(n_frames, n_bins)``."""
    D = torch.stft(
        y,
        config.n_fft,
        hop_length=config.hop_length,
        window=torch.hann_window(config.n_fft, device=y.device),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    return (D.real.square() + D.imag.square()).T


def _medians_along_time(
    power: torch.Tensor, lengths: Sequence[int], kernel_size: int
) -> torch.Tensor:
    """Filter each track along its own frames, all in one run."""
    starts = np.cumsum([0, *lengths[:-1]])
    rows = [
        start + reflected_rows(0, n_frames, kernel_size, n_frames)
        for start, n_frames in zip(starts, lengths, strict=True)
    ]
    medians = _running_medians(power[_index(np.concatenate(rows), power.device)], kernel_size)
    # Track i begins i windows' overlaps later; medians across two tracks lie between and are left.
    kept = [
        start + i * (kernel_size - 1) + np.arange(n_frames)
        for i, (start, n_frames) in enumerate(zip(starts, lengths, strict=True))
    ]
    return medians[_index(np.concatenate(kept), power.device)]


def _running_medians(rows: torch.Tensor, kernel_size: int) -> torch.Tensor:
    """Run the median network down the rows; gives at least ``len(rows) - kernel_size + 1`` rows."""
    network = median_network(kernel_size)
    n_runs = -(-(len(rows) - kernel_size + 1) // network.n_outputs)
    n_needed = n_runs * network.n_outputs + kernel_size - 1
    rows = torch.cat([rows, rows[-1:].expand(n_needed - len(rows), -1)])

    span = (n_runs - 1) * network.n_outputs + 1
    values = {i: rows[i : i + span : network.n_outputs] for i in range(network.n_inputs)}
    last_use = {name: i for i, step in enumerate(network.exchanges) for name in step[:2]}
    for i, (first, second, low, high) in enumerate(network.exchanges):
        x, y = values[first], values[second]
        for name in (first, second):
            if last_use[name] == i:
                del values[name]
        if low >= 0:
            values[low] = torch.minimum(x, y)
        if high >= 0:
            values[high] = torch.maximum(x, y)
    outputs = torch.stack([values[name] for name in network.outputs], dim=1)
    return outputs.reshape(n_runs * network.n_outputs, -1)


def _masked(
    power: torch.Tensor, harmonic: torch.Tensor, percussive: torch.Tensor, config: FeatureConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weigh the power with the squares of both soft masks; medians are those of power."""

    def mask(x: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        reference = reference * config.margin**2
        larger = torch.maximum(x, reference)
        odds = (torch.minimum(x, reference) / larger) ** (config.power / 2)
        share = torch.where(x >= reference, 1 / (1 + odds), odds / (1 + odds))
        silent = 0.5 if config.margin == 1 else 0.0
        return torch.where(larger < torch.finfo(x.dtype).tiny, silent, share)

    return (
        power * mask(harmonic, percussive).square(),
        power * mask(percussive, harmonic).square(),
    )


def _index(positions: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(positions).to(device)
