"""What files of a catalogue may hold: short pieces of real music, and four kinds of bad files.

Every content is known by its bytes alone, and its fate is known beforehand: `Content.code` is the
failure code that it must get, or None where it must be published.

Public: `Content`, `make_sounds`, `GOOD`, `BAD`, `N_VARIANTS`.
"""

import hashlib
import io
from dataclasses import dataclass

import soundfile

SR = 22_050
DURATION_S = 1.15
GOOD = (
    ("ambient/naev-ambient1.ogg", "WAV"),
    ("metal/marsshooter-03-fear.ogg", "FLAC"),
    ("electronic/zaz-mus1.ogg", "WAV"),
    ("rock/d-toxification-copy.ogg", "FLAC"),
)
"""Tracks that pieces are cut from, and the format of each piece."""

BAD = ("empty", "not-audio", "too-short", "truncated")
"""The bad files, by the failure code that they must get."""

N_VARIANTS = 3
"""Of each content: the same but for a sample, so other bytes of the same size."""

MIDDLE = 10_000


@dataclass(frozen=True)
class Content:
    """The bytes of a file.

    Attributes
    ----------
    name : str
        For messages.
    data : bytes
        All of them.
    code : str or None
        Failure code that a run must give it.
    """

    name: str
    data: bytes
    code: str | None = None

    @property
    def track_id(self):
        """The identity: BLAKE2b of the bytes, 128 bits."""
        return hashlib.blake2b(self.data, digest_size=16).hexdigest()

    def __repr__(self):
        return f"<{self.name}>"


def make_sounds(music):
    """Cut all contents from the sample music: name of each -> content."""
    contents = [
        Content(f"{path.split('/')[0]}-{variant}", _encoded(samples, variant, kind))
        for path, kind in GOOD
        for samples in [_beginning(music / path)]
        for variant in range(N_VARIANTS)
    ]
    whole = contents[0].data
    for variant in range(N_VARIANTS):
        short = _encoded(_beginning(music / GOOD[0][0])[: SR // 4], variant, "WAV", place=100)
        datas = (
            b"",
            f"no audio, {variant}".encode(),
            short,
            whole[: len(whole) // 2 + 2 * variant],
        )
        contents += [
            Content(f"{code}-{variant}", data, code)
            for code, data in zip(BAD, datas, strict=True)
            if data or not variant  # there is only one empty file
        ]
    return {content.name: content for content in contents}


def _beginning(path):
    """Read the beginning of a track, one channel, at half the usual rate."""
    samples, sr = soundfile.read(path, frames=int(DURATION_S * 2 * SR) + 1, always_2d=True)
    assert sr == 2 * SR
    return samples[::2, 0][: int(DURATION_S * SR)]


def _encoded(samples, variant, kind, place=MIDDLE):
    """Give a file of 16-bit samples, one of which is the variant's own."""
    changed = (samples * 32_767).astype("int16")
    changed[place] = 100 * variant
    file = io.BytesIO()
    soundfile.write(file, changed, SR, format=kind, subtype="PCM_16")
    return file.getvalue()
