"""A sweep's measures along one axis of its grid: a small chart for each measure and data set, a line for each model."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from seatbelt_jax.plots.cells import CellData, SweepData, main_margin
from seatbelt_jax.plots.certificates import main_of
from seatbelt_jax.plots.charts import Draw, label_ends, series_colour, series_style, tick_axis, value_axis
from seatbelt_jax.plots.text import tick
from seatbelt_jax.results.measures import OF_ATTACKS, OF_MODELS, of_place

# The axis that charts run along: the first of these with several values.
_ALONG = {"beta": "β", "tau": "τ", "d_z": "latents of the bottom layer", "L": "latent layers"}
# What tells one line's name from another's, and how.
_NAMED = {"model": "{}", "L": "L = {}", "d_z": "d_z = {}", "beta": "β = {}", "tau": "τ = {}"}
_MARGIN = "certified_margin"
# Between two lines, of the axis: bars do not hide each other.
_DODGE = 0.012
_DECADE = 10.0
_MOST_TICKS = 7

# (x, value, low, high); the interval is NaN where there is none.
_Point = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Curves:
    """Attributes:
    names: of the lines, in the order of their colours.
    charts: of each measure, by its title, the charts of the data sets, by their names; where there is one data set,
      of it, by its name, the charts of the measures.
    """

    names: Sequence[str]
    charts: dict[str, dict[str, Draw]]


def curves(sweep: SweepData) -> Curves:
    """The charts; none where no numeric axis has several values."""
    varying = sweep.varying(list(_ALONG))
    if not varying:
        return Curves([], {})
    along = varying[0]
    others = sweep.varying([axis for axis in _NAMED if axis != along])
    cells = [cell for cell in sweep.cells if along in cell.axes]
    names = list(dict.fromkeys(_name(cell, others) for cell in cells))
    drawn: dict[str, dict[str, Draw]] = {}
    sets = list(dict.fromkeys(map(_data, cells)))
    for title, column in _measures(sweep).items():
        for data in sets:
            of_data = [cell for cell in cells if _data(cell) == data]
            if lines := _lines(of_data, column, along, others, names):
                heading, above = (title, data) if len(sets) > 1 else (data, title)
                methods = _methods(of_data, others, names) if column == _MARGIN else {}
                drawn.setdefault(heading, {})[above] = _chart(lines, len(names), above, _ALONG[along], methods)
    return Curves(names, drawn)


def _data(cell: CellData) -> str:
    return f"{cell.axes.get('data', '')}"


def _name(cell: CellData, others: Sequence[str]) -> str:
    """The name of the line that has the cell for a point; cells that differ in seed alone share a line."""
    known = [(axis, cell.axes[axis]) for axis in others if axis in cell.axes]
    parts = (_NAMED[axis].format(value if isinstance(value, str) else f"{value:g}") for axis, value in known)
    return ", ".join(parts) or "all"


def _measures(sweep: SweepData) -> dict[str, str]:
    """Title -> the name among cells' numbers; of attacks, the main one's."""
    found = {}
    for attack, unit in list(sweep.attacks.items())[:1]:
        for measure in of_place("curves", OF_ATTACKS):
            words = measure.words.format(unit=unit.replace("_", " "))
            found[f"{words}; attack {attack}"] = measure.column(attack, unit)
    return found | {measure.words: measure.name for measure in of_place("curves", OF_MODELS)}


def _lines(
    cells: Sequence[CellData], column: str, along: str, others: Sequence[str], names: Sequence[str]
) -> list[tuple[int, list[_Point]]]:
    """The number of each line's name, and its points; one for every seed."""
    found: dict[tuple[int, object], list[_Point]] = {}
    for cell in cells:
        values = _margin(cell) if column == _MARGIN else _of_table(cell, column)
        if np.isfinite(values[0]):
            line = names.index(_name(cell, others)), cell.axes.get("seed", "")
            found.setdefault(line, []).append((float(cell.axes[along]), *values))
    return [(index, sorted(points)) for (index, _), points in found.items()]


def _of_table(cell: CellData, column: str) -> tuple[float, float, float]:
    value, low, high = (cell.numbers.get(f"{column}{end}", np.nan) for end in ("", "_low", "_high"))
    # Half of an interval that has no end is none.
    return (value, low, high) if np.isfinite([low, high]).all() else (value, np.nan, np.nan)


def _margin(cell: CellData) -> tuple[float, float, float]:
    """The median, and the middle half of the images' margins where these are known."""
    margin = main_margin(cell.numbers)
    if margin is None:
        return np.nan, np.nan, np.nan
    images = main_of([one for one in cell.certificates if (one.method, one.norm) == (margin.method, margin.norm)])
    if images is None or images.split != "validation":
        return margin.median, np.nan, np.nan
    low, high = np.quantile(images.radius, [0.25, 0.75])
    return margin.median, float(low), float(high)


def _methods(cells: Sequence[CellData], others: Sequence[str], names: Sequence[str]) -> dict[int, str]:
    """The methods by which each line's margins are, where these differ; by the number of the line's name."""
    found: dict[int, dict[str, None]] = {}
    for cell in cells:
        if margin := main_margin(cell.numbers):
            found.setdefault(names.index(_name(cell, others)), {})[margin.method] = None
    words = {index: ", ".join(methods) for index, methods in found.items()}
    return words if len(set(words.values())) > 1 else {}


def _chart(
    lines: Sequence[tuple[int, Sequence[_Point]]], names: int, title: str, label: str, methods: Mapping[int, str]
) -> Draw:
    def draw(axes: Axes) -> None:
        every = np.array([point for _, points in lines for point in points])
        span = np.ptp(every[:, 0]) or 1.0
        for index, points in lines:
            x, value, low, high = np.array(points).T
            x = x + (index - 0.5 * (names - 1)) * _DODGE * span
            axes.plot(x, value, marker="o", ms=3.0, lw=1.3, color=series_colour(index), ls=series_style(index))
            axes.vlines(x, low, high, color=series_colour(index), lw=1.0, alpha=0.6)
        values = every[:, 1]
        places = np.unique(every[:, 0])
        if len(places) <= _MOST_TICKS:
            axes.set_xticks(places, [tick(place) for place in places])
        else:
            tick_axis(axes.xaxis)
        axes.set_xlabel(label, parse_math=False)
        value_axis(axes, title, logarithmic=bool(values.min() > 0.0 and values.max() > _DECADE * values.min()))
        # What compares methods says so.
        ends = {index: points[-1][1] for index, points in lines}
        label_ends(axes, [(methods[index], end, series_colour(index)) for index, end in ends.items() if methods])

    return draw
