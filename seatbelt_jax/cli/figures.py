"""Draws figures of the papers from sweeps: seatbelt figures --sweep=runs/sweeps/w21_small --figure=w21_3
or figures of single runs: seatbelt figures --run=runs/A [--run=runs/B ...] --format=pdf

Figures of runs: what attacks cost and by penalty or radius, attacked images, certified margins, learning curves. They
stand in figures/ in the run or, for several, beside them.

--figure is a name, several with commas between them, or all: those that the sweeps have data for. Each becomes
NAME.png, or of another --format, and NAME.csv with the numbers drawn, in figures/ of the first sweep's folder. --sweep
is a folder with runs and tables, or with tables alone; several are put together. docs/reproduction.md has all figures.

--docs=docs, in a checkout, writes anew what the documentation has from the tables in docs/results/.
"""

import pathlib

from absl import flags

from seatbelt_jax.report.build import figures_of_runs
from seatbelt_jax.report.figures import FORMATS

# Say which figures are drawn and where to.
_OF_SWEEPS = ("sweep", "figure", "format", "output")


def define_flags() -> None:
    flags.DEFINE_multi_string("sweep", [], "Folder of a sweep; repeat the flag for more sweeps.")
    flags.DEFINE_list("figure", ["all"], "Figures to draw: all, or a list of names from docs/reproduction.md.")
    flags.DEFINE_multi_string("run", [], "Run directory; repeat the flag to draw several runs together.")
    flags.DEFINE_enum("format", "png", FORMATS, "Format of the figures. The Swiss roll's is always a PNG.")
    flags.DEFINE_string("docs", None, "Folder of the documentation, to write its tables and figures anew.")
    flags.DEFINE_string("output", None, "Folder for the figures. Default: figures/ in the first sweep, or by the runs.")


def main() -> None:
    if flags.FLAGS.run:
        if flags.FLAGS.sweep or flags.FLAGS["figure"].present or flags.FLAGS.docs:
            raise ValueError("--sweep, --figure and --docs draw figures of the papers, --run those of runs; give one")
        for file in figures_of_runs(flags.FLAGS.run, flags.FLAGS.output, flags.FLAGS.format):
            print(file)
        return
    if flags.FLAGS.docs and (given := [name for name in _OF_SWEEPS if flags.FLAGS[name].present]):
        raise ValueError(f"--docs writes the files that docs/ has; it goes without --{' and --'.join(given)}")
    # Figures of runs do without pandas.
    from seatbelt_jax.studies.papers import documents, figures

    missing: dict[str, str] = {}
    if flags.FLAGS.docs:
        written = documents.write(pathlib.Path(flags.FLAGS.docs))
    else:
        output = flags.FLAGS.output or pathlib.Path([*flags.FLAGS.sweep, "runs"][0], "figures")
        written, missing = figures.draw(flags.FLAGS.sweep, flags.FLAGS.figure, output, flags.FLAGS.format)
    for file in written:
        print(file)
    for name, reason in missing.items():
        print(f"{name} not drawn: {reason}")
