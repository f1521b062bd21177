"""Which descriptions may be compared: the version of this package's numbers, and its network.

Apart from the code that runs the network, so that asking for the fingerprint does not import torch.

Public: `DESCRIPTION_FORMAT`, `DESCRIPTION_NETWORK`, `DESCRIPTION_NETWORK_SHA256`,
`description_fingerprint`.
"""

from musichash_core.identity import fingerprint_of

DESCRIPTION_FORMAT = 1
"""Raised whenever the same frames would give other numbers."""

DESCRIPTION_NETWORK = "MSD_musicnn"
"""Of `musichash_core.musicnn.pretrained.NETWORKS`, the one whose maps are pooled."""

DESCRIPTION_NETWORK_SHA256 = "fdd0fdb35c7f56d1be761eac663bbcff73d873fe5ec5f3801241900615fe86e6"
"""Of its weights. Repeated here because the module that loads them imports torch."""


def description_fingerprint() -> str:
    """Hash what, beside the frames, decides the numbers of a description; 12 hex digits."""
    return fingerprint_of(
        "descriptions", DESCRIPTION_FORMAT, DESCRIPTION_NETWORK, DESCRIPTION_NETWORK_SHA256
    )
