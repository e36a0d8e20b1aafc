"""The tables of a sweep: what columns they have, in what units, and how they are read and written.

docs/sweeps.md lists the columns from here. Files are read by `storage`, which takes nothing on trust, and handed on as
data frames.
"""

import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from seatbelt_jax import storage

try:
    import pandas as pd
except ImportError as error:
    raise ImportError("sweeps and figures need pandas: pip install 'seatbelt-jax[studies]'") from error

# "words" also holds lists such as "64 32"; "vector" is numbers with spaces between them.
Kind = Literal["words", "number", "vector"]


class Column(NamedTuple):
    """One column of a table.

    Attributes:
      kind: numbers are floats, NaN where there is none; words are empty where there are none.
      unit: empty for what has none, or where it is in the name.
      is_key: whether it is among those that tell one row from another.
    """

    name: str
    kind: Kind
    what: str
    unit: str = ""
    is_key: bool = False


def _key(name: str, what: str, kind: Kind = "words") -> Column:
    return Column(name, kind, what, is_key=True)


_CELL = _key("cell", "the cell, which is the name of its run directory")
_ATTACK = _key("attack", "the attack's name in the sweep's file")
_NATS, _PIXELS = "nats", "pixel units"
# Measures of single attacks, of which pairs and budgets have means and standard deviations.
OF_ATTACKS = {
    "delta": ("the attack's objective", "`unit`"),
    "distortion_l2": ("||d||", _PIXELS),
    "target_nll_nats": ("-log p(x^t given z*)", _NATS),
    "adversarial_error_l2": ("recon(x*) to x^t", _PIXELS),
    "distance_to_target_l2": ("x* to x^t", _PIXELS),
    "source_log_likelihood_nats": ("log p(x given z*)", _NATS),
    "relative_likelihood_degradation": ("share of log p(x given z) that is lost", ""),
}
_AVERAGED = tuple(
    column
    for name, (what, unit) in OF_ATTACKS.items()
    for column in (
        Column(f"{name}_mean", "number", f"{what}: mean over the attacks", unit),
        Column(f"{name}_std", "number", f"{what}: standard deviation (sum of squares over the count)", unit),
    )
)
_OF_AN_ATTACK = (
    Column("objective", "words", "as `seatbelt attack` calls it"),
    Column("threat", "words", "what limits ||d||"),
    Column("pairs_by", "words", "how pairs were chosen"),
    Column("unit", "words", "of Delta"),
)
_COUNT = Column("attacks", "number", "how many there are; those with an objective that is not finite are left out")

TABLES: dict[str, tuple[Column, ...]] = {
    "cells": (
        _CELL,
        Column("status", "words", "`done`, `unfinished`, or `failed:` with stage and reason"),
        Column("data", "words", "data set"),
        Column("model", "words", "one of the sweep's `models`"),
        Column("L", "number", "latent layers"),
        Column("d_z", "number", "latents of the bottom layer"),
        Column("latent_sizes", "words", "latents of each layer, from the bottom"),
        Column("beta", "number", "weight of the penalty"),
        Column("penalty", "words", "what beta multiplies"),
        Column("decoder_reads", "words", "`all` layers or the `bottom` one"),
        Column("discrete_sizes", "words", "classes of each Concrete latent"),
        Column("weight_decay", "number", "of the optimiser"),
        Column("tau", "number", "offset of the posterior's sigma", "latent units"),
        Column("seed", "number", "of the training"),
        Column("step", "number", "of the newest checkpoint"),
    ),
    "measures": (
        _CELL,
        _key("measure", "what was measured; see below"),
        _key("attack", "the attack that it is of, by its name in the sweep's file"),
        _key("method", "the method of the margin that it is of"),
        _key("layer", "the latent layer that it is of, 1 at the bottom, or `all_layers`"),
        _key("noise", "the scale of the noise that it is under"),
        Column("unit", "words", "of Delta; the names of other measures have theirs"),
        Column("value", "number", "the measure", "in the name, or `unit`"),
        Column("low", "number", "lower end of its 95 % interval over pairs of images"),
        Column("high", "number", "upper end"),
        Column("error", "number", "standard error"),
    ),
    "pairs": (
        _CELL,
        _ATTACK,
        _key("pair", "number of the pair", "number"),
        *_OF_AN_ATTACK,
        Column("source_index", "number", "place of x in its split"),
        Column("target_index", "number", "place of x^t"),
        Column("source_label", "number", "label of x"),
        Column("target_label", "number", "label of x^t"),
        Column("delta_at_source", "number", "Delta without a distortion", "`unit`"),
        Column("clean_target_nll_nats", "number", "-log p(x^t given its own z)", _NATS),
        Column("clean_source_log_likelihood_nats", "number", "log p(x given its own z)", _NATS),
        Column("target_error_l2", "number", "x^t to its reconstruction", _PIXELS),
        Column("distortion_half_way_l2", "number", "least ||d|| that moves recon(x) half of the way to x^t's", _PIXELS),
        Column("distortion_nine_tenths_l2", "number", "nine tenths of the way; `inf` where no attack does", _PIXELS),
        _COUNT,
        *_AVERAGED,
    ),
    "budgets": (_CELL, _ATTACK, _key("budget", "penalty or radius", "number"), *_OF_AN_ATTACK, _COUNT, *_AVERAGED),
    "images": (
        _CELL,
        _key("image", "number of the certified image", "number"),
        Column("reconstruction_radius_l2", "number", "r", _PIXELS),
        Column("minimal_radius_l2", "number", "least r that the unperturbed image meets", _PIXELS),
        Column("probability_clean", "number", "share of the unperturbed image's draws within r"),
        Column(
            "encoder_jacobian_frobenius_latent_units_per_pixel_unit",
            "number",
            "norm of the Jacobian of mu; one layer",
            "latent units per pixel unit",
        ),
    ),
    "margins": (
        _CELL,
        _key("image", "number of the certified image", "number"),
        _key("method", "of `seatbelt certify`, or `attack`: an upper bound that an attack found"),
        _key("norm", "of the perturbation, `l2` or `linf`"),
        Column("margin", "number", "the margin, 0 where the method abstains", _PIXELS),
        Column("probability_lower_bound", "number", "of recon(x) being within r"),
        Column("norm_bound", "number", "what the margin divides by", "standard deviations per pixel unit"),
        Column(
            "frozen_std", "number", "attack: 1 where sigma was frozen at x (Camuto et al. 2021, Eq. 3), 0 where not"
        ),
        Column("curve_last", "number", "attack: ||d|| at the end of `curve`", _PIXELS),
        Column("curve", "vector", "attack: share of draws within r, at even steps of ||d|| along the worst direction"),
    ),
    "densities": (
        _CELL,
        _key("measure", "`posterior_std`, ||sigma(x)||, or `noise_robustness`, log p(x given z)"),
        _key("layer", "the latent layer that it is of, 1 at the bottom"),
        _key("noise", "the scale of the noise that it is under"),
        Column("unit", "words", "of mean, std, first and last"),
        Column("mean", "number", "over images", "`unit`"),
        Column("std", "number", "over images", "`unit`"),
        Column("first", "number", "where the first point of `density` is", "`unit`"),
        Column("last", "number", "where the last point is", "`unit`"),
        Column("density", "vector", "at even steps from first to last", "1 / `unit`"),
    ),
    "success": (
        _CELL,
        _ATTACK,
        _key("source_label", "label of x", "number"),
        _key("target_label", "label of x^t", "number"),
        Column("ignore_target", "number", "share of attacks that leave the source's class (AS, Sootla 2018)"),
        Column("target", "number", "share of attacks that reach the target's class"),
        Column("counted_pairs", "number", "attacks counted, of all labels together"),
    ),
}
# What the tables of a whole sweep have is kept small: six digits, but for measures.
_DIGITS, _WHOLE = 6, 1e9
_EXACT = ("cells", "measures")


def keys(name: str) -> list[str]:
    return [column.name for column in TABLES[name] if column.is_key]


def files(table: pathlib.Path) -> dict[str, pathlib.Path]:
    """Where the tables of a sweep are, from that of its cells: sweep_pairs.csv, or sweep_pairs_1_of_2.csv."""
    shard = table.stem.removeprefix("sweep")
    return {name: table if name == "cells" else table.with_name(f"sweep_{name}{shard}.csv") for name in TABLES}


def frame(name: str, rows: Iterable[Mapping[str, Any]], source: object = "the table") -> pd.DataFrame:
    """Rows as a data frame with all columns of a table; what a row lacks is empty.

    Raises:
      ValueError: for a column that the table does not have, a key that is missing, or words among numbers.
    """
    given = pd.DataFrame(list(rows))
    declared = [column.name for column in TABLES[name]]
    if unknown := [column for column in given if column not in declared]:
        raise ValueError(
            f"{source} has the column {unknown[0]!r}, which is none of a sweep's table {name}; the same "
            "`seatbelt sweep` writes tables of other versions anew"
        )
    if len(given) and (missing := [column for column in keys(name) if column not in given and column in _NEVER_EMPTY]):
        raise ValueError(f"{source} has no column {missing[0]!r}; it is damaged or of another program")
    given = given.reindex(columns=declared)
    for column in TABLES[name]:
        given[column.name] = _typed(column, given[column.name], source)
    return given


# Keys that stand in every row; the others are empty where a measure is not of an attack, a method, and so on.
_NEVER_EMPTY = ("cell", "measure", "pair", "budget", "image", "source_label", "target_label")


def read(name: str, file: pathlib.Path) -> pd.DataFrame:
    """A sweep's table.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: where it is damaged.
    """
    return frame(name, storage.read_csv(file), file)


def write(table: pathlib.Path, rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Writes the tables of a sweep beside that of its cells; one without rows, but from earlier, is removed.

    Args:
      rows: by the tables' names; columns that are empty throughout are not written.
    """
    for name, file in files(table).items():
        made = frame(name, rows.get(name, ()), file)
        if not len(made) and name != "cells":
            file.unlink(missing_ok=True)
            continue
        text = pd.DataFrame(
            {
                column.name: [_text(value, exact=name in _EXACT) for value in made[column.name]]
                for column in TABLES[name]
            },
            dtype=object,
        )
        text = text.loc[:, (text != "").any() | text.columns.isin(["cell", "status"])]
        storage.write_bytes(file, text.to_csv(index=False, lineterminator="\n").encode())


def _typed(column: Column, values: pd.Series, source: object) -> pd.Series:
    """A column as its kind has it: words are text, vectors arrays or NaN, numbers floats.

    Raises:
      ValueError: for words among numbers.
    """
    if column.kind == "words":
        return values.astype(object).where(values.notna(), "").map(str).astype(object)
    given = values.astype(object).where(values.notna() & ~values.isin(["", "nan"]))
    if column.kind == "vector":
        found = given.map(_vector).astype(object)
    else:
        found = pd.to_numeric(given, errors="coerce").astype(float)
    if len(wrong := given[found.isna() & given.notna()]):
        raise ValueError(
            f"{source} is damaged: the column {column.name!r} must hold numbers, got {str(wrong.iloc[0])[:80]!r}"
        )
    return found


def _vector(value: Any) -> Any:
    """Numbers with spaces between them as an array; NaN where they are none."""
    try:
        return np.array(value.split(), float) if isinstance(value, str) else value
    except ValueError:
        return np.nan


def _text(value: Any, *, exact: bool) -> str:
    """A value as it stands in a file."""
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray):
        return " ".join(_text(one, exact=exact) for one in value.tolist())
    if value is None or math.isnan(value):
        return ""
    if float(value).is_integer() and abs(value) < _WHOLE:
        return f"{value:.0f}"
    return repr(float(value)) if exact else f"{value:.{_DIGITS}g}"
