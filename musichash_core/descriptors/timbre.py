"""What the tagging network hears in each patch: its layers pooled over time, and its tags.

The layers of MSD_musicnn (Pons and Serra, ISMIR 2019 late-breaking demos) are pooled by mean and by
maximum, the two that the network's own dense layers read. The layers themselves are kept, rather
than the 200 numbers of the network's embedding: those know what 50 tags need, these also what
a genre outside the tags does.

The maps depend on the level of the sound, as the network was trained on recordings as loud as they
came: it sees ``log10(1 + 10000 power)``.

Torch is imported by the function that runs the network, not by this module: tables of descriptions
are read in places that never run it.

Public: `N_POOLED`, `PatchTimbre`, `describe_timbre`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from musichash_core.descriptors.description_format import DESCRIPTION_NETWORK
from musichash_core.errors import ParameterError
from musichash_core.musicnn.log_mel import N_MELS, PATCH_FRAMES, bytes_to_log_mel

if TYPE_CHECKING:
    from musichash_core.musicnn.networks import MusiCNN

N_POOLED = 512
"""Mean and maximum of 256 maps: 64 of the front end and of each of three layers."""

POOLED_STEP = np.float32(2.0**-15)
"""Pooled numbers are rounded to it. 44 maps of the second layer are constants, up to 0.12; exact on
this grid, they keep a standard deviation of 0 in single precision and across kinds of processors.
One of 1e-9 would turn them into 88 descriptors of noise for whoever divides by it."""

PATCHES_PER_BATCH = 8
"""At most; in even batches up to this a patch takes 3.2 ms on one thread, alone 4.5 ms."""


@dataclass(frozen=True, slots=True, eq=False)
class PatchTimbre:
    """What the network hears in each patch.

    Attributes
    ----------
    pooled : (n_patches, N_POOLED) float32
        Layer by layer, shallow to deep: the means over time of its maps, then their maxima.
    tag_probabilities : (n_patches, n_tags) float32
        Each from 0 to 1.
    """

    pooled: NDArray[np.float32]
    tag_probabilities: NDArray[np.float32]


def describe_timbre(network: "MusiCNN", patches: NDArray[np.uint8]) -> PatchTimbre:
    """Run the network on patches and pool its layers over time.

    Parameters
    ----------
    network : MusiCNN
        `DESCRIPTION_NETWORK`, on any device.
    patches : (n_patches, 187, 96) uint8
        Mel power in half-decibel steps, from `musichash_core.musicnn.log_mel.cut_patches`; at least
        one. With whom a patch shares a batch changes its numbers by less than 1e-5 of the largest.

    Raises
    ------
    ParameterError
        If this is another network, or patches have another shape or dtype.
    """
    import torch

    _check(network, patches)
    device = network.tag_head.weight.device
    n_batches = -(-len(patches) // PATCHES_PER_BATCH)
    pooled, logits = [], []
    with torch.inference_mode():
        for batch in np.array_split(patches, n_batches):
            output = network(torch.from_numpy(bytes_to_log_mel(batch)).to(device))
            parts = [(layer.mean((2, 3)), layer.amax((2, 3))) for layer in output.maps]
            pooled.append(torch.cat([part for pair in parts for part in pair], dim=1).cpu())
            logits.append(output.logits.cpu())
    probabilities = torch.cat(logits).double().sigmoid().float()
    rounded = np.rint(torch.cat(pooled).numpy() / POOLED_STEP) * POOLED_STEP
    return PatchTimbre(rounded, probabilities.numpy())


def _check(network: "MusiCNN", patches: NDArray[np.uint8]) -> None:
    if 2 * sum(network.widths) != N_POOLED:
        raise ParameterError(
            f"a network with layers of {network.widths} maps; descriptions are made with "
            f"{DESCRIPTION_NETWORK}, whose layers have {N_POOLED // 2} together"
        )
    if patches.dtype != np.uint8 or patches.shape[1:] != (PATCH_FRAMES, N_MELS) or not len(patches):
        raise ParameterError(
            f"patches of shape {patches.shape}, {patches.dtype}; want at least one of "
            f"({PATCH_FRAMES}, {N_MELS}) uint8"
        )
