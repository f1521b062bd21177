"""One decoding for both feature sets: O, H, P at their sample rate, the tagger at its own.

Public: `samples_and_tagger_frames`.
"""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from musichash_core.decode import BoxedStream, resample_blocks
from musichash_core.feature_config import FeatureConfig
from musichash_core.musicnn.log_mel import N_MELS as TAGGER_MELS
from musichash_core.musicnn.log_mel import SR_HZ as TAGGER_SR_HZ
from musichash_core.musicnn.log_mel import MelPowerExtractor, power_to_bytes

_T = TypeVar("_T")


def samples_and_tagger_frames(
    stream: BoxedStream, config: FeatureConfig
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Decode a track once, for both feature sets.

    Yields
    ------
    (n,) float32
        Samples at ``config.sr``; as `BoxedStream.resampled` gives them, and perhaps none at last.
    (k, 96) uint8
        The tagger's frames that have become ready, none if the configuration asks for none. The
        authors of the networks take files at their own level, so no gain comes in here either.
    """
    no_frames = np.empty((0, TAGGER_MELS), dtype=np.uint8)
    if not config.tagger_mel:
        for y in stream.resampled(config.sr):
            yield y, no_frames
        return
    no_samples = np.empty(0, dtype=np.float32)
    extractor = MelPowerExtractor()
    # Both resamplers answer each block with one block (and one of them perhaps with a last one
    # more), so they go in step, and one decoded block waits between the two. (`itertools.tee`
    # would let 57 wait: 15 MB.)
    waiting: list[NDArray[np.float32]] = []
    pairs = zip_longest(
        resample_blocks(_leaving_each(stream.blocks(), waiting), stream.info.sr, config.sr),
        resample_blocks(_taking_each(waiting), stream.info.sr, TAGGER_SR_HZ),
        fillvalue=no_samples,
    )
    for y, tagger_y in pairs:
        yield y, power_to_bytes(extractor.push(tagger_y))
    yield no_samples, power_to_bytes(extractor.finish())


def _leaving_each(blocks: Iterable[_T], waiting: list[_T]) -> Iterator[_T]:
    """Give each block, and leave it for another reader that comes before the next one."""
    for block in blocks:
        waiting.append(block)
        yield block


def _taking_each(waiting: list[_T]) -> Iterator[_T]:
    """Give the blocks that another reader leaves; end when it has left none."""
    while waiting:
        yield waiting.pop()
