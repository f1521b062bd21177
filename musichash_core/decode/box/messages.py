"""What the decoder process and its owner say to one another, and the memory that they share.

The owner sends an open file and then asks for its blocks, a few at a time, so that a worker and its
decoder take one CPU between them. Answers are JSON in packets of a Unix socket: nothing that
either side says is ever executed. Samples lie in shared memory. The owner takes every answer for
hostile until it has been checked against the models here.

Public: `Ready`, `Info`, `Blocks`, `End`, `Failed`, `parse_answer`, `SharedBlocks`, `OPEN`, `NEXT`,
`STOP`, `MESSAGE_BYTES`.
"""

import fcntl
import mmap
import os
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from musichash_core.decode.reader import BLOCK_FRAMES
from musichash_core.decode.tags import AudioTags

MESSAGE_BYTES = 65_536
"""Longest message; tags are cut far below it."""

OPEN = b"o"
"""Comes with the descriptor of the next file."""

NEXT = b"n"
"""Asks for the next blocks; those before them may be overwritten."""

STOP = b"s"
"""Says that nobody wants the rest of the file."""

N_BLOCKS = 8
"""Most blocks per answer, 12 s at 44.1 kHz: each change of process costs as much as 10 ms of audio
takes to extract, because the other's data must come back into the caches."""

_MEMORY_BYTES = N_BLOCKS * BLOCK_FRAMES * np.dtype(np.float32).itemsize

Text = Annotated[str, Field(max_length=2_000)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def encoded(self) -> bytes:
        """Give the packet."""
        return self.model_dump_json().encode()


class Ready(_Message):
    """The process has started and confined itself."""

    kind: Literal["ready"] = "ready"


class Info(_Message):
    """What the container says; see `musichash_core.decode.reader.AudioInfo`."""

    kind: Literal["info"] = "info"
    container: Text
    codec: Text
    sr: Annotated[int, Field(gt=0, lt=1 << 31)]
    n_channels: Annotated[int, Field(gt=0, lt=1 << 16)]
    claimed_frames: Count


class Blocks(_Message):
    """The shared memory holds blocks of these lengths, in samples."""

    kind: Literal["blocks"] = "blocks"
    lengths: Annotated[
        tuple[Annotated[int, Field(gt=0, le=BLOCK_FRAMES)], ...],
        Field(min_length=1, max_length=N_BLOCKS),
    ]


class _Last(_Message):
    cpu_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    peak_memory_bytes: Count


class End(_Last):
    """The file was decoded to its end, or as far as anybody wanted."""

    kind: Literal["end"] = "end"
    n_frames: Count
    warnings: Annotated[tuple[Text, ...], Field(max_length=50)]
    tags: AudioTags


class Failed(_Last):
    """The file cannot be used."""

    kind: Literal["failed"] = "failed"
    code: Text
    message: Text


_ANSWER: TypeAdapter[Ready | Info | Blocks | End | Failed] = TypeAdapter(
    Annotated[Ready | Info | Blocks | End | Failed, Field(discriminator="kind")]
)


def parse_answer(packet: bytes) -> Ready | Info | Blocks | End | Failed:
    """Check what the decoder process said; raises ValueError when it makes no sense."""
    return _ANSWER.validate_json(packet)


class SharedBlocks:
    """Shared memory for `N_BLOCKS` blocks of mono float32 samples.

    Parameters
    ----------
    descriptor : int
        Of the shared memory; stays open.
    """

    def __init__(self, descriptor: int) -> None:
        memory = mmap.mmap(descriptor, _MEMORY_BYTES)
        self._blocks = np.frombuffer(memory, np.float32).reshape(N_BLOCKS, BLOCK_FRAMES)

    @staticmethod
    def allocate() -> int:
        """Give the descriptor of new shared memory that neither side can make smaller."""
        descriptor = os.memfd_create("decoded", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, _MEMORY_BYTES)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return descriptor

    def put(self, place: int, block: NDArray[np.float32]) -> None:
        """Write a block."""
        self._blocks[place, : len(block)] = block

    def take(self, place: int, n_samples: int) -> NDArray[np.float32]:
        """Copy a block out."""
        return self._blocks[place, :n_samples].copy()
