"""Draws figures of the papers from the tables of sweeps."""

import math
import pathlib
from collections.abc import Sequence

import pandas as pd

from seatbelt_jax import interrupts, plots, storage
from seatbelt_jax.errors import one_line
from seatbelt_jax.studies.papers import (
    figure_tables,
    figures_c21,
    figures_claims,
    figures_s18,
    figures_w19,
    figures_w21,
    figures_w21_images,
)
from seatbelt_jax.studies.papers.drawing import Drawn, Figure

_PAPERS = (figures_w21, figures_w21_images, figures_w19, figures_claims, figures_s18, figures_c21)
FIGURES: dict[str, Figure] = {name: figure for paper in _PAPERS for name, figure in paper.FIGURES.items()}


def draw(
    sweeps: Sequence[str | pathlib.Path], names: Sequence[str], output: str | pathlib.Path, kind: plots.Format = "png"
) -> tuple[list[pathlib.Path], dict[str, str]]:
    """Draws figures, as files of a kind.

    Returns:
      the files written; and of `all` what was not drawn and why, by name.

    Raises:
      FileNotFoundError: where a sweep has no table.
      ValueError: for a figure that does not exist, one asked for by name that lacks something, or a damaged table.
    """
    everything = "all" in names
    if unknown := [name for name in names if name not in FIGURES and name != "all"]:
        raise ValueError(f"there is no figure {', '.join(unknown)}; there are all, {', '.join(FIGURES)}")
    tables = figure_tables.read(sweeps)
    written: list[pathlib.Path] = []
    missing: dict[str, str] = {}
    for name in FIGURES if everything else dict.fromkeys(names):
        figure = FIGURES[name]
        if figure.slow and everything:
            missing[name] = f"{figure.slow}; ask for it by its name"
            continue
        try:
            drawn = figure.draw(tables)
        except figure_tables.MissingError as error:
            reason = f"{figure.source} needs {error}; seatbelt sweep --sweep={figure.sweep} makes them"
            if not everything:
                raise ValueError(f"--figure={name}: {reason}") from error
            missing[name] = reason
        except Exception as error:
            # One figure whose cells are damaged takes no other along.
            if not everything or interrupts.is_stopping():
                raise
            missing[name] = one_line(error)
        else:
            written += _write(pathlib.Path(output, name), figure, drawn, kind)
    return written, missing


def _write(stem: pathlib.Path, figure: Figure, drawn: Drawn, kind: plots.Format) -> list[pathlib.Path]:
    kind = "png" if drawn.picture else kind
    files = {suffix: stem.with_suffix(f".{suffix}") for suffix in ("md" if drawn.page else kind, "csv")}
    for suffix, text in texts(figure, drawn).items():
        storage.write_bytes(files[suffix], text.encode())
    if not drawn.page:
        storage.write_bytes(files[kind], picture(figure, drawn, kind))
    return list(files.values())


def picture(figure: Figure, drawn: Drawn, kind: plots.Format = "png") -> bytes:
    """A figure with its caption; a picture that is made elsewhere is a PNG."""
    return drawn.picture or plots.paper_figure(drawn.panels, _caption(figure, drawn), columns=drawn.columns, kind=kind)


def texts(figure: Figure, drawn: Drawn) -> dict[str, str]:
    """What a figure becomes beside its picture: `csv`, the numbers drawn, and of a table `md`, a page."""
    table = pd.DataFrame(list(drawn.rows)).to_csv(index=False, lineterminator="\n")
    return {"csv": table} | ({"md": f"{drawn.page}\n\n{_caption(figure, drawn)}\n"} if drawn.page else {})


def _caption(figure: Figure, drawn: Drawn) -> str:
    """What it is, of which data and whether these are the paper's, and the figure's own notes."""
    shown = list(dict.fromkeys(str(row["data"]) for row in drawn.rows))
    other = [data for data in shown if data not in figure.data]
    data = f"Data: {', '.join(shown)}"
    if other:
        data += f" (the paper's are {', '.join(figure.data)}; for these: {figure.paper})"
    notes = list(drawn.notes)
    if not drawn.page and any(row.get("median") == math.inf for row in drawn.rows):
        notes.append("Infinite, and not drawn, is what most pairs never reach.")
    if not drawn.page and any(row.get("high_over_pairs") == math.inf for row in drawn.rows):
        notes.append("Bars with an arrow have no upper end.")
    return " ".join((f"{figure.source}: {figure.title}.", f"{data}.", *notes))
