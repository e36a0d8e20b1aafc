"""Shows runs, or a sweep, on one page: python launch/report.py --run=runs/A [--run=runs/B ...]
or: python launch/report.py --sweep=runs/sweeps/NAME

Reads the results of training, attacks, certificates and evaluation. Writes one self-contained HTML page of less than
10 MB, report.html: in the run or the sweep's folder, or for several runs in the directory that holds them. For runs it
also writes figures/ beside the page.
"""

import cli

import pathlib
import shlex
import sys
from collections.abc import Sequence

import report_results
import report_sweep
from absl import flags

from seatbelt_jax import plots, run


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
    command = f"python launch/report.py {shlex.join(sys.argv[1:])}"
    written = report_of_sweep(folder, output, command=command) if folder else report(paths, output, command=command)
    what = f"the sweep {folder}" if folder else f"{len(paths)} {'run' if len(paths) == 1 else 'runs'}"
    size = written.stat().st_size
    more = "; larger than it should be, give fewer runs" if size > plots.LARGEST else ""
    print(f"{written}: {what}, {size / 1e6:.1f} MB{more}")


def report(
    paths: Sequence[str | pathlib.Path], output: str | pathlib.Path | None = None, *, command: str = ""
) -> pathlib.Path:
    """Writes the report of some runs and returns where it is.

    Raises:
      FileNotFoundError: where a run does not exist.
      ValueError: for the same run twice, runs on images of different shapes, damaged results, or an
        output that is a directory.
    """
    opened = [run.open(path) for path in paths]
    check_comparable(opened)
    target = _target(opened, output)
    names = names_of([one.path for one in opened])
    shown = [report_results.of_run(one, name) for one, name in zip(opened, names, strict=True)]
    plots.build(shown, command=command).write(target)
    return target


def report_of_sweep(
    folder: str | pathlib.Path, output: str | pathlib.Path | None = None, *, command: str = ""
) -> pathlib.Path:
    """Writes the report of all cells of a sweep and returns where it is.

    Raises:
      FileNotFoundError: where there is no table of a sweep.
      ValueError: for a table that is none, or an output that is a directory.
    """
    folder = pathlib.Path(folder)
    target = folder / "report.html" if output is None else _checked(output)
    plots.build_sweep(report_sweep.of_folder(folder), command=command).write(target)
    return target


def check_comparable(opened: Sequence[run.Run]) -> None:
    """Raises ValueError for the same run twice, or images of different shapes."""
    seen: dict[pathlib.Path, run.Run] = {}
    for one in opened:
        if one.path.resolve() in seen:
            raise ValueError(f"--run={one.path} is given twice; give every run once")
        seen[one.path.resolve()] = one
    first = opened[0]
    for other in opened[1:]:
        if other.image_shape != first.image_shape:
            sizes = [" x ".join(map(str, one.image_shape)) for one in (first, other)]
            raise ValueError(
                f"{first.path} has images of {sizes[0]} and {other.path} of {sizes[1]}; distances in pixel units "
                "cannot be compared between them; make one report for each"
            )


def _target(opened: Sequence[run.Run], output: str | pathlib.Path | None) -> pathlib.Path:
    if output is not None:
        return _checked(output)
    if len(opened) == 1:
        return opened[0].path / "report.html"
    parents = {one.path.absolute().parent for one in opened}
    if len(parents) > 1:
        raise ValueError("the runs are in different directories; name a file for the page with --output=PATH")
    return opened[0].path.parent / "report.html"


def _checked(output: str | pathlib.Path) -> pathlib.Path:
    target = pathlib.Path(output)
    if target.is_dir():
        raise ValueError(f"--output={output} is a directory; name the file, for example {target / 'report.html'}")
    return target


def names_of(paths: Sequence[pathlib.Path]) -> list[str]:
    """As much of the ends of the paths as tells them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names


if __name__ == "__main__":
    define_flags()
    cli.start(main)
