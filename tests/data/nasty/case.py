"""What a case of the nasty corpus is: a file, how it is made, and what is right to happen to it.

A case that has a `sound` may be decoded, and then exactly this sound must come out; a case that has
`codes` may be refused, and then with one of these. Where both are given, either is honest, and
`because` says why.

Public: `Case`, `Sound`, `decodes`, `refused`, `either`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

LOSSY_TOLERANCE_S = 0.1
"""Encoders put up to this much silence around the signal, or leave a last frame away."""

Content = Callable[[], bytes]
MadeBy = Literal["hand", "soundfile", "ffmpeg"]
Heard = Literal["steps", "silence", "anything"]


@dataclass(frozen=True, slots=True)
class Sound:
    """What must come out of a file.

    Attributes
    ----------
    duration_s, tolerance_s : float
        Length, and by how much it may differ; 0 means to the sample.
    heard : {"steps", "silence", "anything"}
        What must be heard: the half seconds named by `order`, nothing, or whatever.
    order : tuple of int
        The steps of `nasty.sounds.steps`, one per half second.
    """

    duration_s: float
    tolerance_s: float
    heard: Heard
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One nasty file.

    Attributes
    ----------
    name : str
        Unique; names the test.
    path_raw : bytes
        Where it lies below the corpus, as the file system spells it.
    build : callable
        Makes what lies at a path; its folder exists.
    sound : Sound or None
        What must come out, if anything may.
    codes : frozenset of str
        The failure codes that are right; empty when it must decode.
    warnings : tuple of str or None
        What a decoded file must be marked with: nothing for (), any one of several, or ("*",) any
        warning at all; None when it does not matter.
    made_by : {"hand", "soundfile", "ffmpeg"}
        Whose encoder made the sound.
    is_scanned : bool
        Whether a scan looks into a file of this name and kind.
    is_heavy : bool
        Whether a scan would read gigabytes (of a sparse file).
    because : str
        Why the outcome is right, where that is not plain.
    """

    name: str
    path_raw: bytes
    build: Callable[[Path], None] = field(repr=False)
    sound: Sound | None = None
    codes: frozenset[str] = frozenset()
    warnings: tuple[str, ...] | None = None
    made_by: MadeBy = "soundfile"
    is_scanned: bool = True
    is_heavy: bool = False
    because: str = ""


def decodes(
    name: str,
    content: Content,
    *,
    duration_s: float = 2.0,
    tolerance_s: float = 0.0,
    heard: Heard = "steps",
    order: tuple[int, ...] | None = None,
    warnings: tuple[str, ...] | None = (),
    path_raw: bytes | None = None,
    made_by: MadeBy = "soundfile",
    because: str = "",
) -> Case:
    """Give a case that must decode; `name` ends in the suffix of the file."""
    steps = tuple(range(round(2 * duration_s))) if order is None else order
    return Case(
        name=name,
        path_raw=path_raw or name.encode(),
        build=lambda path: _write(path, content),
        sound=Sound(duration_s, tolerance_s, heard, steps),
        warnings=warnings,
        made_by=made_by,
        because=because,
    )


def refused(
    name: str,
    content: Content,
    *codes: str,
    path_raw: bytes | None = None,
    made_by: MadeBy = "soundfile",
    is_scanned: bool = True,
    because: str = "",
) -> Case:
    """Give a case that must be refused."""
    return Case(
        name=name,
        path_raw=path_raw or name.encode(),
        build=lambda path: _write(path, content),
        codes=frozenset(codes),
        made_by=made_by,
        is_scanned=is_scanned,
        because=because,
    )


def either(
    name: str,
    content: Content,
    *codes: str,
    because: str,
    duration_s: float = 2.0,
    tolerance_s: float = LOSSY_TOLERANCE_S,
    heard: Heard = "steps",
    order: tuple[int, ...] | None = None,
    warnings: tuple[str, ...] | None = None,
    made_by: MadeBy = "soundfile",
) -> Case:
    """Give a case that may decode whole or be refused: both are honest."""
    steps = tuple(range(round(2 * duration_s))) if order is None else order
    return Case(
        name=name,
        path_raw=name.encode(),
        build=lambda path: _write(path, content),
        sound=Sound(duration_s, tolerance_s, heard, steps),
        codes=frozenset(codes),
        warnings=warnings,
        made_by=made_by,
        because=because,
    )


def _write(path: Path, content: Content) -> None:
    path.write_bytes(content())
