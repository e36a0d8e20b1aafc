"""The table of a sweep's cells: sorted by any column, filtered by the axes of the grid."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from seatbelt_jax.plots import text
from seatbelt_jax.plots.cells import CellData, SweepData, main_margin
from seatbelt_jax.report.page import Cell, Row, Table, formula, shown
from seatbelt_jax.results import NORMS
from seatbelt_jax.results.measures import MEASURES, OF_ATTACKS, OF_MODELS, of_place

# Axes of the grid: their names in the sweep's table, and their labels.
AXES = {"data": "data", "model": "model", "L": "L", "d_z": "d_z", "beta": "β", "tau": "τ", "seed": "seed"}
_OF_ATTACKS = tuple(of_place("sweep", OF_ATTACKS))
_OF_MODELS = tuple(of_place("sweep", OF_MODELS))
# The margin is taken from one of several columns.
_MARGIN = "certified_margin"
_SHORT = 70


def cell_table(sweep: SweepData, pictured: Sequence[bool]) -> Table:
    """The table.

    Args:
      pictured: whether each cell has pictures that its name leads to.
    """
    axes = _axes(sweep)
    header: list[str | Cell] = ["cell", *(formula(AXES[axis]) for axis in axes), "status"]
    for name, unit in sweep.attacks.items():
        heads = (formula(measure.head).format(unit=unit.replace("_", " ")) for measure in _OF_ATTACKS)
        header += [Cell(head, group=name) for head in heads]
    # A measure that no cell has would be a column of dashes.
    columns = [one.name for one in _OF_MODELS if not all(_is_absent(one.name, cell) for cell in sweep.cells)]
    header += [MEASURES[column].head for column in columns]
    rows = [
        _row(sweep, cell, axes, columns, index if has else None)
        for index, (cell, has) in enumerate(zip(sweep.cells, pictured, strict=True))
    ]
    places = [
        {axis: _plain(cell.axes.get(axis, "")) for axis in axes} | {"status": cell.status} for cell in sweep.cells
    ]
    return Table(header, rows, "numbers sortable cells", places)


def _axes(sweep: SweepData) -> list[str]:
    """An axis along which nothing changes is said once, by the settings."""
    axes = [axis for axis in AXES if any(axis in cell.axes for cell in sweep.cells)]
    return sweep.varying(axes) or axes[:2]


def filters(sweep: SweepData) -> dict[str, Any]:
    """What the table is filtered by: each axis, its label and values; and the attacks that take turns in it."""
    values: dict[str, set[str | float]] = {
        axis: {cell.axes.get(axis, "") for cell in sweep.cells} for axis in _axes(sweep)
    }
    if len(of_status := {cell.status for cell in sweep.cells}) > 1:
        values["status"] = {*of_status}
    ordered = {axis: sorted(found, key=lambda value: (isinstance(value, str), value)) for axis, found in values.items()}
    choices = [(axis, formula(AXES.get(axis, axis)), [_plain(one) for one in found]) for axis, found in ordered.items()]
    return {"axes": choices, "attacks": list(sweep.attacks) if len(sweep.attacks) > 1 else []}


def counts(sweep: SweepData) -> str:
    """How many cells there are of each status."""
    found = Counter(cell.status for cell in sweep.cells)
    return ", ".join(f"{count} {status}" for status, count in found.most_common())


def not_done(sweep: SweepData) -> Table:
    """The cells that are not done and why, in full."""
    rows: list[Row] = [
        [Cell(cell.name), cell.status, cell.reason or "still to be done"]
        for cell in sweep.cells
        if cell.status != "done"
    ]
    return Table(["cell", "status", "why"], rows, "words sortable")


def _row(sweep: SweepData, cell: CellData, axes: Sequence[str], columns: Sequence[str], pictures: int | None) -> Row:
    reason = cell.reason if len(cell.reason) <= _SHORT else f"{cell.reason[:_SHORT]}…"
    found: list[str | Cell] = [Cell(cell.name, pictures=pictures)]
    found += [_axis(cell.axes.get(axis, "")) for axis in axes]
    found.append(Cell(cell.status, reason))
    for attack, unit in sweep.attacks.items():
        for measure in _OF_ATTACKS:
            value = cell.numbers.get(measure.column(attack, unit))
            show = text.percent if measure.is_share else text.number
            found.append(dataclasses.replace(shown(value, show), group=attack))
    return found + [_of_model(column, cell) for column in columns]


def _is_absent(column: str, cell: CellData) -> bool:
    return main_margin(cell.numbers) is None if column == _MARGIN else column not in cell.numbers


def _of_model(column: str, cell: CellData) -> Cell:
    if column != _MARGIN or (margin := main_margin(cell.numbers)) is None:
        return shown(cell.numbers.get(column))
    how = margin.method + ("" if margin.norm == "l2" else f", {NORMS[margin.norm]}")
    return shown(margin.median, small=how)


def _axis(value: str | float) -> str | Cell:
    return value if isinstance(value, str) else Cell(_plain(value), value=value)


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
