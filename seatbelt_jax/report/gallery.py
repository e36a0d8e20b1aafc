"""The gallery of a sweep's attacks: pictures packed so that a page of many cells stays small."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from seatbelt_jax.plots.cells import CellAttack, Gallery, SweepData
from seatbelt_jax.plots.images import distortion_image, packed, to_levels
from seatbelt_jax.plots.results import AttackData
from seatbelt_jax.plots.sweeps import budget_kind, budget_words, threat_words
from seatbelt_jax.plots.text import escape
from seatbelt_jax.report.attacked import caption

# Cells from whose pictures the size of all is guessed.
_SAMPLED = 6


class Level(NamedTuple):
    """How many pictures of each cell are shown.

    Attributes:
      attacks: None for all.
    """

    pairs: int
    budgets: int
    attacks: int | None


# From rich to poor: the first that there is room for is taken.
LEVELS = (Level(3, 7, None), Level(3, 5, None), Level(2, 5, None), Level(2, 5, 1), Level(2, 3, 1), Level(1, 3, 1))


class Packed(NamedTuple):
    """Attributes:
    texts: of each cell, JSON for the page's script; None where it has no attacks, or there was no room for it.
    left_out: cells with attacks for which there was no room.
    """

    level: Level
    texts: Sequence[str | None]
    left_out: int


def gallery_of(attack: AttackData, columns: Sequence[int]) -> Gallery:
    """The first pairs of an attack under some of its budgets.

    Args:
      columns: the budgets, as indices, their values rising.
    """
    pairs = range(min(LEVELS[0].pairs, len(attack.sources)))
    moving = np.array(
        [
            [
                [
                    attack.adversarial[pair, column],
                    distortion_image(attack.adversarial[pair, column] - attack.sources[pair], attack.image_range),
                    attack.adversarial_reconstructions[pair, column],
                ]
                for column in columns
            ]
            for pair in pairs
        ]
    )
    first = slice(len(pairs))
    given = np.stack([attack.sources[first], attack.source_reconstructions[first]], axis=1)
    target = np.stack([attack.targets[first], attack.target_reconstructions[first]], axis=1)
    return Gallery(
        title=threat_words(attack),
        kind=budget_kind(attack),
        given=to_levels(given, attack.image_range),
        target=to_levels(target, attack.image_range) if attack.targeted else None,
        moving=to_levels(moving, attack.image_range),
        labels=[budget_words(attack, float(attack.budgets[column])) for column in columns],
        captions=[[caption(attack, pair, column) for pair in pairs] for column in columns],
        pairs=len(attack.sources),
        budgets=len(attack.budgets),
    )


def pack(cells: Sequence[Mapping[str, CellAttack]], room: int) -> Packed:
    """Packs the pictures of all cells into so many bytes: as rich as there is room for, the same for every cell.

    Where there is no room for all at the poorest level, later cells are left out.
    """
    shown = [cell for cell in cells if cell]
    for level in LEVELS[:-1]:
        if _guess(shown, level) <= room:
            texts = [_encoded(cell, level) if cell else None for cell in cells]
            if sum(_size(text) for text in texts) <= room:
                return Packed(level, texts, 0)
    return _as_many_as_fit(cells, LEVELS[-1], room)


def _as_many_as_fit(cells: Sequence[Mapping[str, CellAttack]], level: Level, room: int) -> Packed:
    texts: list[str | None] = []
    left_out = 0
    for cell in cells:
        text = _encoded(cell, level) if cell and not left_out else None
        if cell and (left_out or _size(text) > room):
            left_out += 1
            text = None
        texts.append(text)
        room -= _size(text)
    return Packed(level, texts, left_out)


def gallery(sweep: SweepData, done: Packed) -> str:
    """The gallery, empty until the page's script opens a cell; and the pictures of each cell."""
    with_pictures = [index for index, text in enumerate(done.texts) if text is not None]
    if not with_pictures:
        return ""
    options = "".join(
        f'<option value="{index}">{escape(cell.name)}</option>'
        if done.texts[index] is not None
        else f"<option disabled>{escape(cell.name)} ({_why_none(cell.status, bool(cell.attacks))})</option>"
        for index, cell in enumerate(sweep.cells)
    )
    pictures = "".join(
        f'<script type="application/json" id="pictures-{index}">{done.texts[index]}</script>' for index in with_pictures
    )
    return (
        f'<div class="gallery" data-first="{with_pictures[0]}" hidden><template>{_PANE.format(options=options)}'
        '</template><div class="panes"></div><button type="button" class="more">another cell beside it</button></div>'
        f"<noscript><p>The pictures need the script of this page.</p></noscript>{pictures}"
    )


def note(sweep: SweepData, done: Packed) -> str:
    """Says which of the pictures the page shows."""
    found = [attack.gallery for cell in sweep.cells for attack in cell.attacks.values()]
    if not found:
        return ""
    pairs, budgets = max(one.pairs for one in found), max(one.budgets for one in found)
    level = done.level
    shown = f"Shown for each attack: {min(level.pairs, pairs)} of {pairs} pairs, under at most "
    shown += f"{min(level.budgets, budgets)} of {budgets} budgets, chosen for even steps of ‖<i>d</i>‖"
    if level.attacks is not None and any(len(cell.attacks) > level.attacks for cell in sweep.cells):
        shown += f"; for each cell, only the first attack, {escape(next(iter(sweep.attacks)))}"
    if done.left_out:
        shown += f"; no pictures for {done.left_out} {'cell' if done.left_out == 1 else 'cells'}"
    smaller = " More would make this page larger than 10 MB." if level != LEVELS[0] or done.left_out else ""
    return (
        f'<p class="note">{shown}.{smaller} In <i>d</i>, mid-grey is no change. A run&rsquo;s own page has more: '
        f"<code>seatbelt report --run={escape(sweep.path)}/CELL</code>.</p>"
    )


_PANE = """<div class="pane">
<div class="choice"><label>cell <select class="cell">{options}</select></label>
<label>attack <select class="attack"></select></label>
<label class="slide"><span class="kind">penalty</span> <input type="range" min="0" max="1"></label><output></output>
<button type="button" class="close">close</button></div>
<p class="small title"></p>
<div class="strip heads" aria-hidden="true"><div class="two"><span class="group">input</span>
<div class="tiles"><span><i>x</i></span><span>drawn</span></div></div>
<div class="three"><span class="group">under attack</span>
<div class="tiles"><span><i>x</i> + <i>d</i></span><span><i>d</i></span><span>drawn</span></div></div>
<div class="two of-target"><span class="group">the attacker&rsquo;s target</span>
<div class="tiles"><span><i>x</i><sup>t</sup></span><span>drawn</span></div></div></div>
<div class="strip pixels"><div class="two"><img class="given" alt="inputs and what is drawn of them"></div>
<div class="three"><img class="moving" alt="attacked inputs, distortions and what is drawn"></div>
<div class="two of-target"><img class="target" alt="targets and what is drawn of them"></div></div>
<ol class="small"></ol></div>"""


def _why_none(status: str, attacked: bool) -> str:
    return "left out for size" if attacked else f"no attacks, {escape(status)}"


def _guess(cells: Sequence[Mapping[str, CellAttack]], level: Level) -> float:
    """The size of all cells by that of a few, in proportion to how many pixels they show."""
    if not cells:
        return 0.0
    sample = [cells[int(index)] for index in np.unique(np.linspace(0, len(cells) - 1, _SAMPLED).round())]
    rate = sum(_size(_encoded(cell, level)) for cell in sample) / sum(_pixels(cell, level) for cell in sample)
    return rate * sum(_pixels(cell, level) for cell in cells)


def _pixels(cell: Mapping[str, CellAttack], level: Level) -> int:
    of_each = [
        _rows(one.gallery, level) * (4 + 3 * len(_columns(one.gallery, level))) * one.gallery.given[0, 0].size
        for one in list(cell.values())[: level.attacks]
    ]
    return sum(of_each)


def _rows(shown: Gallery, level: Level) -> int:
    return min(level.pairs, len(shown.given))


def _columns(shown: Gallery, level: Level) -> list[int]:
    """So many of the budgets, the ends among them."""
    count = min(level.budgets, len(shown.labels))
    return [int(column) for column in np.unique(np.linspace(0, len(shown.labels) - 1, count).round())]


def _encoded(cell: Mapping[str, CellAttack], level: Level) -> str:
    """JSON in which nothing can end the script element that holds it."""
    found = [_of_attack(name, one.gallery, level) for name, one in list(cell.items())[: level.attacks]]
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _of_attack(name: str, shown: Gallery, level: Level) -> dict[str, object]:
    rows, width = _rows(shown, level), shown.given.shape[3]
    return {
        "name": name,
        "title": shown.title,
        "kind": shown.kind,
        # Widths of the sprites: a gap of one pixel between pictures.
        "two": 2 * width + 1,
        "three": 3 * width + 2,
        "given": packed(shown.given[:rows]),
        "target": None if shown.target is None else packed(shown.target[:rows]),
        "frames": [
            {
                "label": shown.labels[column],
                "captions": list(shown.captions[column][:rows]),
                "source": packed(shown.moving[:rows, column]),
            }
            for column in _columns(shown, level)
        ],
    }


def _size(text: str | None) -> int:
    return len((text or "").encode())
