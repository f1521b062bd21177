"""Decode in a process of its own, so that a file made to hurt costs that process and nothing else.

`DecoderBox` keeps one confined process (`musichash_core.decode.box.process`) and hands it open
files. The process is watched: one that exceeds its deadline, its memory or its CPU time, that dies
or talks nonsense, is killed, and the next file gets a new one.

Public: `DecoderBox`, `BoxedStream`, `BoxStartError`.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from musichash_core.decode.box.confinement import clean_environment, sandbox_command
from musichash_core.decode.box.messages import (
    MESSAGE_BYTES,
    NEXT,
    OPEN,
    STOP,
    Blocks,
    End,
    Failed,
    Info,
    Ready,
    SharedBlocks,
    parse_answer,
)
from musichash_core.decode.limits import DecodeConfig
from musichash_core.decode.reader import AudioInfo
from musichash_core.decode.resampling import resample_blocks
from musichash_core.decode.tags import AudioTags
from musichash_core.errors import DecodeError, MusicHashError
from musichash_core.failure_codes import FAILURE_CODES

START_S = 120.0
"""Time for a new process to say that it is ready: it takes 0.4 s on a quiet machine."""

END_S = 5.0
"""Time for a process that has closed its connection to be gone."""

FILES_PER_PROCESS = 2_000
"""Then the process is replaced, so that what a library leaks does not add up."""

_SIGNAL_CODES = {signal.SIGXCPU: "timeout", signal.SIGKILL: "memory"}
"""What it means when the kernel kills the process; any other signal is a crash of the decoder."""


class BoxStartError(MusicHashError, RuntimeError):
    """The decoder process cannot be started: a matter of this machine, not of any file."""


class _Process:
    """One decoder process with its socket and its shared memory."""

    def __init__(self, config: DecodeConfig) -> None:
        self.n_files = 0
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = SharedBlocks.allocate()
        try:
            self.blocks = SharedBlocks(memory)
            inherited = (theirs.fileno(), memory)
            self.popen = subprocess.Popen(
                [
                    *sandbox_command(config.sandbox),
                    *(sys.executable, "-P", "-m", "musichash_core.decode.box.process"),
                    *map(str, inherited),
                ],
                pass_fds=inherited,
                env=clean_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except BaseException:
            self.socket.close()
            raise
        finally:
            theirs.close()
            os.close(memory)
        self.finalizer = weakref.finalize(self, _end_process, self.popen, self.socket)
        self._await_ready(config)

    def _await_ready(self, config: DecodeConfig) -> None:
        self.socket.settimeout(START_S)
        try:
            self.socket.send(config.model_dump_json().encode())
            if isinstance(parse_answer(self.socket.recv(MESSAGE_BYTES)), Ready):
                return
            reason = "it said something else than that it is ready"
        except (OSError, ValueError):
            reason = self._last_words()
        self.kill()
        raise BoxStartError(
            f"the decoder process does not start (decode.sandbox = {config.sandbox!r}, "
            f"decode.memory_mb = {config.memory_mb}): {reason}"
        )

    def _last_words(self) -> str:
        """End it, and give the last line that it wrote to its standard error."""
        _kill(self.popen)
        said = self.popen.stderr.read().decode(errors="replace") if self.popen.stderr else ""
        return (said.strip().splitlines() or [f"exit status {self.popen.returncode}"])[-1]

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.popen.poll() is None

    def kill(self) -> None:
        """End it at once; safe to repeat."""
        self.finalizer()


def _end_process(popen: "subprocess.Popen[bytes]", control: socket.socket) -> None:
    control.close()
    _kill(popen)
    if popen.stderr is not None:
        popen.stderr.close()


def _kill(popen: "subprocess.Popen[bytes]") -> None:
    if popen.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()


class DecoderBox:
    """A decoder process for one thread's files, started when first needed; a context manager.

    Parameters
    ----------
    config : DecodeConfig
        Limits for files and for the process.

    Attributes
    ----------
    cpu_s : float
        CPU time that files have cost in the process, seconds.
    peak_memory_bytes : int
        Largest resident size that a process has had.
    n_deaths : int
        Processes that were killed, or died, over a file.
    """

    def __init__(self, config: DecodeConfig) -> None:
        self.config = config
        self.cpu_s = 0.0
        self.peak_memory_bytes = 0
        self.n_deaths = 0
        self._process: _Process | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running decoder, or of the sandbox around it."""
        return self._process.popen.pid if self._process else None

    def start(self) -> None:
        """Start the process now, to notice what stands in its way before any file is at stake.

        Raises
        ------
        BoxStartError, ConfigError
            If it cannot be started.
        """
        self._ready_process()

    def open(self, descriptor: int) -> "BoxedStream":
        """Have a file decoded.

        Parameters
        ----------
        descriptor : int
            Open file, positioned at its start; closed here, whatever happens.

        Returns
        -------
        BoxedStream
            To be closed before the next file is opened.

        Raises
        ------
        DecodeError
            As `musichash_core.decode.stream.AudioStream` does, or with code timeout, memory or
            decoder-crashed.
        BoxStartError, ConfigError
            If no decoder process can be started.
        """
        try:
            process = self._ready_process()
            process.n_files += 1
            with contextlib.suppress(ConnectionError):  # it died: that is found when it is heard
                socket.send_fds(process.socket, [OPEN], [descriptor])
        finally:
            os.close(descriptor)
        return BoxedStream(self, process)

    def _ready_process(self) -> _Process:
        process = self._process
        if process is not None and (process.n_files >= FILES_PER_PROCESS or not process.is_alive):
            self.close()
        if self._process is None:
            self._process = _Process(self.config)
        return self._process

    def close(self) -> None:
        """End the process, if any; the next file gets a new one. Safe to repeat."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class BoxedStream:
    """One file being decoded in the box; the same to its user as `AudioStream`.

    Attributes
    ----------
    info : AudioInfo
        What the container says.
    n_frames : int
        Frames received so far.
    warnings : tuple of str
        Set after the last block.
    tags : AudioTags
        Set after the last block.
    """

    def __init__(self, box: DecoderBox, process: _Process) -> None:
        self._box = box
        self._process = process
        self._waited_s = 0.0
        self._is_over = False
        self.n_frames = 0
        self.warnings: tuple[str, ...] = ()
        self.tags = AudioTags()
        self.info = AudioInfo("", "", 0, 0, 0)
        answer = self._hear()
        if not isinstance(answer, Info):
            self._break("decoder-crashed", "it gave samples before it said what they are")
        self.info = AudioInfo(**answer.model_dump(exclude={"kind"}))

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Receive the samples; see `musichash_core.decode.stream.AudioStream.blocks`.

        Raises
        ------
        DecodeError
            Also with code timeout, memory or decoder-crashed.
        """
        longest = self._box.config.max_duration_s * self.info.sr
        while True:
            self._say(NEXT)
            answer = self._hear()
            if isinstance(answer, End):
                break
            if not isinstance(answer, Blocks):
                self._break("decoder-crashed", "it began a second file")
            for place, n_samples in enumerate(answer.lengths):
                self.n_frames += n_samples
                if self.n_frames > longest:
                    self._break("decoder-crashed", "it gave more audio than it was allowed to")
                yield self._process.blocks.take(place, n_samples)
        if answer.n_frames != self.n_frames:
            self._break("decoder-crashed", "it counts other samples than it gave")
        self.warnings, self.tags = answer.warnings, answer.tags

    def resampled(self, sr: int) -> Iterator[NDArray[np.float32]]:
        """Receive the samples resampled; see `AudioStream.resampled`."""
        yield from resample_blocks(self.blocks(), self.info.sr, sr)

    def _hear(self) -> Info | Blocks | End:
        """Wait for the next message, no longer than the file's deadline."""
        started = time.monotonic()
        try:
            self._process.socket.settimeout(max(0.001, self._allowed_s() - self._waited_s))
            packet = self._process.socket.recv(MESSAGE_BYTES)
        except TimeoutError:
            self._break("timeout", f"the decoder did not go on for {self._allowed_s():.0f} s")
        except ConnectionError:
            packet = b""
        finally:
            self._waited_s += time.monotonic() - started
        if not packet:
            self._explain_death()
        try:
            answer = parse_answer(packet)
        except ValueError:
            self._break("decoder-crashed", "it said something that makes no sense")
        if isinstance(answer, Ready):
            self._break("decoder-crashed", "it started a second time")
        if isinstance(answer, End | Failed):
            self._is_over = True
            self._box.cpu_s += answer.cpu_s
            self._box.peak_memory_bytes = max(self._box.peak_memory_bytes, answer.peak_memory_bytes)
        if isinstance(answer, Failed):
            self._fail(answer)
        return answer

    def _allowed_s(self) -> float:
        """Give the time that the file's decoder may keep its owner waiting by now, seconds."""
        config = self._box.config
        audio_s = self.n_frames / self.info.sr if self.info.sr else 0.0
        return config.deadline_s + config.deadline_per_audio_s * audio_s

    def _fail(self, answer: Failed) -> NoReturn:
        if answer.code not in FAILURE_CODES:
            self._break("decoder-crashed", "it gave a reason that does not exist")
        if answer.code == "memory":
            self._box.close()  # what is left of its memory may be in pieces
        raise DecodeError(answer.code, answer.message)

    def _explain_death(self) -> NoReturn:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.popen.wait(END_S)
        if self._process.is_alive:
            self._break("decoder-crashed", "it closed its connection")
        status = self._process.popen.returncode
        number = -status if status < 0 else status - 128  # a sandbox reports signals like a shell
        try:
            name = signal.Signals(number)
        except ValueError:
            self._break("decoder-crashed", f"it ended with exit status {status}")
        self._break(_SIGNAL_CODES.get(name, "decoder-crashed"), f"it was ended by {name.name}")

    def _break(self, code: str, reason: str) -> NoReturn:
        """Kill the process over this file."""
        self._is_over = True
        self._box.n_deaths += 1
        self._box.close()
        raise DecodeError(code, f"the decoder process was stopped: {reason}")

    def _say(self, packet: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # its death is found when it is heard
            self._process.socket.send(packet)

    def close(self) -> None:
        """Leave the file; what was not received is dropped. Safe to repeat."""
        if self._is_over:
            return
        self._say(STOP)
        with contextlib.suppress(DecodeError):
            if not isinstance(self._hear(), End):
                self._break("decoder-crashed", "it went on when it was told to stop")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
