"""What the tests of several containers need: a walk over bytes instead of over a file."""

import os

import pytest

from musichash_core.decode.ffmpeg.file_window import FileWindow
from musichash_core.errors import DecodeError


@pytest.fixture
def walk_over(tmp_path):
    """Give the function that lets a walk read some bytes as a file."""

    def bind(walk):
        def over(data):
            path = tmp_path / "a"
            path.write_bytes(data)
            descriptor = os.open(path, os.O_RDONLY)
            try:
                return walk(FileWindow(descriptor))
            finally:
                os.close(descriptor)

        return over

    return bind


@pytest.fixture
def refusal():
    """Give the function that returns the error which a check of some bytes ends with."""

    def of(check, data):
        with pytest.raises(DecodeError) as caught:
            check(data)
        return caught.value

    return of
