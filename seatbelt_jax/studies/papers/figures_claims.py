"""What the papers claim, held against the tables of sweeps: each claim as ratios of what was measured."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from seatbelt_jax import metrics
from seatbelt_jax.studies.papers import drawing
from seatbelt_jax.studies.papers.comparisons import Comparison, Model, OfModels, attacked, trained
from seatbelt_jax.studies.papers.drawing import Drawn, Figure, Row
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables

_WAYS = ("distortion_half_way_l2", "distortion_nine_tenths_l2")
_MEASURES = ("delta_mean", *_WAYS)
_SIGMA = OfModels("posterior_std_norm_mean_latent_units", "mean ||sigma(x)||", layer="1")
_JACOBIAN = OfModels("encoder_jacobian_norm_median_latent_units_per_pixel_unit", "median ||J_mu(x)||_2")
_ERROR = OfModels("reconstruction_error_l2", "mean ||x - recon(x)||")
_LARGER, _SMALLER, _NEITHER = "larger", "smaller", "not larger"
# With one training each, a relative difference below this says nothing.
_SAME = 0.01


def claims(tables: Tables) -> Drawn:
    """All claims that the tables have models for, one table for each."""
    rows: list[Row] = []
    page = []
    for claim, (expected, compare) in _CLAIMS.items():
        data_sets = tables.cells["data"].unique()
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
            yield from attacked(tables, data, both, (attack, attack), measures)

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
            yield from attacked(tables, data, (model, plain), ("latent_kl_all",) * 2, _WAYS)
        for alone in (penalised, without_tc):
            yield from attacked(tables, data, (both, alone), ("latent_kl_all",) * 2, _WAYS)


def _bottom_alone(tables: Tables, data: str) -> Iterator[Comparison]:
    """Where the likelihood reads the bottom layer alone, against where it reads all, of one depth and beta."""
    for depth in _depths(tables, data):
        for beta in _betas(tables, "beta_tcdlgm", depth, data)[-1:]:
            both = Model("beta_tcdlgm", depth, beta), Model("seatbelt", depth, beta)
            yield from attacked(tables, data, both, ("latent_kl_all",) * 2, _MEASURES)


def _degrade(tables: Tables, data: str) -> Iterator[Comparison]:
    """How many times larger other models' errors become from beta = 1 to the largest, against a Seatbelt-VAE's."""
    lost = {}
    for kind, depth in (("beta_vae", 1), ("beta_tcvae", 1), ("beta_hvae", 4), ("seatbelt", 4)):
        for beta in _betas(tables, kind, depth, data)[-1:]:
            for one in trained(tables, data, (Model(kind, depth, beta), Model(kind, depth, 1.0)), _ERROR):
                lost[Model(kind, depth, beta)] = one.ratio.value
    for model, value in lost.items():
        for seatbelt in (other for other in lost if other.kind == "seatbelt" != model.kind):
            both = value, lost[seatbelt]
            first, second = (f"{one.words()} over β = 1" for one in (model, seatbelt))
            ratio = metrics.Interval(both[0] / both[1], np.nan, np.nan)
            yield Comparison(data, first, second, "ratio of mean ||x - recon(x)||", ratio, both)


def _of_layers(tables: Tables, data: str) -> Iterator[Comparison]:
    """What attacks on the top or the bottom layer need, against those on all layers of the same model."""
    for depth in _depths(tables, data):
        for beta in (1.0, *_betas(tables, "seatbelt", depth, data)[-1:]):
            model = Model("seatbelt", depth, beta)
            for attack in ("latent_kl_top", "latent_kl_bottom"):
                yield from attacked(tables, data, (model, model), (attack, "latent_kl_all"), _WAYS)


def _encoders(measure: OfModels) -> Any:
    def compare(tables: Tables, data: str) -> Iterator[Comparison]:
        for kind in ("beta_vae", "beta_tcvae"):
            for beta in _betas(tables, kind, 1, data):
                yield from trained(tables, data, (Model(kind, 1, beta), Model(kind, 1, 1.0)), measure)

    return compare


# Claim -> what the papers expect of the ratios, and what gives them.
_CLAIMS: dict[str, tuple[str, Callable[[Tables, str], Iterator[Comparison]]]] = {
    "The total correlation penalty raises Delta (Willetts et al. 2021, Fig. 3)": (
        _LARGER,
        _of_beta("beta_tcvae", 1, _MEASURES),
    ),
    "So it does in a Seatbelt-VAE (Willetts et al. 2021, Fig. 5)": (
        _LARGER,
        _of_beta("seatbelt", 4, _MEASURES),
    ),
    "Depth and total correlation together resist most (Willetts et al. 2021, Sec. 6)": (_LARGER, _deep_and_penalised),
    "Reconstructions of Seatbelt-VAEs degrade least with beta (Willetts et al. 2021, Fig. 6)": (_LARGER, _degrade),
    "Attacks on all layers need less distortion than those on one (Willetts et al. 2021, Sec. 5)": (
        _LARGER,
        _of_layers,
    ),
    "The beta-TCDLGM gains nothing (Willetts et al. 2019, Fig. 7)": (
        _NEITHER,
        _of_beta("beta_tcdlgm", 4, _MEASURES),
    ),
    "The beta-TCDLGM resists less than the Seatbelt-VAE (Willetts et al. 2019, Fig. 6, 7)": (_SMALLER, _bottom_alone),
    "Beta raises sigma (Camuto et al. 2021, Sec. 4)": (_LARGER, _encoders(_SIGMA)),
    "Beta lowers the norm of the encoder's Jacobian (Camuto et al. 2021, Sec. 4)": (_SMALLER, _encoders(_JACOBIAN)),
}


def _depths(tables: Tables, data: str) -> list[int]:
    """Depths of the Seatbelt-VAEs trained on this data set, in ascending order."""
    cells = tables.cells[(tables.cells["kind"] == "seatbelt") & (tables.cells["data"] == data)]
    return sorted(cells["L"].astype(int).unique())


def _betas(tables: Tables, kind: str, depth: int, data: str) -> list[float]:
    """Those above 1."""
    cells = tables.cells[(tables.cells["kind"] == kind) & (tables.cells["data"] == data)]
    return sorted(cells["beta"][(cells["L"] == depth) & (cells["beta"] > 1.0)].unique())


def _table_row(claim: str, expected: str, found: Comparison) -> Row:
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


def _entries(row: Row) -> list[str]:
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
