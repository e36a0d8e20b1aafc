"""Trains, attacks, certifies and evaluates the cells of a sweep."""

import contextlib
import io
import pathlib
import sys
from collections.abc import Iterator, Sequence

import jax
from tqdm import tqdm

from seatbelt_jax.jobs import certification
from seatbelt_jax.studies import stages
from seatbelt_jax.studies.cells import Cell, Sweep, matching, of_shard
from seatbelt_jax.studies.progress import Progress


def sweep(asked: Sweep, folder: pathlib.Path, shard: str | None = None, cells: Sequence[str] = ("*",)) -> pathlib.Path:
    """Does all that is not done yet, group by group, and returns where the table is.

    Args:
      asked: what the sweep's file says.
      folder: of the runs.
      shard: "i/n" for the i-th of n parts, which has a table of its own.
      cells: patterns of names; those that match none are left as they are, and stand in the table.

    Raises:
      ValueError: for a shard or cells that do not exist; or, after all others are done, where cells failed.
    """
    file = folder / "sweep.csv"
    if shard is not None:
        asked = asked._replace(groups=of_shard(asked.groups, shard))
        file = folder / f"sweep_{shard.replace('/', '_of_')}.csv"
    chosen = asked._replace(groups=matching(asked.groups, cells))
    if asked.certify is not None:
        for cell in chosen.cells:
            if reason := certification.why_not(cell.config):
                print(f"{cell.name}: not certified: {reason}")
    architecture: dict | None = None
    progress = Progress(asked, chosen.cells, folder, file)
    with progress.bar, _above(progress.bar):
        for group in chosen.groups:
            if all(map(progress.is_finished, group)):
                continue
            if architecture not in (None, group[0].config["model"]):
                # Programs of another architecture are of no more use.
                jax.clear_caches()
            architecture = group[0].config["model"]
            for name, error in stages.train_cells(group, folder).items():
                progress.fail(name, "train", error)
            for cell in group:
                _finish(cell, progress)
    if failed := {name: reason for name, reason in progress.failures.items() if reason}:
        first = "; ".join(f"{name}: {failed[name]}" for name in list(failed)[:1])
        raise ValueError(f"{len(failed)} of {len(chosen.cells)} cells failed, {file} says why; the first is {first}")
    return file


def _finish(cell: Cell, progress: Progress) -> None:
    """All that is done to a trained cell. What one stage cannot do, the next ones may."""
    progress.update(cell)
    is_trained = not progress.failures[cell.name]
    for stage in progress.stages(cell) if is_trained and not progress.is_finished(cell) else ():
        if (error := stages.do(stage, progress.path(cell))) is not None:
            progress.fail(cell.name, stage.name, error)
        progress.update(cell)
    progress.close(cell)


@contextlib.contextmanager
def _above(bar: tqdm) -> Iterator[None]:
    """What the launchers print, above the bar; where there is none, as always."""
    if bar.disable:
        yield
        return
    out = sys.stdout

    class Above(io.TextIOBase):
        def write(self, text: str) -> int:
            if line := text.rstrip("\n"):
                tqdm.write(line, file=out)
            return len(text)

    with contextlib.redirect_stdout(Above()):  # type: ignore[type-var]
        yield
