"""Figures and the table of Willetts et al. 2019 in numbers, from the tables of sweeps."""

from typing import Any

from seatbelt_jax import metrics, plots
from seatbelt_jax.studies.papers import figure_densities as densities
from seatbelt_jax.studies.papers import figure_maps as maps
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers.drawing import Drawn, Figure, page
from seatbelt_jax.studies.papers.figure_tables import KINDS, MissingError, Tables

_PAPER = "Willetts et al. 2019"
_SMALL, _OUTPUT = "configs/sweeps/w21_small.py", "configs/sweeps/w21_output.py"
_LARGE = "seatbelt sweep --sweep=w21_paper"
_CELEBA = "seatbelt sweep --sweep=w21_celeba"
_KINDS = ("beta_tcvae", "beta_tcdlgm", "seatbelt")
_ATTACKS = ("latent_kl_all", "output_elbo")


def elbo_over_beta(tables: Tables) -> Drawn:
    """Fig. 3: the ELBO, without beta, of three models over beta."""
    return numbers.elbo_over_beta(tables, _KINDS)


def delta_over_beta(tables: Tables) -> Drawn:
    """Fig. 5: Delta of latent and of output attacks on beta-TCVAEs over beta."""
    cells = tables.of_kind("beta_tcvae")
    every, others = numbers.attacked_alike(tables, cells, _ATTACKS)
    found = {attack: rows for attack, rows in every.items() if rows}
    if not found:
        raise MissingError("attacks by latent_kl_all or output_elbo on beta_tcvae")
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    for data in tables.data_sets(cells):
        lines, far = [], []
        for attack, rows in found.items():
            of_data, series = [row for row in rows if row["data"] == data], _ATTACKS.index(attack)
            if of_data:
                name, place = attack.split("_")[0], {"data": data, "model": "beta_tcvae", "attack": attack}
                line, of_line = numbers.curve(of_data, "delta", name, series, place)
                both, of_both = numbers.ways(of_data, name, series, place)
                lines.append(line)
                far += both
                table += of_line + of_both
        if lines:
            panels.append(plots.Curves(f"Delta of β-TCVAEs, nats: {data}", "β", lines, logarithmic=True))
            panels.append(plots.Curves(f"{numbers.WAY}: {data}", "β", far))
    everything = [row for rows in found.values() for row in rows]
    lacking = [f"No attacks by {attack}." for attack in _ATTACKS if attack not in found]
    notes = (numbers.counted(everything), numbers.POOLED, numbers.HALF_WAY, *lacking, *others)
    return Drawn(table, panels, notes=notes)


def target_likelihoods(tables: Tables) -> Drawn:
    """Fig. 6: -log p(x^t|z) by depth and beta."""
    return _maps(tables, ("target_nll_nats",))


def losses(tables: Tables) -> Drawn:
    """Fig. 7: Delta by depth and beta."""
    return _maps(tables, ("delta", "distortion_half_way_l2"))


def noise(tables: Tables) -> Drawn:
    """Fig. 8: log p(x|z) of noisy images, three models under the least and the largest beta."""
    cells = tables.of_kind(*_KINDS)
    chosen = []
    for data in tables.data_sets(cells):
        listed = []
        for series, kind in enumerate(_KINDS):
            ends = [densities.model_of(cells, data, kind, least=least) for least in (True, False)]
            for cell, dashes in zip(ends, (1, 0), strict=True):
                # Dashed under the least beta, where there are two.
                if cell is not None and (not dashes or cell is not ends[1]):
                    name = f"{numbers.NAMES[kind]}, β = {cell['beta']:g}"
                    listed.append((name, cell, {"series": series + dashes * len(plots.SERIES)}))
        chosen.append((data, listed))
    panels, table = densities.of_noise(tables, chosen)
    note = "The paper shows β = 0 and 10. Further right is better denoised."
    return Drawn(table, panels, columns=len(densities.SCALES), notes=(note, densities.NOTE))


def weight_changes(tables: Tables) -> Drawn:
    """Table 1: how the norms of encoders' and decoders' weights change from the least to the largest beta."""
    cells = [cell for cell in tables.of_kind("beta_tcvae", "seatbelt") if cell.get("encoder_weight_norm") is not None]
    if not cells:
        raise MissingError("the measure weight_norms (evaluate.measures)")
    table: list[dict[str, Any]] = []
    entries: dict[tuple[str, str], list[str]] = {}
    for data in tables.data_sets(cells):
        for kind in ("beta_tcvae", "seatbelt"):
            last = densities.model_of(cells, data, kind)
            alike = [
                cell for cell in cells if last is not None and all(cell[axis] == last[axis] for axis in ("L", "d_z"))
            ]
            first = densities.model_of([cell for cell in alike if KINDS[kind](cell)], data, kind, least=True)
            if first is None or last is None or first["beta"] == last["beta"]:
                continue
            before, after = (
                {network: cell[f"{network}_weight_norm"] for network in ("encoder", "decoder")}
                for cell in (first, last)
            )
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


def _maps(tables: Tables, measures: tuple[str, ...]) -> Drawn:
    """A row of maps for each data set and model, attack by attack; L = 1 stands below each."""
    panels: list[plots.Panel | None] = []
    table: list[dict[str, Any]] = []
    lacking: list[str] = []
    reasons = []
    for kind in ("beta_tcdlgm", "seatbelt"):
        try:
            of_kind, rows, without = maps.maps(tables, ("beta_tcvae", kind), _ATTACKS, measures)
        except MissingError as error:
            reasons.append(str(error))
            continue
        panels += of_kind
        table += rows
        lacking += [note for note in without if note not in lacking]
    if not panels:
        raise MissingError("; ".join(reasons))
    columns = len(measures) * len({row["attack"] for row in table})
    return Drawn(table, panels, columns=columns, notes=("L = 1 is the β-TCVAE.", maps.NOTE, *lacking))


FIGURES: dict[str, Figure] = {
    "w19_3": Figure(
        f"{_PAPER}, Fig. 3",
        "The ELBO, without β, of three models over β",
        ("chairs", "faces", "celeb_a"),
        _SMALL,
        elbo_over_beta,
        _LARGE,
    ),
    "w19_5": Figure(
        f"{_PAPER}, Fig. 5",
        "Delta of latent and output attacks on β-TCVAEs over β",
        ("chairs", "faces"),
        _OUTPUT,
        delta_over_beta,
        _LARGE,
    ),
    "w19_6": Figure(
        f"{_PAPER}, Fig. 6", "log p(x^t|z) under attack", ("chairs", "faces"), _OUTPUT, target_likelihoods, _LARGE
    ),
    "w19_7": Figure(f"{_PAPER}, Fig. 7", "Delta by depth and β", ("chairs", "faces"), _OUTPUT, losses, _LARGE),
    "w19_8": Figure(f"{_PAPER}, Fig. 8", "log p(x|z) with noise added to x", ("celeb_a",), _SMALL, noise, _CELEBA),
    "w19_table1": Figure(
        f"{_PAPER}, Table 1",
        "Norms of the networks' weights, from the least to the largest β",
        ("chairs", "faces", "celeb_a"),
        _SMALL,
        weight_changes,
        _LARGE,
    ),
}
