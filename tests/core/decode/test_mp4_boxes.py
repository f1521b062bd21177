"""MP4 files put together by hand from boxes, after ISO/IEC 14496-12."""

import struct

import pytest

from musichash_core.decode.ffmpeg.mp4_boxes import check_mp4


def box(name, *bodies):
    body = b"".join(bodies)
    return struct.pack(">I4s", 8 + len(body), name) + body


def movie_header(timescale, duration=0):
    return box(b"mvhd", struct.pack(">IIIII80x", 0, 0, 0, timescale, duration))


def track(number=1, *, timescale=44_100, duration=88_200, edits=(), form=b"mp4a", sizes=(1, 1)):
    """Give a track of sound; edits are (length in the movie's units, start in the track's)."""
    edit_list = struct.pack(">II", 0, len(edits)) + b"".join(
        struct.pack(">IiI", length, start, 0x10000) for length, start in edits
    )
    return box(
        b"trak",
        box(b"tkhd", struct.pack(">IIII68x", 0, 0, 0, number)),
        box(b"edts", box(b"elst", edit_list)) if edits else b"",
        box(
            b"mdia",
            box(b"mdhd", struct.pack(">IIIII4x", 0, 0, 0, timescale, duration)),
            box(b"hdlr", struct.pack(">II4s12x", 0, 0, b"soun")),
            box(
                b"minf",
                box(
                    b"stbl",
                    box(b"stsd", struct.pack(">III4s", 0, 1, 36, form), bytes(28)),
                    box(b"stsz", struct.pack(">III", 0, *sizes)),
                ),
            ),
        ),
    )


TYPE = box(b"ftyp", b"M4A \0\0\2\0")
DATA = box(b"mdat", bytes(500))


@pytest.fixture
def check(walk_over):
    return walk_over(check_mp4)


def test_a_track_without_edits_is_as_long_as_its_header_says(check):
    facts = check(TYPE + DATA + box(b"moov", movie_header(600), track(3, duration=88_201)))
    assert facts.track_ends_s == {3: 88_201 / 44_100}
    assert facts.warnings == ()


@pytest.mark.parametrize(
    ("edits", "end_s"),
    [
        ([(1977, 1024)], (88_200 - 1024) / 44_100),  # 1,976.78 ms, rounded: the track knows better
        ([(1976, 1024)], (88_200 - 1024) / 44_100),
        ([(0, 1024)], (88_200 - 1024) / 44_100),
        ([(1950, 1024)], 1.95),
        ([(500, -1), (1977, 1024)], 0.5 + (88_200 - 1024) / 44_100),
        ([(600, 0), (900, 44_100)], 1.5),
    ],
)
def test_an_edit_list_says_when_the_track_ends(check, edits, end_s):
    facts = check(TYPE + DATA + box(b"moov", movie_header(1000), track(edits=edits)))
    assert facts.track_ends_s[1] == pytest.approx(end_s, abs=1e-9)


def test_an_edit_list_that_leaves_out_audio_is_noted(check):
    facts = check(TYPE + DATA + box(b"moov", movie_header(1000), track(edits=[(1000, 0)])))
    assert facts.warnings == ("length-differs",)


def test_wide_sizes_and_the_size_that_means_to_the_end(check):
    movie = box(b"moov", movie_header(600), track())
    wide = struct.pack(">I4sQ", 1, b"mdat", 16 + 500) + bytes(500)
    assert check(TYPE + wide + movie).track_ends_s == {1: 2.0}
    assert check(TYPE + movie + struct.pack(">I4s", 0, b"mdat") + bytes(500)).track_ends_s


@pytest.mark.parametrize("rest", [b"", b"TAG" + bytes(125), bytes(3), bytes(3000)])
def test_tags_and_zeros_behind_the_last_box_pass(check, rest):
    assert check(TYPE + DATA + box(b"moov", movie_header(600), track()) + rest).track_ends_s


def test_a_box_that_ends_behind_the_file_is_truncated(check, refusal):
    whole = TYPE + box(b"moov", movie_header(600), track()) + DATA
    for n_bytes in range(len(whole) - 1, len(whole) - 480, -60):
        error = refusal(check, whole[:n_bytes])
        assert error.code == "truncated"
        assert f"the file has {n_bytes} bytes" in str(error)


def test_a_file_without_moov_is_truncated(check, refusal):
    assert refusal(check, TYPE + DATA).code == "truncated"


def test_a_box_larger_than_the_one_around_it_is_damage(check, refusal):
    inner = bytearray(movie_header(600))
    inner[:4] = struct.pack(">I", 5000)
    error = refusal(check, TYPE + box(b"moov", bytes(inner)) + box(b"mdat", bytes(9000)))
    assert error.code == "damaged"
    assert "'mvhd'" in str(error)


@pytest.mark.parametrize("size", [2, 7])
def test_a_box_smaller_than_its_header_is_damage(check, size, refusal):
    assert refusal(check, TYPE + struct.pack(">I4s", size, b"free") + DATA).code == "damaged"


@pytest.mark.parametrize("form", [b"drms", b"enca"])
def test_encrypted_audio_is_named(check, form, refusal):
    error = refusal(check, TYPE + DATA + box(b"moov", movie_header(600), track(form=form)))
    assert error.code == "unsupported-format"
    assert repr(form.decode()) in str(error)


def test_more_samples_than_the_file_can_hold_are_refused(check, refusal):
    movie = box(b"moov", movie_header(600), track(sizes=(1, 0x7FFF_FFFF)))
    assert refusal(check, TYPE + DATA + movie).code == "truncated"


def test_an_edit_list_of_millions_is_refused(check, refusal):
    lie = box(b"trak", box(b"edts", box(b"elst", struct.pack(">II", 0, 50_000_000))))
    assert refusal(check, TYPE + box(b"moov", movie_header(600), lie)).code == "damaged"


def test_boxes_nested_without_end_do_not_exhaust_the_stack(check, refusal):
    data = b""
    for _ in range(5000):
        data = box(b"trak", data)
    assert refusal(check, TYPE + box(b"moov", data)).code == "damaged"


@pytest.mark.parametrize("version", [0, 1])
def test_fragments_are_as_long_as_their_movie_says(check, version):
    layout = ">IQ" if version else ">II"
    extends = box(b"mvex", box(b"mehd", struct.pack(layout, version << 24, 1500)))
    movie = box(b"moov", movie_header(1000), track(duration=0), extends)
    facts = check(TYPE + movie + box(b"moof") + DATA)
    assert (facts.length_s, facts.track_ends_s, facts.warnings) == (1.5, {}, ())


def test_fragments_without_length_or_list_have_no_end_mark(check):
    movie = box(b"moov", movie_header(1000), track(duration=0), box(b"mvex"))
    assert check(TYPE + movie + box(b"moof") + DATA).warnings == ("no-end-mark",)
    assert check(TYPE + movie + box(b"moof") + DATA + box(b"mfra")).warnings == ()


def test_fragments_that_their_list_names_must_be_there(check, refusal):
    movie = box(b"moov", movie_header(1000), track(duration=0), box(b"mvex"))
    fragment = box(b"moof") + DATA
    listed = struct.pack(">IIIIIHH", 0, 1, 1000, 0, 0, 0, 2)
    listed += 2 * struct.pack(">III", len(fragment), 1000, 0)
    index = box(b"sidx", listed)
    assert check(TYPE + movie + index + 2 * fragment).warnings == ()
    assert refusal(check, TYPE + movie + index + fragment).code == "truncated"
