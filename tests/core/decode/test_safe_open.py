"""Opening below a root: nothing leads out of it, nothing waits, and every refusal has its code."""

import os
from pathlib import Path

import pytest

from musichash_core.decode import open_beneath
from musichash_core.errors import DecodeError


def open_descriptors():
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def opening_code(root, path_raw):
    before = open_descriptors()
    with pytest.raises(DecodeError) as caught:
        os.close(open_beneath(str(root), path_raw))
    assert open_descriptors() == before
    return caught.value.code


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "root" / "folder").mkdir(parents=True)
    (tmp_path / "outside.wav").write_bytes(b"outside")
    (tmp_path / "root" / "folder" / "a.wav").write_bytes(b"inside")
    return tmp_path / "root"


@pytest.mark.parametrize("path_raw", [b"folder/a.wav", b"./folder/a.wav"])
def test_a_file_below_the_root_opens(tree, path_raw):
    descriptor = open_beneath(str(tree), path_raw)
    assert os.read(descriptor, 10) == b"inside"
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_the_root_itself_may_be_a_link(tree):
    (tree.parent / "link").symlink_to(tree)
    os.close(open_beneath(str(tree.parent / "link"), b"folder/a.wav"))


@pytest.mark.parametrize("path_raw", [b"../outside.wav", b"folder/../../outside.wav", b"a\0b"])
def test_paths_that_lead_out_of_the_root_are_refused(tree, path_raw):
    assert opening_code(tree, path_raw) == "outside-root"


def test_an_absolute_path_is_refused(tree):
    assert opening_code(tree, os.fsencode(tree / "folder" / "a.wav")) == "outside-root"


def test_links_are_refused_wherever_they_stand(tree):
    (tree / "link.wav").symlink_to(tree / "folder" / "a.wav")
    (tree / "loop.wav").symlink_to(tree / "loop.wav")
    (tree / "linked").symlink_to(tree / "folder")
    for path_raw in (b"link.wav", b"loop.wav", b"linked/a.wav"):
        assert opening_code(tree, path_raw) == "not-a-regular-file"


def test_a_refusal_names_the_file_and_says_that_it_is_a_link(tree):
    (tree / "caf\u00e9.wav").symlink_to("nowhere")
    with pytest.raises(DecodeError, match=r"^'caf\u00e9\.wav' cannot .*: it is a symbolic link$"):
        open_beneath(str(tree), "caf\u00e9.wav".encode())
    with pytest.raises(DecodeError, match=r"^'folder' is not a regular file$"):
        open_beneath(str(tree), b"folder")


def test_what_is_no_regular_file_is_refused(tree):
    assert opening_code(tree, b"folder") == "not-a-regular-file"
    assert opening_code(tree, b".") == "not-a-regular-file"
    assert opening_code(tree, b"folder/a.wav/b.wav") == "not-a-regular-file"
    assert opening_code("/dev", b"null") == "not-a-regular-file"


@pytest.mark.timeout(10)
def test_a_pipe_does_not_hang(tree):
    os.mkfifo(tree / "pipe.wav")
    assert opening_code(tree, b"pipe.wav") == "not-a-regular-file"


def test_what_is_gone_has_vanished(tree):
    for path_raw in (b"b.wav", b"gone/b.wav", b""):
        assert opening_code(tree, path_raw) == "vanished"
    assert opening_code(tree / "unmounted", b"a.wav") == "vanished"


def test_names_that_are_not_utf_8_and_long_paths_open(tree):
    folder = os.fsencode(tree)
    name = b"caf\xe9.wav"
    with open(folder + b"/" + name, "wb"):  # noqa: PTH123 - a bytes path
        pass
    os.close(open_beneath(str(tree), name))
    deep = "/".join(["d" * 200] * 10)
    (tree / deep).mkdir(parents=True)
    (tree / deep / "a.wav").touch()
    os.close(open_beneath(str(tree), os.fsencode(f"{deep}/a.wav")))


def test_missing_permission_is_named(tree, ordinary_user):
    (tree / "folder" / "a.wav").chmod(0)
    with ordinary_user():
        assert opening_code(tree, b"folder/a.wav") == "permission"
