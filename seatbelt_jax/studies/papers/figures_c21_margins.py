"""Figures of Camuto et al. 2021 about margins, 5 and 6: what attacks leave of them at an image, beside their bounds."""

import numpy as np
import pandas as pd

from seatbelt_jax import bounds, metrics, plots
from seatbelt_jax.studies.papers import damage_numbers as numbers
from seatbelt_jax.studies.papers.damage_numbers import BY_ATTACK
from seatbelt_jax.studies.papers.drawing import Drawn, Row
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables

# VAEs in Fig. 5.
_FOUR = 4


def one_image(tables: Tables) -> Drawn:
    """Fig. 5: P(||Delta|| <= r) along one direction at an image, for four VAEs from the least margin to the largest."""
    images = numbers.certified(tables, numbers.of_one_data_set(tables.of_kind("beta_vae")))
    numbers.curves_of(images)
    attacked = images[np.isfinite(images[BY_ATTACK])]
    # Most models first, then the first image.
    models = attacked.groupby("image").size().sort_values(ascending=False, kind="stable")
    if not len(models) or models.iloc[0] < 2:
        raise MissingError("an image at which attacks found margins of two models or more (certify.empirical)")
    ordered = attacked[attacked["image"] == models.index[0]].sort_values(BY_ATTACK, kind="stable")
    chosen = ordered.iloc[sorted({*np.linspace(0, len(ordered) - 1, _FOUR).round().astype(int).tolist()})]
    lines: list[plots.Line] = []
    table: list[Row] = []
    for series, (_, row) in enumerate(chosen.iterrows()):
        places = np.linspace(0.0, row["curve_last"], len(row["curve"])).tolist()
        name = f"β = {row['beta']:g}, τ = {row['tau']:g}: R at most {row[BY_ATTACK]:.3g}"
        lines.append(plots.Line(name, places, row["curve"].tolist(), series=series))
        place = {**row[["data", "cell", "beta", "tau", "image"]], "empirical_margin_l2": row[BY_ATTACK]}
        table += [
            {**place, "distortion_l2": where, "probability_within_r": share}
            for where, share in zip(places, row["curve"].tolist(), strict=True)
        ]
    panel = plots.Curves("P(||Δ|| ≤ r)", "||d||, pixel units (L2)", [*lines, numbers.half(lines)], marked=False)
    notes = (
        f"Image {models.index[0]:g}; {numbers.radius_of(chosen)} Each VAE along the worst direction that attacks "
        "found for it; the paper has one direction for all, and does not say which.",
        numbers.at_most(chosen),
    )
    return Drawn(table, (panel,), notes=notes)


def bounds_against_attacks(tables: Tables) -> Drawn:
    """Fig. 6: what attacks leave of margins against what bounds say of them, and against how the likelihood suffers."""
    cells = tables.of_kind("beta_vae")
    attacked = numbers.certified(tables, cells)
    attacked = attacked[attacked[BY_ATTACK].notna()]
    images = attacked[np.isfinite(attacked[BY_ATTACK])]
    if not len(images):
        raise MissingError("margins by attack (certify.empirical)")
    degradation = "relative_likelihood_degradation_mean"
    try:
        damage = numbers.damage(tables, cells, "both").rename(columns={"source_index": "image"})
        damage = damage[["cell", "image", degradation]].drop_duplicates(["cell", "image"])
    except MissingError:
        damage = pd.DataFrame(columns=["cell", "image", degradation], dtype=float)
    panels: list[plots.Panel] = []
    table: list[Row] = []
    for data, rows in images.groupby("data", sort=False):
        for method in (method for method in bounds.METHODS if method in images):
            soundness = bounds.METHODS[method].soundness
            place = {"data": data, "measure": f"margin_{method}_l2", "soundness": soundness}
            title = f"{data}: margin by attack over {method}, {soundness.replace('_', ' ')}"
            scatter = rows.assign(x=rows[method], y=rows[BY_ATTACK])
            panels.append(_scatter(title, "certified margin, pixel units (L2)", scatter, place, table))
        rows = rows.merge(damage.astype({"cell": object}), on=["cell", "image"], how="left")
        if rows[degradation].notna().any():
            place = {"data": data, "measure": "relative_likelihood_degradation"}
            title = f"{data}: degradation of log p(x|z) under attack"
            scatter = rows.assign(x=rows[BY_ATTACK], y=rows[degradation])
            label = "margin by attack, pixel units (L2)"
            panels.append(_scatter(title, label, scatter, place, table, diagonal=False))
    notes = (
        f"{images['cell'].nunique()} models, {images['image'].nunique()} images; a dot is an image under a model; of "
        f"{len(attacked) - len(images)} attacks nothing was confirmed. {numbers.radius_of(images)}",
        "Theorem 1 is camuto; the others are this project's. Below y = x a bound of first order is wrong at that "
        "image; a sound one is so with probability alpha at most.",
        numbers.at_most(images),
        ""
        if len(damage)
        else "No degradation of the likelihood: the sweep has no attacks of maximum damage in one ball.",
    )
    return Drawn(table, panels, columns=3, notes=tuple(filter(None, notes)))


def _scatter(
    title: str, label: str, rows: pd.DataFrame, place: Row, table: list[Row], *, diagonal: bool = True
) -> plots.Curves:
    """A dot an image and model, a colour a model; the best line; and y = x. Adds the rows of `table`."""
    fit = metrics.line_fit(rows["x"].to_numpy(), rows["y"].to_numpy())
    table += [{**place, **row} for row in rows[["cell", "image", "x", "y"]].to_dict("records")]
    below = {"share_below_bound": float((rows["y"] < rows["x"]).mean())} if diagonal else {}
    table.append({**place, **fit._asdict(), **below})
    lines = []
    for series, (cell, mine) in enumerate(rows.groupby("cell", sort=False)):
        lines.append(plots.Line("", mine["x"].tolist(), mine["y"].tolist(), series=series, joined=False))
        table.append({**place, "cell": cell, **metrics.line_fit(mine["x"].to_numpy(), mine["y"].to_numpy())._asdict()})
    ends = [0.0, float(np.nanmax(rows["x"], initial=0.0))]
    if np.isfinite(fit.slope):
        name = f"best fit, correlation {fit.correlation:.2f} ({fit.rank_correlation:.2f} of ranks)"
        heights = [fit.offset + fit.slope * end for end in ends]
        lines.append(plots.Line(name, ends, heights, series=len(lines)))
    if diagonal:
        lines.append(plots.Line("y = x", ends, ends, series=len(lines)))
    return plots.Curves(title, label, lines, marked=False)
