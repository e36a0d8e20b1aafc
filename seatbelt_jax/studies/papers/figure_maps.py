"""Maps of attacks over beta and depth, as declarations (Willetts et al. 2019, Fig. 6 and 7; 2021, App. D)."""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd

from seatbelt_jax import plots
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers.drawing import Drawn, Row
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables

# Measures of attacks whose shades are logarithmic.
_LOGARITHMIC = ("delta",)
_NOTE = (
    "Means over all attacks, pooled over pairs, penalties, latent sizes and seeds; of ||d||, medians over pairs. The "
    "table has the intervals."
)


class AttackMaps(NamedTuple):
    """A figure: for each kind of model and data set a row of maps, attack by attack and measure by measure.

    Attributes:
      kinds: of models of several layers.
      shallow: the kind that stands for L = 1; empty for none.
      attacks: by objective.
      measures: each has one scale of shades in a row.
    """

    kinds: tuple[str, ...]
    attacks: tuple[str, ...]
    measures: tuple[str, ...]
    shallow: str = ""

    def draw(self, tables: Tables) -> Drawn:
        """Draws it.

        Raises:
          MissingError: where there are no maps of any kind.
        """
        panels: list[plots.Panel | None] = []
        table: list[Row] = []
        lacking: list[str] = []
        reasons = []
        for kind in self.kinds:
            try:
                lacking += self._of_kind(tables, kind, panels, table)
            except MissingError as error:
                reasons.append(str(error))
        if not panels:
            raise MissingError("; ".join(reasons))
        beside = (f"L = 1 is the {numbers.NAMES[self.shallow]}.",) if self.shallow else ()
        columns = len(self.measures) * len({row["attack"] for row in table})
        return Drawn(table, panels, columns=columns, notes=(*beside, _NOTE, *dict.fromkeys(lacking)))

    def _of_kind(self, tables: Tables, kind: str, panels: list[plots.Panel | None], table: list[Row]) -> list[str]:
        """Adds a kind's panels, None for an attack that another data set has, and rows; returns notes."""
        cells = tables.of_kind(*filter(None, (self.shallow, kind)))
        found, others = numbers.attacked_alike(tables, cells, self.attacks)
        made = [attack for attack in self.attacks if len(found[attack])]
        places = list(itertools.product(cells["data"].unique(), made, self.measures))
        drawn = {}
        for data, attack, measure in places:
            rows = found[attack][found[attack]["data"] == data]
            # The shallow kind alone is no map of another model.
            if (rows["kind"] == kind).any():
                drawn[data, attack, measure], of_map = _map(rows, kind, data, attack, measure)
                table += of_map
        if not drawn:
            raise MissingError(f"attacks by {' or '.join(self.attacks)} on {kind}")
        with_maps = {data for data, _, _ in drawn}
        for place in (place for place in places if place[0] in with_maps):
            alike = [one.values for (data, _, of), one in drawn.items() if (data, of) == (place[0], place[2])]
            panel = drawn.get(place)
            panels.append(panel and dataclasses.replace(panel, scale=np.concatenate(alike, axis=None)))
        lacking = [attack for attack in self.attacks if not len(found[attack])]
        return [f"No attacks by {attack} ({numbers.ATTACKS[attack]})." for attack in lacking] + others


def _map(rows: pd.DataFrame, kind: str, data: str, attack: str, measure: str) -> tuple[plots.NumberMap, list[Row]]:
    place = {"data": data, "attack": attack, "measure": measure}
    table = [
        {**place, "model": here["kind"].iloc[0], "L": depth, "beta": beta, **numbers.of_attacks(here, measure)}
        for (depth, beta), here in rows.groupby(["L", "beta"])
    ]
    found = pd.DataFrame(table).pivot(index="L", columns="beta", values="median" if measure in numbers.WAYS else "mean")
    words = f"Delta, {numbers.unit_of(rows)}" if measure == "delta" else numbers.TARGET_NLL
    if measure in numbers.WAYS:
        words = f"median ||d||, {numbers.WAYS[measure].replace('1/2', 'half')} of the way"
    title = f"{words}: {data}, {numbers.NAMES[kind]}\n{numbers.ATTACKS[attack]}"
    is_logarithmic = measure in _LOGARITHMIC
    betas, depths = found.columns.tolist(), found.index.tolist()
    return plots.NumberMap(title, "β", betas, "L", depths, found.to_numpy(), is_logarithmic), table
