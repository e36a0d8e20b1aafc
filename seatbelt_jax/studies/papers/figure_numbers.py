"""Numbers and lines that the figures of several papers have: measures over beta, pooled as the captions say."""

import dataclasses
from collections.abc import Iterable, Sequence

import pandas as pd

from seatbelt_jax import metrics, plots
from seatbelt_jax.studies.papers.drawing import Drawn, Row
from seatbelt_jax.studies.papers.figure_tables import MissingError, Tables

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
WAYS = {"distortion_half_way_l2": "1/2", "distortion_nine_tenths_l2": "9/10"}
# What tells kinds of models apart, and what models of one kind, beside beta.
OF_A_KIND = ["data", "penalty", "decoder_reads"]
_MODEL = ["L", "d_z", "seed"]
PAIR = ["data", "source_index", "target_index", "pair"]
OVER_MODELS = (
    "Shaded: 95 % interval of the mean over models of other latent sizes, layers and seeds, where there are several."
)


def unit_of(rows: pd.DataFrame) -> str:
    """The unit of Delta, which all of them share."""
    return str(rows["unit"].iloc[0]).replace("_", " ")


def pair_of(rows: pd.DataFrame) -> pd.Series:
    """The number of each row's pair of images: models of one data set share theirs."""
    return rows.groupby(PAIR, dropna=False, sort=False).ngroup()


def pooled(rows: pd.DataFrame, measure: str) -> Row:
    """The mean of a measure over the attacks of rows of `pairs`, with both intervals.

    Of what is one number a pair, the mean over pairs: a pair on a model counts once.
    """
    if f"{measure}_mean" in rows:
        known = rows[rows[f"{measure}_mean"].notna()]
        groups = known["attacks"], known[f"{measure}_mean"], known[f"{measure}_std"]
    else:
        known = rows[rows[measure].notna()]
        groups = pd.Series(1.0, known.index), known[measure], pd.Series(0.0, known.index)
    return metrics.pooled_mean(*(column.tolist() for column in (*groups, pair_of(known))))._asdict()


def median(rows: pd.DataFrame, measure: str) -> Row:
    """The median over pairs and models of what is one number a pair, with its interval over pairs."""
    known = rows[rows[measure].notna()]
    found = metrics.median_over_pairs(known[measure].tolist(), pair_of(known).tolist())
    ends = {"low_over_pairs": found.low, "high_over_pairs": found.high}
    return {"median": found.value, **ends, "pairs": pair_of(known).nunique()}


def of_attacks(rows: pd.DataFrame, measure: str) -> Row:
    """`median` of the ways, which may be infinite; `pooled` of all else."""
    return median(rows, measure) if measure in WAYS else pooled(rows, measure)


def counted(rows: pd.DataFrame) -> str:
    """How much was pooled."""
    pairs, models = pair_of(rows).nunique(), rows["cell"].nunique()
    return f"{rows['attacks'].sum():,.0f} attacks, {pairs} pairs, {models} models: {sizes_of(rows)}."


def comparable(rows: pd.DataFrame, among: Sequence[str] = (*OF_A_KIND, "L")) -> pd.DataFrame:
    """Rows of models (layers, latents, seed) that were trained under the same values of beta, those with the most.

    Pooled with models that lack some, a curve over beta would move because other models are in its mean.

    Args:
      among: columns; what differs in them is never pooled.
    """
    kept = []
    for _, group in rows.groupby(list(among), sort=False):
        trained = group.groupby(_MODEL, sort=False)["beta"].agg(set)
        most = max(trained, key=len)
        models = group.set_index(_MODEL).index
        kept.append(group[models.isin(trained.index[trained.map(most.issubset)]) & group["beta"].isin(most).to_numpy()])
    return pd.concat(kept).sort_index() if kept else rows


def left_out(rows: pd.DataFrame, kept: pd.DataFrame) -> list[str]:
    """A note on the models that are not `comparable`; none where all are."""
    rest = rows[~rows["cell"].isin(kept["cell"])].drop_duplicates("cell")
    if not len(rest):
        return []
    return [f"Left out, as others were trained under more β: {len(rest)} models, {sizes_of(rest)}."]


def sizes_of(rows: pd.DataFrame) -> str:
    """What was pooled, in words: latent sizes and seeds."""
    values = {
        words: sorted(rows[name].dropna().unique()) for name, words in zip(_MODEL, ("L", "d_z", "seeds"), strict=True)
    }
    return "; ".join(f"{words} {', '.join(f'{value:g}' for value in found)}" for words, found in values.items())


def curve(rows: pd.DataFrame, measure: str, name: str, series: int, place: Row) -> tuple[plots.Line, list[Row]]:
    """A measure of attacks over beta as a line, and as rows of a table that begin with `place`."""
    points = {beta: of_attacks(of_beta, measure) for beta, of_beta in rows.groupby("beta")}
    table = [{**place, "measure": measure, "beta": beta, **found} for beta, found in points.items()]
    found = pd.DataFrame(table)
    line = plots.Line(name, found["beta"].tolist(), found["median" if measure in WAYS else "mean"].tolist())
    bars = found["low_over_pairs"].tolist(), found["high_over_pairs"].tolist()
    line = dataclasses.replace(line, bar_low=bars[0], bar_high=bars[1], series=series)
    if measure not in WAYS:
        line = dataclasses.replace(line, low=found["low"].tolist(), high=found["high"].tolist())
    return line, table


def attacked_alike(
    tables: Tables, cells: pd.DataFrame, objectives: Iterable[str]
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Rows of attacks on models that are `comparable`, by objective, and notes on models left out.

    Raises:
      MissingError: where none of the cells was attacked so.
    """
    every = {objective: tables.attacks(cells, objective) for objective in objectives}
    found = {objective: comparable(rows) for objective, rows in every.items()}
    if not any(map(len, found.values())):
        raise MissingError(f"attacks by {' or '.join(found)} on {' or '.join(sorted(cells['kind'].unique()))}")
    notes = (f"{objective}: {note}" for objective, rows in found.items() for note in left_out(every[objective], rows))
    return found, list(notes)


def elbos(
    tables: Tables, kinds: Sequence[str], data: str, measures: Sequence[str] = ("elbo_nats",)
) -> tuple[list[plots.Panel], list[Row]]:
    """Measures of the models of a data set over beta: a panel for each measure, a curve for each kind of model."""
    panels: list[plots.Panel] = []
    table: list[Row] = []
    for measure in measures:
        lines = []
        for series, kind in enumerate(kinds):
            cells = tables.cells[(tables.cells["kind"] == kind) & (tables.cells["data"] == data)]
            place = {"data": data, "model": kind, "measure": measure}
            rows = [
                {
                    **place,
                    "beta": beta,
                    **metrics.mean_over_models(of_beta[measure].tolist())._asdict(),
                    "models": len(of_beta),
                }
                for beta, of_beta in comparable(tables.measured(cells, measure), OF_A_KIND).groupby("beta")
            ]
            rows = [{"mean" if name == "value" else name: value for name, value in row.items()} for row in rows]
            table += rows
            if rows:
                x, y, low, high = ([row[name] for row in rows] for name in ("beta", "mean", "low", "high"))
                lines.append(plots.Line(NAMES[kind], x, y, low, high, series=series))
        if lines:
            words = {"elbo_nats": "ELBO without β", "log_likelihood_nats": "log p(x|z)"}[measure]
            panels.append(plots.Curves(f"{words}, nats: {data}", "β", lines))
    return panels, table


def elbo_over_beta(tables: Tables, kinds: Sequence[str]) -> Drawn:
    """The ELBO without beta of models trained under each beta, a panel for each data set."""
    cells = tables.of_kind(*kinds)
    known = tables.measured(cells, "elbo_nats", needs=f"the measure elbo of {' or '.join(kinds)} (evaluate.measures)")
    found = [elbos(tables, kinds, data) for data in cells["data"].unique()]
    kept = comparable(known, OF_A_KIND)
    notes = (f"Models: {sizes_of(kept)}.", OVER_MODELS, *left_out(known, kept))
    rows = [row for _, of_data in found for row in of_data]
    return Drawn(rows, [panel for of_data, _ in found for panel in of_data], notes=notes)
