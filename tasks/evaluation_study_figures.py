"""The picture of a study: accuracy of every row, and its difference from the reference.

Public: `study_picture`, `study_rows`, `StudyRow`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from tasks.report_drawing import (
    DARK_INK,
    Picture,
    finish_picture,
    new_figure,
    place_axes,
    style_axes,
)

DPI = 160
WIDTH = 10.4
"""Hundreds of CSS pixels: the page's text."""

NAMES_INCHES = 2.7
"""Left of the axes, for the names of rows."""

ROW_INCHES = 0.3
MARGINS_INCHES = 1.0
"""Above and below the rows together."""

MARKER_SIZE = 5.5
FEW_GROUPS = 10
"""Fewer groups than this give no interval worth its name; such differences are not coloured."""


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One row of a study as it is drawn.

    Attributes
    ----------
    name : str
    accuracy : float
        Mean over seeds.
    deviation : float or None
        Over seeds; None for a single one.
    difference, low, high : float or None
        From the reference, with its interval; None for the reference itself.
    is_clear : bool
        Whether the interval leaves zero out and there are enough groups.
    """

    name: str
    accuracy: float
    deviation: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    is_clear: bool = False


def study_rows(
    recognition: Sequence[dict[str, Any]], comparisons: Sequence[dict[str, Any]], reference: str
) -> list[StudyRow]:
    """Put means and differences together.

    Parameters
    ----------
    recognition, comparisons : sequence of dict
        As `tasks.evaluate.evaluate` gives them.
    reference : str
        Key of the row that the others are compared with.
    """
    against = {
        row["method"]: row
        for row in comparisons
        if row["task"] == "recognition" and row["against"] == reference
    }
    rows = []
    for row in recognition:
        found = against.get(row["method"])
        accuracy, deviation = row["accuracy"]["mean"], row["accuracy"]["deviation"]
        if found is None:
            rows.append(StudyRow(row["name"], accuracy, deviation))
            continue
        leaves_zero_out = found["low"] > 0 or found["high"] < 0
        rows.append(
            StudyRow(
                row["name"],
                accuracy,
                deviation,
                found["difference"],
                found["low"],
                found["high"],
                is_clear=bool(leaves_zero_out and found["n_groups"] >= FEW_GROUPS),
            )
        )
    return rows


def study_picture(rows: Sequence[StudyRow], reference_name: str, chance: float) -> Picture:
    """Draw accuracies with their spread over seeds, and differences with their intervals.

    Parameters
    ----------
    rows : sequence of StudyRow
        From top to bottom.
    reference_name : str
        What the differences are from.
    chance : float
        Accuracy of always naming the largest genre.
    """
    figure = new_figure(WIDTH, MARGINS_INCHES + ROW_INCHES * len(rows), dpi=DPI)
    ((left, right),) = place_axes(figure, 1, 2, left=NAMES_INCHES, gaps=(0.0, 0.35))
    heights = np.arange(len(rows))[::-1]
    for height, row in zip(heights, rows, strict=True):
        left.errorbar(
            row.accuracy,
            height,
            xerr=row.deviation or 0.0,
            fmt="o",
            color=DARK_INK.main,
            markersize=MARKER_SIZE,
            capsize=2.5,
        )
        _draw_difference(right, row, float(height))
    left.axvline(chance, color=DARK_INK.quiet, linewidth=1.0, linestyle="--")
    right.axvline(0.0, color=DARK_INK.quiet, linewidth=1.0)
    style_axes(left, title="accuracy (bars: s.d. over seeds; dashed: chance)", x="accuracy")
    style_axes(right, title=f"difference from {reference_name} (bars: 95 %)", x="accuracy")
    for axes in (left, right):
        axes.set_yticks(heights, [row.name for row in rows] if axes is left else [])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.grid(visible=True, axis="x", color=DARK_INK.grid, linewidth=0.8)
    left.set_xlim(0.0, None)
    return finish_picture(
        figure, f"Accuracy of each row, and its difference from {reference_name} with its interval"
    )


def _draw_difference(axes: Axes, row: StudyRow, height: float) -> None:
    """Draw a difference, filled where it is clear, else hollow; the reference is a diamond."""
    if row.difference is None or row.low is None or row.high is None:
        axes.plot(0.0, height, marker="D", markersize=MARKER_SIZE, color=DARK_INK.text)
        return
    colour = DARK_INK.second if row.is_clear else DARK_INK.quiet
    axes.plot([row.low, row.high], [height, height], color=colour, linewidth=1.8)
    face = colour if row.is_clear else "white"
    axes.plot(row.difference, height, marker="o", markersize=MARKER_SIZE, color=colour, mfc=face)
