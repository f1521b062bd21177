"""Audio file to blocks of mono float32 samples: the only reader of audio in the project.

`open_beneath` gives a descriptor, `AudioStream` turns it into samples in this process, and
`DecoderBox` does the same in a process of its own, which is what the pipeline uses: a file made to
hurt costs that process, not the worker.
"""

from musichash_core.decode.box.decoder_box import BoxedStream, DecoderBox
from musichash_core.decode.limits import DecodeConfig
from musichash_core.decode.reader import BLOCK_FRAMES, AudioInfo
from musichash_core.decode.resampling import resample_blocks
from musichash_core.decode.safe_open import check_unchanged, open_beneath
from musichash_core.decode.stream import AudioStream

__all__ = [
    "BLOCK_FRAMES",
    "AudioInfo",
    "AudioStream",
    "BoxedStream",
    "DecodeConfig",
    "DecoderBox",
    "check_unchanged",
    "open_beneath",
    "resample_blocks",
]
