"""Ogg pages, written by hand from the format's definition (RFC 3533), and real ones."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musichash_core.decode.ogg_pages import (
    MAX_LINKS,
    MAX_STREAMS_IN_LINK,
    WINDOW_BYTES,
    _checksum,
    walk_ogg_pages,
)
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
def walk(tmp_path):
    def walk(content):
        path = tmp_path / "a.ogg"
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return walk_ogg_pages(descriptor, len(content))
        finally:
            os.close(descriptor)

    return walk


def facts(found):
    """Give the links as (serial, runs, has_gap, is_ended) of each stream."""
    return [
        [(serial, x.runs, x.has_gap, x.is_ended) for serial, x in link.items()]
        for link in found.links
    ]


WHOLE = b"".join(STREAM)
ONE_STREAM = [[(7, [(0, len(WHOLE))], False, True)]]


def test_a_whole_stream_is_one_run(walk):
    found = walk(WHOLE)
    assert facts(found) == ONE_STREAM
    assert found.links[0][7].first_packet == b"music"
    assert found.n_trailing_bytes == 0


def test_every_flipped_bit_of_a_stream_is_noticed(walk):
    for bit in range(8 * len(WHOLE)):
        mutant = bytearray(WHOLE)
        mutant[bit // 8] ^= 1 << bit % 8
        try:
            found = walk(bytes(mutant))
        except DecodeError as error:
            assert error.code in {"damaged", "truncated"}  # noqa: PT017 - both are right
        else:  # the name of the last page is what was hit
            assert found.n_trailing_bytes == len(STREAM[3])
            assert not found.links[0][7].is_ended


def test_every_cut_is_noticed(walk):
    borders = {sum(map(len, STREAM[:n])) for n in (1, 2, 3)}
    for n_bytes in range(1, len(WHOLE)):
        if n_bytes in borders:
            assert facts(walk(WHOLE[:n_bytes])) == [[(7, [(0, n_bytes)], False, False)]]
        else:
            with pytest.raises(DecodeError, match="ends inside the Ogg page") as caught:
                walk(WHOLE[:n_bytes])
            assert caught.value.code == "truncated"


def test_a_missing_page_is_noticed(walk):
    assert walk(STREAM[0] + STREAM[1] + STREAM[3]).links[0][7].has_gap


def test_a_missing_first_page_leaves_the_codec_unknown(walk):
    assert walk(STREAM[1] + STREAM[3]).links[0][7].first_packet == b""


def test_tags_behind_the_stream_are_counted(walk):
    found = walk(WHOLE + b"TAG" + bytes(125))
    assert facts(found) == ONE_STREAM
    assert found.n_trailing_bytes == 128


@pytest.mark.parametrize("between", [b"", b"junk", bytes(3 * WINDOW_BYTES // 2)])
def test_streams_joined_on_are_links_of_their_own(walk, between):
    other = page(0, flags=FIRST, serial=7, body=b"other") + page(1, flags=LAST)
    found = walk(WHOLE + between + other)
    start = len(WHOLE) + len(between)
    assert facts(found) == [*ONE_STREAM, [(7, [(start, len(other))], False, True)]]
    assert found.links[1][7].first_packet == b"other"


def test_damage_in_a_later_link_is_noticed(walk):
    with pytest.raises(DecodeError, match="ends inside the Ogg page"):
        walk(WHOLE + WHOLE[:-1])
    with pytest.raises(DecodeError, match="does not match its checksum"):
        walk(WHOLE + WHOLE.replace(b"music", b"muzic"))
    with pytest.raises(DecodeError, match="but one behind it"):
        walk(WHOLE + STREAM[0] + b"x" + STREAM[1])


def test_streams_beside_each_other_are_told_apart(walk):
    other = [page(n, serial=9, flags=FIRST if n == 0 else 0) for n in range(3)]
    mixed = [STREAM[0], other[0], STREAM[1], STREAM[2], other[1], STREAM[3], other[2]]
    (link,) = walk(b"".join(mixed)).links
    n = len(STREAM[0])
    assert {len(piece) for piece in mixed} == {n}
    assert link[7].runs == [(0, n), (2 * n, 2 * n), (5 * n, n)]
    assert link[9].runs == [(n, n), (4 * n, n), (6 * n, n)]
    assert not link[7].has_gap
    assert not link[9].has_gap


@pytest.mark.timeout(10)
def test_hostile_rows_of_pages_are_refused_soon(walk):
    links = (page(0, flags=FIRST, body=b"") + page(1, body=b"") for _ in range(MAX_LINKS + 1))
    with pytest.raises(DecodeError, match="more than 1000 links"):
        walk(b"".join(links))
    streams = (page(0, flags=FIRST, serial=n) for n in range(MAX_STREAMS_IN_LINK + 1))
    with pytest.raises(DecodeError, match="more than 100 streams side by side"):
        walk(b"".join(streams))
    gap = page(0, flags=FIRST, body=b"") + b"x"
    assert walk(gap * (3 * MAX_LINKS)).n_trailing_bytes > len(gap) * MAX_LINKS


def test_pages_that_cross_the_reading_window_are_checked(walk):
    body = bytes(range(251)) * 250  # near the largest page
    long_stream = STREAM[0] + numbered_pages(body, 2 * WINDOW_BYTES // len(body))
    assert facts(walk(long_stream)) == [[(7, [(0, len(long_stream))], False, True)]]
    damaged = bytearray(long_stream)
    damaged[-len(body) // 2] ^= 1
    with pytest.raises(DecodeError, match="does not match its checksum"):
        walk(bytes(damaged))


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


def test_real_music_is_whole_but_for_the_damaged_track(walk, music_root):
    for path in sorted(music_root.rglob("*.ogg")) + sorted(music_root.rglob("*.opus")):
        content = path.read_bytes()
        if path.stem.endswith("-truncated"):
            with pytest.raises(DecodeError, match="ends inside the Ogg page"):
                walk(content)
        else:
            ((stream,),) = facts(walk(content))
            assert stream[1:] == ([(0, len(content))], False, True)
