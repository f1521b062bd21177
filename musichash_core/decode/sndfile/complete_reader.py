"""Open a file with libsndfile so that all of its sound comes out, or an error.

What lies in the file is found out before a sample is decoded; libsndfile is then shown one stream
after the other, each with a header that tells the truth.

Public: `open_complete`.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial

from musichash_core.decode.byte_runs import ByteRuns
from musichash_core.decode.reader import TRAILER_BYTES, BlockReader
from musichash_core.decode.safe_open import reading
from musichash_core.decode.sndfile.flac_digest import DigestReader
from musichash_core.decode.sndfile.flac_parts import (
    MAX_FLAC_STREAMS,
    find_flac_parts,
    find_flac_stream,
    read_digest,
)
from musichash_core.decode.sndfile.joined_reader import JoinedReader
from musichash_core.decode.sndfile.mpeg_parts import find_mpeg_parts
from musichash_core.decode.sndfile.ogg_parts import find_ogg_parts
from musichash_core.decode.sndfile.pcm_chunks import PCM_CONTAINERS
from musichash_core.decode.sndfile.pcm_parts import find_pcm_parts
from musichash_core.decode.sndfile.sndfile_reader import SndfileReader
from musichash_core.decode.sndfile.sound_parts import SoundPart, SoundParts
from musichash_core.decode.sniffing import skip_id3

READ_AHEAD_BYTES = 1 << 17
"""libFLAC has read at most this much behind the last frame; another stream may begin in it."""

Opener = Callable[[], BlockReader]


def open_complete(descriptor: int, container: str) -> JoinedReader:
    """Find the streams of a file and open the first.

    Parameters
    ----------
    descriptor : int
        The open file, positioned at its start; the caller closes it.
    container : str
        One of `musichash_core.decode.sndfile.sndfile_reader.SNDFILE_CONTAINERS`.

    Returns
    -------
    JoinedReader
        Its warnings are those of `find_mpeg_parts`, `find_ogg_parts`, `find_flac_parts` and
        `find_pcm_parts`; with ``joined-streams`` where several MP3 or FLAC files were joined and
        ``chained-streams`` for several links of Ogg, all of which are decoded; and
        ``data-after-end`` where much lies behind the last FLAC frame that is no stream.

    Raises
    ------
    DecodeError
        With code truncated, damaged, unsupported-format or read-error.
    """
    with reading():
        found = _find_parts(descriptor, container)
        warnings = list(found.warnings)
        if container == "flac" and len(found.parts) == 1:
            openers = _flac_openers(descriptor, found.parts[0], warnings)
        else:
            openers = _openers(descriptor, container, found.parts)
        joint = "chained-streams" if container.startswith("ogg-") else "joined-streams"
        return JoinedReader(openers, warnings, joint)


def _find_parts(descriptor: int, container: str) -> SoundParts:
    n_bytes = os.fstat(descriptor).st_size
    if container in PCM_CONTAINERS:
        return find_pcm_parts(descriptor, container, n_bytes)
    if container == "mp3":
        return find_mpeg_parts(descriptor, n_bytes)
    if container == "flac":
        return find_flac_parts(descriptor, n_bytes)
    return find_ogg_parts(descriptor, n_bytes)


def _open_part(
    descriptor: int, view: ByteRuns | None, container: str, part: SoundPart
) -> BlockReader:
    reader = SndfileReader(descriptor if view is None else view, container, part.n_frames)
    return reader if part.digest is None else DigestReader(reader, part.digest)


def _view(descriptor: int, part: SoundPart) -> ByteRuns | None:
    return None if part.runs is None else ByteRuns(descriptor, part.runs)


def _openers(descriptor: int, container: str, parts: tuple[SoundPart, ...]) -> Iterator[Opener]:
    for part in parts:
        yield partial(_open_part, descriptor, _view(descriptor, part), container, part)


def _flac_openers(descriptor: int, part: SoundPart, warnings: list[str]) -> Iterator[Opener]:
    """Give the first stream, and when that has ended look for another behind it."""
    n_bytes = os.fstat(descriptor).st_size
    begin = skip_id3(descriptor)
    for _ in range(MAX_FLAC_STREAMS):
        view = _view(descriptor, part)
        yield partial(_open_part, descriptor, view, "flac", part)
        n_left = n_bytes - os.lseek(descriptor, 0, os.SEEK_CUR)
        if view is not None:
            n_left = view.n_bytes - view.tell()
        following = find_flac_stream(
            descriptor, max(begin + 1, n_bytes - n_left - READ_AHEAD_BYTES)
        )
        if following is None:
            break
        begin, runs = following, ((following, n_bytes - following),)
        part = SoundPart(runs, digest=read_digest(descriptor, following))
    if n_left > TRAILER_BYTES:
        warnings.append("data-after-end")
