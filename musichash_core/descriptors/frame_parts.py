"""Stretches of a track, and where a moment lies in its two kinds of frames.

A track comes as frames of O, H, P, 43.07 a second, and as tagger frames, 62.5 a second. A part of
it is a view: nothing is read before its frames are asked for.

Public: `FRAMES_PER_S`, `TAGGER_FRAMES_PER_S`, `N_CHANNELS`, `N_MELS`, `part_of_track`,
`duration_of_track`, `check_frames`.
"""

from dataclasses import replace

from musichash_core.errors import ParameterError
from musichash_core.feature_config import FeatureConfig
from musichash_core.musicnn import log_mel
from musichash_core.segments import FrameSource, FrameStretch, TrackFrames

FRAMES_PER_S = FeatureConfig().frame_rate_hz
TAGGER_FRAMES_PER_S = log_mel.SR_HZ / log_mel.HOP_LENGTH

N_CHANNELS = 3
"""Original, harmonic, percussive."""

N_MELS = FeatureConfig().n_mels

LARGEST_DIFFERENCE_S, LARGEST_DIFFERENCE_SHARE = 0.5, 0.02
"""By how much the two kinds of frames may differ in length; of one decoding, by 0.05 s."""


def part_of_track(
    track: TrackFrames, tagger_frames: FrameSource, start_s: float, stop_s: float
) -> tuple[TrackFrames, FrameSource]:
    """Give the frames of both kinds from `start_s` to `stop_s`, as views that read nothing yet.

    Parameters
    ----------
    track : TrackFrames
    tagger_frames : (n_tagger_frames, 96) uint8
        Of the same track.
    start_s, stop_s : 0 <= start_s < stop_s
        Seconds; a stop behind the end means the end.

    Returns
    -------
    TrackFrames and FrameSource
        At least one frame of each; the peak stays that of the whole track.

    Raises
    ------
    ParameterError
        If the stretch is empty, or starts before the track or behind its end.
    """
    duration_s = duration_of_track(tagger_frames)
    if not 0 <= start_s < min(stop_s, duration_s):
        raise ParameterError(
            f"seconds {start_s} to {stop_s} of track {track.track_id}, which has {duration_s:.2f}: "
            "want 0 <= start < stop, and a start inside the track"
        )
    frames = _stretch(track.frames, start_s, stop_s, FRAMES_PER_S)
    of_tagger = _stretch(tagger_frames, start_s, stop_s, TAGGER_FRAMES_PER_S)
    return replace(track, frames=frames), of_tagger


def duration_of_track(tagger_frames: FrameSource) -> float:
    """Give the length of a track in seconds, up to one frame."""
    return len(tagger_frames) / TAGGER_FRAMES_PER_S


def check_frames(track: TrackFrames, tagger_frames: FrameSource) -> None:
    """Refuse frames that cannot be described.

    Raises
    ------
    ParameterError
        If a shape is not that of the default settings, there are no frames, or the two kinds of
        frames differ in length by more than 0.5 s and one fiftieth, as those of another sample rate
        or hop do.
    """
    if track.frames.ndim != 3 or track.frames.shape[1:] != (N_CHANNELS, N_MELS):
        raise ParameterError(
            f"frames of shape {track.frames.shape} for track {track.track_id}: descriptions want "
            f"(n_frames, {N_CHANNELS}, {N_MELS}); leave the settings of [features] at their "
            "defaults, or choose models.encoder = 'hpss-cnn'"
        )
    if tagger_frames.ndim != 2 or tagger_frames.shape[1] != log_mel.N_MELS:
        raise ParameterError(
            f"tagger frames of shape {tagger_frames.shape} for track {track.track_id}: want "
            f"(n_frames, {log_mel.N_MELS})"
        )
    if not len(track.frames) or not len(tagger_frames):
        raise ParameterError(
            f"{len(track.frames)} frames and {len(tagger_frames)} tagger frames for track "
            f"{track.track_id}: want at least one of each"
        )
    _check_lengths(track, tagger_frames)


def _check_lengths(track: TrackFrames, tagger_frames: FrameSource) -> None:
    lengths_s = len(track.frames) / FRAMES_PER_S, duration_of_track(tagger_frames)
    allowed_s = LARGEST_DIFFERENCE_S + LARGEST_DIFFERENCE_SHARE * max(lengths_s)
    if abs(lengths_s[0] - lengths_s[1]) > allowed_s:
        raise ParameterError(
            f"{len(track.frames)} frames and {len(tagger_frames)} tagger frames for track "
            f"{track.track_id} are {lengths_s[0]:.1f} s and {lengths_s[1]:.1f} s at "
            f"{FRAMES_PER_S:.2f} and {TAGGER_FRAMES_PER_S} a second: they are of different tracks, "
            "or features.sr and features.hop_length are not at their defaults"
        )


def _stretch(
    source: FrameSource, start_s: float, stop_s: float, frames_per_s: float
) -> FrameSource:
    first = min(round(start_s * frames_per_s), len(source) - 1)
    stop = min(round(min(stop_s * frames_per_s, len(source))), len(source))
    return FrameStretch(source, first, max(first + 1, stop))
