"""Figures of the appendix of Willetts et al. 2021, in numbers, from the tables of sweeps."""

from collections.abc import Mapping, Sequence
from typing import Any

from seatbelt_jax import plots
from seatbelt_jax.studies.papers import figure_densities as densities
from seatbelt_jax.studies.papers import figure_maps as maps
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers.drawing import Drawn, Figure
from seatbelt_jax.studies.papers.figure_tables import KINDS, MissingError, Row, Tables

_PAPER = "Willetts et al. 2021"
_SMALL = "configs/sweeps/w21_small.py"
_LARGE = "seatbelt sweep --sweep=w21_paper"
_FACES = ("chairs", "faces")
_BETA = "β"
# Fig. E.10 calls the first target-recon distance, the second adversarial-target distance.
_DISTANCES = {
    "target_error_l2": "||x^t - recon(x^t)||",
    "distance_to_target_l2": "||x* - x^t||",
    "adversarial_error_l2": "||recon* - x^t||",
}


def layers_attacked(tables: Tables) -> Drawn:
    """Fig. D.8: -log p(x^t|z) over beta and L, for attacks on the bottom layer, the top layer and all."""
    attacks = ("latent_kl_bottom", "latent_kl_top", "latent_kl_all")
    panels, table, lacking = maps.maps(tables, ("seatbelt",), attacks, ("target_nll_nats",))
    return Drawn(table, panels, columns=3, notes=(maps.NOTE, *lacking))


def depth_and_beta(tables: Tables) -> Drawn:
    """Fig. D.9: -log p(x^t|z*) and Delta over beta and L."""
    measures = ("target_nll_nats", "delta", *maps.WAYS)
    panels, table, lacking = maps.maps(tables, ("beta_tcvae", "seatbelt"), ("latent_kl_all",), measures)
    return Drawn(table, panels, columns=4, notes=("L = 1 is the β-TCVAE.", maps.NOTE, *lacking))


def distances(tables: Tables) -> Drawn:
    """Fig. E.10: reconstruction error at the target, distances of attacks from it, and Delta, on beta-TCVAEs."""
    cells = tables.of_kind("beta_tcvae")
    attacks = {"latent": "latent_kl_all", "output": "output_l2"}
    if not tables.attacks(cells, "output_l2"):
        attacks["output"] = "output_elbo"
    every, others = numbers.attacked_alike(tables, cells, attacks.values())
    found = {name: every[attack] for name, attack in attacks.items() if every[attack]}
    if not found:
        raise MissingError("attacks by latent_kl_all or output_l2 on beta_tcvae")
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    for data in tables.data_sets(cells):
        lines, losses, far = [], [], []
        for number, (name, rows) in enumerate(found.items()):
            of_data = [row for row in rows if row["data"] == data]
            place = {"data": data, "model": "beta_tcvae", "attack": attacks[name]}
            for series, (measure, label) in enumerate(_DISTANCES.items()):
                # The reconstruction of the target knows no attack.
                if of_data and (measure != "target_error_l2" or number == 0):
                    full = label if measure == "target_error_l2" else f"{label}, {name}"
                    dashed = series + number * len(plots.SERIES)
                    line, of_line = numbers.curve(of_data, measure, full, dashed, place)
                    lines.append(line)
                    table += of_line
            if of_data:
                label = f"{name}, {numbers.unit_of(of_data)}"
                line, of_line = numbers.curve(of_data, "delta", label, number, place)
                losses.append(line)
                both, of_both = numbers.ways(of_data, name, number, place)
                far += both
                table += of_line + of_both
        if lines:
            panels.append(plots.Curves(f"L2 distances, pixel units: {data}", _BETA, lines))
            panels.append(plots.Curves(f"Delta: {data}", _BETA, losses, logarithmic=True))
            panels.append(plots.Curves(f"{numbers.WAY}: {data}", _BETA, far))
    everything = [row for rows in found.values() for row in rows]
    shown = "; ".join(f"{name}: {numbers.ATTACKS[attacks[name]]}" for name in found)
    lacking = [] if "output" in found else ["No output attacks."]
    notes = (f"Attacks: {shown}.", *lacking, numbers.counted(everything), numbers.POOLED, *others)
    return Drawn(table, panels, columns=3, notes=notes)


def disentanglement(tables: Tables) -> Drawn:
    """Fig. E.11: Delta over MIG, a point for each beta and d_z."""
    cells = [cell for cell in tables.of_kind("beta_tcvae") if cell.get("mig_1") is not None]
    if not cells:
        raise MissingError("the measure mig (evaluate.measures) of beta_tcvae, on data whose factors are known")
    found = numbers.attacked(tables, cells, "latent_kl_all")
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    for data in tables.data_sets(found):
        lines: list[plots.Line] = []
        far: list[plots.Line] = []
        for series, d_z in enumerate(sorted({row["d_z"] for row in found if row["data"] == data})):
            here = [cell for cell in cells if (cell["data"], cell["d_z"]) == (data, d_z)]
            rows = {cell["cell"]: [row for row in found if row["cell"] == cell["cell"]] for cell in here}
            here = [cell for cell in here if rows[cell["cell"]]]
            for measure, into in (("delta", lines), ("distortion_half_way_l2", far)):
                into.append(_points(here, rows, measure, f"d_z = {d_z:g}", series, table))
        panels.append(plots.Curves(f"Delta, {numbers.unit_of(found)}: {data}", "MIG", lines, logarithmic=True))
        panels.append(plots.Curves(f"median ||d|| half of the way, pixel units: {data}", "MIG", far))
    notes = ("A point is a model: one β and d_z.", numbers.counted(found), "Bars: 95 % intervals over pairs of images.")
    return Drawn(table, panels, notes=notes)


def _points(
    cells: Sequence[Row], rows: Mapping[str, Sequence[Row]], measure: str, name: str, series: int, table: list[Row]
) -> plots.Line:
    """A point for each model, its MIG and a measure of the attacks on it; rows of the table too."""
    pool = numbers.pooled if measure == "delta" else numbers.median
    points = [pool(rows[cell["cell"]], measure) for cell in cells]
    for cell, found in zip(cells, points, strict=True):
        place = {column: cell[column] for column in ("data", "model", "d_z", "beta", "seed")}
        table.append({**place, "mig": cell["mig_1"], "measure": measure, **found})
    heights = [found["mean" if measure == "delta" else "median"] for found in points]
    low, high = ([found[f"{bound}_over_pairs"] for found in points] for bound in ("low", "high"))
    places = [cell["mig_1"] for cell in cells]
    return plots.Line(name, places, heights, bar_low=low, bar_high=high, series=series, joined=False)


def noise(tables: Tables) -> Drawn:
    """Fig. F.12: densities of log p(x|z) of noisy images, every beta, beta-TCVAE and the deepest Seatbelt-VAE."""
    cells = tables.of_kind("beta_tcvae", "seatbelt")
    chosen = []
    for data in tables.data_sets(cells):
        for kind in ("beta_tcvae", "seatbelt"):
            betas = sorted({cell["beta"] for cell in cells if KINDS[kind](cell) and cell["data"] == data})
            models = [(beta, densities.model_of(cells, data, kind, beta)) for beta in betas]
            shades = [number / max(1, len(betas) - 1) for number in range(len(betas))]
            listed = [
                (f"β = {beta:g}", cell, {"shade": shade})
                for (beta, cell), shade in zip(models, shades, strict=True)
                if cell is not None
            ]
            if listed:
                chosen.append((f"{data}, {numbers.NAMES[kind]}, L = {listed[-1][1]['L']:g}", listed))
    panels, table = densities.of_noise(tables, chosen)
    return Drawn(
        table, panels, columns=len(densities.SCALES), notes=("Further right is better denoised.", densities.NOTE)
    )


FIGURES: dict[str, Figure] = {
    "w21_d8": Figure(
        f"{_PAPER}, Fig. D.8",
        "Attacks on the bottom layer, the top layer and all layers",
        _FACES,
        _SMALL,
        layers_attacked,
        _LARGE,
    ),
    "w21_d9": Figure(f"{_PAPER}, Fig. D.9", "Attacks by depth and β", _FACES, _SMALL, depth_and_beta, _LARGE),
    "w21_e10": Figure(
        f"{_PAPER}, Fig. E.10",
        "Distances and losses of latent and output attacks over β",
        ("dsprites", *_FACES),
        "configs/sweeps/w21_output.py",
        distances,
        _LARGE,
    ),
    "w21_e11": Figure(
        f"{_PAPER}, Fig. E.11",
        "Delta and the mutual information gap",
        _FACES,
        "configs/sweeps/w21_disentanglement.py",
        disentanglement,
        _LARGE,
    ),
    "w21_f12": Figure(f"{_PAPER}, Fig. F.12", "log p(x|z) with noise added to x", ("chairs",), _SMALL, noise, _LARGE),
}
