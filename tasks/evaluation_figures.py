"""Pictures of an evaluation: mAP against length, precision against recall, the code space.

As in the report of a snapshot, no picture contains text that comes from outside: genres are named
in HTML beside swatches of `genre_colour`.

Public: `length_picture`, `curve_picture`, `space_picture`, `genre_colour`, `Series`, `Cloud`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from tasks.report_drawing import (
    DARK_INK,
    Picture,
    finish_picture,
    new_figure,
    place_axes,
    style_axes,
)

DPI = 160
HALF, HEIGHT = 5.2, 4.5
"""Hundreds of CSS pixels: half of the page's text, so that two pictures stand side by side."""

COLOURS = (DARK_INK.main, DARK_INK.second, "#1d7f4c", "#8a4fc4", "#b3261e", "#5d6678")
"""Of the methods that are named; the others are thin lines of `OTHERS`."""

OTHERS = "#c3cad6"

LEGEND_INCHES = 1.3
"""Below the axes, where no line can hide it."""

SHIFT_BITS = 0.4
"""Between the error bars of two methods, which would cover one another."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart.

    Attributes
    ----------
    name : str
        Of a method; empty for one of the others.
    x, y : (n,) float64
    spread : (n,) float64, or None
        Standard deviation over seeds.
    is_level : bool
        Whether it has one value whatever the length, and is drawn as a level line.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    spread: NDArray[np.float64] | None = None
    is_level: bool = False


@dataclass(frozen=True, slots=True)
class Cloud:
    """Tracks in the plane of most variance of a method's logits.

    Attributes
    ----------
    name : str
        Of the method and its length.
    points : (n_tracks, 2) float64
    genre : (n_tracks,) int64
        Whose colour they have.
    is_unseen : (n_tracks,) bool
        Drawn as crosses.
    """

    name: str
    points: NDArray[np.float64]
    genre: NDArray[np.int64]
    is_unseen: NDArray[np.bool_]


def genre_colour(place: int) -> str:
    """Give the colour of a genre by its place; after 20 they come again."""
    # The map alternates strong and pale; strong ones first.
    return to_hex(colormaps["tab20"](2 * place % 20 + place // 10 % 2))


def length_picture(series: Sequence[Series], chance: float) -> Picture:
    """Show mAP against the length of the code."""
    figure = new_figure(HALF, HEIGHT, dpi=DPI)
    axes = place_axes(figure, bottom=LEGEND_INCHES)[0][0]
    bits = sorted({float(x) for one in series if not one.is_level for x in one.x})
    colours = _colours(series)
    for place, one in enumerate(series):
        colour = colours[one.name]
        if one.is_level:
            axes.axhline(
                one.y[0], color=colour, linewidth=1.4, linestyle="-.", label=one.name or None
            )
        elif one.name and one.spread is not None:
            axes.errorbar(
                one.x + SHIFT_BITS * (place - len(series) + 3),
                one.y,
                yerr=one.spread,
                color=colour,
                linewidth=1.8,
                marker="o",
                markersize=4,
                capsize=2,
                label=one.name,
            )
        else:
            _line(axes, one, colour, marker="o")
    axes.axhline(chance, color=DARK_INK.quiet, linewidth=1.0, linestyle="--", label="chance")
    style_axes(axes, title="mAP on D-held, by length", x="bits", y="mean average precision")
    axes.set_xticks(bits)
    axes.set_ylim(0.0, None)
    _legend(axes)
    return finish_picture(figure, "Mean average precision of the methods against code length")


def curve_picture(series: Sequence[Series], chance: float, n_bits: int) -> Picture:
    """Show precision against recall, as ever more of the ranking is read."""
    figure = new_figure(HALF, HEIGHT, dpi=DPI)
    axes = place_axes(figure, bottom=LEGEND_INCHES)[0][0]
    colours = _colours(series)
    for one in series:
        _line(axes, one, colours[one.name])
    axes.axhline(chance, color=DARK_INK.quiet, linewidth=1.0, linestyle="--", label="chance")
    style_axes(
        axes, title=f"precision and recall on D-held, {n_bits} bits", x="recall", y="precision"
    )
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.02)
    _legend(axes)
    return finish_picture(figure, "Precision against recall of the methods")


def space_picture(clouds: Sequence[Cloud]) -> Picture:
    """Show where the tracks of each genre lie, in the two directions of most variance."""
    figure = new_figure(2 * HALF, 4.6, dpi=DPI)
    row = place_axes(figure, 1, len(clouds))[0]
    for axes, cloud in zip(row, clouds, strict=True):
        for genre in np.unique(cloud.genre):
            for is_unseen, marker in ((False, "o"), (True, "x")):
                chosen = (cloud.genre == genre) & (cloud.is_unseen == is_unseen)
                axes.scatter(
                    cloud.points[chosen, 0],
                    cloud.points[chosen, 1],
                    s=26,
                    color=genre_colour(int(genre)),
                    marker=marker,
                    alpha=0.85,
                    linewidths=1.4 if is_unseen else 0.0,
                )
        style_axes(axes, title=cloud.name, x="first direction", y="second direction")
        axes.set_xlim(-1.08, 1.08)
        axes.set_ylim(-1.08, 1.08)
    return finish_picture(figure, "Tracks in the two directions of most variance of the logits")


def _line(axes: Axes, one: Series, colour: str, marker: str = "") -> None:
    axes.plot(
        one.x,
        one.y,
        color=colour,
        linewidth=1.8 if one.name else 0.9,
        marker=marker if one.name else "",
        markersize=4,
        zorder=3 if one.name else 1,
        label=one.name or None,
    )


def _colours(series: Sequence[Series]) -> dict[str, str]:
    """Give each named series its colour, in order."""
    names = [one.name for one in series if one.name]
    return {"": OTHERS} | {
        name: COLOURS[place % len(COLOURS)] for place, name in enumerate(dict.fromkeys(names))
    }


def _legend(axes: Axes) -> None:
    """Name the series, and say what the thin lines are."""
    if any(line.get_color() == OTHERS for line in axes.get_lines()):
        axes.plot([], [], color=OTHERS, linewidth=0.9, label="other methods")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=3,
        fontsize=8.5,
        frameon=False,
        labelcolor=DARK_INK.text,
    )
