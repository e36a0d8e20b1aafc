"""The gallery of a sweep's attacks: pictures packed so that a page of many cells stays small."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from seatbelt_jax.plots.cells import CellAttack, Gallery, SweepData
from seatbelt_jax.plots.images import distortion_image, smallest, to_levels
from seatbelt_jax.plots.results import MeasuredAttack
from seatbelt_jax.plots.sweeps import budget_kind, budget_words, threat_words
from seatbelt_jax.report.attacked import caption
from seatbelt_jax.report.page import packed

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


def gallery_of(attack: MeasuredAttack, columns: Sequence[int]) -> Gallery:
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
        norms=[float(np.median(attack.distortion_norm[:, column])) for column in columns],
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


def shown(sweep: SweepData, done: Packed) -> dict[str, Any]:
    """What the page says of the cells, and the pictures of each."""
    found = [attack.gallery for cell in sweep.cells for attack in cell.attacks.values()]
    with_pictures = {index: text for index, text in enumerate(done.texts) if text is not None}
    level = done.level
    fewer = level.attacks is not None and any(len(cell.attacks) > level.attacks for cell in sweep.cells)
    pairs, budgets = (max((getattr(one, name) for one in found), default=0) for name in ("pairs", "budgets"))
    return {
        "cells": [
            (index if index in with_pictures else None, cell.name, _why_none(cell.status, bool(cell.attacks)))
            for index, cell in enumerate(sweep.cells)
        ],
        "pictures": with_pictures,
        "pairs": (min(level.pairs, pairs), pairs),
        "budgets": (min(level.budgets, budgets), budgets),
        "only": next(iter(sweep.attacks)) if fewer else None,
        "left_out": done.left_out,
        "sizes": {name: sweep.size(name) for name in {name for cell in sweep.cells for name in cell.attacks}},
        "larger": level != LEVELS[0] or done.left_out > 0,
    }


def _why_none(status: str, attacked: bool) -> str:
    return "left out for size" if attacked else f"no attacks, {status}"


def _guess(cells: Sequence[Mapping[str, CellAttack]], level: Level) -> float:
    """The size of all cells, estimated from a few in proportion to the pixels shown."""
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
    return packed([_of_attack(name, one.gallery, level) for name, one in list(cell.items())[: level.attacks]])


def _of_attack(name: str, shown: Gallery, level: Level) -> dict[str, object]:
    rows, width = _rows(shown, level), shown.given.shape[3]
    return {
        "name": name,
        "title": shown.title,
        "kind": shown.kind,
        # Widths of the sprites: a gap of one pixel between pictures.
        "two": 2 * width + 1,
        "three": 3 * width + 2,
        "given": smallest(shown.given[:rows]),
        "target": None if shown.target is None else smallest(shown.target[:rows]),
        "frames": [
            {
                "label": shown.labels[column],
                "norm": round(shown.norms[column], 3),
                "captions": list(shown.captions[column][:rows]),
                "source": smallest(shown.moving[:rows, column]),
            }
            for column in _columns(shown, level)
        ],
    }


def _size(text: str | None) -> int:
    return len((text or "").encode())
