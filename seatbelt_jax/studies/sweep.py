"""Trains, attacks, certifies and evaluates the cells of a sweep."""

import contextlib
import pathlib
import sys
from collections.abc import Sequence

from tqdm.contrib import DummyTqdmFile

from seatbelt_jax.jobs import certification
from seatbelt_jax.studies import executors
from seatbelt_jax.studies.cells import Sweep, matching, of_shard
from seatbelt_jax.studies.progress import Progress
from seatbelt_jax.studies.task import Task


def sweep(
    asked: Sweep,
    folder: pathlib.Path,
    shard: str | None = None,
    cells: Sequence[str] = ("*",),
    executor: str = "serial",
    workers: int = 0,
) -> pathlib.Path:
    """Does all that is not done yet, and returns where the table is.

    Args:
      asked: what the sweep's file says.
      folder: of the runs.
      shard: "i/n" for the i-th of n parts, which has a table of its own.
      cells: patterns of names; those that match none are left as they are, and stand in the table.
      executor: where cells are worked on, of `executors.EXECUTORS`.
      workers: groups of cells at a time; 0 for as many as there is room for.

    Raises:
      ValueError: for a shard, cells or an executor that do not exist; or, after all others are done, where cells
        failed.
      ImportError: where the executor needs a package that is not installed.
    """
    run = executors.get(executor)
    file = folder / "sweep.csv"
    if shard is not None:
        asked = asked._replace(groups=of_shard(asked.groups, shard))
        file = folder / f"sweep_{shard.replace('/', '_of_')}.csv"
    chosen = asked._replace(groups=matching(asked.groups, cells))
    if asked.certify is not None:
        for cell in chosen.cells:
            if reason := certification.why_not(cell.config):
                print(f"{cell.name}: not certified: {reason}")
    by_name = {cell.name: cell for cell in chosen.cells}
    progress = Progress(asked, chosen.cells, folder, file)
    tasks = [
        Task(asked, group, folder.absolute()) for group in chosen.groups if not all(map(progress.is_finished, group))
    ]
    # What commands print stands above the bar.
    above = contextlib.nullcontext() if progress.bar.disable else contextlib.redirect_stdout(DummyTqdmFile(sys.stdout))
    with progress.bar, above, contextlib.closing(run(tasks, workers)) as events:
        for event in events:
            if event.reason:
                progress.fail(event.cell, event.stage, event.reason)
            (progress.update if event.stage else progress.close)(by_name[event.cell])
    if failed := {name: reason for name, reason in progress.failures.items() if reason}:
        first = "; ".join(f"{name}: {failed[name]}" for name in list(failed)[:1])
        raise ValueError(f"{len(failed)} of {len(chosen.cells)} cells failed, {file} says why; the first is {first}")
    return file
