"""What is known of a track, or a part of one, before any label is seen.

Public: `TrackDescription`, `DESCRIPTOR_BLOCKS`, `N_DESCRIPTORS`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DESCRIPTOR_BLOCKS = {"timbre": 1024, "cepstra": 514, "periodicity": 600, "fluctuation": 480}
"""Numbers of each kind, in the order in which they stand in a vector."""

N_DESCRIPTORS = sum(DESCRIPTOR_BLOCKS.values())
"""Numbers that describe a track."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackDescription:
    """The numbers that the heads of the default models read.

    Attributes
    ----------
    vector : (N_DESCRIPTORS,) float32
        Timbre, cepstra and rhythm, side by side; not standardised.
    tag_probabilities : (n_tags,) float32
        Mean over patches of what the network says of each of its tags.
    n_patches : int
        Patches that were looked at.
    """

    vector: NDArray[np.float32]
    tag_probabilities: NDArray[np.float32]
    n_patches: int
