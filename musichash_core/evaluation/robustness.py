"""How much the codes of the same tracks differ between two versions: re-encoded, or shifted.

Public: `compare_versions`, `VersionChange`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import hamming_distance, unpack_bits
from musichash_core.errors import ParameterError


@dataclass(frozen=True, slots=True)
class VersionChange:
    """Bits that differ between two versions of the same tracks.

    Attributes
    ----------
    share_of_bits : (n_tracks,) float64
        Of each track's code, 0 to 1.
    share_of_tracks : (n_bits,) float64
        Of the tracks, per bit: which bits are fragile.
    """

    share_of_bits: NDArray[np.float64]
    share_of_tracks: NDArray[np.float64]

    def figures(self) -> dict[str, float]:
        """Give the row of a table."""
        return {
            "n_tracks": float(len(self.share_of_bits)),
            "mean_changed_share": float(self.share_of_bits.mean()),
            "median_changed_share": float(np.median(self.share_of_bits)),
            "largest_changed_share": float(self.share_of_bits.max()),
            "unchanged_tracks_share": float((self.share_of_bits == 0).mean()),
            "most_fragile_bit_share": float(self.share_of_tracks.max()),
        }


def compare_versions(codes: NDArray[np.uint8], other_codes: NDArray[np.uint8]) -> VersionChange:
    """Compare the codes of two versions of the same tracks, row by row.

    Parameters
    ----------
    codes, other_codes : (n_tracks, code_bytes) uint8
        At least one track.
    """
    if codes.shape != other_codes.shape or codes.ndim != 2 or not codes.size:
        raise ParameterError(
            f"codes {codes.shape} and {other_codes.shape}: want the same tracks in both, at least "
            "one, as (n_tracks, code_bytes)"
        )
    n_bits = 8 * codes.shape[1]
    return VersionChange(
        share_of_bits=hamming_distance(codes, other_codes) / n_bits,
        share_of_tracks=(unpack_bits(codes) != unpack_bits(other_codes)).mean(axis=0),
    )
