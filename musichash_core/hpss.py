"""Harmonic–percussive separation of a spectrogram: librosa's results in a hundredth of its time.

A running median along time keeps what lasts (harmonic), one along frequency keeps what is broad
(percussive); soft masks share the spectrogram between the two (Fitzgerald, DAFx 2010; margins after
Driedger, Müller and Disch, ISMIR 2014). Axes are ``(..., n_bins, n_frames)``.

Public: `hpss`, `soft_mask`, and for other kernels `odds_of_smaller`, `share_of`.
"""

import operator
from collections.abc import Sequence
from typing import Any, SupportsFloat, SupportsIndex, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.kernels_cache import kernel
from musichash_core.medians import running_median

T = TypeVar("T")

Scalar = Any
"""A number inside a kernel: single or double precision, as the arrays are."""


def hpss(
    S: NDArray[Any],
    *,
    kernel_size: SupportsIndex | Sequence[SupportsIndex] = 31,
    power: float = 2.0,
    mask: bool = False,
    margin: SupportsFloat | Sequence[SupportsFloat] = 1.0,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Split a spectrogram into its harmonic and its percussive part.

    Takes and gives what `librosa.decompose.hpss` does, to 1e-5 of the largest magnitude. Unlike
    librosa it refuses negative magnitudes and infinities instead of computing with them.

    Parameters
    ----------
    S : (..., n_bins, n_frames) real or complex
        Magnitudes (non-negative) or an STFT; finite. Integers and other floats are taken as
        float32.
    kernel_size : >= 1, or a pair
        Median lengths: frames for the harmonic part, bins for the percussive part. Even lengths
        take the upper of the two middle elements, like SciPy.
    power : > 0
        Exponent of the soft masks; infinity gives hard masks, in which a tie belongs to neither.
    mask : bool
        Give the two masks instead of the masked spectrograms.
    margin : >= 1, or a pair
        How much the harmonic part must exceed the percussive one, and the other way round; above
        1 leaves a residual ``S - harmonic - percussive``.

    Returns
    -------
    harmonic, percussive : (..., n_bins, n_frames)
        In the dtype of `S` (or float32); masks are real from 0 to 1, or boolean if `power` is
        infinite. With margins of 1 and a finite power the two sum to `S`. Where both medians
        vanish, margins of 1 share `S` equally and others give it to neither.

    Raises
    ------
    ParameterError
        If `S` has fewer than two axes, a NaN, an infinity or a negative value, or if a kernel
        length, a margin or the power is out of its range.
    """
    kernel_harmonic, kernel_percussive = _pair(kernel_size)
    margin_harmonic, margin_percussive = _pair(margin)
    lengths = operator.index(kernel_harmonic), operator.index(kernel_percussive)
    margins = float(margin_harmonic), float(margin_percussive)
    _check_settings(lengths, margins, power)
    magnitude = _magnitude(S)

    harmonic = running_median(magnitude, lengths[0], axis=-1)
    percussive = running_median(magnitude, lengths[1], axis=-2)

    share_silence = margins == (1.0, 1.0)
    masks = (
        soft_mask(harmonic, percussive, margin=margins[0], power=power, share=share_silence),
        soft_mask(percussive, harmonic, margin=margins[1], power=power, share=share_silence),
    )
    if mask:
        return masks
    spectrum = S if np.iscomplexobj(S) else magnitude
    return spectrum * masks[0], spectrum * masks[1]


def soft_mask(
    x: NDArray[Any], reference: NDArray[Any], *, margin: float, power: float, share: bool
) -> NDArray[Any]:
    """Compute ``x^power / (x^power + (margin reference)^power)`` without overflow.

    Parameters
    ----------
    x, reference : (...) float32 or float64
        Non-negative and finite, of one shape and dtype, C-contiguous.
    margin : >= 1
        Factor on `reference`.
    power : > 0
        Infinity gives ``x > margin reference`` as booleans.
    share : bool
        Where both are below the smallest normal number: 0.5 if true, else 0.

    Returns
    -------
    (...) of the dtype of `x`, or bool
    """
    if np.isinf(power):
        return np.asarray(x > reference * x.dtype.type(margin))
    out = np.empty_like(x)
    real = x.dtype.type
    silent = real(0.5 if share else 0.0)
    _mask_into(x.ravel(), reference.ravel(), real(margin), real(power), silent, out.ravel())
    return out


def _pair(value: T | Sequence[T]) -> tuple[T, T]:
    if isinstance(value, (tuple, list)):
        return value[0], value[1]
    return cast(T, value), cast(T, value)


def _check_settings(lengths: tuple[int, int], margins: tuple[float, float], power: float) -> None:
    if min(lengths) < 1:
        raise ParameterError(f"kernel_size={lengths}: median lengths must be at least 1")
    if not min(margins) >= 1:
        raise ParameterError(f"margin={margins}: margins must be at least 1, typically 1 to 10")
    if not power > 0:
        raise ParameterError(f"power={power}: the exponent of the masks must be above 0")


def _magnitude(S: NDArray[Any]) -> NDArray[Any]:
    if S.ndim < 2:
        raise ParameterError(f"S has shape {S.shape}; a spectrogram is (..., n_bins, n_frames)")
    magnitude = np.abs(S) if np.iscomplexobj(S) else S
    if magnitude.dtype not in (np.float32, np.float64):
        magnitude = magnitude.astype(np.float32)
    if not np.isfinite(magnitude).all():
        raise ParameterError("S contains NaN or infinity; a spectrogram must be finite")
    if magnitude.size and magnitude.min() < 0:
        raise ParameterError(
            f"S contains {magnitude.min()}; magnitudes must not be negative (take np.abs of a "
            "real transform, or pass the complex STFT)"
        )
    return magnitude


@kernel
def _mask_into(
    x: NDArray[Any],
    reference: NDArray[Any],
    margin: Scalar,
    power: Scalar,
    silent: Scalar,
    out: NDArray[Any],
) -> None:
    if power == 2:
        for i in range(x.size):
            odds = odds_of_smaller(x[i], margin * reference[i])
            out[i] = share_of(x[i], margin * reference[i], odds * odds, silent)
    else:
        for i in range(x.size):
            odds = odds_of_smaller(x[i], margin * reference[i])
            out[i] = share_of(x[i], margin * reference[i], odds**power, silent)


@kernel
def odds_of_smaller(x: Scalar, other: Scalar) -> Scalar:
    """Divide the smaller by the larger: from 0 to 1, so that no power of it overflows."""
    return min(x, other) / max(x, other)


@kernel
def share_of(x: Scalar, other: Scalar, odds: Scalar, silent: Scalar) -> Scalar:
    """Turn the odds of the smaller against the larger into the share of `x`.

    Parameters
    ----------
    odds : 0 to 1
        The power of what `odds_of_smaller` gives; may be NaN where both are 0.
    silent : 0 to 1
        The share where both are below the smallest normal number.
    """
    one = np.float32(1)  # keeps single precision single, and double double
    share = one / (one + odds)
    if max(x, other) < np.finfo(x).tiny:
        return silent
    return share if x >= other else odds * share
