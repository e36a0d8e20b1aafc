"""Trains, attacks, certifies and evaluates a grid of models: python launch/sweep.py --sweep=configs/sweeps/NAME.py

Each cell of the grid is a run in runs/sweeps/NAME/, for the other launchers as any other run; sweep.csv there has one
row for each. What is done is not done again: interrupted, changed or with more cells, the same command goes on.
"""

import cli

import contextlib
import io
import pathlib
import sys
from collections.abc import Iterator, Sequence

import certification
import jax
import sweep_cells
import sweep_stages
from absl import flags
from ml_collections import config_flags
from sweep_cells import Cell, Sweep
from sweep_progress import Progress
from tqdm import tqdm


def define_flags() -> None:
    config_flags.DEFINE_config_file(
        "sweep",
        None,
        "File of the sweep, from configs/sweeps/. --sweep.SECTION.FIELD=VALUE changes one field.",
        lock_config=True,
    )
    flags.DEFINE_string("workdir", None, "Folder for the runs. Default: runs/sweeps/NAME, after the sweep.")
    flags.DEFINE_list("cells", ["*"], "Names of the cells to work on; the wildcards * and ? are allowed.")
    flags.DEFINE_string("shard", None, "i/n: work on part i of n of the cells, one part per machine.")
    flags.mark_flag_as_required("sweep")


def main() -> None:
    name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS["sweep"])).stem
    found = sweep_cells.parse(flags.FLAGS.sweep.to_dict())
    folder = pathlib.Path(flags.FLAGS.workdir or f"runs/sweeps/{name}")
    file = sweep(found, folder, flags.FLAGS.shard, flags.FLAGS.cells)
    print(f"{file}: {len(file.read_text().splitlines()) - 1} cells")


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
        asked = asked._replace(groups=sweep_cells.of_shard(asked.groups, shard))
        file = folder / f"sweep_{shard.replace('/', '_of_')}.csv"
    chosen = asked._replace(groups=sweep_cells.matching(asked.groups, cells))
    if asked.certify is not None:
        for cell in chosen.cells:
            if reason := certification.why_not(cell.config):
                print(f"{cell.name}: not certified: {reason}")
    progress = Progress(asked, chosen.cells, folder, file)
    with progress.bar, _above(progress.bar):
        for group in chosen.groups:
            if all(map(progress.is_finished, group)):
                continue
            for name, error in sweep_stages.train_cells(group, folder).items():
                progress.fail(name, "train", error)
            for cell in group:
                _finish(cell, progress)
            # Programs of other models are of no more use.
            jax.clear_caches()
    if failed := {name: reason for name, reason in progress.failures.items() if reason}:
        first = "; ".join(f"{name}: {failed[name]}" for name in list(failed)[:1])
        raise ValueError(f"{len(failed)} of {len(chosen.cells)} cells failed, {file} says why; the first is {first}")
    return file


def _finish(cell: Cell, progress: Progress) -> None:
    """All that is done to a trained cell. What one stage cannot do, the next ones may."""
    progress.update(cell)
    is_trained = not progress.failures[cell.name]
    for stage in progress.stages(cell) if is_trained and not progress.is_finished(cell) else ():
        if (error := sweep_stages.do(stage, progress.path(cell))) is not None:
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


if __name__ == "__main__":
    define_flags()
    cli.start(main)
