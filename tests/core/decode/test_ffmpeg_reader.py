"""FFmpeg as second decoder: compared with the signals that were encoded and with libsndfile."""

import io
import os
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musichash_core.decode import BLOCK_FRAMES, AudioStream, DecodeConfig
from musichash_core.decode.ffmpeg.ffmpeg_reader import FFMPEG_CONTAINERS, FfmpegReader
from musichash_core.errors import DecodeError
from musichash_core.failure_codes import FAILURE_CODES

SHORT = DecodeConfig(min_duration_s=0.01)
LAG_ROUNDING = 1  # FFmpeg's own encoder of Vorbis is rough: its peak may lie one frame beside
FREQUENCIES_HZ = (440, 660, 1000, 550)
SAMPLE_TYPES = {
    "s16": (np.int16, 32_768),
    "s16p": (np.int16, 32_768),
    "s32": (np.int32, 2_147_483_648),
    "flt": (np.float32, 1),
    "fltp": (np.float32, 1),
}


@dataclass(frozen=True)
class Coding:
    """How FFmpeg's own encoder and muxer make a file, and what the reader should make of it."""

    muxer: str
    encoder: str
    sample_format: str
    sr: int
    container: str
    codec: str
    muxer_options: dict[str, str] = field(default_factory=dict)
    encoder_options: dict[str, str] = field(default_factory=dict)
    delay: int = 0
    """Frames that the coding adds at the front and its container has no place to say; FFmpeg's
    decoder takes 2,048 frames too much from what its own encoder of WMA made."""
    marks_end: bool = True
    """Whether the container says where the coding's padding at the end begins."""
    snr_db: float | None = None
    """None: lossless."""
    has_checksums: bool = False


EXPERIMENTAL = {"strict": "experimental"}
RATE = {"b": "192000"}
LIVE = {"live": "1"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"}
CODINGS = {
    "m4a": Coding("ipod", "aac", "fltp", 44_100, "mp4", "AAC", snr_db=20, encoder_options=RATE),
    "m4a-fragments": Coding(
        "ipod", "aac", "fltp", 44_100, "mp4", "AAC", FRAGMENTS, RATE, 1024, False, 20
    ),
    "alac": Coding("ipod", "alac", "s16p", 44_100, "mp4", "ALAC"),
    "mp3-in-mp4": Coding("mp4", "libmp3lame", "fltp", 44_100, "mp4", "MP3", {}, RATE, snr_db=20),
    "ac3-in-mp4": Coding(
        "mp4", "ac3", "fltp", 48_000, "mp4", "AC3", {}, RATE, 0, False, 20, has_checksums=True
    ),
    "flac-in-mp4": Coding(
        "mp4", "flac", "s16", 44_100, "mp4", "FLAC", EXPERIMENTAL, has_checksums=True
    ),
    "opus-in-mp4": Coding("mp4", "libopus", "s16", 48_000, "mp4", "OPUS", EXPERIMENTAL, snr_db=8),
    "pcm-in-mov": Coding("mov", "pcm_s16le", "s16", 44_100, "mp4", "PCM_S16LE"),
    "pcm24-in-mov": Coding("mov", "pcm_s24be", "s32", 44_100, "mp4", "PCM_S24BE"),
    "float-in-mov": Coding("mov", "pcm_f32le", "flt", 44_100, "mp4", "PCM_F32LE"),
    "opus-in-webm": Coding("webm", "libopus", "s16", 48_000, "matroska", "OPUS", snr_db=8),
    "vorbis-in-webm": Coding(
        *("webm", "vorbis", "fltp", 44_100, "matroska", "VORBIS"),
        encoder_options={**EXPERIMENTAL, "b": "192000"},
        marks_end=False,
        snr_db=4,
    ),
    "flac-in-matroska": Coding(
        "matroska", "flac", "s16", 44_100, "matroska", "FLAC", has_checksums=True
    ),
    "live-matroska": Coding(
        *("matroska", "flac", "s16", 44_100, "matroska", "FLAC", LIVE), has_checksums=True
    ),
    "mp3-in-matroska": Coding(
        "matroska", "libmp3lame", "fltp", 44_100, "matroska", "MP3", {}, RATE, snr_db=20
    ),
    "aac-in-matroska": Coding(
        "matroska", "aac", "fltp", 44_100, "matroska", "AAC", {}, RATE, 0, False, 20
    ),
    "wma1": Coding("asf", "wmav1", "fltp", 44_100, "asf", "WMAV1", {}, RATE, -2048, False, 20),
    "wma2": Coding("asf", "wmav2", "fltp", 44_100, "asf", "WMAV2", {}, RATE, -2048, False, 20),
    "adts": Coding("adts", "aac", "fltp", 44_100, "aac-adts", "AAC", {}, RATE, 1024, False, 20),
    "ac3": Coding(
        "ac3", "ac3", "fltp", 48_000, "ac3", "AC3", {}, RATE, 256, False, 20, has_checksums=True
    ),
    "eac3": Coding(
        "eac3", "eac3", "fltp", 48_000, "eac3", "EAC3", {}, RATE, 256, False, 20, has_checksums=True
    ),
    "wavpack": Coding("wv", "wavpack", "s16p", 44_100, "wavpack", "WAVPACK", has_checksums=True),
    "tta": Coding("tta", "tta", "s16", 44_100, "tta", "TTA", has_checksums=True),
    "flac-in-ogg": Coding("ogg", "flac", "s16", 44_100, "ogg-flac", "FLAC", has_checksums=True),
}
LOSSLESS = [name for name, coding in CODINGS.items() if coding.snr_db is None]
LOSSY = [name for name, coding in CODINGS.items() if coding.snr_db is not None]
CHECKED = [name for name, coding in CODINGS.items() if coding.has_checksums]


def signal(sr, n_channels=2, duration_s=1.2101):
    """Give tones that follow each other, different in each channel, with a little noise."""
    n_frames = round(duration_s * sr)
    rng = np.random.default_rng(7)
    part = np.minimum(np.arange(n_frames) * 4 // n_frames, 3)
    channels = []
    for channel in range(n_channels):
        hz = np.array(FREQUENCIES_HZ)[part] * (1 + channel / 4)
        tone = 0.4 * np.sin(2 * np.pi * np.cumsum(hz) / sr)
        channels.append(tone + 0.005 * rng.standard_normal(n_frames))
    return np.stack(channels, axis=1)


def quantised(y, sample_format):
    """Give the samples as the encoder gets them, packed."""
    kind, scale = SAMPLE_TYPES[sample_format]
    if scale == 1:
        return y.astype(kind)
    if sample_format == "s32":  # of 24 bits
        return (np.round(y * 8_388_608).astype(kind)) * 256
    return np.round(y * scale).astype(kind)


def encode(coding, y, layout="stereo", *, tags=None):
    buffer = io.BytesIO()
    packed = coding.sample_format.removesuffix("p")
    samples = quantised(y, coding.sample_format)
    with av.open(buffer, "w", format=coding.muxer, options=coding.muxer_options) as output:
        output.metadata.update(tags or {})
        stream = output.add_stream(
            coding.encoder, rate=coding.sr, layout=layout, options=coding.encoder_options
        )
        stream.format = coding.sample_format
        for start in range(0, len(samples), 1152):
            block = np.ascontiguousarray(samples[start : start + 1152]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format=packed, layout=layout)
            frame.sample_rate, frame.pts = coding.sr, start
            frame.time_base = Fraction(1, coding.sr)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


@cache
def sound_file(name):
    return encode(CODINGS[name], signal(CODINGS[name].sr))


def dsf(n_channels, n_bits, sr=2_822_400):
    """Give a DSF file of tones, modulated to one bit, after Sony's specification 1.01."""
    planes = []
    for channel in range(n_channels):
        y = 0.4 * np.sin(2 * np.pi * 440 * (channel + 1) * np.arange(n_bits) / sr)
        bits = np.diff(np.floor(np.cumsum((y + 1) / 2)), prepend=0).astype(np.uint8)
        planes.append(np.packbits(bits, bitorder="little").tobytes())
    n_blocks = -(-len(planes[0]) // 4096)
    data = b"".join(
        plane[4096 * block :][:4096].ljust(4096, b"\0")
        for block in range(n_blocks)
        for plane in planes
    )
    form = struct.pack(
        "<4sQIIIIIIQII", b"fmt ", 52, 1, 0, n_channels, n_channels, sr, 1, n_bits, 4096, 0
    )
    body = form + struct.pack("<4sQ", b"data", 12 + len(data)) + data
    return struct.pack("<4sQQQ", b"DSD ", 28, 28 + len(body), 0) + body


@pytest.fixture
def opened(tmp_path):
    """Give a function that writes bytes to a file and opens it, and close what it opened."""
    descriptors = []

    def open_bytes(data):
        path = tmp_path / "sound"
        path.write_bytes(data)
        descriptors.append(os.open(path, os.O_RDONLY))
        return descriptors[-1]

    yield open_bytes
    for descriptor in descriptors:
        os.close(descriptor)


def read_all(reader):
    blocks = []
    while len(block := reader.read()):
        blocks.append(block.copy())
    return np.concatenate([np.zeros((0, reader.info.n_channels), np.float32), *blocks])


def decode(descriptor, container):
    reader = FfmpegReader(descriptor, container)
    try:
        return read_all(reader), reader
    finally:
        reader.close()


def outcome(data, path):
    """Give the code that decoding a file ends with, or "sound"."""
    path.write_bytes(data)
    try:
        with AudioStream(os.open(path, os.O_RDONLY), SHORT) as stream:
            for block in stream.blocks():
                assert np.isfinite(block).all()
    except DecodeError as error:
        return FAILURE_CODES[error.code].code
    return "sound"


def lag_of(y, source):
    """Give by how many frames one channel comes later than its source."""
    correlation = scipy.signal.correlate(y, source, mode="full", method="fft")
    return int(np.argmax(correlation)) - (len(source) - 1)


# --- sound files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_codings_give_every_sample_that_was_encoded(opened, name):
    coding = CODINGS[name]
    y, reader = decode(opened(sound_file(name)), coding.container)
    expected = quantised(signal(coding.sr), coding.sample_format).astype(np.float64)
    expected /= SAMPLE_TYPES[coding.sample_format][1]
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, expected.astype(np.float32))
    info = reader.info
    assert (info.container, info.codec) == (coding.container, coding.codec)
    assert (info.sr, info.n_channels) == (coding.sr, 2)
    assert reader.warnings == (("no-end-mark",) if name == "live-matroska" else ())


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_codings_give_the_signal_at_its_place_and_of_its_length(opened, name):
    coding = CODINGS[name]
    source = signal(coding.sr)
    y, reader = decode(opened(sound_file(name)), coding.container)
    if coding.marks_end:
        assert len(y) == len(source)
    else:
        assert -2048 < len(y) - coding.delay - len(source) < 4096
    assert (reader.info.codec, reader.info.sr) == (coding.codec, coding.sr)
    assert reader.warnings == (("length-differs",) if coding.delay < 0 else ())
    for channel in range(2):
        assert abs(lag_of(y[:, channel], source[:, channel]) - coding.delay) <= LAG_ROUNDING
    aligned = y[max(coding.delay, 0) :][: len(source)]
    source = source[max(-coding.delay, 0) :]
    middle = slice(4096, len(aligned) - 4096)
    error = aligned[middle] - source[: len(aligned)][middle]
    assert 10 * np.log10(np.mean(source[middle] ** 2) / np.mean(error**2)) > coding.snr_db


def test_dsd_becomes_its_tones_at_an_eighth_of_its_rate(opened):
    y, reader = decode(opened(dsf(2, 1_411_200 + 24)), "dsf")
    assert (reader.info.sr, len(y)) == (352_800, 176_400 + 3)
    for channel in range(2):
        spectrum = np.abs(np.fft.rfft(y[:176_400, channel] * np.hanning(176_400)))
        assert np.argmax(spectrum[10:]) + 10 == 440 * (channel + 1) // 2
    assert reader.warnings == ()


def test_flac_in_ogg_equals_what_libsndfile_reads_of_plain_flac(opened, tmp_path):
    source = quantised(signal(44_100), "s16")
    soundfile.write(tmp_path / "a.flac", source, 44_100, subtype="PCM_16")
    reference, _ = soundfile.read(tmp_path / "a.flac", dtype="float32")
    y, _ = decode(opened(sound_file("flac-in-ogg")), "ogg-flac")
    np.testing.assert_array_equal(y, reference)


def test_real_music_is_the_same_through_both_decoders(opened, music_root):
    frames, sr = soundfile.read(
        music_root / "ambient/hyperrogue-hr3-laboratory.flac", dtype="float32", always_2d=True
    )
    coding = Coding("matroska", "flac", "s16", sr, "matroska", "FLAC")
    layout = "stereo" if frames.shape[1] == 2 else "mono"
    y, _ = decode(opened(encode(coding, frames, layout)), "matroska")
    np.testing.assert_array_equal(y, frames)


@pytest.mark.parametrize(
    ("kind", "subtype", "muxer", "tolerance"),
    [
        ("OGG", "VORBIS", "webm", 1e-5),
        ("OGG", "OPUS", "webm", 5e-3),  # FFmpeg has an Opus decoder of its own
        ("OGG", "OPUS", "mp4", 5e-3),
        ("MP3", "MPEG_LAYER_III", "matroska", 1e-5),
        ("FLAC", "PCM_24", "matroska", 0),
    ],
)
def test_packets_of_other_encoders_equal_what_libsndfile_reads(
    sounds, opened, kind, subtype, muxer, tolerance
):
    path = sounds.write("a", signal(48_000), 48_000, format=kind, subtype=subtype)
    reference, _ = soundfile.read(path, dtype="float32")
    buffer = io.BytesIO()
    with av.open(path) as source, av.open(buffer, "w", format=muxer) as output:
        stream = output.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux():
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    y, _ = decode(opened(buffer.getvalue()), "mp4" if muxer == "mp4" else "matroska")
    if kind == "MP3":  # LAME's note of its delay is in no packet: 576 and the decoder's 529 frames
        y = y[1105:]
    n_frames = len(reference)
    assert 0 <= len(y) - n_frames < 2048
    np.testing.assert_allclose(y[:n_frames], reference, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("n_channels", "layout"), [(1, "mono"), (6, "5.1"), (8, "7.1")])
def test_every_channel_keeps_its_place(opened, n_channels, layout):
    coding = CODINGS["wavpack"]  # in planes: PyAV itself fails from eight of them on
    source = signal(44_100, n_channels, 0.3)
    y, reader = decode(opened(encode(coding, source, layout)), "wavpack")
    assert reader.info.n_channels == n_channels
    np.testing.assert_array_equal(y, (quantised(source, "s16") / 32_768).astype(np.float32))


def test_blocks_have_one_length_whatever_the_packets(opened):
    coding = CODINGS["m4a"]
    reader = FfmpegReader(opened(encode(coding, signal(44_100, duration_s=5))), "mp4")
    lengths = []
    while len(block := reader.read()):
        lengths.append(len(block))
    reader.close()
    assert lengths == [BLOCK_FRAMES] * 3 + [5 * 44_100 - 3 * BLOCK_FRAMES]
    assert reader.info.claimed_frames == 5 * 44_100


def test_the_whole_way_through_a_stream(opened, tmp_path):
    for name, coding in CODINGS.items():
        path = tmp_path / name
        path.write_bytes(sound_file(name))
        with AudioStream(os.open(path, os.O_RDONLY), SHORT) as stream:
            assert stream.info.container == coding.container
            n_frames = sum(len(block) for block in stream.blocks())
        y, reader = decode(opened(sound_file(name)), coding.container)
        assert n_frames == len(y)
        assert stream.warnings == reader.warnings


def test_tags_are_handed_out(opened):
    tags = {"title": "Größe", "artist": "=1+1"}
    data = encode(CODINGS["alac"], signal(44_100, duration_s=0.2), tags=tags)
    reader = FfmpegReader(opened(data), "mp4")
    reader.close()
    assert {key: reader.metadata[key] for key in tags} == tags


@pytest.mark.parametrize("name", ["ac3", "wavpack", "tta", "adts", "live-matroska", "m4a"])
def test_tags_behind_the_audio_are_no_audio(opened, name):
    data = sound_file(name)
    y, _ = decode(opened(data), CODINGS[name].container)
    tagged, reader = decode(opened(data + b"TAG" + bytes(125)), CODINGS[name].container)
    np.testing.assert_array_equal(tagged, y)
    assert set(reader.warnings) <= {"no-end-mark"}


@pytest.mark.parametrize("name", ["ac3", "wavpack", "tta", "adts"])
def test_id3_tags_before_the_audio_are_passed_over(opened, name):
    data = sound_file(name)
    y, _ = decode(opened(data), CODINGS[name].container)
    tag = b"ID3\4\0\0" + bytes([0, 0, 2, 0]) + bytes(256)
    tagged, _ = decode(opened(tag + tag + data), CODINGS[name].container)
    np.testing.assert_array_equal(tagged, y)


# --- several streams, none, others ---------------------------------------------------------------


def mux_streams(muxer, *, n_audio, with_video=False, options=None):
    """Give a file of streams of tones of 0.5 s, 500 Hz apart, with a film before them."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=muxer, options=options or {}) as output:
        video = output.add_stream("mpeg4", rate=10) if with_video else None
        audio = [output.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(n_audio)]
        if video is not None:
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
            for number in range(20):
                picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
                picture.pts = number
                output.mux(video.encode(picture))
            output.mux(video.encode(None))
        for number, stream in enumerate(audio):
            y = 0.5 * np.sin(2 * np.pi * 500 * (number + 1) * np.arange(4000) / 8000)
            block = quantised(y[None], "s16")
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(("muxer", "container"), [("matroska", "matroska"), ("mov", "mp4")])
def test_of_several_streams_one_is_decoded_and_a_film_is_passed_over(opened, muxer, container):
    y, reader = decode(opened(mux_streams(muxer, n_audio=2, with_video=True)), container)
    assert reader.warnings == ("several-streams",)
    assert np.argmax(np.abs(np.fft.rfft(y[:, 0]))) == 250  # 500 Hz of 4000 frames
    y, reader = decode(opened(mux_streams(muxer, n_audio=1, with_video=True)), container)
    assert (len(y), reader.warnings) == (4000, ())


@pytest.mark.parametrize(("muxer", "container"), [("matroska", "matroska"), ("mov", "mp4")])
def test_a_film_without_sound_is_named(opened, muxer, container):
    with pytest.raises(DecodeError, match="no audio stream") as caught:
        FfmpegReader(opened(mux_streams(muxer, n_audio=0, with_video=True)), container)
    assert caught.value.code == "unsupported-format"


def test_a_coding_that_is_not_listed_is_named(opened):
    coding = Coding("asf", "adpcm_ms", "s16", 44_100, "asf", "")
    with pytest.raises(DecodeError, match="adpcm_ms; decoded are mp3") as caught:
        FfmpegReader(opened(encode(coding, signal(44_100, duration_s=0.3))), "asf")
    assert caught.value.code == "unsupported-format"


def test_a_change_of_channels_is_damage(opened):
    coding = CODINGS["adts"]
    mono = encode(coding, signal(44_100, 1, 0.3), "mono")
    stereo = encode(coding, signal(44_100, 2, 0.3))
    with pytest.raises(DecodeError, match="1 channels at 44100 Hz become 2") as caught:
        decode(opened(mono + stereo), "aac-adts")
    assert caught.value.code == "damaged"


# --- nothing else is ever read -------------------------------------------------------------------


@pytest.mark.parametrize("container", sorted(FFMPEG_CONTAINERS))
def test_play_lists_are_refused_whatever_they_are_taken_for(opened, tmp_path, container):
    other = tmp_path / "other.wav"
    soundfile.write(other, np.zeros(4410), 44_100)
    for text in (
        f"ffconcat version 1.0\nfile {other}\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
        f'<?xml version="1.0"?><MPD><BaseURL>file://{other}</BaseURL></MPD>',
    ):
        with pytest.raises(DecodeError) as caught:
            FfmpegReader(opened(text.encode()), container)
        assert caught.value.code in {"damaged", "truncated"}


def test_a_movie_that_refers_to_another_file_does_not_open_it(opened, tmp_path):
    # QuickTime tracks may say that their samples lie elsewhere: flag 0 instead of "in this file".
    data = sound_file("pcm-in-mov")
    other = str(tmp_path / "other.mov").encode()
    Path(other.decode()).write_bytes(data)
    inside = struct.pack(">I4sI", 12, b"url ", 1)
    assert data.count(inside) == 1
    reference = struct.pack(">I4sI", 12, b"url ", 0)
    y, _ = decode(opened(data.replace(inside, reference)), "mp4")
    assert len(y) == len(signal(44_100))


# --- what is missing or damaged ------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CODINGS, "dsf"])
def test_a_cut_file_is_truncated(tmp_path, name):
    data = dsf(1, 400_000) if name == "dsf" else sound_file(name)
    assert outcome(data, tmp_path / "whole") == "sound"
    for n_bytes in (len(data) // 2 + 1, len(data) * 9 // 10, len(data) - 1):
        assert outcome(data[:n_bytes], tmp_path / "cut") == "truncated"


@pytest.mark.parametrize("name", CHECKED)
def test_a_flipped_bit_is_damage_where_there_are_checksums(tmp_path, name):
    data = sound_file(name)
    rng = np.random.default_rng(3)
    for at in rng.integers(len(data) // 4, len(data) * 3 // 4, 12):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        assert outcome(bytes(flipped), tmp_path / "flipped") == "damaged"


def test_a_live_recording_cut_between_two_clusters_has_no_end_mark(opened):
    data = encode(CODINGS["live-matroska"], signal(44_100, duration_s=12))
    second = data.index(b"\x1f\x43\xb6\x75", data.index(b"\x1f\x43\xb6\x75") + 4)
    y, reader = decode(opened(data[:second]), "matroska")
    assert 0 < len(y) < 12 * 44_100
    assert reader.warnings == ("no-end-mark",)


def test_fragments_cut_between_two_have_no_end_mark(opened):
    data = sound_file("m4a-fragments")
    last = data.rindex(b"moof") - 4
    y, reader = decode(opened(data[:last]), "mp4")
    assert 0 < len(y) < len(signal(44_100))
    assert reader.warnings == ("no-end-mark",)


def test_audio_that_ends_before_the_announced_length_is_truncated(opened):
    data = sound_file("flac-in-matroska")
    at = data.index(b"\x44\x89\x88") + 3  # the duration in the segment's information, in ms
    information = data.index(b"\x15\x49\xa9\x66")
    longer = bytearray(data)
    longer[at : at + 8] = struct.pack(">d", 5000.0)
    crc_at = data.index(b"\xbf\x84", information)
    longer[crc_at : crc_at + 2] = b"\xec\x84"  # the checksum becomes a void
    with pytest.raises(DecodeError, match="the container announces 220500") as caught:
        decode(opened(bytes(longer)), "matroska")
    assert caught.value.code == "truncated"
    longer[at : at + 8] = struct.pack(">d", 1500.0)
    assert decode(opened(bytes(longer)), "matroska")[1].warnings == ("length-differs",)


@pytest.mark.parametrize(
    "name", sorted({coding.muxer: name for name, coding in CODINGS.items()}.values())
)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutants_end_in_sound_or_in_a_known_failure(tmp_path, name, data):
    sound = bytearray(sound_file(name))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(sound) - 1) | st.integers(0, min(999, len(sound) - 1)))
        action = data.draw(st.sampled_from(["set", "cut", "drop", "repeat", "zeros"]))
        n_bytes = data.draw(st.integers(1, 300))
        if action == "set":
            sound[at] = data.draw(st.integers(0, 255))
        elif action == "cut" and at > 100:
            del sound[at:]
        elif action == "drop":
            del sound[at : at + n_bytes]
        elif action == "repeat":
            sound[at:at] = sound[at : at + n_bytes]
        elif action == "zeros":
            sound[at : at + n_bytes] = bytes(len(sound[at : at + n_bytes]))
        if not sound:
            break
    outcome(bytes(sound), tmp_path / "mutant")


# --- its manners ---------------------------------------------------------------------------------


def test_the_descriptor_stays_open_and_where_it_was_and_closing_repeats(opened):
    descriptor = opened(sound_file("m4a"))
    os.lseek(descriptor, 5, os.SEEK_SET)
    reader = FfmpegReader(descriptor, "mp4")
    reader.read()
    reader.close()
    reader.close()
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == 5


def test_a_disk_error_is_a_read_error(tmp_path):
    path = tmp_path / "a.m4a"
    path.write_bytes(sound_file("m4a"))
    descriptor = os.open(path, os.O_WRONLY)  # reading from it fails
    try:
        with pytest.raises(DecodeError) as caught:
            FfmpegReader(descriptor, "mp4")
    finally:
        os.close(descriptor)
    assert caught.value.code == "read-error"
