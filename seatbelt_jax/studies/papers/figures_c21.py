"""The figures of Camuto et al. 2021, from the tables of sweeps; here those of damage, beside it those of margins."""

import numpy as np

from seatbelt_jax import plots
from seatbelt_jax.studies.papers import damage_numbers as numbers
from seatbelt_jax.studies.papers import figures_c21_margins as margins
from seatbelt_jax.studies.papers import figures_c21_settings as settings
from seatbelt_jax.studies.papers.damage_numbers import THROUGH
from seatbelt_jax.studies.papers.drawing import Drawn, Figure, Row
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables

_MNIST = ("mnist",)
_THREE = ("mnist", "fashion_mnist", "cifar10")
# Images in the gallery.
_SHOWN = 8


def damage_through(tables: Tables) -> Drawn:
    """Fig. 4: how damage is distributed over images and models, attacks going through mu, sigma or both."""
    cells = tables.of_kind("beta_vae")
    attacked = {words: numbers.damage(tables, cells, through) for through, words in THROUGH.items()}
    both = attacked[THROUGH["both"]]
    panels: list[plots.Panel] = []
    table: list[Row] = []
    notes = []
    for data in both["data"].unique():
        of_data = {words: rows.loc[rows["data"] == data, "damage_l2"] for words, rows in attacked.items()}
        panel, rows = numbers.densities(
            of_data, f"damage, {data}", "damage, L2 in pixel units", "damage_l2", {"data": data}
        )
        panels.append(panel)
        table += rows
        means = ", ".join(f"{name} {values.mean():.3g}" for name, values in of_data.items() if len(values))
        notes.append(f"Mean damage on {data}: {means}.")
    notes.append(
        f"{both['cell'].nunique()} models, {both['source_index'].nunique()} images each, norms of at most "
        f"{both['radius_l2'].iloc[0]:g} (the paper's at most 10, in its pixel units). Damage: the distance to the "
        "unattacked reconstruction, mean over the attacker's draws."
    )
    return Drawn(table, panels, notes=notes)


def damaged_images(tables: Tables) -> Drawn:
    """Fig. 8: images, attacked images and their reconstructions under each beta."""
    cells = numbers.of_one_data_set(numbers.models_over(tables, "beta"))
    attacked = numbers.damage(tables, cells, "both")
    tiles, names, notes = [], [], []
    table: list[Row] = []
    image_range = (0.0, 1.0)
    for beta, rows in attacked.groupby("beta"):
        cell, attack = rows[["cell", "attack"]].iloc[0]
        _, result = next(tables.attacked(cell, f"*{attack}.npz"), (None, None))
        if result is None:
            raise MissingError(f"the run directory of {cell}, with its attacks: galleries show images")
        shown = slice(min(_SHOWN, len(result.sources)))
        pictures = {
            "x": result.sources[shown],
            "x + d": result.adversarial[shown, -1],
            "recon(x + d)": result.adversarial_reconstructions[shown, -1],
        }
        tiles += list(pictures.values())
        names += [f"β = {beta:g}: {name}" for name in pictures]
        notes += ["", "", f"damage {rows['damage_l2'].mean():.3g}"]
        if result.sources.min() < 0.0:
            image_range = (-1.0, 1.0)
        columns = {
            "source_index": "image",
            "distortion_l2_mean": "distortion_l2",
            "relative_likelihood_degradation_mean": "relative_likelihood_degradation",
        }
        shown_columns = ["data", "beta", "cell", "source_index", "distortion_l2_mean", "damage_l2", list(columns)[2]]
        table += rows[shown_columns].rename(columns=columns).to_dict("records")
    panel = plots.Tiles("", np.stack(tiles), image_range, names, (), notes)
    radius = attacked["radius_l2"].iloc[0]
    caption = f"Maximum damage with ||d|| of at most {radius:g}; at the right the mean over images."
    return Drawn(table, (panel,), notes=(caption,))


def _figure(number, title, data, draw):
    paper = "seatbelt sweep --sweep=c21_paper"
    return Figure(f"Camuto et al. 2021, Fig. {number}", title, data, "configs/sweeps/c21_small.py", draw, paper)


FIGURES: dict[str, Figure] = {
    "c21_4": _figure(4, "Damage of attacks through μ, σ and both", _THREE, damage_through),
    "c21_5": _figure(5, "Margins of four VAEs along one direction at one image", _MNIST, margins.one_image),
    "c21_6": _figure(
        6,
        "Margins by attack against certified ones, and the degradation of the likelihood against them",
        _THREE,
        margins.bounds_against_attacks,
    ),
    "c21_7": _figure(
        7,
        "VAEs whose σ is offset by τ: P(||Δ|| ≤ r), noise, maximum damage, and margins",
        _MNIST,
        settings.over_tau,
    ),
    "c21_8": _figure(8, "β-VAEs under maximum damage", _MNIST, damaged_images),
    "c21_9": _figure(
        9,
        "β-VAEs: margins, the likelihood under maximum damage, σ, and the encoder's Jacobian",
        _MNIST,
        settings.over_beta,
    ),
}
