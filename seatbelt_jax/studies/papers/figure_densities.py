"""Densities of one number per image, from the measures of `seatbelt evaluate` that a sweep has kept."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from seatbelt_jax import plots
from seatbelt_jax.studies.papers.drawing import Row
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables

SCALES = ("0.1", "0.5", "1")
NOTE = "Kernel density estimates over validation images, one model each: the largest latent size, the first seed."
_OF_A_MODEL = ["data", "model", "L", "d_z", "beta", "seed"]


def model_of(cells: pd.DataFrame, data: str, kind: str, beta: float | None = None, *, least: bool = False) -> Any:
    """The cell that stands for a kind of model: of the largest (or least) beta or a given one, the most layers and
    latents, and the first seed; None where there is none."""
    found = cells[(cells["kind"] == kind) & (cells["data"] == data)]
    if beta is not None:
        found = found[found["beta"] == beta]
    ordered = found.sort_values(["beta", "L", "d_z", "seed"], ascending=[least, False, False, True], kind="stable")
    return ordered.iloc[0] if len(ordered) else None


def points_of(row: Any) -> tuple[np.ndarray, np.ndarray]:
    """The places of a row of `densities`, and its density there."""
    return np.linspace(row["first"], row["last"], len(row["density"])), row["density"]


def line(
    tables: Tables, cell: pd.Series, measure: str, name: str, *, layer: str = "", noise: str = "", **look: Any
) -> tuple[list[plots.Line], list[Row]]:
    """A model's density as a line and as rows of a table; none where it has none."""
    rows = tables.densities[(tables.densities["cell"] == cell["cell"]) & (tables.densities["measure"] == measure)]
    rows = rows[(rows["layer"] == layer) & (rows["noise"] == noise)]
    if not len(rows):
        return [], []
    row = rows.iloc[0]
    places, density = points_of(row)
    known = {**cell[_OF_A_MODEL], "measure": measure, "layer": layer, "noise": noise}
    known |= {f"mean_{row['unit']}": row["mean"]}
    table = [
        {**known, f"place_{row['unit']}": place, f"density_per_{row['unit']}": value}
        for place, value in zip(places.tolist(), density.tolist(), strict=True)
    ]
    return [plots.Line(name, places.tolist(), density.tolist(), **look)], table


def of_noise(
    tables: Tables, chosen: Sequence[tuple[str, Sequence[tuple[str, pd.Series, dict[str, Any]]]]]
) -> tuple[list[plots.Panel], list[Row]]:
    """log p(x|z) of noisy images: for each (title, models) a row of panels, by scale; a model is (name, cell, look).

    Raises:
      MissingError: where no model has the measure.
    """
    panels: list[plots.Panel] = []
    table: list[Row] = []
    for title, models in chosen:
        for scale in SCALES:
            found = [line(tables, cell, "noise_robustness", name, noise=scale, **look) for name, cell, look in models]
            lines = [one for of_model, _ in found for one in of_model]
            table += [row for _, rows in found for row in rows]
            if lines:
                panels.append(
                    plots.Curves(f"{title}: density, noise {scale} ε", "log p(x|z), nats", lines, marked=False)
                )
    if not panels:
        raise MissingError("the measure noise_robustness (evaluate.measures)")
    return panels, table
