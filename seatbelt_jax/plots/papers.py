"""Figures laid out like those of the papers: curves with intervals, densities, maps of numbers and tiles of images,
with a caption below."""

import dataclasses
import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure

from seatbelt_jax.plots.charts import (
    INK,
    MUTED,
    SETTINGS,
    Format,
    encoded,
    label_ends,
    series_colour,
    series_style,
    tick_axis,
    value_axis,
)
from seatbelt_jax.plots.text import number, tick

_WIDTH, _HEIGHT = 4.6, 3.1  # inches
_TILE = 0.62  # inches
_DODGE = 0.012  # of what an axis spans
_CAPTION_SIZE, _LETTERS_PER_INCH, _LINE = 8.0, 16.0, 0.15
_PALE, _DEEP = "#a9cfe8", "#08306b"
_RAMP = LinearSegmentedColormap.from_list("ramp", (_PALE, _DEEP))
_MAP = LinearSegmentedColormap.from_list("map", ("#f3f7fb", "#6aaed6", "#08306b"))


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve, or points that stand alone.

    Attributes:
      name: written where the line ends, or in a legend; empty where another line has it.
      x, y: where y is infinite or undefined, the line has a gap.
      low, high: the bounds of a band.
      bar_low, bar_high: the ends of bars at the points; a bar without an upper end has an arrow.
      series: the number of its colour and dashes; negative for none.
      shade: in [0, 1], pale to deep, in place of a colour, for lines that have an order.
      joined: whether the points are joined.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    bar_low: Sequence[float] | None = None
    bar_high: Sequence[float] | None = None
    series: int = 0
    shade: float | None = None
    joined: bool = True


@dataclasses.dataclass(frozen=True)
class Curves:
    """A chart of lines.

    Attributes:
      title: above, with what is on the vertical axis and its unit.
      x_label: the label of the horizontal axis, with its unit.
      lines: at least one.
      logarithmic: whether the vertical axis is logarithmic.
      marked: whether lines have a dot at each point and their names at their ends; otherwise there is a legend.
    """

    title: str
    x_label: str
    lines: Sequence[Line]
    logarithmic: bool = False
    marked: bool = True


@dataclasses.dataclass(frozen=True)
class NumberMap:
    """A map of numbers, each written in its field.

    Attributes:
      title: above, with the unit.
      x_label, columns: what the columns are, and each one's value.
      y_label, rows: the same of the rows, from the bottom up.
      values: [row, column]; NaN is an empty field.
      logarithmic: whether the shades are logarithmic.
      scale: numbers whose range the shades cover, from all maps to be compared; by default the values.
    """

    title: str
    x_label: str
    columns: Sequence[float]
    y_label: str
    rows: Sequence[float]
    values: Float[np.ndarray, "row column"]
    logarithmic: bool = False
    scale: Float[np.ndarray, " number"] | None = None


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Images in rows and columns.

    Attributes:
      title: above.
      images: grey (one channel) or RGB (three).
      image_range: the values shown black and white.
      row_names, column_names: at the left of each row, above each column.
      row_notes: at the right of each row.
    """

    title: str
    images: Float[np.ndarray, "rows columns height width channels"]
    image_range: tuple[float, float]
    row_names: Sequence[str]
    column_names: Sequence[str]
    row_notes: Sequence[str] = ()


Panel = Curves | NumberMap | Tiles
# The error bars of one line: x, low, high, colour.
_Bars = tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"], Float[np.ndarray, " point"], str]


def paper_figure(panels: Sequence[Panel | None], caption: str, *, columns: int = 2, kind: Format = "png") -> bytes:
    """Panels side by side as one figure, the caption below; None leaves a place empty.

    Raises:
      ValueError: for no panels.
    """
    if not any(panels):
        raise ValueError("a figure has at least one panel")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    sizes = np.array([_size(panel) for panel in panels if panel])
    width, height = sizes[:, 0].max() * columns, sizes[:, 1].max() * rows
    lines = textwrap.wrap(caption, int(width * _LETTERS_PER_INCH))
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height + 0.15 + _LINE * len(lines)), layout="constrained")
        for place, panel in enumerate(panels, 1):
            if panel is None:
                continue
            axes = figure.add_subplot(rows, columns, place)
            if isinstance(panel, Curves):
                _draw_curves(axes, panel)
            elif isinstance(panel, NumberMap):
                _draw_map(axes, panel)
            else:
                _draw_tiles(axes, panel)
        # The caption names files and formulas of users; none of it is a formula of Matplotlib's.
        below = figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=_CAPTION_SIZE, color=MUTED)
        below.set_parse_math(False)
    return encoded(figure, kind, dpi=150)


def _size(panel: Panel) -> tuple[float, float]:
    """Width and height in inches."""
    if isinstance(panel, Tiles):
        rows, columns, high, wide, _ = panel.images.shape
        names = 1.5 + (1.6 if panel.row_notes else 0.0)
        return max(_WIDTH, columns * _TILE * max(1.0, wide / high) + names), rows * _TILE * max(1.0, high / wide) + 0.6
    return _WIDTH, _HEIGHT


def _draw_curves(axes: Axes, panel: Curves) -> None:
    ends: list[tuple[str, float, str]] = []
    bars: list[_Bars] = []
    for line, offset in zip(panel.lines, _offsets(panel.lines), strict=True):
        x, y = np.asarray(line.x, float) + offset, np.asarray(line.y, float)
        shown = np.isfinite(y) & ((y > 0.0) | (not panel.logarithmic))
        # No line leads across a point that is not there.
        y = np.where(shown, y, np.nan)
        colour = series_colour(line.series) if line.shade is None else matplotlib.colors.to_hex(_RAMP(line.shade))
        style = series_style(line.series) if line.joined else "none"
        marker = "o" if panel.marked or not line.joined else None
        name = None if panel.marked else line.name or None
        axes.plot(x, y, color=colour, ls=style, marker=marker, markersize=3.5, label=name)
        if line.low is not None and line.high is not None:
            low, high = np.asarray(line.low, float), np.asarray(line.high, float)
            within = shown & np.isfinite(low) & np.isfinite(high)
            if panel.logarithmic:
                # A bound at or below 0 has no place on this axis.
                low = np.where(low > 0.0, low, np.min(y[shown], initial=np.inf) * 0.1)
            axes.fill_between(x[within], low[within], high[within], color=colour, alpha=0.15, lw=0)
        if line.bar_low is not None and line.bar_high is not None:
            low, high = np.asarray(line.bar_low, float), np.asarray(line.bar_high, float)
            told = shown & np.isfinite(low) & ~np.isnan(high)
            bars.append((x[told], low[told], high[told], colour))
        if line.name and shown.any():
            ends.append((line.name, float(y[shown][-1]), colour))
    axes.set_xlabel(panel.x_label, parse_math=False)
    tick_axis(axes.xaxis)
    _draw_bars(axes, bars)
    value_axis(axes, panel.title, logarithmic=panel.logarithmic)
    if panel.marked:
        label_ends(axes, ends)
    else:
        axes.legend(frameon=False, fontsize=8.0)


def _offsets(lines: Sequence[Line]) -> list[float]:
    """How far each line is moved sideways, so that bars do not hide each other."""
    barred = [line.bar_low is not None and line.joined for line in lines]
    if not any(barred):
        return [0.0] * len(lines)
    span = float(np.ptp(np.concatenate([line.x for line in lines])))
    places = np.cumsum(barred) - 0.5 * (1 + sum(barred))
    return [float(place) * _DODGE * span if has else 0.0 for place, has in zip(places, barred, strict=True)]


def _draw_bars(axes: Axes, bars: Sequence[_Bars]) -> None:
    """Draws the bars; one without an upper end goes up to the frame, with an arrow."""
    for x, low, high, colour in bars:
        ends = np.isfinite(high)
        axes.vlines(x[ends], low[ends], high[ends], color=colour, lw=0.9, alpha=0.8)
    if any(np.isinf(high).any() for _, _, high, _ in bars):
        top = axes.get_ylim()[1]
        for x, low, high, colour in bars:
            endless = np.isinf(high)
            axes.vlines(x[endless], low[endless], top, color=colour, lw=0.9, alpha=0.8)
            axes.scatter(x[endless], np.full(endless.sum(), top), marker="^", s=14.0, color=colour, clip_on=False)
        axes.set_ylim(top=top)


def _draw_map(axes: Axes, panel: NumberMap) -> None:
    values = np.ma.masked_invalid(np.asarray(panel.values, float))
    scale = values if panel.scale is None else np.ma.masked_invalid(panel.scale)
    positive = panel.logarithmic and bool((scale > 0.0).all())
    norm = (LogNorm if positive else Normalize)(scale.min(), scale.max())
    axes.imshow(values, cmap=_MAP, norm=norm, origin="lower", aspect="auto")
    for row, column in np.ndindex(values.shape):
        if not np.ma.is_masked(values[row, column]):
            dark = norm(values[row, column]) > 0.6
            colour = "#ffffff" if dark else INK
            axes.text(
                column, row, number(float(values[row, column])), ha="center", va="center", color=colour, fontsize=7.5
            )
    axes.set_xticks(range(len(panel.columns)), [tick(value) for value in panel.columns])
    axes.set_yticks(range(len(panel.rows)), [tick(value) for value in panel.rows])
    axes.set_xlabel(panel.x_label, parse_math=False)
    axes.set_ylabel(panel.y_label, parse_math=False)
    axes.set_title(panel.title, parse_math=False)
    axes.grid(False)


def _draw_tiles(axes: Axes, panel: Tiles) -> None:
    rows, columns, high, wide, channels = panel.images.shape
    low, top = panel.image_range
    levels = np.clip(np.nan_to_num((np.asarray(panel.images, float) - low) / (top - low)), 0.0, 1.0)
    canvas = np.full((rows * (high + 1) - 1, columns * (wide + 1) - 1, 3), 0.75)
    for row, column in np.ndindex(rows, columns):
        tile = np.broadcast_to(levels[row, column], (high, wide, 3)) if channels == 1 else levels[row, column]
        canvas[row * (high + 1) : (row + 1) * (high + 1) - 1, column * (wide + 1) : (column + 1) * (wide + 1) - 1] = (
            tile
        )
    axes.imshow(canvas, interpolation="nearest")
    centres = [column * (wide + 1) + wide / 2 for column in range(columns)]
    middles = [row * (high + 1) + high / 2 for row in range(rows)]
    axes.xaxis.tick_top()
    axes.set_xticks(centres[: len(panel.column_names)], panel.column_names, parse_math=False)
    axes.set_yticks(middles, panel.row_names, parse_math=False)
    axes.tick_params(length=0)
    for middle, note in zip(middles, panel.row_notes, strict=False):
        axes.annotate(
            note,
            (canvas.shape[1], middle),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=MUTED,
            fontsize=7.5,
            annotation_clip=False,
            parse_math=False,
        )
    axes.set_title(panel.title, parse_math=False)
    axes.grid(False)
    axes.spines[:].set_visible(False)
