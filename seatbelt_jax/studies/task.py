"""What is done to one group of a sweep's cells, as a value that another process or machine can be given."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from seatbelt_jax import plugins
from seatbelt_jax.errors import one_line
from seatbelt_jax.studies import stages
from seatbelt_jax.studies.cells import Cell, Sweep


class Event(NamedTuple):
    """A stage of a cell has ended.

    Attributes:
      cell: its name.
      stage: the stage's name; empty where nothing more is done to the cell.
      reason: why the stage failed; empty where it did not.
    """

    cell: str
    stage: str
    reason: str = ""


class Task(NamedTuple):
    """Cells that are trained together, then attacked, certified and evaluated one by one.

    Attributes:
      sweep: what is done to each cell.
      folder: of the runs.
    """

    sweep: Sweep
    cells: list[Cell]
    folder: pathlib.Path

    def run(self) -> Iterator[Event]:
        """Does what is not done yet, and yields each stage as it ends. What one stage cannot do, the next ones may."""
        # Another process knows nothing yet of what users have added.
        plugins.load()
        failed = stages.train_cells(self.cells, self.folder)
        for cell in self.cells:
            error = failed.get(cell.name)
            yield _ended(cell, "train", error)
            for stage in stages.stages_of(self.sweep, cell) if error is None else ():
                yield _ended(cell, stage.name, stages.do(stage, self.folder / cell.name))
            yield Event(cell.name, "")

    def lost(self, reason: str) -> Iterator[Event]:
        """What stands for the rest of a task whose process is gone."""
        for cell in self.cells:
            yield Event(cell.name, "process", reason)
            yield Event(cell.name, "")


def _ended(cell: Cell, stage: str, error: Exception | None) -> Event:
    return Event(cell.name, stage, "" if error is None else one_line(error))
