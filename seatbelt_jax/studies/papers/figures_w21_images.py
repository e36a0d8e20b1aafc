"""Figures of images of Willetts et al. 2021, from the runs of sweeps, and its Swiss roll."""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from seatbelt_jax import metrics, plots, runs, storage
from seatbelt_jax.results import AttackResult, files
from seatbelt_jax.studies.papers import figure_densities as densities
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers import swiss_roll
from seatbelt_jax.studies.papers.drawing import Drawn, Figure, Row
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables, readable

_PAPER = "Willetts et al. 2021"
_SMALL = "configs/sweeps/w21_small.py"
_CELEBA = "seatbelt sweep --sweep=w21_celeba"
_ROLL = pathlib.Path("runs/swiss_roll")
_COLUMNS = ("x", "x*", "d", "recon(x)", "recon(x*)", "x^t", "recon(x^t)")
_SHOWN = 8
_OF_A_MODEL = ["data", "model", "L", "d_z", "beta", "seed"]


class Attacked(NamedTuple):
    """One pair under attack on a model, under a penalty; the images of `_COLUMNS`, black and white at `image_range`."""

    name: str
    image_range: tuple[float, float]
    images: np.ndarray
    note: str
    row: Row


def attacks_on_three_models(tables: Tables) -> Drawn:
    """Fig. 1: the first pair of each data set, attacked on a VAE, a beta-TCVAE and a Seatbelt-VAE."""
    cells = _with_runs(tables)
    panels, table, lacking = [], [], []
    for data in cells["data"].unique():
        vae = densities.model_of(cells, data, "beta_tcvae", 1.0)
        chosen = {"VAE": densities.model_of(cells, data, "beta_vae", 1.0) if vae is None else vae}
        chosen |= {numbers.NAMES[kind]: densities.model_of(cells, data, kind) for kind in ("beta_tcvae", "seatbelt")}
        shown = []
        for name, cell in chosen.items():
            if cell is not None and (found := _attack(tables, cell, "seed")) is not None:
                named = name if name == "VAE" else _named(cell)
                shown.append(_attacked(tables, cell, found, named, int(metrics.shown_budget(found)[0])))
            else:
                lacking.append(f"{data}: no {name}.")
        if len(shown) > 1:
            panels.append(_tiles(data, shown))
            table += [one.row for one in shown]
    if not panels:
        raise MissingError(
            "run directories of two models or more with attacks by latent_kl_all on pairs chosen by seed"
        )
    note = (
        "The first pair of each data set, not a chosen one. Penalty: for each model the one whose Delta is the "
        "largest below the pair's mean, as in Willetts et al. 2019, Fig. 1. d is drawn at half its contrast: grey is "
        "none."
    )
    return Drawn(table, panels, columns=1, notes=(note, *lacking))


def rotations(tables: Tables) -> Drawn:
    """Fig. 4: a sprite that the attacker wants turned, at the least Delta and at the penalty that Fig. 1 would show."""
    cells = _with_runs(tables)
    cells = cells[cells["kind"].isin(("beta_tcvae", "seatbelt"))]
    ways: dict[str, Callable[[AttackResult], int]] = {
        "at the least Delta": lambda found: int(np.nanargmin(found.objective[0])),
        "at the largest Delta below its mean": lambda found: int(metrics.shown_budget(found)[0]),
    }
    found = [(cell, result) for _, cell in cells.iterrows() if (result := _attack(tables, cell, "factor:orientation"))]
    if not found:
        raise MissingError(
            "run directories of beta_tcvae and seatbelt with attacks by latent_kl_all, pairs_by=factor:orientation"
        )
    panels, table = [], []
    for data in dict.fromkeys(cell["data"] for cell, _ in found):
        for words, way in ways.items():
            shown = [
                _attacked(tables, cell, result, _named(cell), way(result))
                for cell, result in found
                if cell["data"] == data
            ]
            panels.append(_tiles(f"{data}, {words}", shown))
            table += [{**one.row, "shown": words} for one in shown]
    note = (
        "The first pair, whose images differ in orientation alone. The paper shows the most successful distortion in "
        "terms of Delta, which at tiny penalties is nearly always the whole way to the target, on any model; so below "
        "it the penalty that Fig. 1 would show. d is drawn at half its contrast, grey is none."
    )
    return Drawn(table, panels, columns=1, notes=(note,))


def reconstructions(tables: Tables) -> Drawn:
    """Fig. 6 c: validation images, and what a beta-TCVAE and a Seatbelt-VAE under the largest beta make of them."""
    cells = _with_runs(tables)
    panels, table = [], []
    for data in cells["data"].unique():
        rows: list[np.ndarray] = []
        errors: list[Row] = []
        names = ["images"]
        for kind in ("beta_tcvae", "seatbelt"):
            cell = densities.model_of(cells, data, kind)
            if cell is None:
                continue
            file = tables.runs[cell["cell"]][0] / "samples.npz"
            if (found := next(readable([file], storage.read_npz), None)) is None:
                continue
            _, arrays = found
            images, made = (arrays[name][:_SHOWN] for name in ("images", "reconstructions"))
            if rows and not np.array_equal(images, rows[0]):
                raise ValueError(f"{file} shows other images than the β-TCVAE's; draw them from one sweep")
            rows += [made] if rows else [images, made]
            names.append(_named(cell))
            distances = np.linalg.norm((made - images).reshape(len(images), -1), axis=1)
            errors += [
                {**cell[_OF_A_MODEL], "image": number, "error_l2": distance}
                for number, distance in enumerate(distances)
            ]
        if len(rows) == 3:
            image_range = float(arrays["image_low"]), float(arrays["image_high"])
            panels.append(plots.Tiles(data, np.stack(rows), image_range, names, ()))
            table += errors
    if not panels:
        raise MissingError("run directories of beta_tcvae and seatbelt on the same data")
    return Drawn(
        table, panels, columns=1, notes=("The first validation images, not chosen ones; the paper's β is 20.",)
    )


def swiss_roll_models(_: Tables) -> Drawn:
    """Fig. A.7, by `seatbelt swiss-roll`."""
    rows = swiss_roll.reproduce(swiss_roll.experiments(swiss_roll.BETAS), _ROLL)
    return Drawn([{"data": "swiss_roll", **row} for row in rows], picture=(_ROLL / "swiss_roll.png").read_bytes())


def _named(cell: pd.Series) -> str:
    return f"{numbers.NAMES[cell['kind']]}, β = {cell['beta']:g}, L = {cell['L']:g}"


def _with_runs(tables: Tables) -> pd.DataFrame:
    found = tables.cells[tables.cells["cell"].isin(tables.runs)]
    if not len(found):
        raise MissingError("run directories, not tables alone: it shows images")
    return found


def _attack(tables: Tables, cell: pd.Series, pairs_by: str) -> AttackResult | None:
    """The KL attack on all layers of a cell, of pairs that were chosen so."""
    for file, found in tables.attacked(cell["cell"], "latent_kl_all*.npz"):
        options = files.made_by(file).options or {}
        if (found.name, found.threat, options.get("pairs_by")) == ("latent_kl_all", "penalty", pairs_by):
            return found
    return None


def _attacked(tables: Tables, cell: pd.Series, found: AttackResult, name: str, budget: int) -> Attacked:
    """The first pair under a penalty."""
    image_range = runs.open(tables.runs[cell["cell"]][0]).image_range
    distortion = found.adversarial[0, budget] - found.sources[0]
    images = np.stack(
        [
            found.sources[0],
            found.adversarial[0, budget],
            distortion,
            found.source_reconstructions[0],
            found.adversarial_reconstructions[0, budget],
            found.targets[0],
            found.target_reconstructions[0],
        ]
    )
    way = 1.0 - float(found.distance_left[0, budget] / found.distance_at_start[0])
    row = {
        **cell[_OF_A_MODEL],
        "penalty": float(found.budgets[budget]),
        f"delta_{found.unit.replace(' ', '_')}": float(found.objective[0, budget]),
        "distortion_l2": float(found.distortion_norm[0, budget]),
        "share_of_the_way": way,
    }
    exponent = f"2^{np.log2(row['penalty']):.1f}"
    note = f"λ = {exponent}, ||d|| = {row['distortion_l2']:.3g}\n{100.0 * max(way, 0.0):.0f} % of the way"
    return Attacked(name, image_range, images, note, row)


def _tiles(title: str, shown: Sequence[Attacked]) -> plots.Tiles:
    image_range, images = shown[0].image_range, np.stack([one.images for one in shown])
    place = _COLUMNS.index("d")
    images[:, place] = plots.distortion_image(images[:, place], image_range)
    return plots.Tiles(title, images, image_range, [one.name for one in shown], _COLUMNS, [one.note for one in shown])


FIGURES: dict[str, Figure] = {
    "w21_1": Figure(
        f"{_PAPER}, Fig. 1", "Attacks on three models", ("celeb_a",), _SMALL, attacks_on_three_models, _CELEBA
    ),
    "w21_4": Figure(
        f"{_PAPER}, Fig. 4",
        "Attacks on the orientation of a sprite",
        ("dsprites", "sprites"),
        "configs/sweeps/w21_rotation.py",
        rotations,
        "seatbelt sweep --sweep=w21_rotation",
    ),
    "w21_6c": Figure(f"{_PAPER}, Fig. 6 c", "Reconstructions", ("celeb_a",), _SMALL, reconstructions, _CELEBA),
    "w21_a7": Figure(
        f"{_PAPER}, Fig. A.7",
        "The Swiss roll under VAE, β-VAE and β-TCVAE",
        ("swiss_roll",),
        "",
        swiss_roll_models,
        "seatbelt swiss-roll",
        slow="it trains seven models in runs/swiss_roll, minutes on 2 CPU cores",
    ),
}
