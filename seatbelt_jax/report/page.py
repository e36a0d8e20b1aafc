"""Pages from templates: one HTML file that loads nothing, and runs no script but its own."""

import base64
import dataclasses
import hashlib
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from seatbelt_jax.plots import charts, text

_SCRIPTS = ("slider.js", "tables.js", "gallery.js")
# A letter that stands alone is a variable: x, xᵗ, z*, d_z.
_VARIABLE = re.compile(r"(?<![\w’])([A-Za-z])(?:(ᵗ)|_([a-z]))?\b")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
      small: stands below, in small letters.
      value: the number by which the table is sorted, NaN where it is absent; None in a cell of words.
      best: whether it is bold.
      series: the number of the model whose colour stands before the words.
      group: columns of a group are shown together.
      pictures: the number of the cell of a sweep whose pictures the words lead to.
    """

    words: str
    small: str = ""
    value: float | None = None
    best: bool = False
    series: int | None = None
    group: str | None = None
    pictures: int | None = None

    @property
    def sorted_by(self) -> float | str | None:
        """What the page's script sorts by."""
        return "" if self.value is not None and math.isnan(self.value) else self.value


Row = Sequence[str | Cell]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table in a frame that scrolls sideways on a narrow screen.

    The first cell of each row heads it; a row of one cell heads those that follow.

    Attributes:
      kind: classes of the style sheet: "cells" of a sweep scroll in a frame of limited height, and a table that is
        "sortable" is sorted by the column whose head is clicked.
      axes: the place of each row in a grid, by which the page's script filters rows.
    """

    header: Row
    rows: Sequence[Row]
    kind: str = "numbers"
    axes: Sequence[Mapping[str, str]] = ()

    @property
    def is_word(self) -> list[bool]:
        """Which columns hold words; as their heads, these stand at the left."""
        row = next((row for row in self.rows if len(row) > 1), self.header)
        return [isinstance(cell, str) or cell.value is None for cell in row]


def shown(value: float | None, show: Callable[[float | None], str] = text.number, small: str = "") -> Cell:
    """A number as `show` has it."""
    return Cell(show(value), small, math.nan if value is None else value)


def formula(words: str) -> Markup:
    """Words with their variables in italics."""
    return Markup(_VARIABLE.sub(_italic, str(escape(words))))


def _italic(found: re.Match[str]) -> str:
    letter, target, index = found.groups()
    index = Markup("<sub>{}</sub>").format(index) if index else ""
    return Markup("<i>{}{}</i>{}").format(letter, index, Markup("<sup>t</sup>") if target else "")


def packed(found: Any) -> str:
    """JSON in which nothing can end the script element that holds it."""
    return htmlsafe_json_dumps(found, ensure_ascii=False, separators=(",", ":"))


def render(template: str, **given: Any) -> str:
    """The page that a template makes of what it is given."""
    script = Markup("").join(Markup("{{\n{}}}\n").format(_source(name)) for name in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    found = {"style": _source("page.css"), "script": script, "script_hash": digest}
    return _TEMPLATES.get_template(template).render(**found, **given)


def _source(name: str) -> Markup:
    """A file of the package as it is."""
    source, _, _ = _LOADER.get_source(_TEMPLATES, name)
    return Markup(source)


def _drawing(draw: charts.Draw, name: str) -> Markup:
    """A chart without the beginning of its element, to which the template adds attributes."""
    return Markup(charts.svg(draw, name).removeprefix("<svg"))


_LOADER = jinja2.PackageLoader("seatbelt_jax.report")
_TEMPLATES = jinja2.Environment(
    loader=_LOADER, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters |= {
    "drawing": _drawing,
    "formula": formula,
    "number": text.number,
    "packed": packed,
    "percent": text.percent,
    "shell": shlex.quote,
    "tick": text.tick,
}
_TEMPLATES.globals["colours"] = len(charts.SERIES)
