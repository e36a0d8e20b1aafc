"""One self-contained page on all cells of a sweep over models."""

from collections import Counter
from collections.abc import Callable, Mapping

from seatbelt_jax.plots import cell_curves, charts, text
from seatbelt_jax.plots.cells import CellAttack, SweepData
from seatbelt_jax.plots.certificates import Question, question
from seatbelt_jax.plots.text import escape, number
from seatbelt_jax.report import cell_table, certified, gallery, legend
from seatbelt_jax.report.page import page
from seatbelt_jax.report.runs_page import Report

# Bytes of the page. The pictures may not take all: some are for the rest, and for a size that is guessed too low.
LARGEST = 10_000_000
_RESERVE = 200_000
# Attacks that are suspicious, beyond which the page warns.
_WEAK = 0.1
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
    rest = {
        "curves": _curves(sweep),
        "trust": _trust(sweep),
        "certificates": _certificates(sweep),
        "not-certified": _not_certified(sweep),
        "not-done": cell_table.not_done(sweep),
        "settings": _settings(sweep),
    }
    every = [True] * len(sweep.cells)
    used = sum(len(content.encode()) for content in (*rest.values(), cell_table.cell_table(sweep, every)))
    done = gallery.pack([cell.attacks for cell in sweep.cells], largest - used - _RESERVE)
    contents = {
        "cells": ("All cells", cell_table.cell_table(sweep, [text is not None for text in done.texts])),
        "curves": ("Along the grid", rest["curves"]),
        "attacks": ("Attacked images", _attacks(sweep, done)),
        "trust": ("How far to trust the attacks", rest["trust"]),
        "certificates": ("Certified margins", rest["certificates"]),
        "not-certified": ("What is not certified", rest["not-certified"]),
        "not-done": ("Cells that are not done", rest["not-done"]),
        "settings": ("Settings and provenance", rest["settings"]),
    }
    sections: dict[str, tuple[str, Callable[[], str]]] = {
        name: (title, lambda content=content: content)  # type: ignore[misc]
        for name, (title, content) in contents.items()
    }
    html = page(
        sections,
        title=f"Sweep {sweep.name}",
        heading=f"How hard are the models of {escape(sweep.name)} to fool?",
        key=f'<p class="small">{escape(cell_table.counts(sweep))}</p>',
        introduction="sweep_introduction.html",
        command=command,
    )
    return Report(html, {})


def _curves(sweep: SweepData) -> str:
    drawn = cell_curves.curves(sweep)
    parts = [
        f"{f'<h3>{escape(heading)}</h3>' if heading else ''}{charts.grid(draws, f'curve-{index}', kind='small')}"
        for index, (heading, draws) in enumerate(drawn.charts.items())
    ]
    names = legend.names(drawn.names) if drawn.names else ""
    return names + "".join(parts) + _described(drawn)


def _described(drawn: cell_curves.Curves) -> str:
    """The caption of the charts."""
    if not drawn.charts:
        return '<p class="note">No numeric axis of the sweep has several values yet, so there are no curves.</p>'
    return (
        '<p class="note">Points: medians of the sweep&rsquo;s table. Bars: 95&nbsp;% intervals over pairs for attacks, '
        "the middle half of the images for margins. Lines of different models are drawn slightly apart. Cells that are "
        "not done leave gaps, and so do distortions that most pairs never reach.</p>"
    )


def _attacks(sweep: SweepData, done: gallery.Packed) -> str:
    if not any(cell.attacks for cell in sweep.cells):
        return text.hint(
            "There are no attack results of this sweep yet. To make them, for example:",
            [f"seatbelt attack --run={sweep.path}/{sweep.cells[0].name}"],
        )
    return gallery.note(sweep, done) + gallery.gallery(sweep, done)


def _trust(sweep: SweepData) -> str:
    """For every attack of every cell, how many of its attacks have which sign of weakness."""
    found = [(cell, name, attack) for cell in sweep.cells for name, attack in cell.attacks.items()]
    if not found:
        return '<p class="note">Nothing has been attacked yet.</p>'
    shares = [_shares(attack) for _, _, attack in found]
    raised = list(dict.fromkeys(name for one in shares for name, share in one.items() if share))
    meanings = {flag.name: flag.meaning for _, _, attack in found for flag in attack.flags}
    rows: list[text.Row] = [
        [
            text.name(cell.name),
            escape(name),
            text.shown(cell.numbers.get(f"{name}_share_suspicious"), text.percent),
            *(
                text.Cell("not checked", None) if one.get(flag) is None else text.shown(one[flag], text.percent)
                for flag in raised
            ),
        ]
        for (cell, name, _), one in zip(found, shares, strict=True)
    ]
    untested = [name for name in meanings if all(one.get(name) is None for one in shares)]
    clean = [name for name in meanings if name not in raised and name not in untested]
    notes = [f"{name}: {meanings[name]}" for name in raised]
    told = f"Signs: {'; '.join(notes)}. " if notes else ""
    told += f"Looked for and not found: {', '.join(clean)}. " if clean else ""
    unchecked = {flag.name: flag.unchecked for _, _, attack in found for flag in attack.flags}
    told += f"Not checked: {'; '.join(unchecked[name] for name in untested)}." if untested else ""
    header = ["cell", "attack", "suspicious", *map(escape, raised)]
    return (
        _warning(sweep)
        + text.table(header, rows, kind="numbers sortable cells")
        + f'<p class="note">{escape(told)}</p>'
    )


def _shares(attack: CellAttack) -> Mapping[str, float | None]:
    return {flag.name: flag.share for flag in attack.flags}


def _warning(sweep: SweepData) -> str:
    known = [
        share
        for cell in sweep.cells
        for name in sweep.attacks
        if (share := cell.numbers.get(f"{name}_share_suspicious")) is not None
    ]
    weak = sum(share > _WEAK for share in known)
    if not weak:
        return ""
    return (
        f'<p class="flag">Weak attacks: in {weak} of {len(known)} sweeps of attacks, more than {text.percent(_WEAK)} '
        "of the attacks show a sign of weakness. Stronger ones may exist: read the distances of these cells as upper "
        "bounds of their robustness, and do not compare them with those of cells that were attacked better.</p>"
    )


def _certificates(sweep: SweepData) -> str:
    rows: list[text.Row] = [
        [text.name(cell.name), *row]
        for cell in sweep.cells
        for row in certified.certificate_rows(cell.certificates, cell.empirical)
    ]
    if not rows:
        return text.hint(
            "There are no certificates of this sweep yet. To make them, for example:",
            [f"seatbelt certify --run={sweep.path}/{sweep.cells[0].name}"],
        )
    asked = Counter(question(one) for cell in sweep.cells for one in cell.certificates)
    table = text.table(["cell", *certified.CERTIFICATE_HEADER], rows, kind="numbers sortable cells")
    return (_asked_differently(asked) if len(asked) > 1 else "") + table


def _asked_differently(asked: Mapping[Question, int]) -> str:
    listed = "; ".join(
        f"r = {number(one.radius)}, {one.norm}, risk {number(one.risk)}, {one.split} images ({count})"
        for one, count in asked.items()
    )
    question = "These certificates answer different questions, so their margins do not compare"
    return f'<p class="flag">{question}: {escape(listed)}.</p>'


def _not_certified(sweep: SweepData) -> str:
    every = [certificate for cell in sweep.cells for certificate in cell.certificates]
    without = sum(not cell.certificates for cell in sweep.cells)
    told = f"<b>{without} of {len(sweep.cells)} cells</b> have no certificate: only attacks tell about them."
    return certified.not_certified(every, [told] * (without > 0))


def _settings(sweep: SweepData) -> str:
    parts = [_values("setting", {cell.name: cell.settings for cell in sweep.cells if cell.settings})]
    origins = {cell.name: cell.provenance for cell in sweep.cells if cell.provenance}
    return "".join([*parts, "<h3>Made with</h3>", _values("", origins)])


def _values(head: str, of_cells: Mapping[str, Mapping[str, str]]) -> str:
    """What differs between the cells that have it, and how many have which; what they share, once."""
    names = dict.fromkeys(name for found in of_cells.values() for name in found)
    counted = {name: Counter(found[name] for found in of_cells.values() if name in found) for name in names}
    differing = [[escape(name), _listed(values)] for name, values in counted.items() if len(values) > 1]
    same = [[escape(name), escape(next(iter(values)))] for name, values in counted.items() if len(values) == 1]
    parts = [text.table([head, "values, and how many cells have them"], differing, kind="words")] if differing else []
    if same:
        table = text.table([head, "in all cells that have it"], same, kind="words")
        parts.append(f"<details><summary>{len(same)} entries that are the same in all cells</summary>{table}</details>")
    return "".join(parts)


def _listed(values: Mapping[str, int]) -> str:
    shown = sorted(values.items(), key=lambda entry: -entry[1])
    listed = [f"{escape(value)} <small>{count}</small>" for value, count in shown[:_MOST_VALUES]]
    if len(shown) > _MOST_VALUES:
        listed.append(f"<small>and {len(shown) - _MOST_VALUES} more</small>")
    return f'<span class="values">{"".join(f"<span>{one}</span>" for one in listed)}</span>'
