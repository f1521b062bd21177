"""What the structure of a container promises of its audio.

Public: `ContainerFacts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

PACKET_S = 0.1
"""Most containers count in packets (up to 0.09 s, of HE-AAC at low rates), with or without what the
coding adds at both ends."""


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """What the walk over a container's parts has found.

    Attributes
    ----------
    length_s : float or None
        Length of the audio by the container, seconds; None when it does not say, or says it in
        another way. Good to within a packet of the coding.
    length_frames : int or None
        Length in frames at the decoder's rate, for containers that count every sample.
    track_ends_s : mapping of int to float
        When each audio track ends by its number, seconds on the clock of its packets, for
        containers that also say where the padding of the encoder begins: what is decoded beyond is
        no audio.
    audio_end : int or None
        Where the audio ends in the file, byte; None where only FFmpeg knows.
    tolerance_s : float
        By how much the decoded length may differ from these and mean nothing, seconds.
    warnings : tuple of str
        As stored with the track.
    """

    length_s: float | None = None
    length_frames: int | None = None
    track_ends_s: Mapping[int, float] = field(default_factory=dict)
    audio_end: int | None = None
    tolerance_s: float = PACKET_S
    warnings: tuple[str, ...] = ()
