"""The report's figures: arrays in, pictures out.

No figure contains text that comes from outside: names are set in HTML, where every script can be
shown. Spectrograms have a dark frame of their own on every background.

Public: `spectrogram_picture`, `learning_picture`, `bits_picture`, `correlation_picture`,
`buckets_picture`, `drift_picture`, `separation_picture`, `durations_picture`.
"""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from musichash_core.code_health import CodeMeasures
from musichash_core.training_records import StageSummary, TrainingSummary
from tasks.report_catalogue import CatalogueFacts
from tasks.report_codes import Separation
from tasks.report_drawing import (
    DARK_INK,
    LIGHT_INK,
    PANEL,
    Picture,
    add_bars,
    add_colour_bar,
    add_legend,
    finish_picture,
    new_figure,
    place_axes,
    style_axes,
)
from tasks.report_track import ShownTrack

CHART_DPI = 160
IMAGE_DPI = 125
"""Spectrograms hardly compress: their sharpness is paid for in megabytes."""

PART_NAMES = ("original", "harmonic part", "percussive part")
SHOWN_RANGE_DB = 72.0
COLOUR_LEVELS = 48
"""Steps of 1.5 dB: they cannot be seen, and they compress."""

TICKS_HZ = (100, 500, 1000, 2000, 4000, 8000, 16_000, 32_000)
HISTOGRAM_BINS = 40
BAR_WIDTH = 0.82
WIDE = 10.6
"""Hundreds of CSS pixels: the width of the page's text."""


def spectrogram_picture(track: ShownTrack) -> Picture:
    """Show the mel power of a track's original, harmonic and percussive part on one scale."""
    figure = new_figure(WIDE, 6.6, dpi=IMAGE_DPI, face=PANEL)
    rows = place_axes(figure, 3, right=0.95, left=0.72, gaps=(0.34, 0.0), sharex="col")
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
        style_axes(axes, title=name, y="Hz", ink=LIGHT_INK)
        axes.grid(visible=False)
        _mark_bands(axes, track.band_hz)
    add_colour_bar([axes for (axes,) in rows], image, ink=LIGHT_INK, label="mel power, dB re 1")
    rows[-1][0].set_xlabel("frame" if track.frame_s is None else "time in the track, seconds")
    text = "Mel spectrograms of a track: original, harmonic part, percussive part"
    return finish_picture(figure, text, is_dark=True)


def _mark_bands(axes: Axes, band_hz: NDArray[np.float64] | None) -> None:
    """Write frequencies beside the mel bands, or number the bands where they are not known."""
    if band_hz is None:
        axes.set_ylabel("mel band")
        return
    ticks = [hz for hz in TICKS_HZ if band_hz[0] <= hz <= band_hz[-1]]
    axes.set_yticks(np.interp(ticks, band_hz, np.arange(len(band_hz))))
    axes.set_yticklabels([f"{hz:,}" for hz in ticks])


def learning_picture(
    summary: TrainingSummary, *, dpi: int = CHART_DPI, face: str = "none"
) -> Picture:
    """Show loss and validation metric per epoch of both stages, with the epoch that was kept.

    Parameters
    ----------
    face : str
        Colour of the background, for pages that are dark and do not invert charts.
    """
    figure = new_figure(WIDE, 4.4, dpi=dpi, face=face)
    grid = place_axes(figure, 2, 2, sharex="col")
    stages = (
        ("genre network", summary.genre_stage, summary.chance_accuracy),
        ("hash network", summary.hash_stage, summary.chance_map),
    )
    for column, (name, stage, chance) in enumerate(stages):
        _draw_losses(grid[0][column], name, stage)
        _draw_metrics(grid[1][column], stage, chance)
    return finish_picture(figure, "Learning curves of the genre network and of the hash network")


def _draw_curve(axes: Axes, values: tuple[float, ...], colour: str) -> None:
    marker = "o" if len(values) == 1 else ""
    axes.plot(np.arange(1, len(values) + 1), values, color=colour, linewidth=1.8, marker=marker)


def _draw_losses(axes: Axes, name: str, stage: StageSummary) -> None:
    style_axes(axes, title=f"{name}: training loss", y="loss")
    if not stage.train_losses:
        _write_instead(axes, "not trained in epochs")
        return
    _draw_curve(axes, stage.train_losses, DARK_INK.main)
    _mark_best(axes, stage.best_epoch)
    add_legend(axes, "upper center")


def _draw_metrics(axes: Axes, stage: StageSummary, chance: float | None) -> None:
    style_axes(axes, title=f"held-out tracks: {stage.metric_name}", x="epoch", y="0 to 1")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylim(0.0, 1.02)
    if not stage.validation_metrics:
        _write_instead(axes, "no held-out tracks" if stage.train_losses else "no epochs")
        return
    _draw_curve(axes, stage.validation_metrics, DARK_INK.second)
    if chance is not None:
        axes.axhline(chance, color=DARK_INK.quiet, linewidth=1.0, linestyle="--", label="chance")
    _mark_best(axes, stage.best_epoch)
    add_legend(axes, "upper left")


def _write_instead(axes: Axes, text: str) -> None:
    """Say why there is no curve."""
    message = axes.text(0.5, 0.5, text, color=DARK_INK.quiet, ha="center")
    message.set_transform(axes.transAxes)


def _mark_best(axes: Axes, best_epoch: int) -> None:
    label = f"kept: epoch {best_epoch}"
    axes.axvline(best_epoch, color=DARK_INK.quiet, linewidth=1.2, linestyle=":", label=label)


def bits_picture(measures: CodeMeasures) -> Picture:
    """Show the share of ones of every bit."""
    figure = new_figure(6.4, 3.3, dpi=CHART_DPI)
    axes = place_axes(figure)[0][0]
    _bars_at(axes, np.arange(measures.n_bits), measures.bit_means)
    axes.axhline(0.5, color=DARK_INK.second, linewidth=1.4, linestyle="--")
    style_axes(axes, title="share of codes with the bit set", x="bit", y="share of codes")
    axes.set_ylim(0.0, 1.0)
    axes.set_xlim(-0.8, measures.n_bits - 0.2)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return finish_picture(figure, "Share of ones per bit; one half is ideal")


def _bars_at(axes: Axes, positions: NDArray[np.int64], heights: ArrayLike) -> None:
    half = BAR_WIDTH / 2
    add_bars(axes, positions - half, positions + half, heights, colour=DARK_INK.main)


def _histogram(axes: Axes, values: NDArray[np.float64], edges: NDArray[np.float64]) -> None:
    counts, _ = np.histogram(values, edges)
    add_bars(axes, edges[:-1], edges[1:], counts, colour=DARK_INK.main)


def correlation_picture(measures: CodeMeasures) -> Picture:
    """Show the correlation of every pair of bits."""
    figure = new_figure(3.9, 3.3, dpi=CHART_DPI)
    axes = place_axes(figure, left=0.58, right=0.88)[0][0]
    image = axes.imshow(
        measures.correlation, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest", aspect="auto"
    )
    style_axes(axes, title="correlation of two bits", x="bit", y="bit")
    axes.grid(visible=False)
    add_colour_bar([axes], image)
    return finish_picture(figure, "Correlation of every two bits; white off the diagonal is ideal")


def buckets_picture(measures: CodeMeasures) -> Picture:
    """Show how many tracks share their code with how many others."""
    figure = new_figure(WIDE, 2.5, dpi=CHART_DPI)
    axes = place_axes(figure)[0][0]
    shares = np.array(measures.buckets.tracks_by_size) / measures.n_codes
    positions = np.arange(len(shares))
    _bars_at(axes, positions, shares)
    for position, share in enumerate(shares.tolist()):
        axes.text(position, share, f"{share:.1%}", ha="center", va="bottom", fontsize=8.5)
    names = ["alone"] + [f"{2**i:,} to {2 ** (i + 1) - 1:,}" for i in positions[1:]]
    axes.set_xticks(positions, names)
    axes.set_xlim(-0.7, max(5, len(shares)) - 0.3)
    axes.set_ylim(0.0, 1.12 * shares.max())
    title = "tracks by the number of tracks that have their code"
    style_axes(axes, title=title, x="tracks with the same code", y="share of tracks")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return finish_picture(figure, "Histogram of the sizes of buckets of equal codes")


def drift_picture(found: NDArray[np.float64], expected: NDArray[np.float64]) -> Picture:
    """Show the share of ones of every bit in the snapshot before and now."""
    figure = new_figure(WIDE, 2.7, dpi=CHART_DPI)
    axes = place_axes(figure)[0][0]
    positions = np.arange(len(found))
    _bars_at(axes, positions, found - expected)
    axes.axhline(0.0, color=DARK_INK.quiet, linewidth=1.0)
    style_axes(axes, title="change of the share of ones, by bit", x="bit", y="change")
    largest = max(0.01, float(np.abs(found - expected).max()))
    axes.set_ylim(-1.1 * largest, 1.1 * largest)
    axes.set_xlim(-0.8, len(found) - 0.2)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return finish_picture(
        figure, "Change of the share of ones of every bit since the last snapshot"
    )


def separation_picture(pairs: Separation) -> Picture:
    """Show how Hamming distances are spread within and between labels."""
    figure = new_figure(WIDE, 3.0, dpi=CHART_DPI)
    axes = place_axes(figure)[0][0]
    between_name = "two labels" if pairs.has_labels else "all pairs"
    for counts, colour, name in (
        (pairs.between, DARK_INK.main, between_name),
        (pairs.within, DARK_INK.second, "the same label"),
    ):
        if not counts.sum():
            continue
        distances = np.arange(len(counts))
        shares = counts / counts.sum()
        mean = float((shares * distances).sum())
        label = f"{name}: {counts.sum():,} pairs, mean {mean:.1f} bits"
        add_bars(
            *(axes, distances - 0.5, distances + 0.5, shares),
            colour=colour,
            opacity=0.55,
            label=label,
        )
    style_axes(axes, title="distance of two tracks", x="Hamming distance, bits", y="share of pairs")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlim(-0.5, max(4, int(np.flatnonzero(pairs.within + pairs.between)[-1])) + 0.5)
    add_legend(axes, "upper right")
    return finish_picture(figure, "Histogram of Hamming distances within and between labels")


def durations_picture(catalogue: CatalogueFacts) -> Picture:
    """Show how long and how loud the tracks are."""
    durations_s, levels_db = catalogue.durations_s, catalogue.levels_db
    figure = new_figure(WIDE, 2.5, dpi=CHART_DPI)
    left, right = place_axes(figure, 1, 2)[0]
    is_wide = durations_s.max() > 20.0 * durations_s.min() > 0
    edges = (
        np.geomspace(durations_s.min(), durations_s.max(), HISTOGRAM_BINS + 1)
        if is_wide
        else np.histogram_bin_edges(durations_s, HISTOGRAM_BINS)
    )
    left.set_xscale("log" if is_wide else "linear")
    _histogram(left, durations_s, edges)
    _histogram(right, levels_db, np.histogram_bin_edges(levels_db, HISTOGRAM_BINS))
    style_axes(left, title="length", x="seconds", y="tracks")
    style_axes(right, title="level", x="root mean square, dB re full scale", y="tracks")
    for axes in (left, right):
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    return finish_picture(figure, "Histograms of the length and of the level of the tracks")
