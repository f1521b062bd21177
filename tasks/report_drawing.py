"""Drawing for the report: figures laid out in CSS pixels, in the report's ink, as data URIs.

Charts are drawn once, in dark ink on nothing; the page inverts them on a dark background and keeps
their hues. Only Matplotlib's object-oriented interface and its Agg canvas are used: no global
state, no display.

Public: `Picture`, `finish_picture`, `new_figure`, `place_axes`, `style_axes`, `add_bars`,
`add_legend`, `add_colour_bar`.
"""

import base64
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

CSS_PIXELS_PER_INCH = 100

PNG_OPTIONS = {"compress_level": 6}
"""Level 9 takes eight times as long for 2 % fewer bytes."""


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
class Ink:
    """Colours of text, of axes, of grid lines, and of two series."""

    text: str
    quiet: str
    grid: str
    main: str
    second: str


DARK_INK = Ink("#1d2330", "#5d6678", "#e1e5ed", "#2f6bd8", "#d9722b")
LIGHT_INK = Ink("#e4e7ee", "#a9b1c2", "#323947", "#6b9bf2", "#f09a58")
PANEL = "#14161d"


def new_figure(width: float, height: float, *, dpi: int, face: str = "none") -> Figure:
    """Make an empty figure; sizes in hundreds of CSS pixels."""
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor=face)
    FigureCanvasAgg(figure)
    return figure


def place_axes(  # noqa: PLR0913 - four margins and two counts
    figure: Figure,
    n_rows: int = 1,
    n_columns: int = 1,
    *,
    left: float = 0.62,
    right: float = 0.12,
    top: float = 0.34,
    bottom: float = 0.52,
    gaps: tuple[float, float] = (0.42, 0.75),
    sharex: Literal["col", "none"] = "none",
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


def finish_picture(figure: Figure, text: str, *, is_dark: bool = False) -> Picture:
    """Render a figure and put it into words.

    Parameters
    ----------
    is_dark : bool
        Whether the figure brings a dark background of its own.
    """
    buffer = io.BytesIO()
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.print_png(buffer, pil_kwargs=PNG_OPTIONS)  # type: ignore[no-untyped-call]
    width, height = (round(inches * CSS_PIXELS_PER_INCH) for inches in figure.get_size_inches())
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(uri, width, height, text, is_dark)


def style_axes(axes: Axes, *, title: str, x: str = "", y: str = "", ink: Ink = DARK_INK) -> None:
    """Give axes their title, names with units, two spines and a quiet grid."""
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


def add_bars(  # noqa: PLR0913 - where the bars are, and how they look
    axes: Axes,
    left: ArrayLike,
    right: ArrayLike,
    heights: ArrayLike,
    *,
    colour: str,
    opacity: float = 1.0,
    label: str = "",
) -> None:
    """Draw bars from zero on as one object, where Matplotlib would make one of each."""
    left, right, heights = np.broadcast_arrays(left, right, heights)
    zeros = np.zeros(len(heights))
    corners = np.stack(
        [
            np.column_stack([left, zeros]),
            np.column_stack([left, heights]),
            np.column_stack([right, heights]),
            np.column_stack([right, zeros]),
        ],
        axis=1,
    )
    bars = PolyCollection(list(corners), facecolor=colour, alpha=opacity, label=label)
    bars.sticky_edges.y.append(0.0)
    axes.add_collection(bars)
    axes.autoscale_view()


def add_legend(axes: Axes, place: Literal["upper left", "upper center", "upper right"]) -> None:
    """Name the series of a chart at a given place; searching for the best can take a second."""
    axes.legend(loc=place, fontsize=8.5, frameon=False, labelcolor=DARK_INK.text)


def add_colour_bar(
    column: list[Axes], image: AxesImage, *, ink: Ink = DARK_INK, label: str = ""
) -> None:
    """Put one colour bar beside a column of axes, as high as all of them."""
    figure = column[0].get_figure(root=True)
    assert figure is not None
    top, bottom = column[0].get_position(), column[-1].get_position()
    inch = 1.0 / figure.get_figwidth()
    place = (top.x1 + 0.16 * inch, bottom.y0, 0.14 * inch, top.y1 - bottom.y0)
    bar_axes = figure.add_axes(place)
    bar = figure.colorbar(image, cax=bar_axes)
    bar.set_label(label, color=ink.quiet, fontsize=9)
    bar_axes.tick_params(labelsize=8.5, colors=ink.quiet)
    bar_axes.set_frame_on(False)
