"""Figures of Camuto et al. 2021 about a setting, 7 (tau) and 9 (beta): margins, likelihoods, sigma and Jacobians."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seatbelt_jax import bounds, metrics, plots
from seatbelt_jax.studies.papers import damage_numbers as numbers
from seatbelt_jax.studies.papers.damage_numbers import MARGIN
from seatbelt_jax.studies.papers.drawing import Drawn
from seatbelt_jax.studies.papers.figure_numbers import over
from seatbelt_jax.studies.papers.figure_tables import MissingError, Row, Tables, joined

_PLACES = 60


def over_tau(tables: Tables) -> Drawn:
    """Fig. 7: the probability within r, noise, maximum damage and margins of VAEs with sigma offset by tau."""
    cells = numbers.of_one_data_set(numbers.models_over(tables, "tau"))
    images = numbers.certified(tables, cells)
    probability, table = _probability(images, "tau", "τ")
    panels: list[plots.Panel] = [probability]
    panel, rows = _noise(tables, cells, "tau", "τ")
    panels.append(panel)
    table += rows
    panel, rows = numbers.likelihood_by_norm(tables, cells, "tau", "τ")
    panels.append(panel)
    table += rows
    panel, rows = _margins(images, "tau", "τ")
    panels.append(panel)
    table += rows
    notes = (
        f"{len({row['image'] for row in images})} images; β = {cells[0]['beta']:g}. {numbers.radius_of(images)}",
        numbers.OVER_IMAGES,
    )
    return Drawn(table, panels, notes=(*notes, numbers.at_most(images)))


def over_beta(tables: Tables) -> Drawn:
    """Fig. 9: margins, likelihoods under maximum damage, sigma and Jacobians over images, for each beta."""
    cells = numbers.of_one_data_set(numbers.models_over(tables, "beta"))
    images = numbers.certified(tables, cells)
    place = {"data": cells[0]["data"]}
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    margins = {
        "margin by attack, at most": MARGIN,
        "certified margin (camuto)": "margin_camuto_l2",
        "||J of μ||, Frobenius": "encoder_jacobian_frobenius_latent_units_per_pixel_unit",
    }
    for title, measure in margins.items():
        groups = {f"β = {beta:g}": numbers.column(rows, measure) for beta, rows in over(images, "beta").items()}
        if any(np.isfinite(values).any() for values in groups.values()):
            unit = "latent units per pixel unit" if "jacobian" in measure else "pixel units (L2)"
            panel, rows = numbers.densities(groups, title, unit, measure, place)
            panels.append(panel)
            table += rows
    panel, rows = _sigma(tables, cells)
    panels.append(panel)
    table += rows
    panel, rows = numbers.likelihood_by_norm(tables, cells, "beta", "β")
    panels.append(panel)
    table += rows
    notes = (
        f"{len({row['image'] for row in images})} images. {numbers.radius_of(images)}",
        numbers.OVER_IMAGES,
        numbers.at_most(images),
    )
    return Drawn(table, panels, columns=3, notes=notes)


def _probability(images: Sequence[Row], axis: str, symbol: str) -> tuple[plots.Curves, list[dict[str, Any]]]:
    """P(||Delta|| <= r) against ||d||, mean over images along the worst direction found for each.

    Beyond a curve's end, its last value stands where it is below 1/2; otherwise the mean ends there.
    """
    known = [row for row in images if row.get("curve_last_l2") is not None]
    ends, _ = numbers.curves_of(known)
    longest = np.linspace(0.0, float(np.median(ends)), _PLACES)
    lines: list[plots.Line] = []
    table: list[dict[str, Any]] = []
    for series, (value, rows) in enumerate(over(known, axis).items()):
        ends, curves = numbers.curves_of(rows)
        # Where an attack ended within r, what is beyond is not known, and with it the mean.
        within = curves[:, -1] > 0.5
        places = longest[longest <= ends[within].min(initial=np.inf)]
        curve = metrics.mean_curve(ends, curves, places)
        points = [{"mean": mean, "std": std} for mean, std in zip(curve.mean.tolist(), curve.std.tolist(), strict=True)]
        lines.append(numbers.band(f"{symbol} = {value:g}", places.tolist(), points, series))
        place = {"data": rows[0]["data"], axis: value, "measure": "probability_within_r", "images": len(rows)}
        table += [
            {**place, "distortion_l2": where, **point} for where, point in zip(places.tolist(), points, strict=True)
        ]
    title = "P(||Δ|| ≤ r), mean over images"
    return plots.Curves(
        title, "||d|| along the worst directions found (L2)", [*lines, numbers.half(lines)], marked=False
    ), table


def _noise(tables: Tables, cells: Sequence[Row], axis: str, symbol: str) -> tuple[plots.Curves, list[dict[str, Any]]]:
    """log p(x|z*) of the image under its noisy twin's code."""
    found = [row for row in joined(cells, tables.densities) if row["measure"] == "noise_robustness"]
    if not found:
        raise MissingError("the measure noise_robustness (evaluate.measures)")
    lines: list[plots.Line] = []
    table: list[dict[str, Any]] = []
    for series, (value, rows) in enumerate(over(found, axis).items()):
        of_scales: dict[float, list[Row]] = {}
        for row in rows:
            of_scales.setdefault(float(row["part"].removeprefix("scale_")), []).append(row)
        points = [{"scale": scale, **numbers.of_seeds(of_scales[scale])} for scale in sorted(of_scales)]
        lines.append(numbers.band(f"{symbol} = {value:g}", [point["scale"] for point in points], points, series))
        place = {"data": rows[0]["data"], axis: value, "measure": "noise_log_likelihood_nats"}
        table += [{**place, **point} for point in points]
    return plots.Curves("log p(x|z*) under noise, nats", "standard deviation of the noise, pixel units", lines), table


def _margins(images: Sequence[Row], axis: str, symbol: str) -> tuple[plots.Curves, list[dict[str, Any]]]:
    """Median margins against an axis: by attack and by each bound."""
    names = {"by attack": MARGIN} | {method: f"margin_{method}_l2" for method in bounds.METHODS}
    lines: list[plots.Line] = []
    table: list[dict[str, Any]] = []
    for name, measure in names.items():
        groups = {value: numbers.column(rows, measure) for value, rows in over(images, axis).items()}
        medians = {value: float(np.nanmedian(found)) for value, found in groups.items() if not np.isnan(found).all()}
        place = {"data": images[0]["data"], "measure": f"median_{measure}"}
        table += [{**place, axis: value, "mean": median} for value, median in medians.items()]
        if medians:
            lines.append(plots.Line(name, list(medians), list(medians.values()), series=len(lines)))
    return plots.Curves("median margin, pixel units (L2)", symbol, lines), table


def _sigma(tables: Tables, cells: Sequence[Row]) -> tuple[plots.Curves, list[dict[str, Any]]]:
    """The density of ||sigma(x)|| of each beta, as `seatbelt evaluate` has it."""
    found = [row for row in joined(cells, tables.densities) if row["measure"] == "posterior_std"]
    if not found:
        raise MissingError("the measure posterior_std (evaluate.measures)")
    lines: list[plots.Line] = []
    table: list[dict[str, Any]] = []
    for series, (beta, rows) in enumerate(over(found, "beta").items()):
        # Kernels reach below 0, norms do not.
        first, last = max(0.0, min(row["first"] for row in rows)), max(row["last"] for row in rows)
        places = np.linspace(first, last, _PLACES)
        heights = np.mean([numbers.density_at(row, places) for row in rows], axis=0).tolist()
        places = places.tolist()
        lines.append(plots.Line(f"β = {beta:g}", places, heights, series=series))
        place = {"data": rows[0]["data"], "group": f"β = {beta:g}", "measure": "posterior_std_norm_latent_units"}
        table.append({**place, "statistic": "mean", "value": float(np.mean([row["mean"] for row in rows]))})
        table += [
            {**place, "statistic": "density", "place": where, "value": height}
            for where, height in zip(places, heights, strict=True)
        ]
    return plots.Curves("density of ||σ(x)||", "latent units", lines, marked=False), table
