"""Compare the length that a container announces with what was decoded from it.

Public: `check_complete`.
"""

from musichash_core.decode.reader import SLACK_S, UNKNOWN_FRAMES, AudioInfo
from musichash_core.errors import DecodeError


def check_complete(info: AudioInfo, decoded_frames: int) -> tuple[str, ...]:
    """Refuse audio that is shorter than announced.

    Parameters
    ----------
    info : AudioInfo
        What the container says.
    decoded_frames : int
        Length decoded, at the same sample rate.

    Returns
    -------
    tuple of str
        The warning ``length-differs`` when at most `SLACK_S` of MP3 or Ogg is missing: their
        headers are estimates.

    Raises
    ------
    DecodeError
        With code truncated.
    """
    if info.claimed_frames >= UNKNOWN_FRAMES or info.claimed_frames <= decoded_frames:
        return ()
    is_estimate = info.container.startswith("ogg-") or info.container == "mp3"
    missing = info.claimed_frames - decoded_frames
    if missing > (SLACK_S * info.sr if is_estimate else 0):
        raise DecodeError(
            "truncated",
            f"{decoded_frames} frames decoded, the header announces {info.claimed_frames}",
        )
    return ("length-differs",)
