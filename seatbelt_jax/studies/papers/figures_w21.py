"""Figures and the table of the main part of Willetts et al. 2021, in numbers, from the tables of sweeps."""

from typing import Any

from seatbelt_jax import plots
from seatbelt_jax.studies.papers import figure_densities as densities
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers.drawing import Drawn, Figure, page
from seatbelt_jax.studies.papers.figure_tables import KINDS, MissingError, Tables

_PAPER = "Willetts et al. 2021"
_SMALL = "configs/sweeps/w21_small.py"
_LARGE = "seatbelt sweep --sweep=w21_paper"
_FACES = ("chairs", "faces")
_BETA = "β"
_TASKS = {
    "mlp_reconstructions": "p_MLP(y|x̃)",
    "conv_reconstructions": "p_Conv(y|x̃)",
    "mlp_codes": "p_MLP(y|z)",
}
# Columns of the attacks on the classifiers: name, words, format.
_OF_ATTACKS = (("median_distortion_l2", "median ||d||", ".3g"), ("share_suspicious", "suspicious attacks", ".0%"))


def posterior_stds(tables: Tables) -> Drawn:
    """Fig. 2: the density of ||sigma(x)|| at the largest beta, and likelihood and ELBO over beta."""
    cells = tables.of_kind("beta_vae", "beta_tcvae")
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    lacking: list[str] = []
    for data in tables.data_sets(cells):
        # In the order of the curves beside it, which have no VAE of their own, for the same colours.
        chosen = [(numbers.NAMES[kind], densities.model_of(cells, data, kind)) for kind in ("beta_vae", "beta_tcvae")]
        chosen.append(("VAE", densities.model_of(cells, data, "beta_vae", 1.0)))
        lines = []
        for series, (name, cell) in enumerate(chosen):
            if cell is None:
                lacking.append(f"{data}: no {name}{', that is, β-VAE under β = 1' if name == 'VAE' else ''}.")
                continue
            label = name if name == "VAE" else f"{name}, β = {cell['beta']:g}"
            found = densities.line(tables, cell, "posterior_std", "layer_1", label, series=series)
            if found is not None:
                lines.append(found[0])
                table += found[1]
        if lines:
            panels.append(plots.Curves(f"density of ||σ(x)||: {data}", "||σ(x)||, latent units", lines, marked=False))
            of_data, rows = numbers.elbos(
                tables, ("beta_vae", "beta_tcvae"), data, ("log_likelihood_nats", "elbo_nats")
            )
            panels += of_data
            table += rows
    if not panels:
        raise MissingError("the measure posterior_std (evaluate.measures) of models of one layer")
    return Drawn(table, panels, columns=3, notes=(densities.NOTE, numbers.OVER_MODELS, *lacking))


def delta_over_beta(tables: Tables) -> Drawn:
    """Fig. 3: Delta of beta-TCVAEs over beta; and what it leaves out."""
    cells = tables.of_kind("beta_tcvae")
    attacked = numbers.attacked(tables, cells, "latent_kl_all")
    found = numbers.comparable(attacked)
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
        plots.Curves(numbers.WAY, _BETA, far),
    )
    notes = (numbers.counted(found), numbers.POOLED, numbers.HALF_WAY, *numbers.left_out(attacked, found))
    return Drawn(table, panels, notes=notes)


def three_attacks(tables: Tables) -> Drawn:
    """Fig. 5: -log p(x^t|z*) and Delta over beta, beta-TCVAE beside the deepest Seatbelt-VAE up to L = 4."""
    cells = [cell for cell in tables.of_kind("beta_tcvae", "seatbelt") if cell["L"] in (1, 4)]
    attacks = ("latent_kl_all", "output_elbo", "latent_w2_all")
    found, others = numbers.attacked_alike(tables, cells, attacks)
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    for data in tables.data_sets(cells):
        for attack in attacks:
            rows = [row for row in found[attack] if row["data"] == data]
            if not rows:
                continue
            words = f"{data}\n{numbers.ATTACKS[attack]}"
            titles = {"target_nll_nats": numbers.TARGET_NLL, "delta": f"Delta, {numbers.unit_of(rows)}"}
            of_measures: dict[str, list[plots.Line]] = {"target_nll_nats": [], "delta": [], "way": []}
            for series, kind in enumerate(("beta_tcvae", "seatbelt")):
                of_kind = [row for row in rows if KINDS[kind](row)]
                place = {"data": data, "model": kind, "attack": attack}
                for measure in titles if of_kind else ():
                    line, of_line = numbers.curve(of_kind, measure, numbers.NAMES[kind], series, place)
                    of_measures[measure].append(line)
                    table += of_line
                both, of_both = numbers.ways(of_kind, numbers.NAMES[kind], series, place)
                of_measures["way"] += both
                table += of_both
            panels += [
                plots.Curves(f"{title}: {words}", _BETA, of_measures[measure], logarithmic=measure == "delta")
                for measure, title in titles.items()
            ]
            panels.append(plots.Curves(f"{numbers.WAY}: {words}", _BETA, of_measures["way"]))
    if not panels:
        raise MissingError(f"attacks by {' or '.join(attacks)} on beta_tcvae and seatbelt of L = 4")
    lacking = [f"No attacks by {attack}." for attack in attacks if not found[attack]]
    everything = [row for rows in found.values() for row in rows]
    notes = (numbers.counted(everything), numbers.POOLED, numbers.HALF_WAY, *lacking, *others)
    return Drawn(table, panels, columns=3, notes=notes)


def elbo_over_beta(tables: Tables) -> Drawn:
    """Fig. 6 a, b."""
    return numbers.elbo_over_beta(tables, ("beta_tcvae", "seatbelt"))


def downstream(tables: Tables) -> Drawn:
    """Table 1: accuracy of classifiers on attacked reconstructions and codes, and what the attack takes of it."""
    cells = tables.of_kind("beta_vae", "beta_tcvae", "seatbelt")
    cells = [cell for cell in cells if cell.get("downstream_mlp_codes_accuracy_attacked") is not None]
    if not cells:
        raise MissingError("the measure downstream (evaluate.measures), on data with labels")
    table: list[dict[str, Any]] = []
    lines = []
    for data in tables.data_sets(cells):
        vae = densities.model_of(cells, data, "beta_vae", 1.0) or densities.model_of(cells, data, "beta_tcvae", 1.0)
        chosen = {"VAE": vae}
        penalised = [cell for cell in cells if cell["beta"] > 1.0]
        for kind in ("beta_tcvae", "seatbelt"):
            chosen[numbers.NAMES[kind]] = densities.model_of(penalised, data, kind)
        settings = ["" if cell is None else f"β = {cell['beta']:g}, L = {cell['L']:g}" for cell in chosen.values()]
        lines.append([data, "", *settings])
        for task, words in _TASKS.items():
            entries = []
            for name, cell in chosen.items():
                attacked = None if cell is None else cell.get(f"downstream_{task}_accuracy_attacked")
                if cell is None or attacked is None:
                    entries.append("")
                    continue
                change = cell[f"downstream_{task}_accuracy_change"]
                entries.append(f"{attacked:.2f} ({change:+.2f})")
                row = {"data": data, "task": task, "model": name} | {axis: cell[axis] for axis in ("L", "d_z", "beta")}
                table.append(row | {"accuracy_attacked": attacked, "accuracy_change": change})
            lines.append([data, words, *entries])
        for column, words, show in _OF_ATTACKS:
            values = [None if cell is None else cell.get(f"downstream_{column}") for cell in chosen.values()]
            lines.append([data, words, *("" if value is None else format(value, show) for value in values)])
    columns = ["data", "task", "VAE", numbers.NAMES["beta_tcvae"], numbers.NAMES["seatbelt"]]
    note = (
        "Accuracy under attack, in parentheses attacked less clean; pairs of images of different labels, λ = 1. The "
        "largest β and L of the sweep. Suspicious are attacks that `attacks.diagnose` flags."
    )
    return Drawn(table, page=page(columns, lines), notes=(note,))


_CELEBA = "seatbelt sweep --sweep=w21_celeba"
_COLOUR = (
    "seatbelt sweep --sweep=w21_downstream "
    "--sweep.grids.one_layer.data=\"('svhn','cifar10')\" --sweep.grids.layers.data=\"('svhn','cifar10')\""
)
FIGURES: dict[str, Figure] = {
    "w21_2": Figure(
        f"{_PAPER}, Fig. 2", "Norms of σ(x); likelihood and ELBO over β", ("celeb_a",), _SMALL, posterior_stds, _CELEBA
    ),
    "w21_3": Figure(
        f"{_PAPER}, Fig. 3",
        "The attacker's loss Delta_KL on β-TCVAEs over β",
        ("dsprites", *_FACES),
        _SMALL,
        delta_over_beta,
        _LARGE,
    ),
    "w21_5": Figure(
        f"{_PAPER}, Fig. 5",
        "Three attacks on β-TCVAEs and Seatbelt-VAEs over β",
        _FACES,
        "configs/sweeps/w21_output.py",
        three_attacks,
        _LARGE,
    ),
    "w21_6": Figure(
        f"{_PAPER}, Fig. 6 a, b",
        "The ELBO, without β, of TC-penalised models over β",
        _FACES,
        _SMALL,
        elbo_over_beta,
        _LARGE,
    ),
    "w21_table1": Figure(
        f"{_PAPER}, Table 1",
        "Downstream classification under attack",
        ("svhn", "cifar10"),
        "configs/sweeps/w21_downstream.py",
        downstream,
        _COLOUR,
    ),
}
