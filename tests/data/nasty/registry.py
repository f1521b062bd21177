"""All cases of the nasty corpus, and how to write them.

Public: `CASES`, `write_corpus`, `write_case`.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from nasty import (
    bombs,
    ffmpeg_formats,
    flac,
    foreign,
    mpeg,
    names_and_kinds,
    ogg,
    ogg_chains,
    pcm_containers,
    truncations,
    values,
    wav,
)
from nasty.case import Case
from nasty.sounds import encode

MODULES = (
    wav,
    pcm_containers,
    flac,
    mpeg,
    ogg,
    ogg_chains,
    ffmpeg_formats,
    truncations,
    values,
    bombs,
    foreign,
    names_and_kinds,
)

CASES: tuple[Case, ...] = tuple(case for module in MODULES for case in module.CASES)
"""Every case, in the order in which they are written."""

CORPUS = "corpus"


def write_case(case: Case, root: Path) -> None:
    """Make the file of one case below a root, unless its path cannot name one."""
    path_raw = case.path_raw
    if path_raw.startswith(b"/") or b".." in path_raw.split(b"/") or b"\0" in path_raw:
        return
    path = root / os.fsdecode(path_raw)
    if not path.parent.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
    case.build(path)


def write_corpus(folder: Path, cases: Iterable[Case] = CASES) -> Path:
    """Write cases below ``folder/corpus``, and beside it what links out of it lead to.

    Returns
    -------
    Path
        The root of the corpus.
    """
    root = folder / CORPUS
    outside = folder / names_and_kinds.OUTSIDE
    outside.mkdir(parents=True, exist_ok=True)
    (outside / "secret.wav").write_bytes(encode("WAV", "PCM_16", level=0.26))
    root.mkdir(exist_ok=True)
    for case in cases:
        write_case(case, root)
    return root
