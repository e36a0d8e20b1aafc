"""Figures of Camuto et al. 2021 about a setting, 7 (tau) and 9 (beta): margins, likelihoods, sigma and Jacobians."""

import numpy as np
import pandas as pd

from seatbelt_jax import bounds, metrics, plots
from seatbelt_jax.studies.papers import damage_numbers as numbers
from seatbelt_jax.studies.papers.damage_numbers import BY_ATTACK
from seatbelt_jax.studies.papers.drawing import Drawn, Row
from seatbelt_jax.studies.papers.figure_densities import points_of
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables, joined

_PLACES = 60
# Columns of certified images, as the figures' tables call them.
_MEASURES = {BY_ATTACK: "empirical_margin_l2", **{method: f"margin_{method}_l2" for method in bounds.METHODS}}


def over_tau(tables: Tables) -> Drawn:
    """Fig. 7: the probability within r, noise, maximum damage and margins of VAEs with sigma offset by tau."""
    cells = numbers.of_one_data_set(numbers.models_over(tables, "tau"))
    images = numbers.certified(tables, cells)
    made = (
        _probability(images, "tau", "τ"),
        _noise(tables, cells, "tau", "τ"),
        numbers.likelihood_by_norm(tables, cells, "tau", "τ"),
        _margins(images, "tau", "τ"),
    )
    notes = (
        f"{images['image'].nunique()} images; β = {cells['beta'].iloc[0]:g}. {numbers.radius_of(images)}",
        numbers.OVER_IMAGES,
        numbers.at_most(images),
    )
    return Drawn([row for _, rows in made for row in rows], [panel for panel, _ in made], notes=notes)


def over_beta(tables: Tables) -> Drawn:
    """Fig. 9: margins, likelihoods under maximum damage, sigma and Jacobians over images, for each beta."""
    cells = numbers.of_one_data_set(numbers.models_over(tables, "beta"))
    images = numbers.certified(tables, cells)
    jacobian = "encoder_jacobian_frobenius_latent_units_per_pixel_unit"
    titles = {
        BY_ATTACK: "margin by attack, at most",
        "camuto": "certified margin (camuto)",
        jacobian: "||J of μ||, Frobenius",
    }
    made = []
    for column, title in titles.items():
        groups = {f"β = {beta:g}": rows[column] for beta, rows in images.groupby("beta") if column in rows}
        if any(np.isfinite(values).any() for values in groups.values()):
            unit = "latent units per pixel unit" if column == jacobian else "pixel units (L2)"
            place = {"data": cells["data"].iloc[0]}
            made.append(numbers.densities(groups, title, unit, _MEASURES.get(column, column), place))
    made += [_sigma(tables, cells), numbers.likelihood_by_norm(tables, cells, "beta", "β")]
    notes = (
        f"{images['image'].nunique()} images. {numbers.radius_of(images)}",
        numbers.OVER_IMAGES,
        numbers.at_most(images),
    )
    return Drawn([row for _, rows in made for row in rows], [panel for panel, _ in made], columns=3, notes=notes)


def _probability(images: pd.DataFrame, axis: str, symbol: str) -> tuple[plots.Curves, list[Row]]:
    """P(||Delta|| <= r) against ||d||, mean over images along the worst direction found for each.

    Beyond a curve's end, its last value stands where it is below 1/2; otherwise the mean ends there.
    """
    ends, _ = numbers.curves_of(images)
    longest = np.linspace(0.0, float(np.median(ends)), _PLACES)
    lines: list[plots.Line] = []
    table: list[Row] = []
    for series, (value, rows) in enumerate(images[images["curve_last"].notna()].groupby(axis)):
        ends, curves = numbers.curves_of(rows)
        # Where an attack ended within r, what is beyond is not known, and with it the mean.
        within = curves[:, -1] > 0.5
        places = longest[longest <= ends[within].min(initial=np.inf)]
        curve = metrics.mean_curve(ends, curves, places)
        points = [{"mean": mean, "std": std} for mean, std in zip(curve.mean.tolist(), curve.std.tolist(), strict=True)]
        lines.append(numbers.band(f"{symbol} = {value:g}", places.tolist(), points, series))
        place = {"data": rows["data"].iloc[0], axis: value, "measure": "probability_within_r", "images": len(rows)}
        table += [
            {**place, "distortion_l2": where, **point} for where, point in zip(places.tolist(), points, strict=True)
        ]
    label = "||d|| along the worst directions found (L2)"
    return plots.Curves("P(||Δ|| ≤ r), mean over images", label, [*lines, numbers.half(lines)], marked=False), table


def _noise(tables: Tables, cells: pd.DataFrame, axis: str, symbol: str) -> tuple[plots.Curves, list[Row]]:
    """log p(x|z*) of the image under its noisy twin's code."""
    found = _densities(tables, cells, "noise_robustness")
    lines: list[plots.Line] = []
    table: list[Row] = []
    for series, (value, rows) in enumerate(found.groupby(axis)):
        points = [{"scale": scale, **numbers.pooled(one)} for scale, one in rows.groupby(rows["noise"].astype(float))]
        lines.append(numbers.band(f"{symbol} = {value:g}", [point["scale"] for point in points], points, series))
        place = {"data": rows["data"].iloc[0], axis: value, "measure": "noise_log_likelihood_nats"}
        table += [{**place, **point} for point in points]
    return plots.Curves("log p(x|z*) under noise, nats", "standard deviation of the noise, pixel units", lines), table


def _margins(images: pd.DataFrame, axis: str, symbol: str) -> tuple[plots.Curves, list[Row]]:
    """Median margins against an axis: by attack and by each bound."""
    lines: list[plots.Line] = []
    table: list[Row] = []
    for method, measure in _MEASURES.items():
        if method in images and len(medians := images.groupby(axis)[method].median().dropna()):
            place = {"data": images["data"].iloc[0], "measure": f"median_{measure}"}
            table += [{**place, axis: value, "mean": median} for value, median in medians.items()]
            name = "by attack" if method == BY_ATTACK else method
            lines.append(plots.Line(name, medians.index.tolist(), medians.tolist(), series=len(lines)))
    return plots.Curves("median margin, pixel units (L2)", symbol, lines), table


def _sigma(tables: Tables, cells: pd.DataFrame) -> tuple[plots.Curves, list[Row]]:
    """The density of ||sigma(x)|| of each beta, as `seatbelt evaluate` has it."""
    lines: list[plots.Line] = []
    table: list[Row] = []
    for series, (beta, rows) in enumerate(_densities(tables, cells, "posterior_std").groupby("beta")):
        # Kernels reach below 0, norms do not.
        places = np.linspace(max(0.0, rows["first"].min()), rows["last"].max(), _PLACES)
        every = [np.interp(places, *points_of(row), left=0.0, right=0.0) for _, row in rows.iterrows()]
        heights = np.mean(every, axis=0).tolist()
        lines.append(plots.Line(f"β = {beta:g}", places.tolist(), heights, series=series))
        place = {"data": rows["data"].iloc[0], "group": f"β = {beta:g}", "measure": "posterior_std_norm_latent_units"}
        table.append({**place, "statistic": "mean", "value": rows["mean"].mean()})
        table += [
            {**place, "statistic": "density", "place": where, "value": height}
            for where, height in zip(places.tolist(), heights, strict=True)
        ]
    return plots.Curves("density of ||σ(x)||", "latent units", lines, marked=False), table


def _densities(tables: Tables, cells: pd.DataFrame, measure: str) -> pd.DataFrame:
    found = joined(cells, tables.densities[tables.densities["measure"] == measure])
    if not len(found):
        raise MissingError(f"the measure {measure} (evaluate.measures)")
    return found
