"""Figures of Camuto et al. 2021 about single margins, 5 and 6: along a direction, and beside their bounds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seatbelt_jax import bounds, metrics, plots
from seatbelt_jax.studies.papers import damage_numbers as numbers
from seatbelt_jax.studies.papers.damage_numbers import MARGIN
from seatbelt_jax.studies.papers.drawing import Drawn
from seatbelt_jax.studies.papers.figure_tables import MissingError, Row, Tables

# VAEs in Fig. 5.
_FOUR = 4


def one_image(tables: Tables) -> Drawn:
    """Fig. 5: P(||Delta|| <= r) along one direction at an image, for four VAEs from the least margin to the largest."""
    images = numbers.certified(tables, numbers.of_one_data_set(tables.of_kind("beta_vae")))
    numbers.curves_of(images)
    attacked = [row for row in images if row.get(MARGIN) is not None and np.isfinite(row[MARGIN])]
    of_image = max((_of_image(attacked, image) for image in {row["image"] for row in attacked}), key=_rank, default=[])
    if len(of_image) < 2:
        raise MissingError("an image at which attacks found margins of two models or more (certify.empirical)")
    ordered = sorted(of_image, key=lambda row: row[MARGIN])
    chosen = [
        ordered[place] for place in sorted({*np.linspace(0, len(ordered) - 1, _FOUR).round().astype(int).tolist()})
    ]
    lines: list[plots.Line] = []
    table: list[dict[str, Any]] = []
    for series, row in enumerate(chosen):
        ends, curves = numbers.curves_of([row])
        places = np.linspace(0.0, ends[0], curves.shape[1])
        name = f"β = {row['beta']:g}, τ = {row['tau']:g}"
        lines.append(
            plots.Line(f"{name}: R at most {row[MARGIN]:.3g}", places.tolist(), curves[0].tolist(), series=series)
        )
        place = {name: row[name] for name in ("data", "cell", "beta", "tau", "image", MARGIN)}
        table += [
            {**place, "distortion_l2": where, "probability_within_r": share}
            for where, share in zip(places.tolist(), curves[0].tolist(), strict=True)
        ]
    panel = plots.Curves("P(||Δ|| ≤ r)", "||d||, pixel units (L2)", [*lines, numbers.half(lines)], marked=False)
    notes = (
        f"Image {chosen[0]['image']:g}; {numbers.radius_of(chosen)} Each VAE along the worst direction that attacks "
        "found for it; the paper has one direction for all, and does not say which.",
        numbers.at_most(chosen),
    )
    return Drawn(table, (panel,), notes=notes)


def bounds_against_attacks(tables: Tables) -> Drawn:
    """Fig. 6: what attacks leave of margins against what bounds say of them, and against how the likelihood suffers."""
    cells = tables.of_kind("beta_vae")
    attacked = [row for row in numbers.certified(tables, cells) if row.get(MARGIN) is not None]
    images = [row for row in attacked if np.isfinite(row[MARGIN])]
    if not images:
        raise MissingError("margins by attack (certify.empirical)")
    methods = [method for method in bounds.METHODS if any(f"margin_{method}_l2" in row for row in images)]
    try:
        damage = {(row["cell"], row["source_index"]): row for row in numbers.damage(tables, cells, "both")}
    except MissingError:
        damage = {}
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    for data in tables.data_sets(images):
        rows = [row for row in images if row["data"] == data]
        margins = numbers.column(rows, MARGIN)
        for method in methods:
            certified = numbers.column(rows, f"margin_{method}_l2")
            place = {"data": data, "measure": f"margin_{method}_l2", "soundness": bounds.METHODS[method].soundness}
            title = f"{data}: margin by attack over {method}, {place['soundness'].replace('_', ' ')}"
            panel, of_panel = _scatter(title, "certified margin, pixel units (L2)", certified, margins, rows, place)
            panels.append(panel)
            table += of_panel
        degradation = [damage.get((row["cell"], row["image"]), {}) for row in rows]
        if any(degradation):
            values = numbers.column(degradation, "relative_likelihood_degradation_mean")
            place = {"data": data, "measure": "relative_likelihood_degradation"}
            title = f"{data}: degradation of log p(x|z) under attack"
            panel, of_panel = _scatter(
                title, "margin by attack, pixel units (L2)", margins, values, rows, place, diagonal=False
            )
            panels.append(panel)
            table += of_panel
    notes = (
        f"{len({row['cell'] for row in images})} models, {len({row['image'] for row in images})} images; a dot is an "
        f"image under a model; of {len(attacked) - len(images)} attacks nothing was confirmed. "
        f"{numbers.radius_of(images)}",
        "Theorem 1 is camuto; the others are this project's. Below y = x a bound of first order is wrong at that "
        "image; a sound one is so with probability alpha at most.",
        numbers.at_most(images),
        "" if damage else "No degradation of the likelihood: the sweep has no attacks of maximum damage in one ball.",
    )
    return Drawn(table, panels, columns=3, notes=tuple(filter(None, notes)))


def _scatter(
    title: str,
    label: str,
    x: np.ndarray,
    y: np.ndarray,
    rows: Sequence[Row],
    place: dict[str, Any],
    *,
    diagonal: bool = True,
) -> tuple[plots.Curves, list[dict[str, Any]]]:
    """A dot an image and model, a colour a model; the best line; and y = x."""
    fit = metrics.line_fit(x, y)
    table = [
        {**place, "cell": row["cell"], "image": row["image"], "x": a, "y": b}
        for row, a, b in zip(rows, x, y, strict=True)
    ]
    table.append({**place, **fit._asdict(), "share_below_bound": float(np.mean(y < x)) if diagonal else ""})
    lines = []
    for series, cell in enumerate(dict.fromkeys(row["cell"] for row in rows)):
        mine = np.array([row["cell"] == cell for row in rows])
        lines.append(plots.Line("", x[mine].tolist(), y[mine].tolist(), series=series, joined=False))
        table.append({**place, "cell": cell, **metrics.line_fit(x[mine], y[mine])._asdict()})
    right = float(np.nanmax(x, initial=0.0))
    ends = [0.0, right]
    if np.isfinite(fit.slope):
        name = f"best fit, correlation {fit.correlation:.2f} ({fit.rank_correlation:.2f} of ranks)"
        lines.append(plots.Line(name, ends, [fit.offset, fit.offset + fit.slope * right], series=len(lines)))
    if diagonal:
        lines.append(plots.Line("y = x", ends, ends, series=len(lines)))
    return plots.Curves(title, label, lines, marked=False), table


def _of_image(rows: Sequence[Row], image: float) -> list[Row]:
    return [row for row in rows if row["image"] == image]


def _rank(rows: Sequence[Row]) -> tuple[int, float]:
    """Most models first, then the first image."""
    return len(rows), -rows[0]["image"]
