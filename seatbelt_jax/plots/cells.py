"""What a report shows of a sweep over models, as records of pictures, numbers and words."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from seatbelt_jax.plots.certificates import PREFERRED
from seatbelt_jax.results import Certificate, Diagnosis, EmpiricalMargin

_MARGIN = re.compile(r"margin_(.+)_median_(l2|linf)")


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Pictures of one attack: a few pairs under a few budgets, as bytes.

    Attributes:
      title: the attack's title, in words.
      kind: what a budget is called.
      given: each pair's x and its reconstruction.
      target: each pair's x^t and its reconstruction; None for an attack without targets.
      moving: x + d, d, and the reconstruction of x + d.
      labels: the labels of the budgets, which rise.
      captions: the captions of each budget's attacks.
      norms: of each budget, the median ||d|| over all pairs.
      pairs, budgets: how many there were to choose from.
    """

    title: str
    kind: str
    given: UInt8[np.ndarray, "pair 2 height width channels"]
    target: UInt8[np.ndarray, "pair 2 height width channels"] | None
    moving: UInt8[np.ndarray, "pair budget 3 height width channels"]
    labels: Sequence[str]
    captions: Sequence[Sequence[str]]
    norms: Sequence[float]
    pairs: int
    budgets: int


@dataclasses.dataclass(frozen=True)
class CellAttack:
    """One attack on the model of a cell.

    Attributes:
      diagnosis: every sign of weakness, checked or not.
    """

    gallery: Gallery
    diagnosis: Diagnosis


@dataclasses.dataclass(frozen=True)
class CellData:
    """A cell of a sweep; what is absent is empty.

    Attributes:
      name: the name of its run.
      status: "done", "unfinished", "failed" or another word; `reason` says why.
      axes: its place in the grid.
      numbers: its measures, by attack or method, name and unit, such as all_layers_median_delta_nats; NAME_low and
        NAME_high are the ends of NAME's interval.
      attacks: by their names in the sweep.
      settings, provenance: by name, ready to print.
    """

    name: str
    status: str
    reason: str
    axes: Mapping[str, str | float]
    numbers: Mapping[str, float]
    attacks: Mapping[str, CellAttack] = dataclasses.field(default_factory=dict)
    certificates: Sequence[Certificate] = ()
    empirical: Sequence[EmpiricalMargin] = ()
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SweepData:
    """A sweep over models.

    Attributes:
      path: its folder.
      attacks: the unit of each attack's Delta, by its name; the first is the main one.
    """

    name: str
    path: str
    cells: Sequence[CellData]
    attacks: Mapping[str, str]

    def size(self, attack: str) -> float:
        """The ||d|| at which pictures of an attack are first shown: the same for all cells.

        The middle one of what it takes to move the cells' reconstructions half way; where that is not known, the median
        of all distortions.
        """
        half_way = [cell.numbers.get(f"{attack}_median_distortion_half_way_l2", np.nan) for cell in self.cells]
        norms = [norm for cell in self.cells if attack in cell.attacks for norm in cell.attacks[attack].gallery.norms]
        known = [size for size in half_way if np.isfinite(size)] or norms or [0.0]
        return float(np.median(known))

    def varying(self, axes: Sequence[str]) -> list[str]:
        """The axes along which cells differ."""
        return [axis for axis in axes if len({cell.axes.get(axis, "") for cell in self.cells}) > 1]


class Margin(NamedTuple):
    """The margin that stands for those of a cell; in pixel units of the norm."""

    method: str
    norm: str
    median: float


def main_margin(numbers: Mapping[str, float]) -> Margin | None:
    """The median margin by the first method of those that come first, of L2 where there are any."""
    matches = ((_MARGIN.fullmatch(name), value) for name, value in numbers.items())
    found = [Margin(match[1], match[2], value) for match, value in matches if match]
    ranks = {method: rank for rank, method in enumerate(PREFERRED)}
    return min(found, key=lambda one: (one.norm != "l2", ranks.get(one.method, len(ranks))), default=None)
