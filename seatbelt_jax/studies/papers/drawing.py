"""What a figure of a paper is: where it stands there, what it needs, and what is drawn."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from seatbelt_jax import plots
from seatbelt_jax.studies.papers.figure_tables import Tables

Row = dict[str, Any]


class Drawn(NamedTuple):
    """A figure as made here: panels, a page, or a picture that is made elsewhere.

    Attributes:
      rows: the numbers drawn, tidy, units in the names.
      panels: from left to right, then down; None leaves a place empty.
      columns: panels beside each other.
      notes: sentences of the caption: what is shown, how many there are, what intervals are over, what is missing.
      page: a table in Markdown.
      picture: a PNG.
    """

    rows: Sequence[Row]
    panels: Sequence[plots.Panel | None] = ()
    columns: int = 2
    notes: Sequence[str] = ()
    page: str = ""
    picture: bytes = b""


def page(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    # Conditional densities and norms have bars of their own.
    lines = [[entry.replace("|", "\\|") for entry in line] for line in (columns, ["---"] * len(columns), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Figure(NamedTuple):
    """A figure or table of a paper.

    Attributes:
      source: paper and number.
      title: what it shows.
      data: the data sets that the paper has it of, as sweeps call them.
      sweep: the file in configs/sweeps/ with what it needs, of other data or in small.
      draw: makes it from the tables of sweeps; raises MissingError for what they lack.
      paper: the command of the sweep for the paper's own data and sizes.
      slow: why it is drawn only when asked for by name; empty where it is not.
    """

    source: str
    title: str
    data: tuple[str, ...]
    sweep: str
    draw: Callable[[Tables], Drawn]
    paper: str
    slow: str = ""
