"""Two models of one data set, compared in one measure: what attacks reach, or what was measured of the models.

A ratio of what attacks reach has a 95 % interval over pairs of images, the same pairs for both models; one of models
alone has none, where each was trained once.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from seatbelt_jax import metrics
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers.figure_tables import Tables

Statistic = Callable[[Any], Any]

# Measures of attacks: column of the companion `pairs`, its name in words, and the statistic that is compared.
OF_ATTACKS: dict[str, tuple[str, Statistic]] = {
    "delta_mean": ("mean Delta", np.mean),
    "target_nll_nats_mean": ("mean \N{MINUS SIGN}log p(x^t|z*)", np.mean),
    "distance_to_target_l2_mean": ("mean ||x* - x^t||", np.mean),
    "target_error_l2": ("mean ||x^t - recon(x^t)||", np.mean),
    "distortion_half_way_l2": ("median ||d|| half of the way", np.median),
    "distortion_nine_tenths_l2": ("median ||d|| nine tenths of the way", np.median),
}
# At beta = 1 no penalty is left to tell these apart.
_SAME_AT_ONE = {"beta_vae": "beta_tcvae", "beta_hvae": "seatbelt"}


class OfModels(NamedTuple):
    """A measure of models, of the table `measures`: its name in words, and the layer or noise that it is of."""

    measure: str
    words: str
    layer: str = ""
    noise: str = ""


class Model(NamedTuple):
    """Cells of one kind, depth and beta."""

    kind: str
    depth: int
    beta: float

    def words(self) -> str:
        layers = f", L = {self.depth}" if self.depth > 1 else ""
        return f"{numbers.NAMES[self.kind]}{layers}, β = {self.beta:g}"


class Comparison(NamedTuple):
    """Two models of one data set in one measure.

    Attributes:
      data, model, against, measure: in words.
      ratio: of the first model's number to the second's.
      values: the two numbers.
      pairs: of images; 0 where none were attacked.
      suspicious: shares of the attacks that `attacks.diagnose` flags.
    """

    data: str
    model: str
    against: str
    measure: str
    ratio: metrics.Interval
    values: tuple[float, float]
    pairs: int = 0
    suspicious: tuple[float, float] = (np.nan, np.nan)


def _cells(tables: Tables, data: str, model: Model) -> pd.DataFrame:
    """At beta = 1, the same model under another name stands in."""
    cells = tables.cells[(tables.cells["data"] == data) & (tables.cells["L"] == model.depth)]
    cells = cells[cells["beta"] == model.beta]
    found = cells[cells["kind"] == model.kind]
    return found if len(found) or model.beta != 1 else cells[cells["kind"] == _SAME_AT_ONE.get(model.kind)]


def _alike(both: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Rows of two models, restricted to the latent sizes and seeds that both were trained with."""
    first, second = (pd.MultiIndex.from_frame(rows[["d_z", "seed"]]) for rows in both)
    return [both[0][first.isin(second)], both[1][second.isin(first)]]


def attacked(
    tables: Tables, data: str, both: tuple[Model, Model], attacks: tuple[str, str], measures: Sequence[str]
) -> Iterator[Comparison]:
    cells = _alike([_cells(tables, data, model) for model in both])
    of_both = [tables.attacks(found, attack) for found, attack in zip(cells, attacks, strict=True)]
    for measure in measures:
        words, statistic = OF_ATTACKS[measure]
        # The mean over models, where there are several, of a measure of each pair.
        first, second = (
            rows[rows[measure].notna()].groupby(numbers.PAIR, dropna=False, sort=False)[measure].mean()
            for rows in of_both
        )
        shared = first.index[first.index.isin(second.index)]
        if len(shared):
            values = first[shared].to_numpy(), second[shared].to_numpy()
            found = metrics.ratio_over_pairs(*values, statistic)
            named = [model.words() for model in both]
            if attacks[0] != attacks[1]:
                named = [f"{name}, {numbers.ATTACKS[attack]}" for name, attack in zip(named, attacks, strict=True)]
            levels = float(statistic(values[0])), float(statistic(values[1]))
            suspicious = _suspicious(tables, of_both[0]), _suspicious(tables, of_both[1])
            yield Comparison(data, named[0], named[1], words, found, levels, len(shared), suspicious)


def _suspicious(tables: Tables, rows: pd.DataFrame) -> float:
    """The mean over models of the share of an attack that is flagged."""
    shares = tables.measures[tables.measures["measure"] == "share_suspicious"]
    found = rows[["cell", "attack"]].merge(shares, on=["cell", "attack"])["value"].dropna()
    return float(found.mean()) if len(found) else np.nan


def trained(tables: Tables, data: str, both: tuple[Model, Model], measure: OfModels) -> Iterator[Comparison]:
    cells = _alike([_cells(tables, data, model) for model in both])
    of = {"layer": measure.layer, "noise": measure.noise}
    of_both = [tables.measured(found, measure.measure, **of)[measure.measure] for found in cells]
    if all(map(len, of_both)):
        first, second = (float(np.mean(values)) for values in of_both)
        ratio = metrics.Interval(first / second, float("nan"), float("nan"))
        yield Comparison(data, both[0].words(), both[1].words(), measure.words, ratio, (first, second))
