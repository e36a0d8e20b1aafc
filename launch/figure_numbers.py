"""Rows and lines that the figures of several papers have: measures of attacks over beta, pooled as the captions say."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from figure_tables import KINDS, MissingError, Row, Tables

from seatbelt_jax import metrics, plots

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
    "paper's; bars: over pairs of images, which is the honest one, as attacks on one pair resemble each other."
)
HALF_WAY = (
    "Beside it the least ||d|| that moves the reconstruction half and nine tenths of the way to the target's, median "
    "over pairs with its 95 % interval over pairs: Delta changes with the latents' scale and with how far the solver "
    "got, ||d|| does not."
)


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


def pair_of(row: Row) -> tuple:
    """The pair of images: models of one data set share theirs."""
    return row["data"], row.get("source_index"), row.get("target_index"), row["pair"]


def over(rows: Sequence[Row], axis: str = "beta") -> dict[Any, list[Row]]:
    """Rows by their value on an axis, in its order."""
    return {value: [row for row in rows if row[axis] == value] for value in sorted({row[axis] for row in rows})}


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
    points = {beta: pooled(of_beta, measure) for beta, of_beta in over(rows).items()}
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
        points = {}
        for beta, of_beta in over(rows).items():
            known = [row for row in of_beta if row.get(measure) is not None]
            points[beta] = metrics.median_over_pairs([row[measure] for row in known], [pair_of(row) for row in known])
            table.append(
                {
                    **place,
                    "measure": f"median_{measure}",
                    "beta": beta,
                    "mean": points[beta].value,
                    "low_over_pairs": points[beta].low,
                    "high_over_pairs": points[beta].high,
                    "pairs": len({pair_of(row) for row in known}),
                }
            )
        values = list(points.values())
        words = f"{name}{', ' if name else ''}{'1/2' if share == 'half_way' else '9/10'}"
        # Dashes, of the same colour, for the longer way.
        line = plots.Line(
            words, list(points), [value.value for value in values], series=series + number * len(plots.SERIES)
        )
        bars = [value.low for value in values], [value.high for value in values]
        lines.append(dataclasses.replace(line, bar_low=bars[0], bar_high=bars[1]))
    return lines, table


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
    tables: Tables, kinds: Sequence[str], measures: Sequence[str] = ("elbo_nats",)
) -> tuple[list[plots.Panel], list]:
    """Measures of models over beta: a panel for each measure and data set, a curve for each kind of model.

    Raises:
      MissingError: where no cell has any.
    """
    cells = tables.of_kind(*kinds)
    panels: list[plots.Panel] = []
    table: list[dict[str, Any]] = []
    for data in tables.data_sets(cells):
        for measure in measures:
            lines = []
            for series, kind in enumerate(kinds):
                rows = [cell for cell in cells if KINDS[kind](cell) and cell["data"] == data]
                rows = [cell for cell in rows if cell.get(measure) is not None]
                points = {
                    beta: (metrics.mean_over_models([cell[measure] for cell in of_beta]), len(of_beta))
                    for beta, of_beta in over(rows).items()
                }
                place = {"data": data, "model": kind, "measure": measure}
                table += [
                    {**place, "beta": beta, "mean": found.value, "low": found.low, "high": found.high, "models": count}
                    for beta, (found, count) in points.items()
                ]
                values = [found for found, _ in points.values()]
                if points:
                    y, low, high = (list(column) for column in zip(*values, strict=True))
                    lines.append(plots.Line(NAMES[kind], list(points), y, low, high, series=series))
            if lines:
                words = {"elbo_nats": "ELBO without β", "log_likelihood_nats": "log p(x|z)"}[measure]
                panels.append(plots.Curves(f"{words}, nats: {data}", "β", lines))
    if not panels:
        raise MissingError(f"the measure elbo of {' or '.join(kinds)} (evaluate.measures)")
    return panels, table
