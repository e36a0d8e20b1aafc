"""What the papers claim, held against the tables of sweeps: each claim as ratios of what was measured.

A ratio of what attacks reach has a 95 % interval over pairs of images, the same pairs for both models; one of models
alone has none, where each was trained once.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from seatbelt_jax import metrics
from seatbelt_jax.studies.papers import drawing
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers.drawing import Drawn, Figure
from seatbelt_jax.studies.papers.figure_tables import KINDS, MissingError, Row, Tables

Statistic = Callable[[Any], Any]

# Measures of attacks: column of the companion `pairs`, its name in words, and the statistic that is compared.
_OF_ATTACKS: dict[str, tuple[str, Statistic]] = {
    "delta_mean": ("mean Delta", np.mean),
    "distortion_half_way_l2": ("median ||d|| half of the way", np.median),
    "distortion_nine_tenths_l2": ("median ||d|| nine tenths of the way", np.median),
}
_WAYS = ("distortion_half_way_l2", "distortion_nine_tenths_l2")
# Measures of models: column of sweep.csv, and its name in words.
_SIGMA = {"posterior_std_norm_1_mean_latent_units": "mean ||sigma(x)||"}
_JACOBIAN = {"encoder_jacobian_norm_median_latent_units_per_pixel_unit": "median ||J_mu(x)||_2"}
_ERROR = {"reconstruction_error_l2": "mean ||x - recon(x)||"}
# At beta = 1 no penalty is left to tell these apart.
_SAME_AT_ONE = {"beta_vae": "beta_tcvae", "beta_hvae": "seatbelt"}
_LARGER, _SMALLER, _NEITHER = "larger", "smaller", "not larger"
# With one training each, a relative difference below this says nothing.
_SAME = 0.01


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


def claims(tables: Tables) -> Drawn:
    """All claims that the tables have models for, one table for each."""
    rows: list[dict[str, Any]] = []
    page = []
    for claim, (expected, compare) in _CLAIMS.items():
        data_sets = tables.data_sets(tables.cells)
        found = [_table_row(claim, expected, one) for data in data_sets for one in compare(tables, data)]
        if found:
            page += [f"## {claim}", "", f"Expected by the paper: {expected}.", ""]
            page += [drawing.page(_COLUMNS, [_entries(row) for row in found]), ""]
            rows += found
    if not rows:
        raise MissingError("models trained under beta = 1 and a larger one")
    return Drawn(rows, page="\n".join(page), notes=(_HOW_TO_READ,))


_HOW_TO_READ = (
    "A ratio is of the first model's number to the second's, with its 95 % interval over pairs where attacks were "
    "measured. A claim is held up where the whole interval lies on its side of 1, contradicted where it lies on the "
    "other, and open between; without an interval it says which of two trainings has the larger number, and is open "
    "where they differ by less than 1 %. Models of several latent sizes and seeds are pooled, those that both were "
    "trained with. Delta sums over the units of all layers, so it compares models of one depth "
    "alone. Suspicious are attacks that `attacks.diagnose` flags, first model / second."
)


def _of_beta(kind: str, depth: int, measures: Sequence[str], attack: str = "latent_kl_all") -> Any:
    """Each beta against 1."""

    def compare(tables: Tables, data: str) -> Iterator[Comparison]:
        for beta in _betas(tables, kind, depth, data):
            both = Model(kind, depth, beta), Model(kind, depth, 1.0)
            yield from _attacked(tables, data, both, (attack, attack), measures)

    return compare


def _deep_and_penalised(tables: Tables, data: str) -> Iterator[Comparison]:
    """What each ingredient does alone, and both together, against a plain VAE; and both against one alone."""
    depth = max(_depths(tables, data), default=1)
    betas = _betas(tables, "seatbelt", depth, data)
    if depth > 1 and betas:
        beta = betas[-1]
        plain, both = Model("beta_tcvae", 1, 1.0), Model("seatbelt", depth, beta)
        penalised, without_tc = Model("beta_tcvae", 1, beta), Model("beta_hvae", depth, beta)
        for model in (penalised, Model("seatbelt", depth, 1.0), without_tc, both):
            yield from _attacked(tables, data, (model, plain), ("latent_kl_all",) * 2, _WAYS)
        for alone in (penalised, without_tc):
            yield from _attacked(tables, data, (both, alone), ("latent_kl_all",) * 2, _WAYS)


def _bottom_alone(tables: Tables, data: str) -> Iterator[Comparison]:
    """Where the likelihood reads the bottom layer alone, against where it reads all, of one depth and beta."""
    for depth in _depths(tables, data):
        for beta in _betas(tables, "beta_tcdlgm", depth, data)[-1:]:
            both = Model("beta_tcdlgm", depth, beta), Model("seatbelt", depth, beta)
            yield from _attacked(tables, data, both, ("latent_kl_all",) * 2, tuple(_OF_ATTACKS))


def _degrade(tables: Tables, data: str) -> Iterator[Comparison]:
    """How many times larger other models' errors become from beta = 1 to the largest, against a Seatbelt-VAE's."""
    lost = {}
    for kind, depth in (("beta_vae", 1), ("beta_tcvae", 1), ("beta_hvae", 4), ("seatbelt", 4)):
        for beta in _betas(tables, kind, depth, data)[-1:]:
            for one in _trained(tables, data, (Model(kind, depth, beta), Model(kind, depth, 1.0)), _ERROR):
                lost[Model(kind, depth, beta)] = one.ratio.value
    for model, value in lost.items():
        for seatbelt in (other for other in lost if other.kind == "seatbelt" != model.kind):
            both = value, lost[seatbelt]
            first, second = (f"{one.words()} over β = 1" for one in (model, seatbelt))
            ratio = metrics.Interval(both[0] / both[1], np.nan, np.nan)
            yield Comparison(data, first, second, "ratio of mean ||x - recon(x)||", ratio, both)


def _layers_attacked(tables: Tables, data: str) -> Iterator[Comparison]:
    """What attacks on the top or the bottom layer need, against those on all layers of the same model."""
    for depth in _depths(tables, data):
        for beta in (1.0, *_betas(tables, "seatbelt", depth, data)[-1:]):
            model = Model("seatbelt", depth, beta)
            for attack in ("latent_kl_top", "latent_kl_bottom"):
                yield from _attacked(tables, data, (model, model), (attack, "latent_kl_all"), _WAYS)


def _encoders(columns: dict[str, str]) -> Any:
    def compare(tables: Tables, data: str) -> Iterator[Comparison]:
        for kind in ("beta_vae", "beta_tcvae"):
            for beta in _betas(tables, kind, 1, data):
                yield from _trained(tables, data, (Model(kind, 1, beta), Model(kind, 1, 1.0)), columns)

    return compare


# Claim -> what the papers expect of the ratios, and what gives them.
_CLAIMS: dict[str, tuple[str, Callable[[Tables, str], Iterator[Comparison]]]] = {
    "The total correlation penalty raises Delta (Willetts et al. 2021, Fig. 3)": (
        _LARGER,
        _of_beta("beta_tcvae", 1, tuple(_OF_ATTACKS)),
    ),
    "So it does in a Seatbelt-VAE (Willetts et al. 2021, Fig. 5)": (
        _LARGER,
        _of_beta("seatbelt", 4, tuple(_OF_ATTACKS)),
    ),
    "Depth and total correlation together resist most (Willetts et al. 2021, Sec. 6)": (_LARGER, _deep_and_penalised),
    "Reconstructions of Seatbelt-VAEs degrade least with beta (Willetts et al. 2021, Fig. 6)": (_LARGER, _degrade),
    "Attacks on all layers need less distortion than those on one (Willetts et al. 2021, Sec. 5)": (
        _LARGER,
        _layers_attacked,
    ),
    "The beta-TCDLGM gains nothing (Willetts et al. 2019, Fig. 7)": (
        _NEITHER,
        _of_beta("beta_tcdlgm", 4, tuple(_OF_ATTACKS)),
    ),
    "The beta-TCDLGM resists less than the Seatbelt-VAE (Willetts et al. 2019, Fig. 6, 7)": (_SMALLER, _bottom_alone),
    "Beta raises sigma (Camuto et al. 2021, Sec. 4)": (_LARGER, _encoders(_SIGMA)),
    "Beta lowers the norm of the encoder's Jacobian (Camuto et al. 2021, Sec. 4)": (_SMALLER, _encoders(_JACOBIAN)),
}


def _cells(tables: Tables, data: str, model: Model) -> list[Row]:
    """At beta = 1, the same model under another name stands in."""
    kinds = [model.kind, *([_SAME_AT_ONE[model.kind]] if model.beta == 1 and model.kind in _SAME_AT_ONE else [])]
    for kind in kinds:
        if found := [
            cell
            for cell in tables.cells
            if KINDS[kind](cell) and (cell["data"], cell["L"], cell["beta"]) == (data, model.depth, model.beta)
        ]:
            return found
    return []


def _alike(both: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """The cells of two models, restricted to the latent sizes and seeds that both were trained with."""
    shared = set.intersection(*({(cell["d_z"], cell["seed"]) for cell in cells} for cells in both))
    return [[cell for cell in cells if (cell["d_z"], cell["seed"]) in shared] for cells in both]


def _depths(tables: Tables, data: str) -> list[int]:
    """Depths of the Seatbelt-VAEs trained on this data set, in ascending order."""
    return sorted({int(cell["L"]) for cell in tables.cells if KINDS["seatbelt"](cell) and cell["data"] == data})


def _betas(tables: Tables, kind: str, depth: int, data: str) -> list[float]:
    """Those above 1."""
    cells = (cell for cell in tables.cells if KINDS[kind](cell) and (cell["data"], cell["L"]) == (data, depth))
    return sorted({float(cell["beta"]) for cell in cells if cell["beta"] > 1.0})


def _attacked(
    tables: Tables, data: str, both: tuple[Model, Model], attacks: tuple[str, str], measures: Sequence[str]
) -> Iterator[Comparison]:
    cells = _alike([_cells(tables, data, model) for model in both])
    of_both = [tables.attacks(found, attack) for found, attack in zip(cells, attacks, strict=True)]
    for measure in measures:
        words, statistic = _OF_ATTACKS[measure]
        first, second = (_by_pair(rows, measure) for rows in of_both)
        shared = [pair for pair in first if pair in second]
        if shared:
            values = np.array([first[pair] for pair in shared]), np.array([second[pair] for pair in shared])
            found = metrics.ratio_over_pairs(*values, statistic)
            named = [model.words() for model in both]
            if attacks[0] != attacks[1]:
                named = [f"{name}, {numbers.ATTACKS[attack]}" for name, attack in zip(named, attacks, strict=True)]
            levels = float(statistic(values[0])), float(statistic(values[1]))
            suspicious = _suspicious(of_both[0]), _suspicious(of_both[1])
            yield Comparison(data, named[0], named[1], words, found, levels, len(shared), suspicious)


def _suspicious(rows: Sequence[Row]) -> float:
    shares = [row.get(f"{row['attack']}_share_suspicious") for row in rows]
    return float(np.mean([share for share in shares if share is not None] or [np.nan]))


def _by_pair(rows: Sequence[Row], measure: str) -> dict[tuple, float]:
    """The mean over models, where there are several, of a measure of each pair."""
    found: dict[tuple, list[float]] = {}
    for row in rows:
        if row.get(measure) is not None:
            found.setdefault(numbers.pair_of(row), []).append(float(row[measure]))
    return {pair: float(np.mean(values)) for pair, values in found.items()}


def _trained(tables: Tables, data: str, both: tuple[Model, Model], columns: dict[str, str]) -> Iterator[Comparison]:
    for column, words in columns.items():
        cells = _alike([_cells(tables, data, model) for model in both])
        of_both = [[cell[column] for cell in found if cell.get(column) is not None] for found in cells]
        if all(of_both):
            first, second = (float(np.mean(values)) for values in of_both)
            ratio = metrics.Interval(first / second, float("nan"), float("nan"))
            yield Comparison(data, both[0].words(), both[1].words(), words, ratio, (first, second))


def _table_row(claim: str, expected: str, found: Comparison) -> dict[str, Any]:
    return {
        "claim": claim,
        "data": found.data,
        "model": found.model,
        "against": found.against,
        "measure": found.measure,
        "value": found.values[0],
        "value_against": found.values[1],
        "ratio": found.ratio.value,
        "ratio_low": found.ratio.low,
        "ratio_high": found.ratio.high,
        "pairs": found.pairs or "",
        "share_suspicious": found.suspicious[0],
        "share_suspicious_against": found.suspicious[1],
        "held_up": _verdict(expected, found.ratio),
    }


def _verdict(expected: str, ratio: metrics.Interval) -> str:
    """What the ratio says of the claim."""
    low, high = ratio.low, ratio.high
    if np.isnan(low):
        low, high = ratio.value / (1.0 + _SAME), ratio.value * (1.0 + _SAME)
    if np.isnan(ratio.value):
        return "open"
    above, below = ("yes", "no") if expected == _LARGER else ("no", "yes")
    return above if low > 1.0 else below if high < 1.0 else "open"


_COLUMNS = ("data", "model", "against", "measure", "values", "ratio", "95 %", "suspicious attacks", "held up")


def _entries(row: dict[str, Any]) -> list[str]:
    interval = "" if np.isnan(row["ratio_low"]) else f"{row['ratio_low']:.3g} to {row['ratio_high']:.3g}"
    shares = row["share_suspicious"], row["share_suspicious_against"]
    weak = "" if np.isnan(shares).any() else f"{shares[0]:.0%} / {shares[1]:.0%}"
    words = (row[name] for name in ("data", "model", "against", "measure"))
    values = f"{row['value']:.4g} / {row['value_against']:.4g}"
    return [*words, values, f"{row['ratio']:.3g}", interval, weak, row["held_up"]]


FIGURES = {
    "claims": Figure(
        "Willetts et al. 2019 and 2021, Camuto et al. 2021",
        "What they claim, and what these models show",
        ("dsprites", "chairs", "faces", "celeb_a", "mnist", "fashion_mnist", "cifar10"),
        "configs/sweeps/w21_small.py",
        claims,
        "seatbelt sweep --sweep=w21_paper",
    ),
}
