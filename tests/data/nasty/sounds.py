"""The one test signal of the corpus, its encoders, and the ear that recognises it.

Every half second of the signal has its own frequency, so audio that is lost, repeated or put in
another order is heard as such, whatever the codec did to the samples. Encoded bytes depend on the
versions of libsndfile and FFmpeg alone.

Public: `steps`, `heard_steps`, `frequency_hz`, `encode`, `encode_with_ffmpeg`, `STEP_S`.
"""

import io
from functools import cache

import av
import numpy as np
import soundfile
from nasty.ogg_bytes import with_serial
from numpy.typing import NDArray

STEP_S = 0.5
LOWEST_HZ = 300
SPACING_HZ = 75

WINDOW_S = 0.1
HOP_S = 0.05
SHORTEST_RUN = 4
"""Windows in a row that must agree before a step counts: the borders between steps do not."""

QUIET = 1e-3
BIT_RATE = 128_000

SET_ADD_PEAK_CHUNK = 0x1050
"""libsndfile's command; that chunk of float files holds the time of writing."""


def frequency_hz(step: int) -> int:
    """Give the frequency of one half second of the signal."""
    return LOWEST_HZ + SPACING_HZ * step


def steps(
    duration_s: float, sr: int, *, first: int = 0, n_channels: int = 1, level: float = 0.5
) -> NDArray[np.float32]:
    """Give tones that change every half second, the same in all channels; (n, n_channels)."""
    n_samples = round(duration_s * sr)
    step = np.arange(n_samples) // round(STEP_S * sr) + first
    phase = 2 * np.pi * np.cumsum(LOWEST_HZ + SPACING_HZ * step) / sr
    y = (level * np.sin(phase)).astype(np.float32)
    return np.repeat(y[:, None], n_channels, axis=1)


def heard_steps(y: NDArray[np.float32], sr: int) -> list[int]:
    """Give the steps that are heard in mono samples, in order; silence is -1."""
    n_window, n_hop = round(WINDOW_S * sr), round(HOP_S * sr)
    starts = range(0, len(y) - n_window + 1, n_hop)
    heard = [_step_of(y[start : start + n_window], sr) for start in starts]
    runs: list[int] = []
    n_same = 0
    for place, step in enumerate(heard):
        n_same = n_same + 1 if place and heard[place - 1] == step else 1
        if n_same == SHORTEST_RUN and (not runs or runs[-1] != step):
            runs.append(step)
    return runs


def _step_of(window: NDArray[np.float32], sr: int) -> int:
    if np.abs(window).max() < QUIET:
        return -1
    spectrum = np.abs(np.fft.rfft(window * np.hanning(len(window))))
    return round((spectrum.argmax() * sr / len(window) - LOWEST_HZ) / SPACING_HZ)


@cache
def encode(
    kind: str,
    subtype: str,
    *,
    sr: int = 44_100,
    n_channels: int = 1,
    duration_s: float = 2.0,
    first: int = 0,
    level: float = 0.5,
    endian: str | None = None,
    bitrate_mode: str | None = None,
    compression_level: float | None = None,
) -> bytes:
    """Write the signal with libsndfile."""
    y = steps(duration_s, sr, first=first, n_channels=n_channels, level=level)
    return encode_samples(
        y,
        sr,
        kind,
        subtype,
        endian=endian,
        bitrate_mode=bitrate_mode,
        compression_level=compression_level,
    )


def encode_samples(
    y: NDArray[np.float32], sr: int, kind: str, subtype: str, **how: str | float | None
) -> bytes:
    """Write samples with libsndfile, a second at a time: its Ogg encoder crashes on long ones."""
    content = io.BytesIO()
    n_channels = 1 if y.ndim == 1 else y.shape[1]
    with soundfile.SoundFile(
        content, "w", sr, n_channels, subtype=subtype, format=kind, **how
    ) as file:
        soundfile._snd.sf_command(file._file, SET_ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)
        for start in range(0, len(y), sr):
            file.write(y[start : start + sr])
    written = content.getvalue()
    return with_serial(written, 1) if kind == "OGG" else written


@cache
def encode_with_ffmpeg(
    kind: str,
    codec: str,
    *,
    sr: int = 44_100,
    layout: str = "stereo",
    duration_s: float = 2.0,
    first: int = 0,
    muxer_options: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """Write the signal with FFmpeg's encoders and muxers."""
    content = io.BytesIO()
    options = {"fflags": "+bitexact", **dict(muxer_options)}
    with av.open(content, "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=sr, layout=layout)
        context = stream.codec_context
        context.flags |= av.codec.context.Flags.bitexact
        context.format = context.format or context.codec.audio_formats[0]
        context.bit_rate = BIT_RATE
        container.start_encoding()
        n_channels = context.layout.nb_channels
        y = steps(duration_s, sr, first=first, n_channels=n_channels)
        resampler = av.AudioResampler(
            context.format, context.layout, sr, frame_size=context.frame_size or 4096
        )
        frame = av.AudioFrame.from_ndarray(y.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = sr
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        # The last packet of FLAC is empty, and PyAV's muxers refuse it.
        container.mux([packet for packet in stream.encode(None) if packet.size > 0])
    written = content.getvalue()
    return with_serial(written, 1) if kind in {"ogg", "oga", "opus"} else written
