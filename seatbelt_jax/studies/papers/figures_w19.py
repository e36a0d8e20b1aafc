"""Figures and the table of Willetts et al. 2019 in numbers, from the tables of sweeps."""

import itertools
from functools import partial

from seatbelt_jax import metrics, plots
from seatbelt_jax.studies.papers import figure_densities as densities
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers.attack_curves import WAYS, AttackCurves, Panel
from seatbelt_jax.studies.papers.drawing import Drawn, Figure, Row, page
from seatbelt_jax.studies.papers.figure_maps import AttackMaps
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables

_SMALL, _OUTPUT = "configs/sweeps/w21_small.py", "configs/sweeps/w21_output.py"
_LARGE, _CELEBA = "seatbelt sweep --sweep=w21_paper", "seatbelt sweep --sweep=w21_celeba"
_FACES = ("chairs", "faces")
_KINDS = ("beta_tcvae", "beta_tcdlgm", "seatbelt")
_ATTACKS = ("latent_kl_all", "output_elbo")

DELTA_OVER_BETA = AttackCurves(
    kinds=("beta_tcvae",),
    attacks=_ATTACKS,
    panels=(Panel("Delta of β-TCVAEs, nats", {"delta": ""}, logarithmic=True), WAYS),
    apart=("data",),
    lines="objective",
)
TARGET_LIKELIHOODS = AttackMaps(("beta_tcdlgm", "seatbelt"), _ATTACKS, ("target_nll_nats",), shallow="beta_tcvae")
LOSSES = TARGET_LIKELIHOODS._replace(measures=("delta", "distortion_half_way_l2"))


def noise(tables: Tables) -> Drawn:
    """Fig. 8: log p(x|z) of noisy images, three models under the least and the largest beta."""
    cells = tables.of_kind(*_KINDS)
    chosen = []
    for data in cells["data"].unique():
        listed = []
        for series, kind in enumerate(_KINDS):
            least, largest = (densities.model_of(cells, data, kind, least=least) for least in (True, False))
            # Dashed under the least beta, where there are two.
            for cell, dashes in ((least, len(plots.SERIES)), (largest, 0)):
                if cell is not None and (not dashes or cell["cell"] != largest["cell"]):
                    name = f"{numbers.NAMES[kind]}, β = {cell['beta']:g}"
                    listed.append((name, cell, {"series": series + dashes}))
        chosen.append((data, listed))
    panels, table = densities.of_noise(tables, chosen)
    note = "The paper shows β = 0 and 10. Further right is better denoised."
    return Drawn(table, panels, columns=len(densities.SCALES), notes=(note, densities.NOTE))


def weight_changes(tables: Tables) -> Drawn:
    """Table 1: how the norms of encoders' and decoders' weights change from the least to the largest beta."""
    cells = tables.of_kind("beta_tcvae", "seatbelt")
    needs = "the measure weight_norms (evaluate.measures)"
    norms = {"encoder": "encoder_weight_norm", "decoder": "decoder_weight_norm"}
    for measure in norms.values():
        cells = tables.measured(cells, measure, needs=needs)
    table: list[Row] = []
    entries: dict[tuple[str, str], list[str]] = {}
    for data, kind in itertools.product(cells["data"].unique(), ("beta_tcvae", "seatbelt")):
        of_kind = cells[(cells["data"] == data) & (cells["kind"] == kind)]
        if of_kind["beta"].nunique() < 2:
            continue
        last = densities.model_of(of_kind, data, kind)
        alike = of_kind[(of_kind["L"] == last["L"]) & (of_kind["d_z"] == last["d_z"])]
        first = densities.model_of(alike, data, kind, least=True)
        before, after = ({network: cell[name] for network, name in norms.items()} for cell in (first, last))
        for network, change in metrics.relative_changes(before, after).items():
            row = {"data": data, "model": kind, "L": last["L"], "d_z": last["d_z"], "network": network}
            row |= {"beta_from": first["beta"], "beta_to": last["beta"]}
            table.append(row | {"relative_change_percent": 100.0 * change})
            entries.setdefault((data, network), []).append(
                f"{numbers.NAMES[kind]} {100.0 * change:+.1f} % (β {first['beta']:g} to {last['beta']:g})"
            )
    if not table:
        raise MissingError("models under two values of β with the measure weight_norms")
    lines = [[data, network, "; ".join(found)] for (data, network), found in entries.items()]
    return Drawn(table, page=page(["data", "network", "relative change of ||W||"], lines))


def _figure(source, title, data, sweep, draw, paper=_LARGE):
    return Figure(f"Willetts et al. 2019, {source}", title, data, sweep, draw, paper)


FIGURES: dict[str, Figure] = {
    "w19_3": _figure(
        "Fig. 3",
        "The ELBO, without β, of three models over β",
        (*_FACES, "celeb_a"),
        _SMALL,
        partial(numbers.elbo_over_beta, kinds=_KINDS),
    ),
    "w19_5": _figure(
        "Fig. 5", "Delta of latent and output attacks on β-TCVAEs over β", _FACES, _OUTPUT, DELTA_OVER_BETA.draw
    ),
    "w19_6": _figure("Fig. 6", "log p(x^t|z) under attack", _FACES, _OUTPUT, TARGET_LIKELIHOODS.draw),
    "w19_7": _figure("Fig. 7", "Delta by depth and β", _FACES, _OUTPUT, LOSSES.draw),
    "w19_8": _figure("Fig. 8", "log p(x|z) with noise added to x", ("celeb_a",), _SMALL, noise, _CELEBA),
    "w19_table1": _figure(
        "Table 1",
        "Norms of the networks' weights, from the least to the largest β",
        (*_FACES, "celeb_a"),
        _SMALL,
        weight_changes,
    ),
}
