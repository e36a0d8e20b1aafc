"""Shows runs, or a sweep, on one page: seatbelt report --run=runs/A [--run=runs/B ...]
or: seatbelt report --sweep=runs/sweeps/NAME

Reads the results of training, attacks, certificates and evaluation. Writes one self-contained HTML page of less than
10 MB, report.html: in the run or the sweep's folder, or for several runs in the directory that holds them. For runs it
also writes figures/ beside the page.
"""

import shlex
import sys

from absl import flags

from seatbelt_jax.report import build
from seatbelt_jax.report.sweep_page import LARGEST


def define_flags() -> None:
    flags.DEFINE_multi_string("run", [], "Run directory; repeat the flag for more runs.")
    flags.DEFINE_string("sweep", None, "Folder of a sweep: report all its cells instead of single runs.")
    flags.DEFINE_string(
        "output", None, "HTML file to write. Default: report.html in the run or the sweep, or beside several runs."
    )


def main() -> None:
    paths, folder, output = flags.FLAGS.run, flags.FLAGS.sweep, flags.FLAGS.output
    if bool(paths) == bool(folder):
        raise ValueError("give runs, as --run=runs/NAME, or one sweep, as --sweep=runs/sweeps/NAME")
    command = f"seatbelt report {shlex.join(sys.argv[1:])}"
    written = (
        build.report_of_sweep(folder, output, command=command)
        if folder
        else build.report(paths, output, command=command)
    )
    what = f"the sweep {folder}" if folder else f"{len(paths)} {'run' if len(paths) == 1 else 'runs'}"
    size = written.stat().st_size
    more = "; larger than it should be, give fewer runs" if size > LARGEST else ""
    print(f"{written}: {what}, {size / 1e6:.1f} MB{more}")
