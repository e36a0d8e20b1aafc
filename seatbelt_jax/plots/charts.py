"""The look of every chart, and charts as SVG for the page and files for the figures folder."""

import io
import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from seatbelt_jax.plots.text import power, tick

Draw = Callable[[Axes], None]
Format = Literal["png", "svg", "pdf"]

# Distinct for readers with any colour vision, and legible as text on white. The page's style sheet has brighter
# colours of the same names for a dark background.
SERIES = ("#0067a5", "#c2500a", "#00805e", "#9e4a86", "#8a6500", "#2a86b8", "#5a5f66")
INK, MUTED, RULE, PAPER = "#1d2127", "#5c636e", "#dfe2e6", "#ffffff"
_VARIABLES = {
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)},
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
}
_STYLES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
_WIDTH, _HEIGHT = 4.6, 3.0  # inches
_LABEL_SPACING = 0.085  # of an axis's height
_LONGEST_LABEL = 24
_MOST_PENALTY_TICKS = 6
# A logarithmic axis over less than this ratio carries plain numbers.
_NARROW = 300.0

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.06,
}


def series_colour(index: int) -> str:
    """The colour of model number `index`."""
    return SERIES[index % len(SERIES)]


def series_style(index: int) -> Any:
    """A dash pattern; models that share a colour differ in it."""
    return _STYLES[index // len(SERIES) % len(_STYLES)]


def svg(draw: Draw, name: str) -> str:
    """One chart as an SVG element to stand in a page whose style sheet defines the colours.

    Args:
      draw: draws on the axes it is given.
      name: unlike every other chart's of the page; the element's ids derive from it.
    """
    with matplotlib.rc_context(
        {**SETTINGS, "svg.hashsalt": name, "figure.facecolor": "none", "axes.facecolor": "none"}
    ):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=metadata, facecolor="none")
    return _for_a_page(buffer.getvalue())


def figure(draws: Sequence[Draw], kind: Format = "png", *, columns: int = 2) -> bytes:
    """Charts side by side as one figure."""
    columns = min(columns, len(draws))
    rows = math.ceil(len(draws) / columns)
    with matplotlib.rc_context(SETTINGS):
        made = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), layout="constrained")
        for position, draw in enumerate(draws, 1):
            draw(made.add_subplot(rows, columns, position))
    return encoded(made, kind)


def encoded(made: Figure, kind: Format, dpi: int = 160) -> bytes:
    """A figure as a file: the same bytes for the same figure, letters as outlines or embedded."""
    buffer = io.BytesIO()
    # No date.
    metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with matplotlib.rc_context({**SETTINGS, "svg.fonttype": "path", "svg.hashsalt": "figure", "pdf.fonttype": 42}):
        made.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def label_ends(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Writes each line's name at the right, at the height where it ends, pushed apart where they meet.

    Args:
      ends: (name, last y in data coordinates, colour).
    """
    right = axes.get_xlim()[1]
    lines = max((name.count("\n") + 1 for name, _, _ in ends), default=1)
    to_axes = axes.transScale + axes.transLimits
    heights = np.array([to_axes.transform((right, y))[1] for _, y, _ in ends])
    for (name, _, colour), height in zip(ends, _apart(heights, _LABEL_SPACING * lines), strict=True):
        label_point(axes, name, 1.0, height, colour, coordinates="axes fraction")


def label_point(axes: Axes, name: str, x: float, y: float, colour: str, *, coordinates: str = "data") -> None:
    """Writes a model's name to the right of a point; on a curve, in data coordinates, also above it."""
    on_a_curve = coordinates == "data"
    axes.annotate(
        "\n".join(map(short, name.split("\n"))),
        (x, y),
        xycoords=coordinates,
        xytext=(3, 1) if on_a_curve else (5, 0),
        textcoords="offset points",
        color=colour,
        va="bottom" if on_a_curve else "center",
        annotation_clip=False,
        # A directory may be called $x$; it is not a formula.
        parse_math=False,
    )


def short(name: str) -> str:
    """A name for which a chart has room."""
    return name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…"


def _apart(heights: Float[np.ndarray, " label"], spacing: float) -> Float[np.ndarray, " label"]:
    """Moves labels up where they would touch, then all that stand too high down again."""
    placed = np.clip(heights, 0.0, 1.0)
    order = np.argsort(heights, kind="stable")
    for below, above in pairwise(order):
        placed[above] = max(placed[above], placed[below] + spacing)
    ceiling = 1.0
    for index in order[::-1]:
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - spacing
    return placed


def budget_axis(axes: Axes, label: str, *, logarithmic: bool, powers_of_two: bool) -> None:
    """A horizontal axis of penalties or radii; to be called when everything is drawn.

    Args:
      powers_of_two: whether a logarithmic axis counts in them, not in tens.
    """
    axes.set_xlabel(label, parse_math=False)
    if not logarithmic:
        tick_axis(axes.xaxis)
    elif powers_of_two:
        axes.set_xscale("log", base=2)
        low, high = (math.log2(limit) for limit in axes.get_xlim())
        step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 500) if (high - low) / step <= _MOST_PENALTY_TICKS)
        exponents = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
        axes.xaxis.set_major_locator(FixedLocator([2.0**exponent for exponent in exponents]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power(2, value)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xscale("log")
        tick_tens(axes.xaxis, *axes.get_xlim())


def tick_axis(axis: Axis, *, whole: bool = False) -> None:
    """A linear axis with a few round numbers; of counts whole ones."""
    axis.set_major_locator(MaxNLocator(5, min_n_ticks=1 if whole else 3, steps=[1, 2, 2.5, 5, 10], integer=whole))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def value_axis(axes: Axes, label: str, *, logarithmic: bool = False, whole: bool = False) -> None:
    """A vertical axis, its label above it where it reads without turning the head; to be called last."""
    if logarithmic:
        axes.set_yscale("log")
        tick_tens(axes.yaxis, *axes.get_ylim())
    else:
        tick_axis(axes.yaxis, whole=whole)
    axes.set_title(label, parse_math=False)


def tick_tens(axis: Axis, low: float, high: float) -> None:
    """A logarithmic axis in tens; one that spans little carries plain numbers."""
    narrow = high / low < _NARROW
    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5) if narrow else (1,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value) if narrow else power(10, value)))
    axis.set_minor_locator(NullLocator())


def _for_a_page(drawing: str) -> str:
    """The svg element alone, colours by name, no ids but those that are referred to, no namespaces."""
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", drawing, count=2)
    drawing = re.sub(r"<defs>\s*<style[^>]*>[^<]*</style>\s*</defs>", "", drawing)
    drawing = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", drawing)
    drawing = re.sub(r'<svg width="[^"]*" height="[^"]*"', "<svg", drawing)
    drawing = re.sub(r'<svg height="[^"]*"', "<svg", drawing)
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, variable)
    return drawing.strip()
