"""Draws figures of the papers from sweeps: seatbelt figures --sweep=runs/sweeps/w21_small --figure=w21_3

--figure is a name, several with commas between them, or all: those that the sweeps have data for. Each becomes
NAME.png, and NAME.csv with the numbers drawn, in figures/ of the first sweep's folder. --sweep is a folder with runs
and tables, or with tables alone; several are put together. docs/reproduction.md has all figures.
"""

import pathlib

from absl import flags

from seatbelt_jax.studies.papers.figures import draw
from seatbelt_jax.studies.papers.registry import FIGURES


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
