"""The report's figures: arrays in, PNG as data URIs out, each in a light and a dark version.

Only Matplotlib's object-oriented interface and its Agg canvas are used: no global state, no
display. No figure contains text that comes from outside; names are set in HTML, where every script
can be shown.

Public: `Picture`, `spectrogram_picture`, `learning_picture`, `bits_picture`,
`correlation_picture`, `separation_picture`, `durations_picture`.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from musichash_core.training_records import StageSummary, TrainingSummary
from tasks.report_codes import CodeHealth, Separation
from tasks.report_track import ShownTrack

CSS_PIXELS_PER_INCH = 100
CHART_DPI = 160
IMAGE_DPI = 125
"""Spectrograms hardly compress: their sharpness is paid for in megabytes."""

PART_NAMES = ("original", "harmonic part", "percussive part")
SHOWN_RANGE_DB = 72.0
COLOUR_LEVELS = 48
"""Steps of 1.5 dB: no step is seen, and the picture takes two thirds of the bytes."""

TICKS_HZ = (100, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000)
HISTOGRAM_BINS = 40


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure ready to be put into a page.

    Attributes
    ----------
    light, dark : str
        Data URIs of PNG images.
    width : int
        CSS pixels.
    text : str
        What it shows, for those who cannot see it.
    """

    light: str
    dark: str
    width: int
    text: str


@dataclass(frozen=True, slots=True)
class _Theme:
    face: str
    text: str
    quiet: str
    grid: str
    main: str
    second: str


_LIGHT = _Theme("#ffffff", "#1d2330", "#5d6678", "#e4e7ee", "#2f6bd8", "#d9722b")
_DARK = _Theme("#1a1e27", "#e4e7ee", "#a2abbd", "#323947", "#6b9bf2", "#f09a58")


def _picture(
    draw: Callable[[_Theme], Figure], text: str, *, dpi: int = CHART_DPI
) -> Picture:
    figures = [draw(_LIGHT), draw(_DARK)]
    light, dark = (_data_uri(figure, dpi) for figure in figures)
    return Picture(light, dark, round(figures[0].get_figwidth() * CSS_PIXELS_PER_INCH), text)


def _data_uri(figure: Figure, dpi: int) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, pil_kwargs={"optimize": True})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _new_figure(theme: _Theme, width: float, height: float) -> Figure:
    """Make an empty figure; sizes in hundreds of CSS pixels."""
    figure = Figure(figsize=(width, height), facecolor=theme.face, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _style(axes: Axes, theme: _Theme, *, title: str = "", x: str = "", y: str = "") -> None:
    axes.set_facecolor(theme.face)
    axes.set_title(title, loc="left", fontsize=9.5, color=theme.text, fontweight="bold")
    axes.set_xlabel(x, fontsize=9, color=theme.quiet)
    axes.set_ylabel(y, fontsize=9, color=theme.quiet)
    axes.tick_params(labelsize=8.5, colors=theme.quiet, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(theme.quiet)
    axes.grid(visible=True, axis="y", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)


def _legend(axes: Axes, theme: _Theme) -> None:
    axes.legend(fontsize=8.5, frameon=False, labelcolor=theme.text)


def spectrogram_picture(track: ShownTrack) -> Picture:
    """Show the mel power of a track's original, harmonic and percussive part on one scale."""

    def draw(theme: _Theme) -> Figure:
        figure = _new_figure(theme, 10.8, 6.6)
        rows = figure.subplots(3, 1, sharex=True, sharey=True)
        top_db = float(track.parts_db[0].max())
        n_mels, n_frames = track.parts_db.shape[1:]
        step = 1.0 if track.frame_s is None else track.frame_s
        start = track.start_frame * step
        for axes, part_db, name in zip(rows, track.parts_db, PART_NAMES, strict=True):
            image = axes.imshow(
                part_db,
                origin="lower",
                aspect="auto",
                interpolation="nearest",
                interpolation_stage="data",
                extent=(start, start + n_frames * step, -0.5, n_mels - 0.5),
                cmap=colormaps["magma"].resampled(COLOUR_LEVELS),
                vmin=top_db - SHOWN_RANGE_DB,
                vmax=top_db,
            )
            _style(axes, theme, title=name)
            axes.grid(visible=False)
            _mark_bands(axes, track.band_hz)
        rows[-1].set_xlabel("frame" if track.frame_s is None else "time in the track, seconds")
        bar = figure.colorbar(image, ax=list(rows), pad=0.015, aspect=40)
        bar.set_label("mel power, dB re 1", color=theme.quiet, fontsize=9)
        bar.ax.tick_params(labelsize=8.5, colors=theme.quiet)
        bar.outline.set_visible(False)  # type: ignore[operator]
        return figure

    text = "Mel spectrograms of a track: original, harmonic part, percussive part"
    return _picture(draw, text, dpi=IMAGE_DPI)


def _mark_bands(axes: Axes, band_hz: NDArray[np.float64] | None) -> None:
    """Write frequencies beside the mel bands, or number the bands where they are not known."""
    if band_hz is None:
        axes.set_ylabel("mel band")
        return
    ticks = [hz for hz in TICKS_HZ if band_hz[0] <= hz <= band_hz[-1]]
    axes.set_yticks(np.interp(ticks, band_hz, np.arange(len(band_hz))))
    axes.set_yticklabels([f"{hz:,}" for hz in ticks])
    axes.set_ylabel("Hz")


def learning_picture(summary: TrainingSummary) -> Picture:
    """Show loss and validation metric per epoch of both stages, with the epoch that was kept."""
    stages = (
        ("genre network", summary.genre_stage, summary.chance_accuracy),
        ("hash network", summary.hash_stage, summary.chance_map),
    )

    def draw(theme: _Theme) -> Figure:
        figure = _new_figure(theme, 10.8, 4.4)
        grid = figure.subplots(2, 2, sharex="col")
        for column, (name, stage, chance) in enumerate(stages):
            _draw_losses(grid[0][column], theme, name, stage)
            _draw_metrics(grid[1][column], theme, stage, chance)
        return figure

    return _picture(draw, "Learning curves of the genre network and of the hash network")


def _draw_losses(axes: Axes, theme: _Theme, name: str, stage: StageSummary) -> None:
    epochs = np.arange(1, len(stage.train_losses) + 1)
    axes.plot(epochs, stage.train_losses, color=theme.main, linewidth=1.8)
    _style(axes, theme, title=f"{name}: training loss", y="loss")
    _mark_best(axes, theme, stage.best_epoch)


def _draw_metrics(
    axes: Axes, theme: _Theme, stage: StageSummary, chance: float | None
) -> None:
    _style(axes, theme, title=f"held-out tracks: {stage.metric_name}", x="epoch", y="0 to 1")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylim(0.0, 1.02)
    if not stage.validation_metrics:
        axes.text(
            0.5, 0.5, "no held-out tracks", transform=axes.transAxes, ha="center", color=theme.quiet
        )
        return
    epochs = np.arange(1, len(stage.validation_metrics) + 1)
    marker = "o" if len(epochs) == 1 else ""
    axes.plot(epochs, stage.validation_metrics, color=theme.second, linewidth=1.8, marker=marker)
    if chance is not None:
        axes.axhline(chance, color=theme.quiet, linewidth=1.0, linestyle="--", label="chance")
    _mark_best(axes, theme, stage.best_epoch)
    _legend(axes, theme)


def _mark_best(axes: Axes, theme: _Theme, best_epoch: int) -> None:
    axes.axvline(
        best_epoch, color=theme.quiet, linewidth=1.0, linestyle=":", label=f"kept: {best_epoch}"
    )


def bits_picture(health: CodeHealth) -> Picture:
    """Show the share of ones of every bit."""

    def draw(theme: _Theme) -> Figure:
        figure = _new_figure(theme, 6.6, 2.9)
        axes = figure.subplots()
        shares = health.statistics.bit_means
        axes.bar(np.arange(health.n_bits), shares, width=0.82, color=theme.main)
        axes.axhline(0.5, color=theme.second, linewidth=1.2, linestyle="--")
        _style(axes, theme, title="share of codes with the bit set", x="bit", y="share of codes")
        axes.set_ylim(0.0, 1.0)
        axes.set_xlim(-0.8, health.n_bits - 0.2)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        return figure

    return _picture(draw, "Share of ones per bit; one half is ideal")


def correlation_picture(health: CodeHealth) -> Picture:
    """Show the correlation of every pair of bits."""

    def draw(theme: _Theme) -> Figure:
        figure = _new_figure(theme, 4.1, 3.4)
        axes = figure.subplots()
        image = axes.imshow(
            health.correlation, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest"
        )
        _style(axes, theme, title="correlation of two bits", x="bit", y="bit")
        axes.grid(visible=False)
        bar = figure.colorbar(image, ax=axes, pad=0.03, ticks=[-1, -0.5, 0, 0.5, 1])
        bar.ax.tick_params(labelsize=8.5, colors=theme.quiet)
        bar.outline.set_visible(False)  # type: ignore[operator]
        return figure

    return _picture(draw, "Correlation matrix of the bits; white off the diagonal is ideal")


def separation_picture(pairs: Separation) -> Picture:
    """Show how Hamming distances are spread within and between labels."""

    def draw(theme: _Theme) -> Figure:
        figure = _new_figure(theme, 6.6, 2.9)
        axes = figure.subplots()
        kinds = (
            (pairs.between, theme.main, "two labels" if pairs.has_labels else "all pairs"),
            (pairs.within, theme.second, "the same label"),
        )
        for counts, colour, name in kinds:
            if not counts.sum():
                continue
            shares = counts / counts.sum()
            mean = float((shares * np.arange(len(counts))).sum())
            label = f"{name}: {counts.sum():,} pairs, mean {mean:.1f}"
            axes.bar(np.arange(len(counts)), shares, width=1.0, color=colour, alpha=0.55, label=label)
        _style(axes, theme, title="distance of two tracks", x="Hamming distance, bits", y="of pairs")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlim(-0.5, _last_used(pairs) + 0.5)
        axes.set_ylim(top=1.3 * axes.get_ylim()[1])  # room for the legend
        _legend(axes, theme)
        return figure

    return _picture(draw, "Histogram of Hamming distances within and between labels")


def _last_used(pairs: Separation) -> int:
    return max(4, int(np.flatnonzero(pairs.within + pairs.between)[-1]))


def durations_picture(
    durations_s: NDArray[np.float64], levels_db: NDArray[np.float64]
) -> Picture:
    """Show how long and how loud the tracks are."""

    def draw(theme: _Theme) -> Figure:
        figure = _new_figure(theme, 10.8, 2.5)
        left, right = figure.subplots(1, 2)
        is_wide = durations_s.max() > 20.0 * durations_s.min() > 0
        edges = (
            np.geomspace(durations_s.min(), durations_s.max(), HISTOGRAM_BINS)
            if is_wide
            else np.histogram_bin_edges(durations_s, HISTOGRAM_BINS)
        )
        left.hist(durations_s, bins=edges.tolist(), color=theme.main)
        _style(left, theme, title="length", x="seconds", y="tracks")
        if is_wide:
            left.set_xscale("log")
        right.hist(levels_db, bins=HISTOGRAM_BINS, color=theme.main)
        _style(right, theme, title="level", x="root mean square, dB re full scale", y="tracks")
        for axes in (left, right):
            axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        return figure

    return _picture(draw, "Histograms of the length and of the level of the tracks")
