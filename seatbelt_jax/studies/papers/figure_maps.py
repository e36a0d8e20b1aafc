"""Maps of attacks over beta and depth, as in Willetts et al. 2019, Fig. 6 and 7, and Willetts et al. 2021, App. D."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from seatbelt_jax import plots
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers.figure_tables import KINDS, MissingError, Row, Tables

# Measures of attacks, and whether their shades are logarithmic.
_LOGARITHMIC = ("delta",)
WAYS = {"distortion_half_way_l2": "half", "distortion_nine_tenths_l2": "9/10"}
NOTE = (
    "Means over all attacks, pooled over pairs, penalties, latent sizes and seeds; of ||d||, medians over pairs. The "
    "table has the intervals."
)


def maps(
    tables: Tables, kinds: Sequence[str], attacks: Sequence[str], measures: Sequence[str]
) -> tuple[list[plots.Panel | None], list[dict[str, Any]], list[str]]:
    """For each data set a row of maps, attack by attack and measure by measure; a measure has one scale of shades.

    Args:
      kinds: of models; the last is what the map is of, the beta-TCVAE before it stands for L = 1.

    Returns:
      panels, None for an attack that another data set has; rows of the table; and notes: which attacks there are
      none of, which models were left out.

    Raises:
      MissingError: where there is none of any.
    """
    cells = tables.of_kind(*kinds)
    found, others = numbers.attacked_alike(tables, cells, attacks)
    panels: list[plots.Panel | None] = []
    table: list[dict[str, Any]] = []
    made = [attack for attack in attacks if found[attack]]
    for data in tables.data_sets(cells):
        of_data = {attack: [row for row in found[attack] if row["data"] == data] for attack in made}
        # The beta-TCVAE alone is no map of another model.
        of_data = {attack: rows for attack, rows in of_data.items() if any(map(KINDS[kinds[-1]], rows))}
        drawn = {
            (attack, measure): _map(rows, kinds, data, attack, measure)
            for attack, rows in of_data.items()
            for measure in measures
        }
        scales = {measure: [one.values for (_, of), (one, _) in drawn.items() if of == measure] for measure in measures}
        for place in itertools.product(made, measures) if drawn else ():
            panel, of_map = drawn.get(place, (None, []))
            panels.append(panel and dataclasses.replace(panel, scale=np.concatenate(scales[place[1]], axis=None)))
            table += of_map
    lacking = [f"No attacks by {attack} ({numbers.ATTACKS[attack]})." for attack in attacks if not found[attack]]
    if not panels:
        raise MissingError(f"attacks by {' or '.join(attacks)} on {kinds[-1]}")
    return panels, table, lacking + others


def _map(
    rows: Sequence[Row], kinds: Sequence[str], data: str, attack: str, measure: str
) -> tuple[plots.NumberMap, list[dict[str, Any]]]:
    betas, depths = (sorted({row[axis] for row in rows}) for axis in ("beta", "L"))
    values = np.full((len(depths), len(betas)), np.nan)
    table = []
    for place in np.ndindex(values.shape):
        depth, beta = depths[place[0]], betas[place[1]]
        here = [row for row in rows if (row["L"], row["beta"]) == (depth, beta)]
        if here:
            pooled = numbers.median(here, measure) if measure in WAYS else numbers.pooled(here, measure)
            values[place] = pooled["median" if measure in WAYS else "mean"]
            kind = next(kind for kind in kinds if KINDS[kind](here[0]))
            table.append(
                {"data": data, "model": kind, "attack": attack, "measure": measure, "L": depth, "beta": beta, **pooled}
            )
    words = f"Delta, {numbers.unit_of(rows)}" if measure == "delta" else numbers.TARGET_NLL
    if measure in WAYS:
        words = f"median ||d||, {WAYS[measure]} of the way"
    title = f"{words}: {data}, {numbers.NAMES[kinds[-1]]}\n{numbers.ATTACKS[attack]}"
    return plots.NumberMap(title, "β", betas, "L", depths, values, measure in _LOGARITHMIC), table
