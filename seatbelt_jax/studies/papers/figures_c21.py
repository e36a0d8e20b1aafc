"""The figures of Camuto et al. 2021, from the tables of sweeps; here those of damage, beside it those of margins."""

from typing import Any

import numpy as np

from seatbelt_jax import plots
from seatbelt_jax.studies.papers import damage_numbers as numbers
from seatbelt_jax.studies.papers import figures_c21_margins as margins
from seatbelt_jax.studies.papers import figures_c21_settings as settings
from seatbelt_jax.studies.papers.damage_numbers import THROUGH
from seatbelt_jax.studies.papers.drawing import Drawn, Figure
from seatbelt_jax.studies.papers.figure_numbers import over
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables

_PAPER = "Camuto et al. 2021"
_SWEEP = "configs/sweeps/c21_small.py"
_MNIST = ("mnist",)
_THREE = ("mnist", "fashion_mnist", "cifar10")
_LARGE = "seatbelt sweep --sweep=c21_paper"
# Images in the gallery.
_SHOWN = 8


def damage_through(tables: Tables) -> Drawn:
    """Fig. 4: how damage is distributed over images and models, attacks going through mu, sigma or both."""
    cells = tables.of_kind("beta_vae")
    attacked = {through: numbers.damage(tables, cells, through) for through in THROUGH}
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    notes = []
    for data in tables.data_sets(attacked["both"]):
        of_data = {
            THROUGH[through]: numbers.column([row for row in rows if row["data"] == data], "damage_l2")
            for through, rows in attacked.items()
        }
        panel, rows = numbers.densities(
            of_data, f"damage, {data}", "damage, L2 in pixel units", "damage_l2", {"data": data}
        )
        panels.append(panel)
        table += rows
        means = ", ".join(f"{name} {values.mean():.3g}" for name, values in of_data.items() if len(values))
        notes.append(f"Mean damage on {data}: {means}.")
    models, images = (len({row[name] for row in attacked["both"]}) for name in ("cell", "source_index"))
    notes.append(
        f"{models} models, {images} images each, norms of at most {attacked['both'][0]['radius_l2']:g} (the paper's at "
        "most 10, in its pixel units). Damage: the distance to the unattacked reconstruction, mean over the attacker's "
        "draws."
    )
    return Drawn(table, panels, notes=notes)


def damaged_images(tables: Tables) -> Drawn:
    """Fig. 8: images, attacked images and their reconstructions under each beta."""
    cells = numbers.of_one_data_set(numbers.models_over(tables, "beta"))
    attacked = numbers.damage(tables, cells, "both")
    tiles, names, notes = [], [], []
    table: list[dict[str, Any]] = []
    image_range = (0.0, 1.0)
    for beta, rows in over(attacked, "beta").items():
        first = rows[0]
        _, result = next(tables.attacked(first["cell"], f"*{first['attack']}.npz"), (None, None))
        if result is None:
            raise MissingError(f"the run directory of {first['cell']}, with its attacks: galleries show images")
        shown = slice(min(_SHOWN, len(result.sources)))
        pictures = {
            "x": result.sources[shown],
            "x + d": result.adversarial[shown, -1],
            "recon(x + d)": result.adversarial_reconstructions[shown, -1],
        }
        tiles += list(pictures.values())
        names += [f"β = {beta:g}: {name}" for name in pictures]
        notes += ["", "", f"damage {np.mean([row['damage_l2'] for row in rows]):.3g}"]
        if result.sources.min() < 0.0:
            image_range = (-1.0, 1.0)
        table += [
            {"data": row["data"], "beta": beta, "cell": row["cell"], "image": row["source_index"],
             "distortion_l2": row["distortion_l2_mean"], "damage_l2": row["damage_l2"],
             "relative_likelihood_degradation": row["relative_likelihood_degradation_mean"]}
            for row in rows
        ]  # fmt: skip
    panel = plots.Tiles("", np.stack(tiles), image_range, names, (), notes)
    caption = f"Maximum damage with ||d|| of at most {attacked[0]['radius_l2']:g}; at the right the mean over images."
    return Drawn(table, (panel,), notes=(caption,))


FIGURES: dict[str, Figure] = {
    "c21_4": Figure(
        f"{_PAPER}, Fig. 4", "Damage of attacks through μ, σ and both", _THREE, _SWEEP, damage_through, _LARGE
    ),
    "c21_5": Figure(
        f"{_PAPER}, Fig. 5",
        "Margins of four VAEs along one direction at one image",
        _MNIST,
        _SWEEP,
        margins.one_image,
        _LARGE,
    ),
    "c21_6": Figure(
        f"{_PAPER}, Fig. 6",
        "Margins by attack against certified ones, and the degradation of the likelihood against them",
        _THREE,
        _SWEEP,
        margins.bounds_against_attacks,
        _LARGE,
    ),
    "c21_7": Figure(
        f"{_PAPER}, Fig. 7",
        "VAEs whose σ is offset by τ: P(||Δ|| ≤ r), noise, maximum damage, and margins",
        _MNIST,
        _SWEEP,
        settings.over_tau,
        _LARGE,
    ),
    "c21_8": Figure(f"{_PAPER}, Fig. 8", "β-VAEs under maximum damage", _MNIST, _SWEEP, damaged_images, _LARGE),
    "c21_9": Figure(
        f"{_PAPER}, Fig. 9",
        "β-VAEs: margins, the likelihood under maximum damage, σ, and the encoder's Jacobian",
        _MNIST,
        _SWEEP,
        settings.over_beta,
        _LARGE,
    ),
}
