"""Figures and the table of Willetts et al. 2021 in numbers, from the tables of sweeps."""

from functools import partial

import pandas as pd

from seatbelt_jax import plots
from seatbelt_jax.studies.papers import figure_densities as densities
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers.attack_curves import WAYS, AttackCurves, Panel
from seatbelt_jax.studies.papers.drawing import Drawn, Figure, Row, page
from seatbelt_jax.studies.papers.figure_maps import AttackMaps
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables

_SMALL, _OUTPUT = "configs/sweeps/w21_small.py", "configs/sweeps/w21_output.py"
_LARGE, _CELEBA = "seatbelt sweep --sweep=w21_paper", "seatbelt sweep --sweep=w21_celeba"
_FACES = ("chairs", "faces")
_TASKS = {
    "mlp_reconstructions": "p_MLP(y|x̃)",
    "conv_reconstructions": "p_Conv(y|x̃)",
    "mlp_codes": "p_MLP(y|z)",
}
# Columns of the attacks on the classifiers: name, words, format.
_OF_CLASSIFIERS = (("median_distortion_l2", "median ||d||", ".3g"), ("share_suspicious", "suspicious attacks", ".0%"))
# Fig. E.10 calls the first target-recon distance, the second adversarial-target distance.
_DISTANCES = {
    "target_error_l2": "||x^t - recon(x^t)||",
    "distance_to_target_l2": "||x* - x^t||",
    "adversarial_error_l2": "||recon* - x^t||",
}

DELTA_OVER_BETA = AttackCurves(
    kinds=("beta_tcvae",),
    attacks=("latent_kl_all",),
    panels=(Panel("Delta of β-TCVAEs, {unit}", {"delta": ""}, logarithmic=True), WAYS),
    apart=(),
    lines="data",
)
THREE_ATTACKS = AttackCurves(
    kinds=("beta_tcvae", "seatbelt"),
    attacks=("latent_kl_all", "output_elbo", "latent_w2_all"),
    panels=(
        Panel(numbers.TARGET_NLL, {"target_nll_nats": ""}),
        Panel("Delta, {unit}", {"delta": ""}, logarithmic=True),
        WAYS,
    ),
    apart=("data", "objective"),
    lines="kind",
    columns=3,
    depths=(1, 4),
)
DISTANCES = AttackCurves(
    kinds=("beta_tcvae",),
    attacks=("latent_kl_all", "output_l2"),
    instead={"output_l2": "output_elbo"},
    panels=(
        Panel("L2 distances, pixel units", _DISTANCES, of_targets=("target_error_l2",)),
        Panel("Delta", {"delta": "{unit}"}, logarithmic=True),
        WAYS,
    ),
    apart=("data",),
    lines="objective",
    columns=3,
)
LAYERS_ATTACKED = AttackMaps(
    ("seatbelt",), ("latent_kl_bottom", "latent_kl_top", "latent_kl_all"), ("target_nll_nats",)
)
DEPTH_AND_BETA = AttackMaps(
    ("seatbelt",), ("latent_kl_all",), ("target_nll_nats", "delta", *numbers.WAYS), shallow="beta_tcvae"
)


def posterior_stds(tables: Tables) -> Drawn:
    """Fig. 2: the density of ||sigma(x)|| at the largest beta, and likelihood and ELBO over beta."""
    kinds = ("beta_vae", "beta_tcvae")
    cells = tables.of_kind(*kinds)
    panels: list[plots.Panel] = []
    table: list[Row] = []
    lacking: list[str] = []
    for data in cells["data"].unique():
        # In the order of the curves beside it, which have no VAE of their own, for the same colours.
        chosen = [(numbers.NAMES[kind], densities.model_of(cells, data, kind)) for kind in kinds]
        chosen.append(("VAE", densities.model_of(cells, data, "beta_vae", 1.0)))
        lines: list[plots.Line] = []
        for series, (name, cell) in enumerate(chosen):
            if cell is None:
                lacking.append(f"{data}: no {name}{', that is, β-VAE under β = 1' if name == 'VAE' else ''}.")
                continue
            label = name if name == "VAE" else f"{name}, β = {cell['beta']:g}"
            of_model, rows = densities.line(tables, cell, "posterior_std", label, layer="1", series=series)
            lines += of_model
            table += rows
        if lines:
            panels.append(plots.Curves(f"density of ||σ(x)||: {data}", "||σ(x)||, latent units", lines, marked=False))
            of_data, rows = numbers.elbos(tables, kinds, data, ("log_likelihood_nats", "elbo_nats"))
            panels += of_data
            table += rows
    if not panels:
        raise MissingError("the measure posterior_std (evaluate.measures) of models of one layer")
    return Drawn(table, panels, columns=3, notes=(densities.NOTE, numbers.OVER_MODELS, *lacking))


def disentanglement(tables: Tables) -> Drawn:
    """Fig. E.11: Delta over MIG, a point for each beta and d_z."""
    needs = "the measure mig (evaluate.measures) of beta_tcvae, on data whose factors are known"
    cells = tables.measured(tables.of_kind("beta_tcvae"), "mig", layer="1", needs=needs)
    found = numbers.attacked_alike(tables, cells, ["latent_kl_all"])[0]["latent_kl_all"]
    panels: list[plots.Panel] = []
    table: list[Row] = []
    for data, of_data in found.groupby("data", sort=False):
        for measure, title in (
            ("delta", f"Delta, {numbers.unit_of(found)}"),
            ("distortion_half_way_l2", "median ||d|| half of the way, pixel units"),
        ):
            of_sizes = [_points(rows, measure, series) for series, (_, rows) in enumerate(of_data.groupby("d_z"))]
            table += [row for _, rows in of_sizes for row in rows]
            lines = [line for line, _ in of_sizes]
            panels.append(plots.Curves(f"{title}: {data}", "MIG", lines, logarithmic=measure == "delta"))
    notes = ("A point is a model: one β and d_z.", numbers.counted(found), "Bars: 95 % intervals over pairs of images.")
    return Drawn(table, panels, notes=notes)


def _points(rows: pd.DataFrame, measure: str, series: int) -> tuple[plots.Line, list[Row]]:
    """A point for each model, its MIG and a measure of the attacks on it; rows of the table too."""
    axes = ["data", "model", "d_z", "beta", "seed", "mig"]
    table = [
        {**dict(zip(axes, place, strict=True)), "measure": measure, **numbers.of_attacks(of_model, measure)}
        for place, of_model in rows.groupby(axes, sort=False)
    ]
    columns = ("mig", "median" if measure in numbers.WAYS else "mean", "low_over_pairs", "high_over_pairs")
    x, y, low, high = ([row[name] for row in table] for name in columns)
    name = f"d_z = {table[0]['d_z']:g}"
    return plots.Line(name, x, y, bar_low=low, bar_high=high, series=series, joined=False), table


def noise(tables: Tables) -> Drawn:
    """Fig. F.12: densities of log p(x|z) of noisy images, every beta, beta-TCVAE and the deepest Seatbelt-VAE."""
    kinds = ("beta_tcvae", "seatbelt")
    cells = tables.of_kind(*kinds)
    chosen = []
    for data in cells["data"].unique():
        for kind in kinds:
            of_kind = cells[(cells["data"] == data) & (cells["kind"] == kind)]
            betas = sorted(of_kind["beta"].unique())
            shades = [number / max(1, len(betas) - 1) for number in range(len(betas))]
            models = [
                (f"β = {beta:g}", densities.model_of(of_kind, data, kind, beta), {"shade": shade})
                for beta, shade in zip(betas, shades, strict=True)
            ]
            if models:
                chosen.append((f"{data}, {numbers.NAMES[kind]}, L = {models[-1][1]['L']:g}", models))
    panels, table = densities.of_noise(tables, chosen)
    notes = ("Further right is better denoised.", densities.NOTE)
    return Drawn(table, panels, columns=len(densities.SCALES), notes=notes)


def downstream(tables: Tables) -> Drawn:
    """Table 1: accuracy of classifiers on attacked reconstructions and codes, and what the attack takes of it."""
    needs = "the measure downstream (evaluate.measures), on data with labels"
    cells = tables.of_kind("beta_vae", "beta_tcvae", "seatbelt")
    cells = tables.measured(cells, "downstream_mlp_codes_accuracy_attacked", needs=needs)
    of_tasks = [f"downstream_{task}_accuracy_{rate}" for task in _TASKS for rate in ("attacked", "change")]
    for measure in (*of_tasks, *(f"downstream_{name}" for name, _, _ in _OF_CLASSIFIERS)):
        cells = cells.drop(columns=measure, errors="ignore").merge(
            tables.measured(cells, measure)[["cell", measure]], on="cell", how="left"
        )
    table: list[Row] = []
    lines = []
    for data in cells["data"].unique():
        vae = densities.model_of(cells, data, "beta_vae", 1.0)
        chosen = {"VAE": densities.model_of(cells, data, "beta_tcvae", 1.0) if vae is None else vae}
        for kind in ("beta_tcvae", "seatbelt"):
            chosen[numbers.NAMES[kind]] = densities.model_of(cells[cells["beta"] > 1.0], data, kind)
        settings = ["" if cell is None else f"β = {cell['beta']:g}, L = {cell['L']:g}" for cell in chosen.values()]
        lines.append([data, "", *settings])
        for task, words in _TASKS.items():
            entries = []
            for name, cell in chosen.items():
                attacked = None if cell is None else cell[f"downstream_{task}_accuracy_attacked"]
                if cell is None or pd.isna(attacked):
                    entries.append("")
                    continue
                change = cell[f"downstream_{task}_accuracy_change"]
                entries.append(f"{attacked:.2f} ({change:+.2f})")
                row = {"data": data, "task": task, "model": name, **cell[["L", "d_z", "beta"]]}
                table.append(row | {"accuracy_attacked": attacked, "accuracy_change": change})
            lines.append([data, words, *entries])
        for column, words, show in _OF_CLASSIFIERS:
            values = [float("nan") if cell is None else cell[f"downstream_{column}"] for cell in chosen.values()]
            lines.append([data, words, *("" if pd.isna(value) else format(value, show) for value in values)])
    columns = ["data", "task", "VAE", numbers.NAMES["beta_tcvae"], numbers.NAMES["seatbelt"]]
    note = (
        "Accuracy under attack, in parentheses attacked less clean; pairs of images of different labels, λ = 1. The "
        "largest β and L of the sweep. Suspicious are attacks that `attacks.diagnose` flags."
    )
    return Drawn(table, page=page(columns, lines), notes=(note,))


_COLOUR = (
    "seatbelt sweep --sweep=w21_downstream "
    "--sweep.grids.one_layer.data=\"('svhn','cifar10')\" --sweep.grids.layers.data=\"('svhn','cifar10')\""
)


def _figure(source, title, data, sweep, draw, paper=_LARGE):
    return Figure(f"Willetts et al. 2021, {source}", title, data, sweep, draw, paper)


FIGURES: dict[str, Figure] = {
    "w21_2": _figure(
        "Fig. 2", "Norms of σ(x); likelihood and ELBO over β", ("celeb_a",), _SMALL, posterior_stds, _CELEBA
    ),
    "w21_3": _figure(
        "Fig. 3",
        "The attacker's loss Delta_KL on β-TCVAEs over β",
        ("dsprites", *_FACES),
        _SMALL,
        DELTA_OVER_BETA.draw,
    ),
    "w21_5": _figure(
        "Fig. 5", "Three attacks on β-TCVAEs and Seatbelt-VAEs over β", _FACES, _OUTPUT, THREE_ATTACKS.draw
    ),
    "w21_6": _figure(
        "Fig. 6 a, b",
        "The ELBO, without β, of TC-penalised models over β",
        _FACES,
        _SMALL,
        partial(numbers.elbo_over_beta, kinds=("beta_tcvae", "seatbelt")),
    ),
    "w21_table1": _figure(
        "Table 1",
        "Downstream classification under attack",
        ("svhn", "cifar10"),
        "configs/sweeps/w21_downstream.py",
        downstream,
        _COLOUR,
    ),
    "w21_d8": _figure(
        "Fig. D.8",
        "Attacks on the bottom layer, the top layer and all layers",
        _FACES,
        _SMALL,
        LAYERS_ATTACKED.draw,
    ),
    "w21_d9": _figure("Fig. D.9", "Attacks by depth and β", _FACES, _SMALL, DEPTH_AND_BETA.draw),
    "w21_e10": _figure(
        "Fig. E.10",
        "Distances and losses of latent and output attacks over β",
        ("dsprites", *_FACES),
        _OUTPUT,
        DISTANCES.draw,
    ),
    "w21_e11": _figure(
        "Fig. E.11",
        "Delta and the mutual information gap",
        _FACES,
        "configs/sweeps/w21_disentanglement.py",
        disentanglement,
    ),
    "w21_f12": _figure("Fig. F.12", "log p(x|z) with noise added to x", ("chairs",), _SMALL, noise),
}
