"""The decoder process: receives open files, gives back samples, and can do little else.

Started by `musichash_core.decode.box.decoder_box.DecoderBox` with a socket and shared memory; it
ends when the socket closes. Files come as descriptors over the socket, one after the other.

Run: ``python -m musichash_core.decode.box.process SOCKET MEMORY``.
"""

import array
import codecs
import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterable
from itertools import islice

import numpy as np
import soundfile
from numpy.typing import NDArray

from musichash_core.decode.box.confinement import allow_cpu, confine
from musichash_core.decode.box.messages import (
    MESSAGE_BYTES,
    N_BLOCKS,
    NEXT,
    Blocks,
    End,
    Failed,
    Info,
    Ready,
    SharedBlocks,
)
from musichash_core.decode.limits import DecodeConfig
from musichash_core.decode.stream import AudioStream
from musichash_core.errors import DecodeError
from musichash_core.process_memory import peak_memory_bytes

ENCODINGS = (
    *("ascii", "latin_1", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"),
    *("cp1252", "cp437", "mac_roman", "shift_jis", "gbk", "big5", "euc_kr", "koi8_r"),
)
"""Of texts in tags. Python loads them when first used, which the confined process cannot."""


class _Service:
    """One decoder process at work."""

    def __init__(self, control: socket.socket, memory: SharedBlocks, config: DecodeConfig) -> None:
        self._control = control
        self._memory = memory
        self._config = config

    def run(self) -> None:
        """Serve files until the owner is gone."""
        self._send(Ready())
        while (descriptor := self._receive_file()) is not None:
            self._serve(descriptor)

    def _send(self, message: Ready | Info | Blocks | End | Failed) -> None:
        self._control.send(message.encoded())

    def _receive_file(self) -> int | None:
        while True:
            packet, ancillary, _, _ = self._control.recvmsg(
                MESSAGE_BYTES, socket.CMSG_SPACE(array.array("i").itemsize), socket.MSG_CMSG_CLOEXEC
            )
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    return array.array("i", content)[0]
            if not packet:
                return None

    def _serve(self, descriptor: int) -> None:
        started = time.process_time()
        allow_cpu(self._config.deadline_s)
        try:
            stream = self._decode(descriptor)
        except DecodeError as error:
            code, message = error.code, str(error)
        except MemoryError:
            code = "memory"
            message = f"more than decode.memory_mb = {self._config.memory_mb} MB would be needed"
        except Exception as error:  # noqa: BLE001 - whatever a hostile file makes a library raise
            code, message = "damaged", f"the decoder gave up: {type(error).__name__}: {error}"
        else:
            self._send(
                End(
                    n_frames=stream.n_frames,
                    warnings=stream.warnings,
                    tags=stream.tags,
                    cpu_s=time.process_time() - started,
                    peak_memory_bytes=peak_memory_bytes(),
                )
            )
            return
        self._send(
            Failed(
                code=code,
                message=message[:2_000],
                cpu_s=time.process_time() - started,
                peak_memory_bytes=peak_memory_bytes(),
            )
        )

    def _decode(self, descriptor: int) -> AudioStream:
        with AudioStream(descriptor, self._config) as stream:
            info = stream.info
            self._send(
                Info(
                    container=info.container,
                    codec=info.codec,
                    sr=info.sr,
                    n_channels=info.n_channels,
                    claimed_frames=info.claimed_frames,
                )
            )
            blocks = stream.blocks()
            while self._control.recv(MESSAGE_BYTES) == NEXT:
                lengths = self._put(islice(blocks, N_BLOCKS))
                if not lengths:
                    break
                self._send(Blocks(lengths=lengths))
        return stream

    def _put(self, blocks: Iterable[NDArray[np.float32]]) -> tuple[int, ...]:
        """Write some blocks into the shared memory; give their lengths."""
        lengths = []
        allow_cpu(self._config.deadline_s)
        for place, block in enumerate(blocks):
            self._memory.put(place, block)
            lengths.append(len(block))
        return tuple(lengths)


def _load_everything() -> None:
    """Decode a little, so that nothing is left to be loaded from files by a confined process."""
    for encoding in ENCODINGS:
        codecs.lookup(encoding)
    peak_memory_bytes()
    descriptor = os.memfd_create("silence")
    with soundfile.SoundFile(descriptor, "w", 8_000, 1, format="FLAC", closefd=False) as file:
        file.write(np.zeros(8_000, dtype=np.float32))
    os.lseek(descriptor, 0, os.SEEK_SET)
    with AudioStream(descriptor, DecodeConfig(min_duration_s=0.1)) as stream:
        list(stream.blocks())


def main() -> None:
    """Start with what the command line names."""
    control = socket.socket(fileno=int(sys.argv[1]))
    memory = int(sys.argv[2])
    blocks = SharedBlocks(memory)
    os.close(memory)
    config = DecodeConfig.model_validate_json(control.recv(MESSAGE_BYTES))
    silence = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    _load_everything()
    confine(config)
    os.dup2(silence, sys.stderr.fileno())  # nobody reads what libraries say there from now on
    with contextlib.suppress(ConnectionError):
        _Service(control, blocks, config).run()


if __name__ == "__main__":
    main()
