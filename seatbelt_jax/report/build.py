"""Writes the page of some runs, or of a sweep, or the figures of runs."""

import pathlib
from collections.abc import Sequence

from seatbelt_jax import runs, storage
from seatbelt_jax.plots import charts
from seatbelt_jax.plots.results import ModelResults
from seatbelt_jax.report import figures, results, runs_page, sweep, sweep_page
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
    runs_page.build(_shown(opened), command=command).write(target)
    return target


def figures_of_runs(
    paths: Sequence[str | pathlib.Path], output: str | pathlib.Path | None = None, kind: charts.Format = "png"
) -> list[pathlib.Path]:
    """Writes the figures of some runs, those that stand beside their page, and returns where they are.

    Args:
      output: a folder; by default figures/ where the page stands.
      kind: the format.

    Raises:
      FileNotFoundError: where a run does not exist.
      ValueError: as `report`, and for runs that have nothing to draw.
    """
    opened = [runs.open(path) for path in paths]
    check_comparable(opened)
    folder = _target(opened, None).parent / "figures" if output is None else pathlib.Path(output)
    shown = _shown(opened)
    found = figures.files(shown, figures.charts_of(shown), kind)
    if not found:
        runs_lacking = " and ".join(str(one.path) for one in opened)
        raise ValueError(f"nothing of {runs_lacking} can be drawn; seatbelt attack and seatbelt certify make results")
    for name, content in found.items():
        storage.write_bytes(folder / name, content)
    return [folder / name for name in found]


def _shown(opened: Sequence[runs.Run]) -> list[ModelResults]:
    names = names_of([one.path for one in opened])
    return [results.of_run(one, name) for one, name in zip(opened, names, strict=True)]


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
