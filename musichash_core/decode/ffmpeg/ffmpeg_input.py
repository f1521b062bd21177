"""Open audio with FFmpeg through PyAV, so that nothing but the given file can ever be read.

FFmpeg follows play lists and references to other files and servers, from file objects too. Here
the demuxer is fixed by the sniffed content, white lists name it, the codecs and no protocol, and
whatever would be opened beside the file is refused. What PyAV raises, of a dozen kinds, becomes a
`DecodeError`.

Public: `open_container`, `ffmpeg_at_work`, `CONTAINER_CODECS`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

import av
from av.container import InputContainer

from musichash_core.decode.byte_runs import ByteRuns
from musichash_core.errors import DecodeError

_PCM = frozenset(
    f"pcm_{name}"
    for name in (
        *("alaw", "mulaw", "u8", "s8", "f32be", "f32le", "f64be", "f64le"),
        *("s16be", "s16le", "s24be", "s24le", "s32be", "s32le"),
    )
)
_MPEG = frozenset({"aac", "mp3", "mp3float", "mp2", "mp2float", "ac3", "eac3"})
_FREE = frozenset({"flac", "opus", "vorbis", "alac"})

CONTAINER_CODECS: Mapping[str, tuple[str, frozenset[str]]] = {
    "mp4": ("mov", _MPEG | _FREE | _PCM),
    "asf": ("asf", frozenset({"wmav1", "wmav2", "wmapro", "wmalossless", "mp3float", "mp3"})),
    "matroska": ("matroska", _MPEG | _FREE | _PCM | {"wavpack", "tta"}),
    "aac-adts": ("aac", frozenset({"aac"})),
    "ac3": ("ac3", frozenset({"ac3", "eac3"})),
    "eac3": ("eac3", frozenset({"ac3", "eac3"})),
    "wavpack": ("wv", frozenset({"wavpack"})),
    "tta": ("tta", frozenset({"tta"})),
    "dsf": ("dsf", frozenset({"dsd_lsbf", "dsd_msbf", "dsd_lsbf_planar", "dsd_msbf_planar"})),
    "ogg-flac": ("ogg", frozenset({"flac"})),
    "ogg-speex": ("ogg", frozenset({"speex"})),
}
"""FFmpeg's demuxer for each container, and the decoders that it may use there."""

MAX_STREAMS = 100
"""Streams in one file; films have tens."""


def open_container(view: ByteRuns, container: str) -> InputContainer:
    """Open a file for FFmpeg, which may read that and nothing else.

    Parameters
    ----------
    view : ByteRuns
        The file, or the part of it that holds the audio.
    container : str
        A key of `CONTAINER_CODECS`.

    Raises
    ------
    DecodeError
        With code damaged, memory or read-error.
    """
    demuxer, codecs = CONTAINER_CODECS[container]
    options = {
        "format_whitelist": demuxer,
        "codec_whitelist": ",".join(sorted(codecs)),
        "protocol_whitelist": "",
        "max_streams": str(MAX_STREAMS),
    }
    with ffmpeg_at_work(view, f"the {container} header cannot be read"):
        return av.open(
            view,
            mode="r",
            format=demuxer,
            options=options,
            metadata_errors="replace",
            io_open=_refuse_to_open,
        )


@contextmanager
def ffmpeg_at_work(view: ByteRuns, trouble: str) -> Iterator[None]:
    """Turn whatever PyAV raises into a `DecodeError`.

    Parameters
    ----------
    view : ByteRuns
        What it reads, which knows whether the operating system failed.
    trouble : str
        What it means, for the message.
    """
    try:
        yield
    except DecodeError:
        raise
    except Exception as error:
        # PyAV has raised its own errors, ValueError, IndexError, UnicodeDecodeError, RuntimeError,
        # NotImplementedError, AssertionError and others: any of them means that this file fails.
        if view.error is not None:
            raise DecodeError("read-error", f"{trouble}: {view.error.strerror}") from error
        code = "memory" if isinstance(error, MemoryError) else "damaged"
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DecodeError(code, f"{trouble}: {reason}") from error
    else:
        if view.error is not None:  # which FFmpeg has taken for the end of the file
            raise DecodeError("read-error", f"{trouble}: {view.error.strerror}") from view.error


def _refuse_to_open(url: str, _flags: int, _options: Mapping[str, str]) -> NoReturn:
    raise DecodeError("damaged", f"the file refers to another one, {url[:100]!r}: not followed")
