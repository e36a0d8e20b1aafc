"""Figures of Willetts et al. 2021 in numbers, from the tables of sweeps."""

from typing import Any

import figure_numbers as numbers
from drawing import Drawn, Figure
from figure_tables import Tables

from seatbelt_jax import plots

_PAPER = "Willetts et al. 2021"
_SMALL = "configs/sweeps/w21_small.py"
_BETA = "β"


def delta_over_beta(tables: Tables) -> Drawn:
    """Fig. 3: Delta of beta-TCVAEs over beta; and what it leaves out."""
    cells = tables.of_kind("beta_tcvae")
    found = numbers.attacked(tables, cells, "latent_kl_all")
    table: list[dict[str, Any]] = []
    lines, far = [], []
    for series, data in enumerate(tables.data_sets(found)):
        rows = [row for row in found if row["data"] == data]
        place = {"data": data, "model": "beta_tcvae", "attack": "latent_kl_all"}
        line, of_line = numbers.curve(rows, "delta", data, series, place)
        both, of_both = numbers.ways(rows, data, series, place)
        lines.append(line)
        far += both
        table += of_line + of_both
    panels = (
        plots.Curves(f"Delta of β-TCVAEs, {numbers.unit_of(found)}", _BETA, lines, logarithmic=True),
        plots.Curves("median ||d|| on the way to the target, pixel units (L2)", _BETA, far),
    )
    notes = (f"Pooled: {numbers.sizes_of(found)}.", numbers.POOLED, numbers.HALF_WAY)
    return Drawn(table, panels, notes=notes)


def elbo_over_beta(tables: Tables) -> Drawn:
    """Fig. 6 a, b: the ELBO without beta, of models trained under each beta."""
    panels, table = numbers.elbos(tables, ("beta_tcvae", "seatbelt"))
    cells = tables.of_kind("beta_tcvae", "seatbelt")
    return Drawn(table, panels, notes=(f"Models: {numbers.sizes_of(cells)}.", numbers.OVER_MODELS))


FIGURES: dict[str, Figure] = {
    "w21_3": Figure(
        f"{_PAPER}, Fig. 3",
        "The attacker's loss Delta_KL on β-TCVAEs over β",
        ("dsprites", "chairs", "faces"),
        _SMALL,
        delta_over_beta,
    ),
    "w21_6": Figure(
        f"{_PAPER}, Fig. 6 a, b",
        "The ELBO, without β, of TC-penalised models over β",
        ("chairs", "faces"),
        _SMALL,
        elbo_over_beta,
    ),
}
