"""Samples that are no sound, and odd ones that are.

Public: `CASES`.
"""

import numpy as np
from nasty.case import Case, Content, decodes, refused
from nasty.sounds import encode_samples, steps
from numpy.typing import NDArray

SR = 44_100


def _floats(y: NDArray[np.float32], kind: str = "WAV") -> bytes:
    return encode_samples(y, SR, kind, "FLOAT")


def _with(value: float, n_channels: int = 1, channel: int = 0) -> NDArray[np.float32]:
    y = steps(2.0, SR, n_channels=n_channels).copy()
    y[50_000, channel] = value
    return y


def _cancelling() -> NDArray[np.float32]:
    y = steps(2.0, SR, n_channels=2).copy()
    y[50_000] = (1e30, -1e30)
    return y


def _square() -> NDArray[np.float32]:
    return np.where(np.arange(2 * SR) // 50 % 2, 1.0, -1.0).astype(np.float32)


def _legal(name: str, content: Content, heard: str = "anything", because: str = "") -> Case:
    return decodes(f"values-{name}.wav", content, heard=heard, because=because)


_NO_SOUND = [
    refused(f"values-{name}.wav", content, "damaged")
    for name, content in (
        ("not-a-number", lambda: _floats(_with(np.nan))),
        ("infinite", lambda: _floats(_with(np.inf))),
        ("minus-infinite", lambda: _floats(_with(-np.inf))),
        ("huge", lambda: _floats(_with(1e30))),
        ("ten-thousand-and-one", lambda: _floats(_with(-10_001.0))),
        ("not-a-number-in-one-channel", lambda: _floats(_with(np.nan, 3, 2))),
        ("huge-that-cancel-out", lambda: _floats(_cancelling())),
        ("all-not-a-number", lambda: _floats(np.full(2 * SR, np.nan, np.float32))),
    )
]

_SOUND = [
    _legal("denormal", lambda: _floats(np.full(2 * SR, 1e-42, np.float32)), "silence"),
    _legal("silence", lambda: _floats(np.zeros(2 * SR, np.float32)), "silence"),
    _legal("constant", lambda: _floats(np.full(2 * SR, 0.5, np.float32))),
    _legal("square-at-full-scale", lambda: _floats(_square())),
    _legal("one-impulse", lambda: _floats(np.eye(1, 2 * SR, 999, dtype=np.float32)[0])),
    _legal("beyond-full-scale", lambda: _floats(4 * steps(2.0, SR)), "steps"),
    _legal(
        "opposite-channels",
        lambda: _floats(steps(2.0, SR) * np.array([[0.5, -0.5]], np.float32)),
        "silence",
        because="the mean of the two is silence: legal, whatever it was meant to be",
    ),
    _legal(
        "noise",
        lambda: _floats(np.random.default_rng(0).uniform(-1, 1, 2 * SR).astype(np.float32)),
    ),
]

CASES: list[Case] = [
    *_NO_SOUND,
    *_SOUND,
    refused("values-double-too-large.wav", lambda: _doubles(1e300), "damaged"),
    refused("values-not-a-number.aiff", lambda: _floats(_with(np.nan), "AIFF"), "damaged"),
    refused("values-not-a-number.caf", lambda: _floats(_with(np.nan), "CAF"), "damaged"),
]
"""All of them."""


def _doubles(value: float) -> bytes:
    y = np.full((2 * SR, 1), value)
    return encode_samples(y, SR, "WAV", "DOUBLE")
