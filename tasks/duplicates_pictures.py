"""Pairs of tracks as pictures: both mel spectrograms on one clock, and where their bits differ.

Public: `PairPainter`.
"""

import base64
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from musichash_core.decibels import bytes_to_db
from musichash_core.recording_match import FingerprintPlan, error_curve
from storage.errors import StoreError
from storage.feature_store import FeaturePartition
from storage.layout import StoreLayout
from tasks.duplicates_fingerprints import FingerprintShelf
from tasks.report_drawing import (
    LIGHT_INK,
    PANEL,
    Picture,
    new_figure,
    place_axes,
    style_axes,
)

SHOWN_S = 16.0
"""Long enough for beats and notes, short enough to see them."""

SHOWN_RANGE_DB = 65.0
DPI = 100
N_COLOURS = 64
"""Of the finished picture: a third of the bytes, and no eye sees it."""

HALF = 0.5


class PairPainter:
    """Draw pairs of tracks of one snapshot.

    Parameters
    ----------
    shelf : FingerprintShelf
        Fingerprints of the tracks.
    rows : dict
        Row of each track in the shelf.
    """

    def __init__(
        self,
        layout: StoreLayout,
        feature_fingerprint: str,
        plan: FingerprintPlan,
        shelf: FingerprintShelf,
        rows: dict[str, int],
    ) -> None:
        self._layout = layout
        self._fingerprint = feature_fingerprint
        self._plan = plan
        self._shelf = shelf
        self._rows = rows

    def picture(self, pair: dict[str, Any], names: Sequence[str]) -> Picture | None:
        """Draw a pair of `storage.duplicate_pairs.PAIRS`; None where frames are not to be had.

        Parameters
        ----------
        names : (first, second)
            What the two are called.
        """
        ids = (pair["first_id"], pair["second_id"])
        if pair["offset_s"] is None:
            return None
        try:
            frames = [self._frames(track_id) for track_id in ids]
            prints = [self._shelf.track(self._rows[track_id], track_id) for track_id in ids]
        except (StoreError, OSError, ValueError):  # zarr has no exception of its own for bad bytes
            return None
        if frames[0] is None or frames[1] is None or prints[0] is None or prints[1] is None:
            return None
        time_s, rate = error_curve(
            prints[0].fingerprint, prints[1].fingerprint, self._plan, pair["offset_s"]
        )
        figure = new_figure(11.0, 4.9, dpi=DPI, face=PANEL)
        (top,), (middle,), (bottom,) = place_axes(
            figure, 3, left=0.5, right=0.2, gaps=(0.5, 0.0), top=0.3, bottom=0.45
        )
        start_s = _shown_from(time_s)
        self._draw_spectrogram(top, frames[0], start_s, f"first: {names[0]}")
        second_s = start_s + pair["offset_s"]
        self._draw_spectrogram(middle, frames[1], second_s, f"second: {names[1]}")
        _draw_errors(bottom, time_s, rate, start_s)
        text = (
            f"Mel spectrograms of both tracks at the same moment, and the share of differing bits "
            f"over time: {pair['bit_error_rate']:.1%} in all"
        )
        return _finish(figure, text)

    def _frames(self, track_id: str) -> Any:  # noqa: ANN401 - an array, or a lazy reader of one
        partition_id = self._shelf.partition_of(self._rows[track_id])
        if partition_id is None:
            return None
        folder = self._layout.feature_partition_path(self._fingerprint, partition_id)
        for _, track in FeaturePartition(folder).track_frames({track_id}):
            return track.frames
        return None

    def _draw_spectrogram(
        self,
        axes: Axes,
        frames: Any,  # noqa: ANN401 - an array, or a lazy reader of one
        start_s: float,
        title: str,
    ) -> None:
        rate_hz = self._plan.frame_rate_hz
        first = max(0, round(start_s * rate_hz))
        stop = min(len(frames), round((start_s + SHOWN_S) * rate_hz))
        mel_db: NDArray[np.float32] = bytes_to_db(frames[first : max(first + 1, stop)][:, 0].T)
        top_db = float(mel_db.max())
        axes.imshow(
            mel_db,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=(first / rate_hz, first / rate_hz + mel_db.shape[1] / rate_hz, 0, len(mel_db)),
            cmap=colormaps["magma"].resampled(64),
            vmin=top_db - SHOWN_RANGE_DB,
            vmax=top_db,
        )
        # Names may hold dollar signs; between two of them matplotlib would read a formula.
        style_axes(axes, title=title.replace("$", r"\$"), ink=LIGHT_INK)
        axes.set_xlim(start_s, start_s + SHOWN_S)
        axes.set_yticks([])
        axes.grid(visible=False)


def _shown_from(time_s: NDArray[np.float64]) -> float:
    """Give where the shown stretch begins in the first track: the middle of what both have."""
    if not len(time_s):
        return 0.0
    return max(float(time_s[0]), float(time_s[0] + time_s[-1] - SHOWN_S) / 2.0)


def _draw_errors(
    axes: Axes, time_s: NDArray[np.float64], rate: NDArray[np.float64], start_s: float
) -> None:
    axes.plot(time_s, rate, color=LIGHT_INK.main, linewidth=1.2)
    axes.axhline(HALF, color=LIGHT_INK.quiet, linewidth=0.8, linestyle=":")
    axes.axvspan(start_s, start_s + SHOWN_S, color=LIGHT_INK.second, alpha=0.16, linewidth=0)
    style_axes(
        axes,
        title="share of differing bits; unrelated sound has one half (dotted)",
        x="time in the first track, seconds (what is shown above is shaded)",
        ink=LIGHT_INK,
    )
    axes.set_ylim(0.0, 0.6)
    axes.set_yticks([0.0, HALF])
    if len(time_s):
        axes.set_xlim(float(time_s[0]), max(float(time_s[-1]), float(time_s[0]) + 1.0))


def _finish(figure: Figure, text: str) -> Picture:
    """Render a figure in few colours, as a data URI."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # Names of tracks may be of any script; what the font lacks is drawn as a box, and the page
        # has the name as text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
    image = Image.fromarray(pixels).quantize(N_COLOURS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(uri, image.width, image.height, text, is_dark=True)
