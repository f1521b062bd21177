"""Ogg pages, written by hand from the format's definition (RFC 3533), and real ones."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musichash_core.decode.ogg_pages import WINDOW_BYTES, _checksum, check_ogg_pages
from musichash_core.errors import DecodeError


def checksum_bit_by_bit(page):
    """RFC 3533: generator 0x04c11db7, start value 0, no inversion, most significant bit first."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ (0x04C1_1DB7 if crc & 0x8000_0000 else 0)) & 0xFFFF_FFFF
    return crc


@given(st.binary(max_size=200))
def test_the_checksum_is_that_of_the_definition(page):
    assert _checksum(page) == checksum_bit_by_bit(page)


def page(sequence, *, flags=0, serial=7, body=b"music"):
    table = bytes([255] * (len(body) // 255) + [len(body) % 255])
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, 0, serial, sequence)
    tail = bytes([len(table)]) + table + body
    return head + struct.pack("<I", checksum_bit_by_bit(head + bytes(4) + tail)) + tail


FIRST, LAST = 2, 4
STREAM = [page(0, flags=FIRST), page(1), page(2), page(3, flags=LAST)]


@pytest.fixture
def check(tmp_path):
    def check(content):
        path = tmp_path / "a.ogg"
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return check_ogg_pages(descriptor, len(content))
        finally:
            os.close(descriptor)

    return check


def test_a_whole_stream_has_no_warnings(check):
    assert check(b"".join(STREAM)) == ()


def test_every_flipped_bit_of_a_stream_is_noticed(check):
    whole = b"".join(STREAM)
    for bit in range(8 * len(whole)):
        mutant = bytearray(whole)
        mutant[bit // 8] ^= 1 << bit % 8
        try:
            assert check(bytes(mutant)) == ("no-end-mark",)
            assert mutant.count(b"OggS") < 4  # the name of the first or last page is what was hit
        except DecodeError as error:
            assert error.code in {"damaged", "truncated"}  # noqa: PT017 - both are right


def test_every_cut_is_noticed(check):
    whole = b"".join(STREAM)
    borders = {sum(map(len, STREAM[:n])) for n in (1, 2, 3)}
    for n_bytes in range(1, len(whole)):
        if n_bytes in borders:
            assert check(whole[:n_bytes]) == ("no-end-mark",)
        else:
            with pytest.raises(DecodeError, match="ends inside the Ogg page") as caught:
                check(whole[:n_bytes])
            assert caught.value.code == "truncated"


def test_a_missing_page_is_noticed(check):
    assert check(STREAM[0] + STREAM[1] + STREAM[3]) == ("pages-missing",)


def test_tags_behind_the_stream_are_harmless(check):
    assert check(b"".join(STREAM) + b"TAG" + bytes(125)) == ()


def test_a_stream_joined_on_is_left_alone(check):
    other = [page(0, flags=FIRST, serial=8), b"OggS and then damage" * 3]
    assert check(b"".join([*STREAM, *other])) == ()
    assert check(b"".join([*STREAM, b"junk", *STREAM])) == ()


def test_pages_of_a_second_stream_in_between_are_passed_by(check):
    other = [page(n, serial=9, flags=FIRST if n == 0 else 0) for n in range(3)]
    mixed = [STREAM[0], other[0], STREAM[1], other[1], STREAM[2], other[2], STREAM[3]]
    assert check(b"".join(mixed)) == ()


def test_pages_that_cross_the_reading_window_are_checked(check):
    body = bytes(range(251)) * 250  # near the largest page
    long_stream = STREAM[0] + numbered_pages(body, 2 * WINDOW_BYTES // len(body))
    assert check(long_stream) == ()
    damaged = bytearray(long_stream)
    damaged[-len(body) // 2] ^= 1
    with pytest.raises(DecodeError, match="does not match its checksum"):
        check(bytes(damaged))


def numbered_pages(body, n_pages):
    # The bit-by-bit checksum is too slow here; it has been compared with the fast one above.
    pages = []
    table = bytes([255] * (len(body) // 255) + [len(body) % 255])
    for number in range(1, n_pages + 1):
        flags = LAST if number == n_pages else 0
        head = struct.pack("<4sBBqII", b"OggS", 0, flags, 0, 7, number)
        tail = bytes([len(table)]) + table + body
        pages.append(head + struct.pack("<I", _checksum(head + bytes(4) + tail)) + tail)
    return b"".join(pages)


def test_real_music_is_whole_but_for_the_damaged_track(check, music_root):
    for path in sorted(music_root.rglob("*.ogg")) + sorted(music_root.rglob("*.opus")):
        if path.stem.endswith("-truncated"):
            with pytest.raises(DecodeError, match="ends inside the Ogg page"):
                check(path.read_bytes())
        else:
            assert check(path.read_bytes()) == ()
