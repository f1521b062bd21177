"""ASF headers put together by hand, after Microsoft's specification 1.20."""

import struct
import uuid

import pytest

from musichash_core.decode.ffmpeg.asf_objects import check_asf

HEADER = "75B22630-668E-11CF-A6D9-00AA0062CE6C"
FILE_PROPERTIES = "8CABDCA1-A947-11CF-8EE4-00C00C205365"
DATA = "75B22636-668E-11CF-A6D9-00AA0062CE6C"
CONTENT_ENCRYPTION = "2211B3FB-BD23-11D2-B4B7-00A0C955FC6E"
EXTENDED_ENCRYPTION = "298AE614-2622-4C17-B935-DAE07EE9289C"
ADVANCED_ENCRYPTION = "43058533-6981-49E6-9B74-AD12CB86D58C"
PADDING = "1806D474-CADF-4509-A4BA-9AABCB96AAE8"


def asf_object(name, body):
    return uuid.UUID(name).bytes_le + struct.pack("<Q", 24 + len(body)) + body


def file_of(*, claimed_bytes=None, flags=2, more=b"", n_data_bytes=2000):
    """Give a file of 3.5 s, of which 1.5 s are the preroll."""
    data = asf_object(DATA, bytes(26 + n_data_bytes))
    n_bytes = 30 + 104 + len(more) + len(data) if claimed_bytes is None else claimed_bytes
    fields = (bytes(16), n_bytes, 0, 1, 35_000_000, 35_000_000, 1500, flags, 100, 100, 64_000)
    properties = asf_object(FILE_PROPERTIES, struct.pack("<16sQQQQQQIIII", *fields))
    return asf_object(HEADER, struct.pack("<IBB", 1, 1, 2) + properties + more) + data


@pytest.fixture
def check(walk_over):
    return walk_over(check_asf)


def test_the_length_is_the_play_duration_without_the_preroll(check):
    facts = check(file_of(more=asf_object(PADDING, bytes(10))))
    assert (facts.length_s, facts.warnings) == (2.0, ())


def test_a_broadcast_promises_nothing(check):
    facts = check(file_of(flags=1, claimed_bytes=0))
    assert (facts.length_s, facts.warnings) == (None, ("no-end-mark",))


def test_every_cut_is_truncated(check, refusal):
    whole = file_of()
    for n_bytes in (20, 30, 60, 140, 170, len(whole) // 2, len(whole) - 1):
        assert refusal(check, whole[:n_bytes]).code == "truncated"


def test_a_file_shorter_than_its_header_says_is_truncated(check, refusal):
    error = refusal(check, file_of(claimed_bytes=9999))
    assert error.code == "truncated"
    assert "9999" in str(error)


@pytest.mark.parametrize("name", [CONTENT_ENCRYPTION, EXTENDED_ENCRYPTION, ADVANCED_ENCRYPTION])
def test_encrypted_audio_is_named(check, name, refusal):
    error = refusal(check, file_of(more=asf_object(name, bytes(20))))
    assert error.code == "unsupported-format"
    assert "encrypted" in str(error)


@pytest.mark.parametrize("size", [0, 23, 1 << 40])
def test_an_object_of_an_impossible_size_is_damage(check, size, refusal):
    wrong = uuid.UUID(PADDING).bytes_le + struct.pack("<Q", size) + bytes(40)
    assert refusal(check, file_of(more=wrong)).code == "damaged"


def test_a_header_without_data_behind_it_is_damage(check, refusal):
    whole = file_of()
    at = whole.index(uuid.UUID(DATA).bytes_le)
    assert refusal(check, whole[:at] + bytes(24) + whole[at:]).code == "damaged"
