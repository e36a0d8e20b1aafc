"""Densities of one number per image, from the measures of `seatbelt evaluate` that a sweep has kept."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seatbelt_jax import plots
from seatbelt_jax.studies import companions as sweep_companions
from seatbelt_jax.studies.papers.figure_tables import KINDS, MissingError, Row, Tables

SCALES = ("0.1", "0.5", "1")
NOTE = "Kernel density estimates over validation images, one model each: the largest latent size, the first seed."


def model_of(
    cells: Sequence[Row], data: str, kind: str, beta: float | None = None, *, least: bool = False
) -> Row | None:
    """The cell that stands for a kind of model: of the largest (or least) beta or a given one, the most layers and
    latents, and the first seed; None where there is none."""
    found = [cell for cell in cells if KINDS[kind](cell) and cell["data"] == data and beta in (None, cell["beta"])]
    found.sort(key=lambda cell: ((-1 if least else 1) * cell["beta"], cell["L"], cell["d_z"], -cell["seed"]))
    return found[-1] if found else None


def points_of(row: Row) -> tuple[np.ndarray, list[float]]:
    """The places of a row of `densities`, and its density there."""
    places = np.linspace(row["first"], row["last"], sweep_companions.POINTS)
    return places, [row[f"density_{number}"] for number in range(len(places))]


def line(
    tables: Tables, cell: Row, measure: str, part: str, name: str, *, series: int = 0, shade: float | None = None
) -> tuple[plots.Line, list[dict[str, Any]]] | None:
    """A model's density as a line and as rows of a table; None where it has none."""
    for row in tables.densities:
        if (row["cell"], row["measure"], row["part"]) == (cell["cell"], measure, part):
            places, density = points_of(row)
            known = {name: cell[name] for name in ("data", "model", "L", "d_z", "beta", "seed")}
            known |= {"measure": measure, "part": part, f"mean_{row['unit']}": row["mean"]}
            table = [
                {**known, f"place_{row['unit']}": place, f"density_per_{row['unit']}": value}
                for place, value in zip(places, density, strict=True)
            ]
            return plots.Line(name, list(places), density, series=series, shade=shade), table
    return None


def of_noise(
    tables: Tables, chosen: Sequence[tuple[str, Sequence[tuple[str, Row, dict[str, Any]]]]]
) -> tuple[list[plots.Panel], list[dict[str, Any]]]:
    """log p(x|z) of noisy images: for each (title, models) a row of panels, by scale; a model is (name, cell, look).

    Raises:
      MissingError: where no model has the measure.
    """
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    for title, models in chosen:
        for scale in SCALES:
            lines = []
            for name, cell, look in models:
                if (found := line(tables, cell, "noise_robustness", f"scale_{scale}", name, **look)) is not None:
                    lines.append(found[0])
                    table += found[1]
            if lines:
                panels.append(
                    plots.Curves(f"{title}: density, noise {scale} ε", "log p(x|z), nats", lines, marked=False)
                )
    if not panels:
        raise MissingError("the measure noise_robustness (evaluate.measures)")
    return panels, table
