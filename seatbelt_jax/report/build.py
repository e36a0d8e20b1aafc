"""Writes the page of some runs, or of a sweep."""

import pathlib
from collections.abc import Sequence

from seatbelt_jax import runs
from seatbelt_jax.report import results, runs_page, sweep, sweep_page
from seatbelt_jax.report.comparable import check_comparable, names_of


def report(
    paths: Sequence[str | pathlib.Path], output: str | pathlib.Path | None = None, *, command: str = ""
) -> pathlib.Path:
    """Writes the report of some runs and returns where it is.

    Raises:
      FileNotFoundError: where a run does not exist.
      ValueError: for the same run twice, runs on images of different shapes, damaged results, or an
        output that is a directory.
    """
    opened = [runs.open(path) for path in paths]
    check_comparable(opened)
    target = _target(opened, output)
    names = names_of([one.path for one in opened])
    shown = [results.of_run(one, name) for one, name in zip(opened, names, strict=True)]
    runs_page.build(shown, command=command).write(target)
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
    sweep_page.build_sweep(sweep.of_folder(folder), command=command).write(target)
    return target


def _target(opened: Sequence[runs.Run], output: str | pathlib.Path | None) -> pathlib.Path:
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
