"""Headers of MPEG audio against FFmpeg's and libsndfile's reading of them, and by hand."""

import io
import struct

import av
import numpy as np
import pytest
import soundfile

from musichash_core.decode.sndfile.mpeg_frames import (
    ENCODER_HEADER_BYTES,
    EncoderHeader,
    find_encoder_header,
    make_count_frame,
    parse_frame_header,
)


def all_headers():
    """Every header of constant emphasis and mode bits, valid or not."""
    for second in range(0xE0, 0x100):
        for third in range(0x100):
            for fourth in (0x00, 0xC4):
                yield bytes([0xFF, second, third, fourth])


def test_frame_lengths_are_those_of_the_standard():
    by_hand = {
        "fffb9064": (3, 44_100, 2, 417, 1152),  # 144 * 128,000 / 44,100 = 417.96
        "fffb9264": (3, 44_100, 2, 418, 1152),  # the same with padding
        "fff380c4": (3, 22_050, 1, 208 + 1 - 1, 576),  # 72 * 64,000 / 22,050 = 208.98
        "ffe318c4": (3, 8000, 1, 72, 576),  # MPEG-2.5: 72 * 8,000 / 8,000
        "fffd8404": (2, 48_000, 2, 384, 1152),  # layer II: 144 * 128,000 / 48,000
        "ffff9004": (1, 44_100, 2, 312, 384),  # layer I: 4 * floor(12 * 288,000 / 44,100)
        "fffb0064": (3, 44_100, 2, 0, 1152),  # free format
    }
    for text, (layer, sr, n_channels, n_bytes, n_samples) in by_hand.items():
        header = parse_frame_header(bytes.fromhex(text))
        assert header is not None
        assert (header.layer, header.sr, header.n_channels) == (layer, sr, n_channels)
        assert (header.n_bytes, header.n_samples) == (n_bytes, n_samples)


@pytest.mark.parametrize(
    "text",
    ["", "fffb90", "fefb9064", "ff1b9064", "ffeb9064", "fff99064", "fffbf064", "fffb9c64"],
    ids=["none", "short", "sync", "sync 2", "version", "layer", "bitrate", "rate"],
)
def test_what_cannot_begin_a_frame_is_none(text):
    assert parse_frame_header(bytes.fromhex(text)) is None


def test_each_valid_header_is_one_of_the_standard_rates():
    headers = [header for header in map(parse_frame_header, all_headers()) if header]
    # 3 versions, 3 layers, 2 checksum bits, 15 bitrates, 3 rates, 4 low bits, 2 modes
    assert len(headers) == 3 * 3 * 2 * 15 * 3 * 4 * 2
    rates = {8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000}
    assert {header.sr for header in headers} == rates


@pytest.mark.parametrize("sr", [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_the_encoder_header_of_lame_is_found_and_counts_the_frames(sr, n_channels):
    file = io.BytesIO()
    frames = np.random.default_rng(0).uniform(-0.1, 0.1, (sr, n_channels))
    soundfile.write(file, frames, sr, format="MP3", bitrate_mode="VARIABLE")
    content = file.getvalue()
    header = parse_frame_header(content[:4])
    assert (header.sr, header.n_channels) == (sr, n_channels)
    encoder_header = find_encoder_header(content[:ENCODER_HEADER_BYTES], header)
    with av.open(io.BytesIO(content), format="mp3") as container:
        n_packets = sum(packet.size > 0 for packet in container.demux())
    assert encoder_header.n_frames == n_packets
    (stored,) = struct.unpack_from(">I", content, encoder_header.count_at)
    assert stored == n_packets


def test_headers_without_a_count_and_other_frames_are_told_apart():
    lead = bytes.fromhex("fffb9064")
    header = parse_frame_header(lead)
    xing = lead + bytes(32) + b"Xing" + struct.pack(">I", 0b1110) + bytes(20)
    assert find_encoder_header(xing, header) == EncoderHeader(None, None)
    vbri = lead + bytes(32) + b"VBRI" + bytes(10) + struct.pack(">I", 1234)
    assert find_encoder_header(vbri, header) == EncoderHeader(1234, 50)
    with_checksum = bytes.fromhex("fffa9064") + bytes(34) + b"Info" + struct.pack(">II", 1, 9)
    assert find_encoder_header(with_checksum, header) == EncoderHeader(9, 46)
    assert find_encoder_header(lead + bytes(60), header) is None
    assert find_encoder_header(xing[:38], header) is None


@pytest.mark.parametrize("text", ["fffb9064", "fffb50c4", "fff380c4", "ffe318c4", "fffae2c4"])
def test_a_made_frame_makes_libsndfile_announce_its_count(text):
    first = bytes.fromhex(text)
    header = parse_frame_header(first)
    frame = make_count_frame(first, 5000)
    assert parse_frame_header(frame[:4]).is_like(header)
    assert find_encoder_header(frame[:ENCODER_HEADER_BYTES], header).n_frames == 5000
    silence = first + bytes(header.n_bytes - 4)
    n_announced = soundfile.info(io.BytesIO(frame + 20 * silence)).frames
    decoder_delay = 529
    assert n_announced == 5000 * header.n_samples - decoder_delay
