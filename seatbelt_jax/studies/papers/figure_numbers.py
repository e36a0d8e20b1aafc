"""Rows and lines that the figures of several papers have: measures of attacks over beta, pooled as the captions say."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from seatbelt_jax import metrics, plots
from seatbelt_jax.studies.papers.drawing import Drawn
from seatbelt_jax.studies.papers.figure_tables import KINDS, MissingError, Row, Tables

# The attacks of the papers, as attacks call their objectives.
ATTACKS = {
    "latent_kl_all": "latent, KL, all layers",
    "latent_kl_top": "latent, KL, top layer",
    "latent_kl_bottom": "latent, KL, bottom layer",
    "latent_w2_all": "latent, W2, all layers",
    "output_elbo": "output, ELBO of the target",
    "output_l2": "output, L2 to the target",
}
NAMES = {
    "beta_vae": "β-VAE",
    "beta_tcvae": "β-TCVAE",
    "beta_hvae": "β-HVAE",
    "seatbelt": "Seatbelt-VAE",
    "beta_tcdlgm": "β-TCDLGM",
}
POOLED = (
    "Shaded: 95 % interval of the mean over all attacks, pooled over pairs, penalties, latent sizes and seeds, as the "
    "paper's, which takes attacks on one pair for independent and the penalties for chance. Bars: over pairs alone."
)
HALF_WAY = (
    "Beside it the least ||d|| that moves the reconstruction half and nine tenths of the way to the target's, median "
    "over pairs with its 95 % interval over pairs: Delta changes with the latents' scale and with how far the solver "
    "got, ||d|| does not."
)


TARGET_NLL = "\N{MINUS SIGN}log p(x^t|z*), nats"
WAY = "median ||d|| half and 9/10 of the way, pixel units"
# What tells kinds of models apart, and what models of one kind, beside beta.
_OF_A_KIND = ("data", "penalty", "decoder_reads")
_MODEL = ("L", "d_z", "seed")
OVER_MODELS = (
    "Shaded: 95 % interval of the mean over models of other latent sizes, layers and seeds, where there are several."
)


def unit_of(rows: Sequence[Row]) -> str:
    """The unit of Delta, which all of them share."""
    return str(rows[0]["unit"]).replace("_", " ")


def pooled(rows: Sequence[Row], measure: str) -> dict[str, Any]:
    """The mean of a measure over the attacks of rows of `pairs`, with both intervals."""
    known = [row for row in rows if row.get(f"{measure}_mean") is not None]
    columns = ([row[name] for row in known] for name in ("attacks", f"{measure}_mean", f"{measure}_std"))
    counts, means, stds = columns
    return metrics.pooled_mean(counts, means, stds, [pair_of(row) for row in known])._asdict()


def of_pairs(rows: Sequence[Row], measure: str) -> dict[str, Any]:
    """The mean of what is one number a pair, with both intervals; a pair on a model counts once."""
    known = [row for row in rows if row.get(measure) is not None]
    values = [row[measure] for row in known]
    ones, zeros = [1.0] * len(known), [0.0] * len(known)
    return metrics.pooled_mean(ones, values, zeros, [pair_of(row) for row in known])._asdict()


def median(rows: Sequence[Row], measure: str) -> dict[str, Any]:
    """The median over pairs and models of what is one number a pair, with its interval over pairs."""
    known = [row for row in rows if row.get(measure) is not None]
    pairs = [pair_of(row) for row in known]
    found = metrics.median_over_pairs([row[measure] for row in known], pairs)
    return {
        "median": found.value,
        "low_over_pairs": found.low,
        "high_over_pairs": found.high,
        "pairs": len(set(pairs)),
    }


def pair_of(row: Row) -> tuple:
    """The pair of images: models of one data set share theirs."""
    return row["data"], row.get("source_index"), row.get("target_index"), row["pair"]


def counted(rows: Sequence[Row]) -> str:
    """How much was pooled."""
    pairs = len({pair_of(row) for row in rows})
    models = len({row["cell"] for row in rows})
    return f"{sum(row['attacks'] for row in rows):,.0f} attacks, {pairs} pairs, {models} models: {sizes_of(rows)}."


def over(rows: Sequence[Row], axis: str = "beta") -> dict[Any, list[Row]]:
    """Rows by their value on an axis, in its order."""
    return {value: [row for row in rows if row[axis] == value] for value in sorted({row[axis] for row in rows})}


def comparable(rows: Sequence[Row], among: Sequence[str] = (*_OF_A_KIND, "L")) -> list[Row]:
    """Rows of models (layers, latents, seed) that were trained under the same values of beta, those with the most.

    Pooled with models that lack some, a curve over beta would move because other models are in its mean.

    Args:
      among: columns; what differs in them is never pooled.
    """

    def values(row: Row, columns: Sequence[str]) -> tuple:
        return tuple(row.get(name) for name in columns)

    trained: dict[tuple, dict[tuple, set[float]]] = {}
    for row in rows:
        trained.setdefault(values(row, among), {}).setdefault(values(row, _MODEL), set()).add(row["beta"])
    most = {group: max(betas.values(), key=len) for group, betas in trained.items()}

    def is_kept(row: Row) -> bool:
        group = values(row, among)
        return row["beta"] in most[group] and most[group] <= trained[group][values(row, _MODEL)]

    return list(filter(is_kept, rows))


def left_out(rows: Sequence[Row], kept: Sequence[Row]) -> list[str]:
    """A note on the models that are not `comparable`; none where all are."""
    cells = {row["cell"] for row in kept}
    rest = {row["cell"]: row for row in rows if row["cell"] not in cells}
    if not rest:
        return []
    return [f"Left out, as others were trained under more β: {len(rest)} models, {sizes_of(rest.values())}."]


def sizes_of(rows: Iterable[Row]) -> str:
    """What was pooled, in words: latent sizes and seeds."""
    listed = list(rows)
    parts = []
    for name, words in (("L", "L"), ("d_z", "d_z"), ("seed", "seeds")):
        values = sorted({row[name] for row in listed if row.get(name) is not None})
        parts.append(f"{words} {', '.join(f'{value:g}' for value in values)}")
    return "; ".join(parts)


def curve(
    rows: Sequence[Row], measure: str, name: str, series: int, place: dict[str, Any]
) -> tuple[plots.Line, list[dict[str, Any]]]:
    """A measure of attacks over beta as a line, and as rows of a table that begin with `place`."""
    pool = of_pairs if measure == "target_error_l2" else pooled
    points = {beta: pool(of_beta, measure) for beta, of_beta in over(rows).items()}
    table = [{**place, "measure": measure, "beta": beta, **found} for beta, found in points.items()]

    def column(key: str) -> list[float]:
        return [found[key] for found in points.values()]

    line = plots.Line(
        name,
        list(points),
        column("mean"),
        column("low"),
        column("high"),
        column("low_over_pairs"),
        column("high_over_pairs"),
        series=series,
    )
    return line, table


def ways(
    rows: Sequence[Row],
    name: str,
    series: int,
    place: dict[str, Any],
    shares: Sequence[str] = ("half_way", "nine_tenths"),
) -> tuple[list[plots.Line], list[dict[str, Any]]]:
    """The distortions that move the reconstruction half and nine tenths of the way, over beta, lines and rows."""
    lines, table = [], []
    for number, share in enumerate(shares):
        measure = f"distortion_{share}_l2"
        points = {beta: median(of_beta, measure) for beta, of_beta in over(rows).items()}
        table += [{**place, "measure": measure, "beta": beta, **found} for beta, found in points.items()]
        values = list(points.values())
        words = f"{name}{', ' if name else ''}{'1/2' if share == 'half_way' else '9/10'}"
        # Dashes, of the same colour, for the longer way.
        line = plots.Line(
            words, list(points), [value["median"] for value in values], series=series + number * len(plots.SERIES)
        )
        bars = [value["low_over_pairs"] for value in values], [value["high_over_pairs"] for value in values]
        lines.append(dataclasses.replace(line, bar_low=bars[0], bar_high=bars[1]))
    return lines, table


def attacked_alike(
    tables: Tables, cells: Sequence[Row], objectives: Iterable[str]
) -> tuple[dict[str, list[Row]], list[str]]:
    """Rows of attacks on models that are `comparable`, by objective, and notes on models left out."""
    every = {objective: tables.attacks(cells, objective) for objective in objectives}
    found = {objective: comparable(rows) for objective, rows in every.items()}
    notes = (f"{objective}: {note}" for objective, rows in found.items() for note in left_out(every[objective], rows))
    return found, list(notes)


def attacked(tables: Tables, cells: Sequence[Row], objective: str) -> list[Row]:
    """Rows of an attack on some of these cells.

    Raises:
      MissingError: where none was attacked so.
    """
    if not (found := tables.attacks(cells, objective)):
        names = ", ".join(sorted({str(cell["model"]) for cell in cells}))
        raise MissingError(f"attacks by {objective} ({ATTACKS[objective]}) on {names}")
    return found


def elbos(
    tables: Tables, kinds: Sequence[str], data: str, measures: Sequence[str] = ("elbo_nats",)
) -> tuple[list[plots.Panel], list[dict[str, Any]]]:
    """Measures of the models of a data set over beta: a panel for each measure, a curve for each kind of model."""
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    for measure in measures:
        lines = []
        for series, kind in enumerate(kinds):
            rows = [cell for cell in tables.cells if KINDS[kind](cell) and cell["data"] == data]
            rows = comparable([cell for cell in rows if cell.get(measure) is not None], _OF_A_KIND)
            points = {
                beta: (metrics.mean_over_models([cell[measure] for cell in of_beta]), len(of_beta))
                for beta, of_beta in over(rows).items()
            }
            table += [
                {
                    **{"data": data, "model": kind, "measure": measure, "beta": beta},
                    **{"mean": found.value, "low": found.low, "high": found.high, "models": count},
                }
                for beta, (found, count) in points.items()
            ]
            if points:
                y, low, high = (list(column) for column in zip(*(found for found, _ in points.values()), strict=True))
                lines.append(plots.Line(NAMES[kind], list(points), y, low, high, series=series))
        if lines:
            words = {"elbo_nats": "ELBO without β", "log_likelihood_nats": "log p(x|z)"}[measure]
            panels.append(plots.Curves(f"{words}, nats: {data}", "β", lines))
    return panels, table


def elbo_over_beta(tables: Tables, kinds: Sequence[str]) -> Drawn:
    """The ELBO without beta of models trained under each beta, a panel for each data set."""
    cells = tables.of_kind(*kinds)
    found = [elbos(tables, kinds, data) for data in tables.data_sets(cells)]
    panels = [panel for of_data, _ in found for panel in of_data]
    if not panels:
        raise MissingError(f"the measure elbo of {' or '.join(kinds)} (evaluate.measures)")
    rows = [row for _, of_data in found for row in of_data]
    known = [cell for cell in cells if cell.get("elbo_nats") is not None]
    kept = comparable(known, _OF_A_KIND)
    return Drawn(rows, panels, notes=(f"Models: {sizes_of(kept)}.", OVER_MODELS, *left_out(known, kept)))
