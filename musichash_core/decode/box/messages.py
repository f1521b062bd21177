"""What the decoder process and its owner say to one another, and the memory that they share.

Messages are JSON in packets of a Unix socket: nothing that either side says is ever executed.
Samples lie in a few slots of shared memory. The owner takes every message for hostile until it has
been checked against the models here.

Public: `Info`, `Block`, `End`, `Failed`, `Answer`, `parse_answer`, `Slots`, `FREE`, `STOP`,
`MESSAGE_BYTES`.
"""

import fcntl
import mmap
import os
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from musichash_core.decode.reader import BLOCK_FRAMES
from musichash_core.decode.tags import AudioTags

N_SLOTS = 4
"""Blocks that the decoder may be ahead of its owner: 6 s at 44.1 kHz, 1 MB."""

MESSAGE_BYTES = 65_536
"""Longest message; tags are cut far below it."""

FREE = b"f"
"""Says that the oldest slot has been read."""

STOP = b"s"
"""Says that nobody wants the rest of the file."""

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


class Block(_Message):
    """The next slot holds this many samples."""

    kind: Literal["block"] = "block"
    n_samples: Annotated[int, Field(gt=0, le=BLOCK_FRAMES)]


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


Answer = Annotated[Ready | Info | Block | End | Failed, Field(discriminator="kind")]
"""Whatever the decoder process may say."""

_ANSWER: TypeAdapter[Ready | Info | Block | End | Failed] = TypeAdapter(Answer)


def parse_answer(packet: bytes) -> Ready | Info | Block | End | Failed:
    """Check what the decoder process said; raises ValueError when it makes no sense."""
    return _ANSWER.validate_json(packet)


class Slots:
    """Shared memory for `N_SLOTS` blocks of mono float32 samples, used one after the other.

    Parameters
    ----------
    descriptor : int
        Of the shared memory; stays open.
    """

    def __init__(self, descriptor: int) -> None:
        size = N_SLOTS * BLOCK_FRAMES * np.dtype(np.float32).itemsize
        self._memory = mmap.mmap(descriptor, size)
        self._slots = np.frombuffer(self._memory, np.float32).reshape(N_SLOTS, BLOCK_FRAMES)
        self._next = 0

    @staticmethod
    def allocate() -> int:
        """Give the descriptor of new shared memory that neither side can make smaller."""
        descriptor = os.memfd_create("decoded", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, N_SLOTS * BLOCK_FRAMES * np.dtype(np.float32).itemsize)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return descriptor

    def restart(self) -> Self:
        """Begin at the first slot again, as both sides do with every file."""
        self._next = 0
        return self

    def put(self, block: NDArray[np.float32]) -> None:
        """Write a block into the next slot."""
        self._slots[self._next, : len(block)] = block
        self._next = (self._next + 1) % N_SLOTS

    def take(self, n_samples: int) -> NDArray[np.float32]:
        """Copy a block out of the next slot."""
        block = self._slots[self._next, :n_samples].copy()
        self._next = (self._next + 1) % N_SLOTS
        return block
