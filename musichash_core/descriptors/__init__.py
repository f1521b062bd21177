"""A track in a few thousand numbers: what the heads of the default models read."""

from musichash_core.descriptors.describing import describe_track, describe_with_halves
from musichash_core.descriptors.description import N_DESCRIPTORS, TrackDescription
from musichash_core.descriptors.description_format import (
    DESCRIPTION_FORMAT,
    DESCRIPTION_NETWORK,
    description_fingerprint,
)
from musichash_core.descriptors.frame_parts import part_of_track

__all__ = [
    "DESCRIPTION_FORMAT",
    "DESCRIPTION_NETWORK",
    "N_DESCRIPTORS",
    "TrackDescription",
    "describe_track",
    "describe_with_halves",
    "description_fingerprint",
    "part_of_track",
]
