"""How far a sweep is: its progress bar, its tables, and what failed."""

import pathlib
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from seatbelt_jax import runs
from seatbelt_jax.errors import one_line
from seatbelt_jax.studies import details, measures, schema
from seatbelt_jax.studies.cells import Cell, Sweep
from seatbelt_jax.studies.stages import Stage, failure, is_of, is_trained, stages_of


class Progress:
    """How far a sweep is: its bar and its tables.

    Attributes:
      failures: why cells failed, by name; empty where they did not.
      bar: over the chosen cells and their stages; the tables have all cells.
    """

    def __init__(self, asked: Sweep, chosen: Sequence[Cell], folder: pathlib.Path, file: pathlib.Path):
        self.failures = {cell.name: "" for cell in asked.cells}
        self._asked, self._folder, self._file = asked, folder, file
        self._left = {cell.name: self._stages_left(cell) for cell in asked.cells}
        # By cell and table.
        self._rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for cell in asked.cells:
            self._read(cell)
        self._write()
        total = sum(1 + len(self.stages(cell)) for cell in chosen)
        left = sum(self._left[cell.name] for cell in chosen)
        # Stages take very different times: their mean over all of this call is the best guess of what is left.
        self.bar = tqdm(total=total, initial=total - left, unit="stage", smoothing=0.0, disable=None)

    def path(self, cell: Cell) -> pathlib.Path:
        return self._folder / cell.name

    def stages(self, cell: Cell) -> list[Stage]:
        """What is done to it once it is trained."""
        return stages_of(self._asked, cell)

    def is_finished(self, cell: Cell) -> bool:
        return not self._left[cell.name]

    def fail(self, name: str, stage: str, reason: str) -> None:
        reason = f"{stage}: {reason}"
        self.failures[name] = "; ".join(filter(None, (self.failures[name], reason)))
        print(f"failed: {name}: {reason}")

    def update(self, cell: Cell) -> None:
        """Counts what is done by now."""
        left = self._stages_left(cell)
        self.bar.update(self._left[cell.name] - left)
        self._left[cell.name] = left

    def close(self, cell: Cell) -> None:
        """Nothing more is done to a cell: the bar does not wait for what failed, and the table has the rest."""
        if self.failures[cell.name]:
            self.bar.total -= self._left[cell.name]
            self.bar.refresh()
        self._read(cell)
        self._write()

    def _write(self) -> None:
        schema.write(
            self._file,
            {name: [row for of in self._rows.values() for row in of.get(name, ())] for name in schema.TABLES},
        )

    def _read(self, cell: Cell) -> None:
        """What the tables say of a cell."""
        reason = self.failures[cell.name]
        status = f"failed: {reason}" if reason else "done" if self.is_finished(cell) else "unfinished"
        row = measures.place_of(cell) | {"status": status}
        self._rows[cell.name] = {"cells": [row]}
        try:
            path = self.path(cell)
            if (path / "config.json").exists() and is_of(cell, path):
                row["step"] = runs.open(path).latest_step
                self._rows[cell.name] |= details.rows_of(self._asked, path)
        except Exception as error:
            # The stage that reads the same has failed, or will; a cell that is not worked on has only this line.
            failure(error)
            if not reason:
                damage = one_line(error)
                row["status"] = f"damaged: {damage}"
                print(f"{cell.name} is left out of the table: {damage}")

    def _stages_left(self, cell: Cell) -> int:
        """What is damaged is not done, and says so when it is its turn."""
        stages = self.stages(cell)
        try:
            if not is_trained(cell, self.path(cell)):
                return 1 + len(stages)
            opened = runs.open(self.path(cell))
            return sum(not stage.is_done(opened) for stage in stages)
        except Exception as error:
            failure(error)
            return 1 + len(stages)
