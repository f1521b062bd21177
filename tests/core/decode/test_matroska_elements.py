"""Matroska files put together by hand from elements, after RFC 8794 and RFC 9559."""

import struct
import zlib

import pytest

from musichash_core.decode.ffmpeg.matroska_elements import check_matroska

UNKNOWN = b"\x01\xff\xff\xff\xff\xff\xff\xff"


def element(number, body, *, size_bytes=1):
    size = (len(body) | 1 << 7 * size_bytes).to_bytes(size_bytes, "big")
    return bytes.fromhex(number) + size + body


def of_unknown_size(number, body):
    return bytes.fromhex(number) + UNKNOWN + body


def with_checksum(body):
    return element("BF", struct.pack("<I", zlib.crc32(body))) + body


HEADER = element("1A45DFA3", element("4282", b"matroska"))
INFORMATION = element(
    "1549A966", element("2AD7B1", b"\x0f\x42\x40") + element("4489", struct.pack(">d", 2500.0))
)
TRACKS = element("1654AE6B", b"")
BLOCK = element("A3", b"\x81\0\0\x80" + bytes(300), size_bytes=2)
CLUSTER_BODY = element("E7", b"\0") + BLOCK + BLOCK
CLUSTER = element("1F43B675", CLUSTER_BODY, size_bytes=8)
SEGMENT_BODY = INFORMATION + TRACKS + CLUSTER + CLUSTER


@pytest.fixture
def check(walk_over):
    return walk_over(check_matroska)


def test_a_whole_file_and_its_length(check):
    facts = check(HEADER + element("18538067", SEGMENT_BODY, size_bytes=8))
    assert (facts.length_s, facts.warnings) == (2.5, ())


def test_a_length_in_single_precision_and_another_scale(check):
    information = element(
        "1549A966", element("2AD7B1", b"\x01\x86\xa0") + element("4489", struct.pack(">f", 2500.0))
    )
    facts = check(HEADER + element("18538067", information + CLUSTER, size_bytes=4))
    assert facts.length_s == pytest.approx(0.25)


def test_every_cut_is_truncated(check, refusal):
    whole = HEADER + element("18538067", SEGMENT_BODY, size_bytes=8)
    for n_bytes in [*range(1, 40), *range(40, len(whole), 97), len(whole) - 1]:
        assert refusal(check, whole[:n_bytes]).code == "truncated"


def test_a_live_recording_has_clusters_of_unknown_size(check, refusal):
    live = INFORMATION + TRACKS + 2 * of_unknown_size("1F43B675", CLUSTER_BODY)
    facts = check(HEADER + of_unknown_size("18538067", live))
    assert (facts.length_s, facts.warnings) == (2.5, ())
    assert refusal(check, HEADER + of_unknown_size("18538067", live)[:-1]).code == "truncated"


def test_neither_size_nor_length_means_no_end_mark(check):
    facts = check(HEADER + of_unknown_size("18538067", TRACKS + CLUSTER))
    assert (facts.length_s, facts.warnings) == (None, ("no-end-mark",))


@pytest.mark.parametrize("rest", [b"TAG" + bytes(125), bytes(700)])
def test_tags_and_zeros_behind_a_segment_of_unknown_size_pass(check, rest):
    assert check(HEADER + of_unknown_size("18538067", SEGMENT_BODY) + rest).length_s == 2.5


def test_a_second_segment_is_noted(check):
    whole = HEADER + element("18538067", SEGMENT_BODY + 20 * CLUSTER, size_bytes=8)
    assert check(whole + whole).warnings == ("data-after-end",)


def test_checksums_are_compared(check, refusal):
    cluster = element("1F43B675", with_checksum(CLUSTER_BODY), size_bytes=4)
    whole = HEADER + element("18538067", INFORMATION + cluster, size_bytes=8)
    assert check(whole).length_s == 2.5
    for at in range(len(whole) - len(CLUSTER_BODY), len(whole), 50):
        flipped = bytearray(whole)
        flipped[at] ^= 4
        error = refusal(check, bytes(flipped))
        assert error.code == "damaged"
        assert "does not match its checksum" in str(error)


def test_a_block_that_leaves_its_cluster_is_damage(check, refusal):
    body = element("E7", b"\0") + element("A3", bytes(50))[:-1]
    cluster = element("1F43B675", body)
    assert refusal(check, HEADER + element("18538067", cluster + TRACKS)).code == "damaged"


def test_what_is_no_element_is_damage(check, refusal):
    for rubbish in (b"\0" * 20, b"\xff" * 20, element("A3", b"1234")):
        segment = element("18538067", INFORMATION + rubbish + CLUSTER, size_bytes=8)
        assert refusal(check, HEADER + segment).code == "damaged"
    assert refusal(check, HEADER + element("1654AE6B", bytes(20))).code == "damaged"
