"""Announced against decoded: what is a warning and what is a failure."""

import pytest

from musichash_core.decode.reader import SLACK_S, UNKNOWN_FRAMES, AudioInfo
from musichash_core.decode.sndfile.completeness import check_complete
from musichash_core.errors import DecodeError

SR = 1000
SLACK = int(SLACK_S * SR)


def check(container, *, claimed, decoded):
    return check_complete(AudioInfo(container, "any", SR, 2, claimed), decoded)


@pytest.mark.parametrize("container", ["mp3", "ogg-vorbis", "ogg-opus"])
def test_a_little_less_than_the_header_estimates_is_marked_and_much_less_refused(container):
    assert check(container, claimed=2000, decoded=2000) == ()
    assert check(container, claimed=2000, decoded=1999) == ("length-differs",)
    assert check(container, claimed=2000, decoded=2000 - SLACK) == ("length-differs",)
    with pytest.raises(
        DecodeError, match="1499 frames decoded, the header announces 2000"
    ) as caught:
        check(container, claimed=2000, decoded=2000 - SLACK - 1)
    assert caught.value.code == "truncated"


@pytest.mark.parametrize("container", ["flac", "wav", "aiff"])
def test_exact_headers_allow_nothing_to_be_missing(container):
    assert check(container, claimed=1000, decoded=1000) == ()
    with pytest.raises(DecodeError, match="999 frames decoded"):
        check(container, claimed=1000, decoded=999)


def test_an_unknown_length_is_no_claim():
    assert check("flac", claimed=UNKNOWN_FRAMES, decoded=5) == ()
    assert check("mp3", claimed=(1 << 63) - 1, decoded=5) == ()


def test_more_than_the_header_estimates_is_fine():
    assert check("mp3", claimed=900, decoded=1000) == ()
