"""One self-contained page on all cells of a sweep over models."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from seatbelt_jax.plots import cell_curves, text
from seatbelt_jax.plots.cells import SweepData
from seatbelt_jax.plots.text import number
from seatbelt_jax.report import cell_table, certified, gallery
from seatbelt_jax.report.attacked import WEAK, signs
from seatbelt_jax.report.page import Cell, Row, Table, render, shown
from seatbelt_jax.report.runs_page import Report

# Bytes of the page. The pictures may not take all: some are for the rest, and for a size that is guessed too low.
LARGEST = 10_000_000
_RESERVE = 200_000
_MOST_VALUES = 8


def build_sweep(sweep: SweepData, *, command: str, largest: int = LARGEST) -> Report:
    """Makes the report of a sweep.

    Args:
      sweep: with at least one cell.
      command: what was typed to make this report, for its foot.
      largest: size of the page in bytes; pictures are left out until it is smaller.

    Raises:
      ValueError: for a sweep without cells.
    """
    if not sweep.cells:
        raise ValueError(f"the sweep {sweep.name} has no cells to report")
    every = [certificate for cell in sweep.cells for certificate in cell.certificates]
    without = sum(not cell.certificates for cell in sweep.cells)
    told = (f"{without} of {len(sweep.cells)} cells", "have no certificate: only attacks tell about them.")
    rows = [
        [Cell(cell.name), *row] for cell in sweep.cells for row in certified.rows(cell.certificates, cell.empirical)
    ]
    given: dict[str, Any] = {
        "command": command,
        "sweep": sweep,
        "weak": WEAK,
        "answers": _answers(sweep),
        "filters": cell_table.filters(sweep),
        "curves": cell_curves.curves(sweep),
        "trust": _trust(sweep),
        "asked": Counter(one.comparable for one in every),
        "certificates": Table(["cell", *certified.HEADER], rows, "numbers sortable cells"),
        "not_certified": certified.limits(every, [told] if without else []),
        "not_done": cell_table.not_done(sweep),
        "settings": _values("setting", {cell.name: cell.settings for cell in sweep.cells if cell.settings}),
        "made": _values("", {cell.name: cell.provenance for cell in sweep.cells if cell.provenance}),
    }

    def page(done: gallery.Packed) -> str:
        table = cell_table.cell_table(sweep, [text is not None for text in done.texts])
        return render("sweep.html", **given, cells=table, gallery=gallery.shown(sweep, done))

    nothing = gallery.Packed(gallery.LEVELS[0], [None] * len(sweep.cells), 0)
    room = largest - len(page(nothing).encode()) - _RESERVE
    return Report(page(gallery.pack([cell.attacks for cell in sweep.cells], room)), {})


def _answers(sweep: SweepData) -> Table:
    """A row for all cells: what it takes to fool them, what is proven, how strong the attacks were."""
    known = {cell.name: cell.numbers.get(f"{name}_median_distortion_half_way_l2", np.nan)
             for name in list(sweep.attacks)[:1] for cell in sweep.cells}  # fmt: skip
    sizes = {cell: size for cell, size in known.items() if np.isfinite(size)}
    margins = [
        (cell.name, float(np.median(one.radius)))
        for cell in sweep.cells
        for one in cell.certificates
        if one.soundness == "sound"
    ]
    # A cell with several margins keeps the largest.
    sound = dict(sorted(margins, key=lambda entry: entry[1]))
    others = sum(bool(cell.certificates) for cell in sweep.cells)
    shares = _suspicious(sweep)
    fooled = Cell("none found", "no attacks that moved most reconstructions half way")
    proven = Cell("nothing", f"no sound margin; those of {others} cells are of first order, which is no proof")
    strength = Cell(text.ABSENT, "no attacks yet")
    if sizes:
        fooled = _range("‖d‖ =", sizes, "median that moves the reconstruction half way to the attacker’s target")
    if sound:
        proven = _range("‖d‖ <", sound, "largest sound median margin of a cell")
    if shares:
        weak = f"{sum(share > WEAK for share in shares)} of {len(shares)} look weak"
        strength = Cell(weak, f"sweeps of attacks of which more than {text.percent(WEAK)} show a sign of weakness")
    models = Cell(f"{len(sweep.cells)} cells", cell_table.counts(sweep))
    header = [
        "Models",
        "Perturbations of these sizes fool them",
        "Proven: no smaller ones do",
        "Strength of the attacks",
    ]
    return Table(header, [[models, fooled, proven, strength]])


def _range(what: str, values: Mapping[str, float], meaning: str) -> Cell:
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    if len(values) == 1:
        return Cell(f"{what} {number(values[low])}", f"{meaning}; {low}")
    return Cell(f"{what} {number(values[low])} to {number(values[high])}", f"{meaning}; least: {low}, most: {high}")


def _suspicious(sweep: SweepData) -> list[float]:
    columns = [f"{name}_share_suspicious" for name in sweep.attacks]
    return [cell.numbers[column] for cell in sweep.cells for column in columns if column in cell.numbers]


def _trust(sweep: SweepData) -> dict[str, Any]:
    """For every attack of every cell, how many of its attacks have which sign of weakness."""
    found = [(cell, name, attack) for cell in sweep.cells for name, attack in cell.attacks.items()]
    seen = signs([attack.diagnosis for _, _, attack in found])
    rows: list[Row] = [
        [
            Cell(cell.name),
            name,
            shown(cell.numbers.get(f"{name}_share_suspicious"), text.percent),
            *(
                Cell("not checked", value=np.nan) if of_cell.get(flag) is None else shown(of_cell[flag], text.percent)
                for flag in seen.raised
            ),
        ]
        for (cell, name, _), of_cell in zip(found, seen.shares, strict=True)
    ]
    shares = _suspicious(sweep)
    return {
        "weak": (sum(share > WEAK for share in shares), len(shares)),
        "table": Table(["cell", "attack", "suspicious", *seen.raised], rows, "numbers sortable cells"),
        "signs": seen,
    }


def _values(head: str, of_cells: Mapping[str, Mapping[str, str]]) -> dict[str, Table]:
    """What differs between the cells that have it, and how many have which; what they share, once."""
    names = dict.fromkeys(name for found in of_cells.values() for name in found)
    counted = {name: Counter(found[name] for found in of_cells.values() if name in found) for name in names}
    differing = [[name, _listed(values)] for name, values in counted.items() if len(values) > 1]
    same = [[name, next(iter(values))] for name, values in counted.items() if len(values) == 1]
    return {
        "differing": Table([head, "values, and how many cells have them"], differing, "words"),
        "same": Table([head, "in all cells that have it"], same, "words"),
    }


def _listed(values: Mapping[str, int]) -> str:
    found = sorted(values.items(), key=lambda entry: -entry[1])
    one = Markup("<span>{} <small>{}</small></span>")
    listed = Markup("").join(one.format(value, count) for value, count in found[:_MOST_VALUES])
    more = Markup("<small>and {} more</small>").format(len(found) - _MOST_VALUES) if len(found) > _MOST_VALUES else ""
    return Markup('<span class="values">{}{}</span>').format(listed, more)
