"""Maps of attacks over beta and depth, as in Willetts et al. 2019, Fig. 6 and 7, and Willetts et al. 2021, App. D."""

from collections.abc import Sequence
from typing import Any

import figure_numbers as numbers
import numpy as np
from figure_tables import KINDS, MissingError, Row, Tables

from seatbelt_jax import plots

# Measures of attacks, and whether their shades are logarithmic.
_LOGARITHMIC = ("delta",)
WAYS = {"distortion_half_way_l2": "half", "distortion_nine_tenths_l2": "9/10"}
NOTE = (
    "Means over all attacks, pooled over pairs, penalties, latent sizes and seeds; of ||d||, medians over pairs. The "
    "table has the intervals."
)


def maps(
    tables: Tables, kinds: Sequence[str], attacks: Sequence[str], measures: Sequence[str]
) -> tuple[list[plots.Panel], list[dict[str, Any]], list[str]]:
    """For each data set a row of maps, attack by attack and measure by measure.

    Args:
      kinds: of models; the last is what the map is of, the beta-TCVAE before it stands for L = 1.

    Returns:
      panels; rows of the table; and which attacks there are none of.

    Raises:
      MissingError: where there is none of any.
    """
    cells = tables.of_kind(*kinds)
    found = {attack: tables.attacks(cells, attack) for attack in attacks}
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    for data in tables.data_sets(cells):
        for attack in attacks:
            rows = [row for row in found[attack] if row["data"] == data]
            # The beta-TCVAE alone is no map of another model.
            for measure in measures if any(KINDS[kinds[-1]](row) for row in rows) else ():
                panel, of_map = _map(rows, kinds, data, attack, measure)
                panels.append(panel)
                table += of_map
    lacking = [f"No attacks by {attack} ({numbers.ATTACKS[attack]})." for attack in attacks if not found[attack]]
    if not panels:
        raise MissingError(f"attacks by {' or '.join(attacks)} on {kinds[-1]}")
    return panels, table, lacking


def _map(
    rows: Sequence[Row], kinds: Sequence[str], data: str, attack: str, measure: str
) -> tuple[plots.Panel, list[dict[str, Any]]]:
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
