"""Random training segments: where they start, how loud they are, what is masked (METHOD 2).

Gain is applied before the logarithm, by pretending another track peak; masks set a range of bands
or of frames to 0, which means "nothing measured".
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from musichash_core.segments import SegmentConfig, TrackFrames, cut_segments
from musichash_core.training_config import AugmentationConfig


def random_segments(
    tracks: Sequence[TrackFrames],
    segments: SegmentConfig,
    augmentation: AugmentationConfig,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Cut one random, randomly changed segment out of each track.

    Reads only the frames it needs. The result depends on the tracks, their order and the state of
    `rng`.

    Parameters
    ----------
    tracks : sequence of TrackFrames
        The same track may occur several times.

    Returns
    -------
    (len(tracks), n_channels, n_mels, segments.n_frames) float32
        Compressed model input.
    """
    cut = []
    for track in tracks:
        room = max(0, len(track.frames) - segments.n_frames)
        start = rng.integers(0, room + 1, size=1)
        gain_db = rng.uniform(-augmentation.gain_db, augmentation.gain_db)
        louder = replace(track, peak=track.peak / 10.0 ** (gain_db / 20.0))
        segment = cut_segments(louder, start, segments)[0]
        _mask(segment, axis=1, widest=augmentation.mask_bands, rng=rng)
        _mask(segment, axis=2, widest=augmentation.mask_frames, rng=rng)
        cut.append(segment)
    return np.stack(cut)


def balanced_draw(
    targets: NDArray[np.bool_], n_draws: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw items so that every label is drawn for equally often, in random order.

    Among the draws for one label no item comes up again before all others have. With several labels
    per item a frequent label also comes up beside the others; a rare one still gets its share.

    Parameters
    ----------
    targets : (n_items, n_labels) bool
        Which labels each item has.
    n_draws : >= 1
        Rounded up to a multiple of the number of labels that occur.

    Returns
    -------
    (n,) int64
        Positions in `targets`.
    """
    present = np.flatnonzero(targets.any(axis=0))
    per_label = -(-n_draws // len(present))
    drawn = []
    for label in present:
        members = np.flatnonzero(targets[:, label])
        rounds = [rng.permutation(members) for _ in range(-(-per_label // len(members)))]
        drawn.append(np.concatenate(rounds)[:per_label])
    return rng.permutation(np.concatenate(drawn)).astype(np.int64)


def _mask(
    segment: NDArray[np.float32], *, axis: int, widest: int, rng: np.random.Generator
) -> None:
    """Set a random range of one axis to 0, in place; the segment is the caller's own."""
    size = segment.shape[axis]
    width = int(rng.integers(0, min(widest, size) + 1))
    start = int(rng.integers(0, size - width + 1))
    index: list[slice] = [slice(None)] * segment.ndim
    index[axis] = slice(start, start + width)
    segment[tuple(index)] = 0.0
