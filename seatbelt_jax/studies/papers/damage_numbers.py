"""What the figures of Camuto et al. 2021 are made of: their models, damage, margins and densities, from tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seatbelt_jax import metrics, plots
from seatbelt_jax.studies.papers.figure_densities import points_of
from seatbelt_jax.studies.papers.figure_numbers import over
from seatbelt_jax.studies.papers.figure_tables import MissingError, Row, Tables, joined

# As attacks call maximum damage, before the number of draws; and how figures do.
THROUGH = {"mean": "through μ", "std": "through σ", "both": "through both"}
# Upper bounds of margins.
MARGIN = "empirical_margin_l2"
OVER_IMAGES = "Shaded: the standard deviation over images, as in the paper."
_PLACES = 100


def of_one_data_set(cells: Sequence[Row]) -> list[Row]:
    """Those on MNIST, as the paper's; or on the first data set there is."""
    sets = {str(cell["data"]): None for cell in cells}
    chosen = "mnist" if "mnist" in sets else next(iter(sets))
    return [cell for cell in cells if cell["data"] == chosen]


def models_over(tables: Tables, axis: str) -> list[Row]:
    """VAEs of one layer that differ in `axis`, "beta" or "tau", and not in the other.

    The other is at what most of them have: tau = 0, or the beta of which there are the most tau.

    Raises:
      MissingError: where there are not two.
    """
    cells = tables.of_kind("beta_vae")
    if axis == "beta":
        found = [cell for cell in cells if not cell.get("tau")]
    else:
        cells = [cell for cell in cells if cell.get("tau") is not None]
        offsets = {beta: len({cell["tau"] for cell in of_beta}) for beta, of_beta in over(cells).items()}
        found = [cell for cell in cells if cell["beta"] == max(offsets, key=lambda beta: offsets[beta], default=None)]
    if len({cell[axis] for cell in found}) < 2:
        raise MissingError(f"VAEs of one layer trained under several {axis}")
    return found


def damage(tables: Tables, cells: Sequence[Row], through: str) -> list[Row]:
    """Rows of `pairs`, one attack each, of maximum damage in the largest of the balls that have an attack of their own.

    Raises:
      MissingError: where there is none.
    """
    found = _of_damage(tables.pairs, cells, through)
    alone = {(row["cell"], row["attack"]): row["budget"] for row in _alone(tables, cells, through)}
    largest = max(alone.values(), default=None)
    found = [row for row in found if alone.get((row["cell"], row["attack"])) == largest and row["attacks"]]
    if largest is None or not found:
        raise MissingError(f"attacks of maximum damage {THROUGH[through]} in one ball (--through={through})")
    return [{**row, "radius_l2": largest, "damage_l2": -row["delta_mean"]} for row in found]


def damage_by_norm(tables: Tables, cells: Sequence[Row]) -> list[Row]:
    """Rows of `budgets` of maximum damage through both, by the ball's radius.

    Raises:
      MissingError: where there is none.
    """
    if not (found := _of_damage(tables.budgets, cells, "both")):
        raise MissingError("attacks of maximum damage through both")
    return found


def likelihood_by_norm(
    tables: Tables, cells: Sequence[Row], axis: str, symbol: str
) -> tuple[plots.Curves, list[dict[str, Any]]]:
    """log p(x|z*) of the source under maximum damage against the ball's radius, for each value of an axis."""
    attacked = damage_by_norm(tables, cells)
    clean = damage(tables, cells, "both")
    table: list[dict[str, Any]] = []
    lines = []
    for series, (value, rows) in enumerate(over(attacked, axis).items()):
        points = {0.0: _spread([row["clean_source_log_likelihood_nats"] for row in clean if row[axis] == value])}
        for radius, of_radius in over(rows, "budget").items():
            points[radius] = pooled(of_radius, "source_log_likelihood_nats")
        table += [
            {
                "data": rows[0]["data"],
                axis: value,
                "measure": "source_log_likelihood_nats",
                "radius_l2": radius,
                **found,
            }
            for radius, found in points.items()
        ]
        lines.append(band(f"{symbol} = {value:g}", list(points), list(points.values()), series))
    return plots.Curves("log p(x|z*) under maximum damage, nats", "largest ||d||, pixel units (L2)", lines), table


def certified(tables: Tables, cells: Sequence[Row]) -> list[Row]:
    """Rows of `images` of these cells.

    Raises:
      MissingError: where none was certified.
    """
    if not (found := list(joined(cells, tables.images))):
        raise MissingError("certified images (the section certify)")
    return found


def curves_of(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Curves of P(||Delta|| <= r) of the images that were attacked for their margin: where each ends, and its values.

    Raises:
      MissingError: where there is none.
    """
    known = [row for row in rows if row.get("curve_last_l2") is not None]
    if not known:
        raise MissingError("margins by attack (certify.empirical)")
    names = sorted(
        (name for name in known[0] if name.startswith("curve_probability_")), key=lambda name: int(name[18:])
    )
    return np.array([row["curve_last_l2"] for row in known]), np.array([[row[name] for name in names] for row in known])


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    """A column's numbers, NaN where there is none."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], float)


def densities(
    groups: dict[str, np.ndarray], title: str, label: str, measure: str, place: dict[str, Any]
) -> tuple[plots.Curves, list[dict[str, Any]]]:
    """Densities of a number of each image, by kernels, a line for each group; and rows of a table.

    What is not finite is left out; a group that is all one number has no density, but its summary is in the table.
    """
    lines: list[plots.Line] = []
    table: list[dict[str, Any]] = []
    for series, (name, values) in enumerate(groups.items()):
        known = values[np.isfinite(values)]
        row = {**place, "group": name, "measure": measure}
        table.append({**row, "statistic": "images", "value": len(known)})
        if len(known):
            table += [
                {**row, "statistic": statistic, "value": float(value)}
                for statistic, value in (("mean", known.mean()), ("std", known.std()), ("median", np.median(known)))
            ]
        try:
            density = metrics.kernel_density(known)
        except ValueError:
            continue
        grid = np.linspace(max(0.0, density.grid[0]), density.grid[-1], _PLACES)
        heights = np.interp(grid, density.grid, density.density)
        table += [
            {**row, "statistic": "density", "place": where, "value": height}
            for where, height in zip(grid.tolist(), heights.tolist(), strict=True)
        ]
        named = name if len(known) == len(values) else f"{name}, {len(known)} of {len(values)} images"
        lines.append(plots.Line(named, grid.tolist(), heights.tolist(), series=series))
    return plots.Curves(f"density of {title}", label, lines, marked=False), table


def of_seeds(rows: Sequence[Row]) -> dict[str, Any]:
    """Mean and standard deviation over the images of models that differ in the seed alone, of as many images each."""
    return _pooled(np.ones(len(rows)), column(rows, "mean"), column(rows, "std"))


def density_at(row: Row, places: np.ndarray) -> np.ndarray:
    """A row of `densities` at other places; 0 beyond its ends."""
    return np.interp(places, *points_of(row), left=0.0, right=0.0)


def band(name: str, places: Sequence[float], points: Sequence[dict[str, Any]], series: int) -> plots.Line:
    """Means with their standard deviations to both sides."""
    means, stds = (np.array([point[key] for point in points], float) for key in ("mean", "std"))
    return plots.Line(name, places, means.tolist(), (means - stds).tolist(), (means + stds).tolist(), series=series)


def at_most(rows: Sequence[Row]) -> str:
    """What margins by attack of certified images are, in words."""
    words = {True: "frozen at x, as in the paper's Eq. 3", False: "that of x + d; the paper's Eq. 3 freezes it at x"}
    known = {bool(row.get(f"{MARGIN}_frozen_std")) for row in rows if row.get(MARGIN) is not None}
    sigma = "; or ".join(words[frozen] for frozen in sorted(known))
    return f"Margins by attack are upper bounds: a stronger attack may find less. Their sigma is {sigma}."


def half(lines: Sequence[plots.Line]) -> plots.Line:
    """The probability that margins are of."""
    return plots.Line("1/2", [0.0, max(line.x[-1] for line in lines)], [0.5, 0.5], series=len(lines))


def radius_of(rows: Sequence[Row]) -> str:
    """The r of certified images, in words."""
    found = sorted({row["reconstruction_radius_l2"] for row in rows if row.get("reconstruction_radius_l2") is not None})
    return (
        f"r = {', '.join(f'{radius:g}' for radius in found)} (the paper's is 4, in its pixel units)." if found else ""
    )


def pooled(rows: Sequence[Row], measure: str) -> dict[str, Any]:
    """Mean and standard deviation of all attacks of several rows."""
    counts, means, stds = (column(rows, name) for name in ("attacks", f"{measure}_mean", f"{measure}_std"))
    return {**_pooled(counts, means, stds), "images": int(counts.sum())}


def _pooled(counts: np.ndarray, means: np.ndarray, stds: np.ndarray) -> dict[str, Any]:
    """Mean and standard deviation of everything in groups of so many."""
    mean = float(counts @ means / counts.sum())
    variance = counts @ (stds**2 + (means - mean) ** 2) / counts.sum()
    return {"mean": mean, "std": float(np.sqrt(variance))}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "std": float(np.std(values)), "images": len(values)}


def _of_damage(rows: Sequence[Row], cells: Sequence[Row], through: str) -> list[Row]:
    objective = f"maximum_damage_{through}"
    return [
        row
        for row in joined(cells, rows)
        if (row["objective"] == objective or str(row["objective"]).startswith(f"{objective}_"))
        and row["threat"] == "l2_ball"
    ]


def _alone(tables: Tables, cells: Sequence[Row], through: str) -> list[Row]:
    """Rows of `budgets` of attacks that have one ball alone, so that their rows of `pairs` are of single attacks."""
    found = _of_damage(tables.budgets, cells, through)
    balls: dict[tuple, int] = {}
    for row in found:
        balls[row["cell"], row["attack"]] = balls.get((row["cell"], row["attack"]), 0) + 1
    return [row for row in found if balls[row["cell"], row["attack"]] == 1]
