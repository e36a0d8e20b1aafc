"""What docs/reproduction.md says was measured here, as declarations: a table in Markdown for each figure.

Most tables have a row for each comparison of two models and a column for each data set.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from seatbelt_jax.studies.papers import comparisons, drawing
from seatbelt_jax.studies.papers import damage_numbers as damaged
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers.comparisons import OF_ATTACKS, Model, OfModels
from seatbelt_jax.studies.papers.figure_tables import Tables
from seatbelt_jax.studies.papers.figures import FIGURES

# Draws a table from those of a sweep.
Block = Callable[[Tables], str]
_NAMES = {"sprites": "sprites", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}
_ALL, _OF_LAYERS = "latent_kl_all", ("latent_kl_bottom", "latent_kl_top")
_HALF, _FAR = "distortion_half_way_l2", "distortion_nine_tenths_l2"
_ELBO = OfModels("elbo_nats", "ELBO, nats")


class OfAttacks(NamedTuple):
    """The ratio of what attacks reach on two models, with its 95 % interval over pairs of images."""

    measure: str
    model: Model
    against: Model
    attacks: tuple[str, str] = (_ALL, _ALL)

    def words(self) -> list[str]:
        which = [f", attacked by {numbers.ATTACKS[attack]}" if attack != _ALL else "" for attack in self.attacks]
        models = [model.words() for model in (self.model, self.against)]
        return [f"{OF_ATTACKS[self.measure][0]}, ratio", *(a + b for a, b in zip(models, which, strict=True))]

    def value(self, tables: Tables, data: str) -> str:
        both = self.model, self.against
        for found in comparisons.attacked(tables, data, both, self.attacks, (self.measure,)):
            ratio = found.ratio
            return f"{ratio.value:.3g} ({ratio.low:.3g} to {ratio.high:.3g})"
        return ""


class OfTrained(NamedTuple):
    """How a measure of one model differs from that of another."""

    measure: OfModels
    model: Model
    against: Model
    how: Literal["ratio", "difference"] = "difference"

    def words(self) -> list[str]:
        return [f"{self.measure.words}, {self.how}", self.model.words(), self.against.words()]

    def value(self, tables: Tables, data: str) -> str:
        for found in comparisons.trained(tables, data, (self.model, self.against), self.measure):
            first, second = found.values
            return f"{found.ratio.value:.3g}" if self.how == "ratio" else f"{first - second:+,.0f}"
        return ""


def of_beta(measures: Iterable[str | OfModels], models: Iterable[tuple[str, int]], **how: str) -> list:
    """What beta = 10 changes, against beta = 1, for kinds of models and their depths."""
    made: list[OfAttacks | OfTrained] = []
    for measure in measures:
        for kind, depth in models:
            both = Model(kind, depth, 10.0), Model(kind, depth, 1.0)
            if isinstance(measure, OfModels):
                made.append(OfTrained(measure, *both, **how))  # type: ignore[arg-type]
            else:
                attack = how.get("attack", _ALL)
                made.append(OfAttacks(measure, *both, (attack, attack)))
    return made


def by_data(rows: Iterable[OfAttacks | OfTrained], tables: Tables) -> str:
    """A row for each comparison, a column for each data set; those without any number are left out."""
    data_sets = tables.cells["data"].unique()
    lines = [[*row.words(), *(row.value(tables, data) for data in data_sets)] for row in rows]
    names = [_NAMES.get(data, data) for data in data_sets]
    return drawing.page(["measure", "model", "against", *names], [line for line in lines if any(line[3:])])


def of_figure(
    name: str, index: Mapping[str, str], columns: str, values: str, show: str, tables: Tables, **wanted: str
) -> str:
    """A figure's numbers, a row for each value of `index` (column: words) and a column for each value of `columns`."""
    rows = pd.DataFrame(FIGURES[name].draw(tables).rows)
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    found = rows.pivot_table(index=list(index), columns=columns, values=values, sort=False)
    return _page(found.reset_index().rename(columns={**index, **_NAMES}), show)


def own_page(name: str, tables: Tables) -> str:
    """The figure is a table."""
    return FIGURES[name].draw(tables).page


def rotation(tables: Tables) -> str:
    """Least distortions of attacks on the rotation of a sprite, medians of pairs."""
    found = tables.measures[tables.measures["attack"] == "rotation"]
    found = found[found["measure"].isin([f"median_{_HALF}", f"median_{_FAR}"])]
    found = found.merge(tables.cells, on="cell").pivot(index=["kind", "beta"], columns="measure", values="value")
    words = {"kind": "model", "beta": "β", f"median_{_HALF}": "half way", f"median_{_FAR}": "nine tenths"}
    return _page(found.reset_index().replace(numbers.NAMES).rename(columns=words), ".2g")


def margins_and_bounds(tables: Tables) -> str:
    """How margins by attack go together with what bounds say of them: correlations, and the median ratio by model."""
    rows = pd.DataFrame(FIGURES["c21_6"].draw(tables).rows)
    fits, dots = rows[rows["correlation"].notna()], rows[rows["x"].notna()]
    lines = []
    for measure, found in fits.groupby("measure", sort=False):
        together, within = found[found["cell"].isna()].iloc[0], found[found["cell"].notna()]["correlation"]
        ratios = (dots["y"] / dots["x"])[dots["measure"] == measure].groupby(dots["cell"]).median()
        is_margin = str(measure).startswith("margin_")
        lines.append(
            [
                str(measure).removeprefix("margin_").removesuffix("_l2").replace("_", " "),
                f"{together['correlation']:.2f}",
                f"{together['rank_correlation']:.2f}",
                f"{within.min():.2f}",
                f"{within.max():.2f}",
                *((f"{ratios.min():.3g}", f"{ratios.max():.3g}") if is_margin else ("", "")),
            ]
        )
    over = "margin by attack over the bound, median of a model"
    columns = ("", "correlation", "of ranks", "within a model, least", "largest", f"{over}, least", "largest")
    return drawing.page(columns, lines)


def by_setting(axis: str, tables: Tables) -> str:
    """What changes with tau or beta: margins, likelihoods under noise and damage, sigma, and the Jacobian."""
    cells = damaged.models_over(tables, axis)
    images = damaged.certified(tables, cells)
    found: dict[str, pd.Series] = {
        "margin by attack, median, L2": images.groupby(axis)[damaged.BY_ATTACK].median(),
        "Theorem 1, median, L2": images.groupby(axis)["camuto"].median(),
        "Jacobian of μ, Frobenius, median": images.groupby(axis)[
            "encoder_jacobian_frobenius_latent_units_per_pixel_unit"
        ].median(),
    }
    for words, measure, of in (
        ("||σ(x)||, mean", "posterior_std_norm_mean_latent_units", {"layer": "1"}),
        ("Jacobian of μ, spectral, median", "encoder_jacobian_norm_median_latent_units_per_pixel_unit", {}),
        ("log p(x|z), nats", "noise_log_likelihood_nats", {"noise": "0"}),
        ("log p(x|z*), noise of 1, nats", "noise_log_likelihood_nats", {"noise": "1"}),
    ):
        found[words] = tables.measured(cells, measure, **of).groupby(axis)[measure].mean()
    rows = pd.DataFrame(damaged.likelihood_by_norm(tables, cells, axis, axis)[1])
    for radius, of_radius in rows[rows["radius_l2"] != 0.0].groupby("radius_l2"):
        words = f"log p(x|z*), damage with ||d|| up to {radius:g}, nats"
        found[words] = of_radius.set_index(axis)["mean"]
    table = pd.DataFrame(found).T.rename(columns=lambda value: f"{axis} = {value:g}")
    return _page(table.reset_index(names=""), "")


def damage_by_norm(tables: Tables) -> str:
    """The mean damage of attacks through both, by the ball's radius."""
    cells = damaged.models_over(tables, "beta")
    rows = damaged.attacks_for_damage(tables.budgets, cells, "both")
    found = rows.assign(damage=-rows["delta_mean"]).pivot_table(index="budget", columns="beta", values="damage")
    table = found.rename(columns=lambda beta: f"beta = {beta:g}").rename_axis(None, axis=1)
    return _page(table.reset_index().rename(columns={"budget": "||d|| up to"}), "")


def _page(table: pd.DataFrame, show: str) -> str:
    """A data frame in Markdown; numbers by the format, three digits by default."""

    def text(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return "" if np.isnan(value) else format(value, show or (",.0f" if abs(value) >= 1000.0 else ".3g"))

    return drawing.page(list(map(str, table)), [list(map(text, row)) for row in table.itertuples(index=False)])


def disentanglement(tables: Tables) -> str:
    rows = pd.DataFrame(FIGURES["w21_e11"].draw(tables).rows)
    rows["value"] = rows["mean"].fillna(rows["median"])
    found = rows.pivot(index=["d_z", "beta", "mig"], columns="measure", values="value").reset_index()
    words = {"beta": "β", "mig": "MIG", "delta": "mean Delta", _HALF: "median ||d|| half of the way"}
    return _page(found.rename(columns=words), "")


def at_one_image(tables: Tables) -> str:
    rows = pd.DataFrame(FIGURES["c21_5"].draw(tables).rows).drop_duplicates("cell")
    words = {"beta": "β", "tau": "τ", "empirical_margin_l2": "margin by attack, L2"}
    return _page(rows[list(words)].rename(columns=words), "")


_TCVAE, _VAE, _TWO, _FOUR = ("beta_tcvae", 1), ("beta_vae", 1), ("seatbelt", 2), ("seatbelt", 4)
_SEATBELT, _DLGM = Model(*_FOUR, 10.0), Model("beta_tcdlgm", 4, 10.0)
_NOISE = [
    OfModels("noise_log_likelihood_nats", f"log p(x|z*), noise of {scale}, nats", noise=scale)
    for scale in ("0.1", "0.5", "1")
]
_SIGMA = OfModels("posterior_std_norm_mean_latent_units", "mean ||σ(x)||", layer="1")
_LIKELIHOOD = OfModels("log_likelihood_nats", "log p(x|z), nats")
_THREE = ("delta_mean", _HALF, _FAR)


def _of_layers(measure: str, layer: str) -> list[OfAttacks]:
    models = [Model(*of, beta) for of in (_TWO, _FOUR) for beta in (1.0, 10.0)]
    return [OfAttacks(measure, model, model, (layer, _ALL)) for model in models]


def _of_depth(measure: str) -> list[OfAttacks]:
    return [OfAttacks(measure, Model(*of, beta), Model(*_TCVAE, beta)) for of in (_TWO, _FOUR) for beta in (1.0, 10.0)]


def _small(*parts: list, output: bool = False) -> tuple[tuple[str, ...], Block]:
    rows = [row for part in parts for row in part]
    return ("w21_small", *(["w21_output"] if output else [])), partial(by_data, rows)


def _by_output(measures: Iterable[str], models: Iterable[tuple[str, int]], attack: str = "output_elbo") -> list:
    return of_beta(measures, models, attack=attack)


_REACHED = ("target_nll_nats_mean", "delta_mean")
_CHANGE = "relative_change_percent"
# Name -> the folders of docs/results/ with its sweeps, and what makes it.
BLOCKS: dict[str, tuple[tuple[str, ...], Block]] = {
    "w21_2": _small(of_beta([_SIGMA], [_TCVAE, _VAE], how="ratio"), of_beta([_LIKELIHOOD, _ELBO], [_TCVAE, _VAE])),
    "w21_3": _small(of_beta(_THREE, [_TCVAE, _VAE])),
    "w21_4": (("w21_rotation",), rotation),
    "w21_5": _small(
        of_beta(_REACHED, [_TCVAE, _FOUR]),
        _by_output(_REACHED, [_TCVAE, _FOUR]),
        _by_output(_REACHED, [_TCVAE, _FOUR], "latent_w2_all"),
        output=True,
    ),
    "w21_6": _small(of_beta([_ELBO], [_TCVAE, _VAE, ("beta_hvae", 4), _TWO, _FOUR])),
    "w21_d8": _small(*(_of_layers(way, layer) for way in (_HALF, _FAR) for layer in _OF_LAYERS)),
    "w21_d9": _small(*map(_of_depth, ("delta_mean", "target_nll_nats_mean", _HALF, _FAR))),
    "w21_e10": _small(
        of_beta(["target_error_l2", "distance_to_target_l2_mean", "delta_mean"], [_TCVAE]),
        _by_output(["distance_to_target_l2_mean", "delta_mean"], [_TCVAE], "output_l2"),
        output=True,
    ),
    "w21_e11": (("w21_disentanglement",), disentanglement),
    "w21_f12": _small(of_beta(_NOISE, [_TCVAE, _TWO, _FOUR])),
    "w21_table1": (("w21_downstream",), partial(own_page, "w21_table1")),
    "w19_3": _small(of_beta([_ELBO], [_TCVAE, _FOUR]), [OfTrained(_ELBO, _DLGM, _SEATBELT)]),
    "w19_5": _small(of_beta(["delta_mean"], [_TCVAE]), _by_output(["delta_mean"], [_TCVAE]), output=True),
    "w19_6": _small(
        [OfAttacks(measure, _DLGM, _SEATBELT) for measure in _THREE],
        of_beta(["delta_mean"], [_FOUR]),
        _by_output(["delta_mean"], [_FOUR]),
        output=True,
    ),
    "w19_8": _small([OfTrained(one, _DLGM, _SEATBELT) for one in _NOISE]),
    "w19_table1": (
        ("w21_small",),
        partial(of_figure, "w19_table1", {"model": "model", "network": "network"}, "data", _CHANGE, "+.1f"),
    ),
    "c21_4": (
        ("c21_small",),
        partial(of_figure, "c21_4", {"group": "damage, L2"}, "data", "value", ".3g", statistic="mean"),
    ),
    "c21_sigma": (("c21_small",), lambda tables: damaged.at_most(damaged.certified(tables, tables.cells))),
    "c21_5": (("c21_small",), at_one_image),
    "c21_6": (("c21_small",), margins_and_bounds),
    "c21_7": (("c21_small",), partial(by_setting, "tau")),
    "c21_8": (("c21_small",), damage_by_norm),
    "c21_9": (("c21_small",), partial(by_setting, "beta")),
    **{name: (("s18_small",), partial(own_page, name)) for name in ("s18_table_4_1", "s18_table_4_2", "s18_table_4_3")},
}
