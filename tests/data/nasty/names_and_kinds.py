"""Sound files with names that hurt, and things with the names of sound files.

Public: `CASES`.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from nasty.case import Case, Sound, decodes
from nasty.sounds import encode

OUTSIDE = "outside"
"""A folder beside the corpus, with a sound file that no case may reach."""

INSIDE = b"kinds/inside.wav"


def _named(number: int, name: str, path_raw: bytes, *, is_scanned: bool = True) -> Case:
    level = 0.3 + 0.01 * number  # different bytes for each, or they would be one track
    suffix = os.path.splitext(path_raw)[1].lower()  # noqa: PTH122 - bytes
    kind = "FLAC" if suffix == b".flac" else "WAV"
    case = decodes(
        f"named-{name}",
        lambda: encode(kind, "PCM_16", level=level),
        path_raw=path_raw,
    )
    return case if is_scanned else _unscanned(case)


def _unscanned(case: Case) -> Case:
    return Case(
        name=case.name,
        path_raw=case.path_raw,
        build=case.build,
        sound=case.sound,
        warnings=case.warnings,
        is_scanned=False,
    )


_LONG = b"/".join([b"d" * 200] * 5)

_NAMES = [
    _named(number, name, path_raw)
    for number, (name, path_raw) in enumerate(
        (
            ("not-utf-8", b"names/caf\xe9 \xff\xfe.wav"),
            ("with-255-bytes", b"names/" + b"n" * 251 + b".wav"),
            ("with-1100-bytes", b"names/" + _LONG + b"/" + b"f" * 85 + b".wav"),
            ("newline", b"names/two\nlines.wav"),
            ("carriage-return", b"names/over\rwritten.wav"),
            ("escape", b"names/\x1b[31mred\x1b[0m\x1b]0;title\x07.wav"),
            ("right-to-left", "names/song \u202eflac.wav".encode()),
            ("leading-dash", b"names/-rf.wav"),
            ("formula", b"names/=1+1.wav"),
            ("command-formula", b"names/@SUM(A1)|cmd.wav"),
            ("shell", b"names/'; rm -rf ~; echo '.wav"),
            ("dollar", b"names/$(reboot)`id`.wav"),
            ("spaces", b"names/  two  spaces  .wav"),
            ("emoji", "names/\U0001f3b8 guitar.wav".encode()),
            ("decomposed", "names/cafe\u0301.wav".encode()),
            ("composed", "names/caf\u00e9.wav".encode()),
            ("upper-case", b"names/LOUD.WAV"),
            ("two-suffixes", b"names/song.txt.wav"),
            ("wildcard", b"names/*?[a-z].wav"),
            ("percent", b"names/%s%n%d.wav"),
            ("backslash", b"names/..\\..\\up.wav"),
            ("url", b"names/http:/example.org/x.wav"),
            ("hidden", b"names/.hidden.wav"),
            ("html", b"names/<script>alert(1)<|script>.wav"),
            ("comma-and-quote", b'names/a,"b",c.wav'),
            ("flac-called-wav", b"names/really-flac.flac"),
        )
    )
]

_NOT_LOOKED_AT = [
    _named(40, "without-suffix", b"names/no-suffix", is_scanned=False),
    _named(41, "apple-double", b"names/._song.wav", is_scanned=False),
]

_FOREIGN_SUFFIX = [
    decodes(
        "flac-called-mp3.mp3",
        lambda: encode("FLAC", "PCM_16", level=0.29),
        because="content decides, never the name",
    ),
    decodes("wav-called-ogg.ogg", lambda: encode("WAV", "PCM_16", level=0.28)),
]


def _kind(
    name: str,
    build: Callable[[Path], None],
    *codes: str,
    path_raw: bytes | None = None,
    is_scanned: bool = True,
    because: str = "",
) -> Case:
    return Case(
        name=f"kind-{name}",
        path_raw=path_raw or f"kinds/{name}.wav".encode(),
        build=build,
        codes=frozenset(codes),
        made_by="hand",
        is_scanned=is_scanned,
        because=because,
    )


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _linked_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.symlink_to("names", target_is_directory=True)


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)  # the address of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def _nothing(_: Path) -> None:
    """Make nothing."""


_LINK = "not-a-regular-file"

_KINDS = [
    Case(
        name="kind-inside",
        path_raw=INSIDE,
        build=lambda path: path.write_bytes(encode("WAV", "PCM_16", level=0.27)) and None,
        sound=Sound(2.0, 0.0, "steps", (0, 1, 2, 3)),
        warnings=(),
        because="what the link beside it leads to",
    ),
    _kind("pipe", os.mkfifo, _LINK),
    _kind("socket", _socket, _LINK),
    _kind("folder", Path.mkdir, _LINK, is_scanned=False, because="a scan looks into the folder"),
    _kind("link-inside", _link("inside.wav"), _LINK),
    _kind("link-outside", _link(f"../../{OUTSIDE}/secret.wav"), _LINK, "outside-root"),
    _kind("link-absolute", _link("/etc/passwd"), _LINK, "outside-root"),
    _kind("link-loop", _link("link-loop.wav"), _LINK),
    _kind("link-dangling", _link("nowhere.wav"), _LINK, "vanished"),
    _kind("link-device", _link("/dev/zero"), _LINK),
    _kind("link-random-device", _link("/dev/urandom"), _LINK),
    _kind("link-process", _link("/proc/self/environ"), _LINK),
    _kind("link-descriptor", _link("/dev/stdin"), _LINK),
    _kind(
        "link-folder",
        _linked_folder,
        _LINK,
        path_raw=b"linked/-rf.wav",
        is_scanned=False,
        because="a scan reports the linked folder itself",
    ),
]

_PATHS = [
    _kind(name, _nothing, *codes, path_raw=path_raw, is_scanned=False)
    for name, path_raw, codes in (
        ("path-up", f"../{OUTSIDE}/secret.wav".encode(), ("outside-root",)),
        ("path-up-inside", b"kinds/../../corpus/kinds/inside.wav", ("outside-root",)),
        ("path-absolute", b"/etc/passwd", ("outside-root",)),
        ("path-with-nul", b"kinds/inside.wav\0.mp3", ("outside-root",)),
        ("path-url", b"file:///etc/passwd", ("vanished", "outside-root")),
        ("path-vanished", b"kinds/was-here.wav", ("vanished",)),
        ("path-of-the-root", b".", (_LINK,)),
        ("path-below-a-file", INSIDE + b"/song.wav", (_LINK, "vanished")),
        ("path-with-300-bytes", b"n" * 300 + b".wav", ("vanished", "read-error")),
    )
]

CASES: list[Case] = [*_NAMES, *_NOT_LOOKED_AT, *_FOREIGN_SUFFIX, *_KINDS, *_PATHS]
"""All of them. The kinds are built in this order: `inside.wav` before the links to it."""
