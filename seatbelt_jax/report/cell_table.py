"""The table of a sweep's cells: sorted by any column, filtered by the axes of the grid."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from seatbelt_jax.plots import text
from seatbelt_jax.plots.cells import CellData, SweepData, main_margin
from seatbelt_jax.plots.certificates import NORMS
from seatbelt_jax.plots.text import escape, number

# Axes of the grid: their names in the sweep's table, and their labels.
AXES = {"data": "data", "model": "model", "L": "<i>L</i>", "d_z": "<i>d<sub>z</sub></i>", "beta": "β", "tau": "τ",
        "seed": "seed"}  # fmt: skip
# Columns of each attack: the end of the name in the sweep's table, and the label.
_OF_ATTACKS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("median_delta_{unit}", "Δ, {unit}", number),
    ("median_distortion_half_way_l2", "‖<i>d</i>‖ half way ↑", number),
    ("median_distortion_nine_tenths_l2", "‖<i>d</i>‖ nine tenths ↑", number),
    ("share_suspicious", "suspicious", text.percent),
)
# Columns of each model; the margin is taken from one of several columns.
_OF_MODELS = {
    "reconstruction_error_l2": "reconstruction error ↓",
    "elbo_nats": "ELBO, nats ↑",
    "margin": "certified margin ↑",
}
_WORDS = ' class="word"'
_SHORT = 70


def cell_table(sweep: SweepData, pictured: Sequence[bool]) -> str:
    """The table, below a form that the page's script shows: without it, all is there.

    Args:
      pictured: whether each cell has pictures that its name leads to.
    """
    axes = [axis for axis in AXES if any(axis in cell.axes for cell in sweep.cells)]
    # An axis along which nothing changes is said once, by the settings.
    axes = sweep.varying(axes) or axes[:2]
    header = ["cell", *(AXES[axis] for axis in axes), "status"]
    header_groups: list[str | None] = [None] * len(header)
    for name, unit in sweep.attacks.items():
        for _, label, _ in _OF_ATTACKS:
            header.append(label.format(unit=escape(unit.replace("_", " "))))
            header_groups.append(name)
    # A measure that no cell has would be a column of dashes.
    columns = [column for column in _OF_MODELS if any(not _is_absent(column, cell) for cell in sweep.cells)]
    header += [_OF_MODELS[column] for column in columns]
    header_groups += [None] * len(columns)
    words = {"cell", *(AXES[axis] for axis in axes if any(isinstance(c.axes.get(axis), str) for c in sweep.cells))}
    head = "".join(
        f'<th scope="col"{_group(group)}{_WORDS if cell in words | {"status"} else ""}>{cell}</th>'
        for cell, group in zip(header, header_groups, strict=True)
    )
    body = "".join(
        _row(index, cell, axes, sweep.attacks, columns, has)
        for index, (cell, has) in enumerate(zip(sweep.cells, pictured, strict=True))
    )
    return (
        _filters(sweep, axes)
        + '<div class="scroll tall" tabindex="0"><table class="numbers sortable cells">'
        + f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        + _notes(sweep)
    )


def counts(sweep: SweepData) -> str:
    """How many cells there are of each status."""
    found = Counter(cell.status for cell in sweep.cells)
    return f"{len(sweep.cells)} cells: {', '.join(f'{count} {status}' for status, count in found.most_common())}"


def not_done(sweep: SweepData) -> str:
    """The cells that are not done and why, in full."""
    rows = [
        [text.name(cell.name), escape(cell.status), escape(cell.reason or "still to be done")]
        for cell in sweep.cells
        if cell.status != "done"
    ]
    if not rows:
        return '<p class="note">Every cell is done.</p>'
    command = "seatbelt sweep --sweep=NAME"
    return text.table(["cell", "status", "why"], rows, kind="words sortable") + text.hint(
        "To finish what is not done and try again what failed, run the sweep:", [command]
    )


def _row(
    index: int,
    cell: CellData,
    axes: Sequence[str],
    attacks: Mapping[str, str],
    columns: Sequence[str],
    has_pictures: bool,
) -> str:
    name = text.name(cell.name)
    if has_pictures:
        name = f'<a href="#attacks" data-pictures="{index}">{name}</a>'
    place = {axis: _plain(cell.axes.get(axis, "")) for axis in axes} | {"status": cell.status}
    cells = [_axis(cell.axes.get(axis, "")) for axis in axes]
    reason = cell.reason if len(cell.reason) <= _SHORT else f"{cell.reason[:_SHORT]}…"
    why = f"<small>{escape(reason)}</small>" if reason else ""
    cells.append(f'<td class="status">{escape(cell.status)}{why}</td>')
    for attack, unit in attacks.items():
        for ending, _, show in _OF_ATTACKS:
            value = cell.numbers.get(f"{attack}_{ending.format(unit=unit)}")
            cells.append(_number(value, show(value), attack))
    cells += [_margin(cell) if column == "margin" else _measure(cell, column) for column in columns]
    found = escape(json.dumps(place))
    return f'<tr data-axes="{found}"><th scope="row">{name}</th>{"".join(cells)}</tr>'


def _is_absent(column: str, cell: CellData) -> bool:
    return main_margin(cell.numbers) is None if column == "margin" else column not in cell.numbers


def _measure(cell: CellData, column: str) -> str:
    value = cell.numbers.get(column)
    return _number(value, number(value))


def _margin(cell: CellData) -> str:
    margin = main_margin(cell.numbers)
    if margin is None:
        return _number(None, text.ABSENT)
    how = margin.method + ("" if margin.norm == "l2" else f", {NORMS[margin.norm]}")
    return _number(margin.median, f"{number(margin.median)}<small>{escape(how)}</small>")


def _axis(value: str | float) -> str:
    shown = escape(_plain(value))
    return f"<td{_WORDS}>{shown}</td>" if isinstance(value, str) else f'<td data-value="{value}">{shown}</td>'


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _number(value: float | None, content: str, group: str | None = None) -> str:
    known = value is not None and not math.isnan(value)
    return f'<td data-value="{value if known else ""}"{_group(group)}>{content}</td>'


def _group(name: str | None) -> str:
    return "" if name is None else f' data-group="{escape(name)}"'


def _filters(sweep: SweepData, axes: Sequence[str]) -> str:
    """One choice for each axis, of the attack whose columns are shown, and words that a row must have."""
    parts = []
    of_status = {"status": "status"} if len({cell.status for cell in sweep.cells}) > 1 else {}
    for axis, label in ({axis: AXES[axis] for axis in axes} | of_status).items():
        values: set[str | float] = {
            cell.status if axis == "status" else cell.axes.get(axis, "") for cell in sweep.cells
        }
        ordered = sorted(values, key=lambda value: (isinstance(value, str), value))
        options = "".join(f'<option value="{escape(_plain(one))}">{escape(_plain(one))}</option>' for one in ordered)
        parts.append(
            f'<label>{label} <select data-axis="{axis}"><option value="">all</option>{options}</select></label>'
        )
    if len(sweep.attacks) > 1:
        options = "".join(f"<option>{escape(name)}</option>" for name in sweep.attacks)
        parts.append(f"<label>attack <select data-groups>{options}</select></label>")
    parts.append('<label>words <input type="search" placeholder="any"></label><span><output></output> cells</span>')
    return f'<form class="filters" hidden>{"".join(parts)}</form>'


def _notes(sweep: SweepData) -> str:
    return (
        '<p class="note">Click a column&rsquo;s head to sort by it, or a cell&rsquo;s name to see its attacks. '
        "↑: higher is better, ↓: lower. Attacks: medians over pairs, for Δ also over budgets. Distances, errors and "
        "margins are in pixel units. Margins by different methods do not compare. ∞: most pairs never got "
        "there; &ndash;: not measured yet.</p>"
    )
