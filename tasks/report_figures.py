"""The report's figures: arrays in, PNG as data URIs out.

Charts are drawn once, in dark ink on nothing; the page inverts them on a dark background and keeps
their hues. Spectrograms have a dark frame of their own on every background. Only Matplotlib's
object-oriented interface and its Agg canvas are used: no global state, no display. No figure
contains text that comes from outside: names are set in HTML, where every script can be shown.

Public: `Picture`, `spectrogram_picture`, `learning_picture`, `bits_picture`,
`correlation_picture`, `separation_picture`, `durations_picture`.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from musichash_core.training_records import StageSummary, TrainingSummary
from tasks.report_codes import CodeHealth, Separation
from tasks.report_track import ShownTrack

CSS_PIXELS_PER_INCH = 100
CHART_DPI = 160
IMAGE_DPI = 125
"""Spectrograms hardly compress: their sharpness is paid for in megabytes."""

PNG_OPTIONS = {"compress_level": 6}
"""Level 9 takes eight times as long for 2 % fewer bytes."""

PART_NAMES = ("original", "harmonic part", "percussive part")
SHOWN_RANGE_DB = 72.0
COLOUR_LEVELS = 48
"""Steps of 1.5 dB: they cannot be seen, and they compress."""

TICKS_HZ = (100, 300, 600, 1000, 2000, 4000, 8000, 16_000, 32_000)
HISTOGRAM_BINS = 40
WIDE = 10.6
"""Hundreds of CSS pixels: the width of the page's text."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure ready to be put into a page.

    Attributes
    ----------
    uri : str
        Data URI of a PNG image.
    width, height : int
        CSS pixels.
    text : str
        What it shows, for those who cannot see it.
    is_dark : bool
        Whether it brings a dark background of its own.
    """

    uri: str
    width: int
    height: int
    text: str
    is_dark: bool = False


@dataclass(frozen=True, slots=True)
class _Ink:
    text: str
    quiet: str
    grid: str
    main: str
    second: str


_DARK_INK = _Ink("#1d2330", "#5d6678", "#e1e5ed", "#2f6bd8", "#d9722b")
_LIGHT_INK = _Ink("#e4e7ee", "#a9b1c2", "#323947", "#6b9bf2", "#f09a58")
_PANEL = "#14161d"


def _new_figure(width: float, height: float, *, dpi: int, face: str = "none") -> Figure:
    """Make an empty figure; sizes in hundreds of CSS pixels."""
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor=face)
    FigureCanvasAgg(figure)
    return figure


def _place(  # noqa: PLR0913 - four margins and two counts
    figure: Figure,
    n_rows: int = 1,
    n_columns: int = 1,
    *,
    left: float = 0.62,
    right: float = 0.12,
    top: float = 0.34,
    bottom: float = 0.52,
    gaps: tuple[float, float] = (0.42, 0.75),
    sharex: bool | str = False,
) -> list[list[Axes]]:
    """Lay out axes with margins and gaps in inches: far quicker than measuring every label."""
    width, height = figure.get_size_inches()
    gap_y, gap_x = gaps
    inner_width = (width - left - right - gap_x * (n_columns - 1)) / n_columns
    inner_height = (height - top - bottom - gap_y * (n_rows - 1)) / n_rows
    axes = figure.subplots(
        n_rows,
        n_columns,
        sharex=sharex,
        squeeze=False,
        gridspec_kw={
            "left": left / width,
            "right": 1.0 - right / width,
            "top": 1.0 - top / height,
            "bottom": bottom / height,
            "hspace": gap_y / inner_height,
            "wspace": gap_x / inner_width,
        },
    )
    return [list(row) for row in axes]


def _picture(figure: Figure, text: str, *, is_dark: bool = False) -> Picture:
    buffer = io.BytesIO()
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.print_png(buffer, pil_kwargs=PNG_OPTIONS)
    width, height = (round(inches * CSS_PIXELS_PER_INCH) for inches in figure.get_size_inches())
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(uri, width, height, text, is_dark)


def _style(axes: Axes, *, title: str, x: str = "", y: str = "", ink: _Ink = _DARK_INK) -> None:
    axes.set_facecolor("none")
    axes.set_title(title, loc="left", fontsize=9.5, color=ink.text, fontweight="bold")
    axes.set_xlabel(x, fontsize=9, color=ink.quiet)
    axes.set_ylabel(y, fontsize=9, color=ink.quiet)
    axes.tick_params(labelsize=8.5, colors=ink.quiet, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(ink.quiet)
    axes.grid(visible=True, axis="y", color=ink.grid, linewidth=0.8)
    axes.set_axisbelow(True)


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=8.5, frameon=False, labelcolor=_DARK_INK.text)


def _colour_bar(axes: Axes, image: AxesImage, *, ink: _Ink = _DARK_INK, label: str = "") -> None:
    """Put a colour bar at the right of a figure, as high as some axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    place = axes.get_position()
    right = place.x1 + 0.16 / figure.get_figwidth()
    bar_axes = figure.add_axes((right, place.y0, 0.14 / figure.get_figwidth(), place.height))
    bar = figure.colorbar(image, cax=bar_axes)
    bar.set_label(label, color=ink.quiet, fontsize=9)
    bar_axes.tick_params(labelsize=8.5, colors=ink.quiet)
    bar_axes.set_frame_on(False)


def spectrogram_picture(track: ShownTrack) -> Picture:
    """Show the mel power of a track's original, harmonic and percussive part on one scale."""
    figure = _new_figure(WIDE, 6.6, dpi=IMAGE_DPI, face=_PANEL)
    rows = _place(figure, 3, right=0.95, left=0.72, gaps=(0.34, 0.0), sharex=True)
    top_db = float(track.parts_db[0].max())
    n_mels, n_frames = track.parts_db.shape[1:]
    step = 1.0 if track.frame_s is None else track.frame_s
    start = track.start_frame * step
    for (axes,), part_db, name in zip(rows, track.parts_db, PART_NAMES, strict=True):
        image = axes.imshow(
            part_db,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=(start, start + n_frames * step, -0.5, n_mels - 0.5),
            cmap=colormaps["magma"].resampled(COLOUR_LEVELS),
            vmin=top_db - SHOWN_RANGE_DB,
            vmax=top_db,
        )
        _style(axes, title=name, y="Hz", ink=_LIGHT_INK)
        axes.grid(visible=False)
        _mark_bands(axes, track.band_hz)
        _colour_bar(axes, image, ink=_LIGHT_INK, label="dB re 1")
    rows[-1][0].set_xlabel("frame" if track.frame_s is None else "time in the track, seconds")
    text = "Mel spectrograms of a track: original, harmonic part, percussive part"
    return _picture(figure, text, is_dark=True)


def _mark_bands(axes: Axes, band_hz: NDArray[np.float64] | None) -> None:
    """Write frequencies beside the mel bands, or number the bands where they are not known."""
    if band_hz is None:
        axes.set_ylabel("mel band")
        return
    ticks = [hz for hz in TICKS_HZ if band_hz[0] <= hz <= band_hz[-1]]
    axes.set_yticks(np.interp(ticks, band_hz, np.arange(len(band_hz))))
    axes.set_yticklabels([f"{hz:,}" for hz in ticks])


def learning_picture(summary: TrainingSummary) -> Picture:
    """Show loss and validation metric per epoch of both stages, with the epoch that was kept."""
    figure = _new_figure(WIDE, 4.4, dpi=CHART_DPI)
    grid = _place(figure, 2, 2, sharex="col")
    stages = (
        ("genre network", summary.genre_stage, summary.chance_accuracy),
        ("hash network", summary.hash_stage, summary.chance_map),
    )
    for column, (name, stage, chance) in enumerate(stages):
        _draw_losses(grid[0][column], name, stage)
        _draw_metrics(grid[1][column], stage, chance)
    return _picture(figure, "Learning curves of the genre network and of the hash network")


def _draw_curve(axes: Axes, values: tuple[float, ...], colour: str) -> None:
    marker = "o" if len(values) == 1 else ""
    axes.plot(np.arange(1, len(values) + 1), values, color=colour, linewidth=1.8, marker=marker)


def _draw_losses(axes: Axes, name: str, stage: StageSummary) -> None:
    _draw_curve(axes, stage.train_losses, _DARK_INK.main)
    _mark_best(axes, stage.best_epoch)
    _style(axes, title=f"{name}: training loss", y="loss")


def _draw_metrics(axes: Axes, stage: StageSummary, chance: float | None) -> None:
    _style(axes, title=f"held-out tracks: {stage.metric_name}", x="epoch", y="0 to 1")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylim(0.0, 1.02)
    if not stage.validation_metrics:
        middle = {"transform": axes.transAxes, "ha": "center", "color": _DARK_INK.quiet}
        axes.text(0.5, 0.5, "no held-out tracks", **middle)
        return
    _draw_curve(axes, stage.validation_metrics, _DARK_INK.second)
    if chance is not None:
        axes.axhline(chance, color=_DARK_INK.quiet, linewidth=1.0, linestyle="--", label="chance")
    _mark_best(axes, stage.best_epoch)
    _legend(axes)


def _mark_best(axes: Axes, best_epoch: int) -> None:
    label = f"kept: epoch {best_epoch}"
    axes.axvline(best_epoch, color=_DARK_INK.quiet, linewidth=1.2, linestyle=":", label=label)


def bits_picture(health: CodeHealth) -> Picture:
    """Show the share of ones of every bit."""
    figure = _new_figure(6.4, 3.3, dpi=CHART_DPI)
    axes = _place(figure)[0][0]
    shares = health.statistics.bit_means
    axes.bar(np.arange(health.n_bits), shares, width=0.82, color=_DARK_INK.main)
    axes.axhline(0.5, color=_DARK_INK.second, linewidth=1.4, linestyle="--")
    _style(axes, title="share of codes with the bit set", x="bit", y="share of codes")
    axes.set_ylim(0.0, 1.0)
    axes.set_xlim(-0.8, health.n_bits - 0.2)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return _picture(figure, "Share of ones per bit; one half is ideal")


def correlation_picture(health: CodeHealth) -> Picture:
    """Show the correlation of every pair of bits."""
    figure = _new_figure(3.9, 3.3, dpi=CHART_DPI)
    axes = _place(figure, left=0.58, right=0.88)[0][0]
    image = axes.imshow(
        health.correlation, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest", aspect="auto"
    )
    _style(axes, title="correlation of two bits", x="bit", y="bit")
    axes.grid(visible=False)
    _colour_bar(axes, image)
    return _picture(figure, "Correlation of every two bits; white off the diagonal is ideal")


def separation_picture(pairs: Separation) -> Picture:
    """Show how Hamming distances are spread within and between labels."""
    figure = _new_figure(WIDE, 3.0, dpi=CHART_DPI)
    axes = _place(figure)[0][0]
    between_name = "two labels" if pairs.has_labels else "all pairs"
    for counts, colour, name in (
        (pairs.between, _DARK_INK.main, between_name),
        (pairs.within, _DARK_INK.second, "the same label"),
    ):
        if not counts.sum():
            continue
        distances = np.arange(len(counts))
        shares = counts / counts.sum()
        mean = float((shares * distances).sum())
        label = f"{name}: {counts.sum():,} pairs, mean {mean:.1f} bits"
        axes.bar(distances, shares, width=1.0, color=colour, alpha=0.55, label=label)
    _style(axes, title="distance of two tracks", x="Hamming distance, bits", y="share of pairs")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlim(-0.5, max(4, int(np.flatnonzero(pairs.within + pairs.between)[-1])) + 0.5)
    _legend(axes)
    return _picture(figure, "Histogram of Hamming distances within and between labels")


def durations_picture(durations_s: NDArray[np.float64], levels_db: NDArray[np.float64]) -> Picture:
    """Show how long and how loud the tracks are."""
    figure = _new_figure(WIDE, 2.5, dpi=CHART_DPI)
    left, right = _place(figure, 1, 2)[0]
    is_wide = durations_s.max() > 20.0 * durations_s.min() > 0
    edges = (
        np.geomspace(durations_s.min(), durations_s.max(), HISTOGRAM_BINS + 1)
        if is_wide
        else np.histogram_bin_edges(durations_s, HISTOGRAM_BINS)
    )
    left.hist(durations_s, bins=edges.tolist(), color=_DARK_INK.main)
    left.set_xscale("log" if is_wide else "linear")
    right.hist(levels_db, bins=HISTOGRAM_BINS, color=_DARK_INK.main)
    _style(left, title="length", x="seconds", y="tracks")
    _style(right, title="level", x="root mean square, dB re full scale", y="tracks")
    for axes in (left, right):
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    return _picture(figure, "Histograms of the length and of the level of the tracks")
