"""Draws figures of the papers from sweeps: python launch/figures.py --sweep=runs/sweeps/w21_small --figure=w21_3

--figure is a name, several with commas between them, or all: those that the sweeps have data for. Each becomes
NAME.png, and NAME.csv with the numbers drawn, in figures/ of the first sweep's folder. --sweep is a folder with runs
and tables, or with tables alone; several are put together. docs/reproduction.md has all figures.
"""

import interrupts

import cli

import math
import pathlib
from collections.abc import Sequence

import figure_tables
from absl import flags
from drawing import Drawn, Figure
from paper_figures import FIGURES

from seatbelt_jax import plots, storage


def define_flags() -> None:
    flags.DEFINE_multi_string("sweep", [], "Folder of a sweep; repeat the flag for more sweeps.")
    flags.DEFINE_list("figure", ["all"], f"Figures to draw: all, or a list from: {', '.join(FIGURES)}.")
    flags.DEFINE_string("output", None, "Folder for the figures. Default: figures/ in the folder of the first sweep.")


def main() -> None:
    output = flags.FLAGS.output or pathlib.Path([*flags.FLAGS.sweep, "runs"][0], "figures")
    written, missing = draw(flags.FLAGS.sweep, flags.FLAGS.figure, output)
    for file in written:
        print(file)
    for name, reason in missing.items():
        print(f"{name} not drawn: {reason}")


def draw(
    sweeps: Sequence[str | pathlib.Path], names: Sequence[str], output: str | pathlib.Path
) -> tuple[list[pathlib.Path], dict[str, str]]:
    """Draws figures.

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
            reason = f"{figure.source} needs {error}; python launch/sweep.py --sweep={figure.sweep} makes them"
            if not everything:
                raise ValueError(f"--figure={name}: {reason}") from error
            missing[name] = reason
        except Exception as error:
            # One figure whose cells are damaged takes no other along.
            if not everything or interrupts.is_stopping():
                raise
            missing[name] = f"{' '.join(f'{error}'.split()) or type(error).__name__}"
        else:
            written += _write(pathlib.Path(output, name), figure, drawn)
    return written, missing


def _write(stem: pathlib.Path, figure: Figure, drawn: Drawn) -> list[pathlib.Path]:
    table, picture, page = (stem.with_suffix(suffix) for suffix in (".csv", ".png", ".md"))
    columns = list(dict.fromkeys(column for row in drawn.rows for column in row))
    caption = _caption(figure, drawn)
    if drawn.page:
        storage.write_bytes(page, f"{drawn.page}\n\n{caption}\n".encode())
    else:
        made = drawn.picture or plots.paper_figure(drawn.panels, caption, columns=drawn.columns)
        storage.write_bytes(picture, made)
    storage.write_csv(table, [{column: row.get(column, "") for column in columns} for row in drawn.rows])
    return [page if drawn.page else picture, table]


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


if __name__ == "__main__":
    define_flags()
    cli.start(main)
