"""What the figures of Camuto et al. 2021 are made of: their models, damage, margins and densities, from tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from seatbelt_jax import metrics, plots
from seatbelt_jax.studies.papers.drawing import Row
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables, joined

# As attacks call maximum damage, before the number of draws; and how figures do.
THROUGH = {"mean": "through μ", "std": "through σ", "both": "through both"}
# The method whose margins are upper bounds.
BY_ATTACK = "attack"
OVER_IMAGES = "Shaded: the standard deviation over images, as in the paper."
_PLACES = 100


def of_one_data_set(cells: pd.DataFrame) -> pd.DataFrame:
    """Those on MNIST, as the paper's; or on the first data set there is."""
    return cells[cells["data"] == ("mnist" if (cells["data"] == "mnist").any() else cells["data"].iloc[0])]


def models_over(tables: Tables, axis: str) -> pd.DataFrame:
    """VAEs of one layer that differ in `axis`, "beta" or "tau", and not in the other.

    The other is at what most of them have: tau = 0, or the beta of which there are the most tau.

    Raises:
      MissingError: where there are not two.
    """
    cells = tables.of_kind("beta_vae")
    if axis == "beta":
        cells = cells[cells["tau"].fillna(0.0) == 0.0]
    else:
        cells = cells[cells["tau"].notna()]
        cells = cells[cells["beta"] == cells.groupby("beta")["tau"].nunique().idxmax()] if len(cells) else cells
    if cells[axis].nunique() < 2:
        raise MissingError(f"VAEs of one layer trained under several {axis}")
    return cells


def damage(tables: Tables, cells: pd.DataFrame, through: str) -> pd.DataFrame:
    """Rows of `pairs`, one attack each, of maximum damage in the largest of the balls that have an attack of their own.

    Raises:
      MissingError: where there is none.
    """
    balls = (
        attacks_for_damage(tables.budgets, cells, through).groupby(["cell", "attack"])["budget"].agg(["size", "max"])
    )
    # Where attacks use several balls, a row of `pairs` sums up more than one attack.
    alone = balls["max"][balls["size"] == 1]
    found = attacks_for_damage(tables.pairs, cells, through).merge(alone.rename("radius_l2"), on=["cell", "attack"])
    found = found[(found["radius_l2"] == alone.max()) & (found["attacks"] > 0)]
    if not len(found):
        raise MissingError(f"attacks of maximum damage {THROUGH[through]} in one ball (--through={through})")
    return found.assign(damage_l2=-found["delta_mean"])


def likelihood_by_norm(tables: Tables, cells: pd.DataFrame, axis: str, symbol: str) -> tuple[plots.Curves, list[Row]]:
    """log p(x|z*) of the source under maximum damage against the ball's radius, for each value of an axis.

    Raises:
      MissingError: where there is none.
    """
    attacked = attacks_for_damage(tables.budgets, cells, "both")
    if not len(attacked):
        raise MissingError("attacks of maximum damage through both")
    clean = damage(tables, cells, "both").groupby(axis)["clean_source_log_likelihood_nats"]
    table: list[Row] = []
    lines = []
    for series, (value, rows) in enumerate(attacked.groupby(axis)):
        without = clean.get_group(value)
        points = {0.0: {"mean": without.mean(), "std": without.std(ddof=0), "images": len(without)}}
        points |= {radius: pooled(one, "source_log_likelihood_nats") for radius, one in rows.groupby("budget")}
        place = {"data": rows["data"].iloc[0], axis: value, "measure": "source_log_likelihood_nats"}
        table += [{**place, "radius_l2": radius, **found} for radius, found in points.items()]
        lines.append(band(f"{symbol} = {value:g}", list(points), list(points.values()), series))
    return plots.Curves("log p(x|z*) under maximum damage, nats", "largest ||d||, pixel units (L2)", lines), table


def certified(tables: Tables, cells: pd.DataFrame) -> pd.DataFrame:
    """Rows of `images` of these cells, with a column for each method's margin.

    Raises:
      MissingError: where none was certified.
    """
    found = joined(cells, tables.images)
    if not len(found):
        raise MissingError("certified images (the section certify)")
    l2 = tables.margins[tables.margins["norm"] == "l2"]
    margins = l2.pivot(index=["cell", "image"], columns="method", values="margin")
    found = found.merge(margins, on=["cell", "image"], how="left")
    by_attack = l2.loc[l2["method"] == BY_ATTACK, ["cell", "image", "frozen_std", "curve_last", "curve"]]
    found = found.merge(by_attack, on=["cell", "image"], how="left")
    return found if BY_ATTACK in found else found.assign(**{BY_ATTACK: np.nan})


def curves_of(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Curves of P(||Delta|| <= r) of the images that were attacked for their margin: where each ends, and its values.

    Raises:
      MissingError: where there is none.
    """
    known = rows[rows["curve_last"].notna()]
    if not len(known):
        raise MissingError("margins by attack (certify.empirical)")
    return known["curve_last"].to_numpy(), np.stack(known["curve"].to_list())


def densities(
    groups: Mapping[str, pd.Series], title: str, label: str, measure: str, place: Row
) -> tuple[plots.Curves, list[Row]]:
    """Densities of a number of each image, by kernels, a line for each group; and rows of a table.

    What is not finite is left out; a group that is all one number has no density, but its summary is in the table.
    """
    lines: list[plots.Line] = []
    table: list[Row] = []
    for series, (name, values) in enumerate(groups.items()):
        known = values[np.isfinite(values)].to_numpy()
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


def band(name: str, places: Sequence[float], points: Sequence[Row], series: int) -> plots.Line:
    """Means with their standard deviations to both sides."""
    means, stds = (np.array([point[key] for point in points], float) for key in ("mean", "std"))
    return plots.Line(name, places, means.tolist(), (means - stds).tolist(), (means + stds).tolist(), series=series)


def at_most(rows: pd.DataFrame) -> str:
    """What margins by attack of certified images are, in words."""
    words = {True: "frozen at x, as in the paper's Eq. 3", False: "that of x + d; the paper's Eq. 3 freezes it at x"}
    known = (rows.loc[rows[BY_ATTACK].notna(), "frozen_std"] == 1.0).unique()
    sigma = "; or ".join(words[bool(frozen)] for frozen in sorted(known))
    return f"Margins by attack are upper bounds: a stronger attack may find less. Their sigma is {sigma}."


def half(lines: Sequence[plots.Line]) -> plots.Line:
    """The probability that margins are of."""
    return plots.Line("1/2", [0.0, max(line.x[-1] for line in lines)], [0.5, 0.5], series=len(lines))


def radius_of(rows: pd.DataFrame) -> str:
    """The r of certified images, in words."""
    found = ", ".join(f"{radius:g}" for radius in sorted(rows["reconstruction_radius_l2"].dropna().unique()))
    return f"r = {found} (the paper's is 4, in its pixel units)." if found else ""


def pooled(rows: pd.DataFrame, measure: str = "") -> Row:
    """Mean and standard deviation of everything in groups of so many.

    Args:
      measure: of attacks, of which rows have a mean, a standard deviation and the number; by default `mean` and `std`
        of as many images each.
    """
    start = f"{measure}_" if measure else ""
    counts = rows["attacks"] if measure else pd.Series(1.0, rows.index)
    means, stds = rows[f"{start}mean"], rows[f"{start}std"]
    mean = float(counts @ means / counts.sum())
    variance = counts @ (stds**2 + (means - mean) ** 2) / counts.sum()
    return {"mean": mean, "std": float(np.sqrt(variance)), **({"images": int(counts.sum())} if measure else {})}


def attacks_for_damage(rows: pd.DataFrame, cells: pd.DataFrame, through: str) -> pd.DataFrame:
    """Rows of `pairs` or `budgets` of attacks of maximum damage in a ball, with their cells' columns."""
    objective = rows["objective"].str.match(f"maximum_damage_{through}(_|$)").astype(bool)
    return joined(cells, rows[objective & (rows["threat"] == "l2_ball")])
