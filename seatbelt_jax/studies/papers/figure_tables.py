"""The tables of sweeps, put together: what the figures of papers are drawn from."""

import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from seatbelt_jax.results import AttackResult, files
from seatbelt_jax.studies import schema

Content = TypeVar("Content")

# Kinds of models, whatever a sweep calls them: whether there are several layers, the penalty, what the decoder reads,
# and whether there are Concrete latents.
_KINDS = {
    (False, "kl", "all", False): "beta_vae",
    (False, "total_correlation", "all", False): "beta_tcvae",
    (True, "kl", "all", False): "beta_hvae",
    (True, "total_correlation", "all", False): "seatbelt",
    (True, "total_correlation", "bottom", False): "beta_tcdlgm",
    (False, "capacity", "all", True): "joint_vae",
    (False, "kl", "all", True): "concrete_vae",
}
# Numbers that every trained cell has, and figures compare.
_OF_A_CELL = ("L", "d_z", "beta", "seed")


class MissingError(ValueError):
    """What a figure needs and no sweep has; the message says what."""


class Tables(NamedTuple):
    """The tables of one or several sweeps, as `schema` has them; those beside `cells` know their cells by name.

    Attributes:
      cells: with their `kind` in a further column.
      runs: the run directories that are there, by cell; several where sweeps did different things to one cell.
    """

    cells: pd.DataFrame
    measures: pd.DataFrame
    pairs: pd.DataFrame
    budgets: pd.DataFrame
    images: pd.DataFrame
    margins: pd.DataFrame
    densities: pd.DataFrame
    success: pd.DataFrame
    runs: Mapping[str, list[pathlib.Path]]

    def of_kind(self, *kinds: str) -> pd.DataFrame:
        """Cells of these models.

        Raises:
          MissingError: where there is none.
        """
        found = self.cells[self.cells["kind"].isin(kinds)]
        if not len(found):
            raise MissingError(f"trained cells of {' or '.join(kinds)}")
        return found

    def measured(self, cells: pd.DataFrame, measure: str, *, needs: str = "", **of: str) -> pd.DataFrame:
        """Those of the cells that have a measure, with it in a column of its name.

        Args:
          needs: what makes the measure.
          of: the attack, method, layer or noise that it is of.

        Raises:
          MissingError: where `needs` is given and no cell has the measure.
        """
        of = {"attack": "", "method": "", "layer": "", "noise": "", **of}
        rows = self.measures[self.measures["measure"] == measure]
        for name, value in of.items():
            rows = rows[rows[name] == value]
        known = cells.assign(**{measure: cells["cell"].map(rows.set_index("cell")["value"])})
        found = known[known[measure].notna()]
        if needs and not len(found):
            raise MissingError(needs)
        return found

    def attacks(self, cells: pd.DataFrame, objective: str, threat: str = "penalty") -> pd.DataFrame:
        """Rows of `pairs` of an attack on these cells, each with its cell's own columns beside.

        Pairs that differ in one factor alone are left out: they are another question. Where a cell has two attacks of
        one kind, the first is taken.
        """
        rows = self.pairs
        found = rows[(rows["objective"] == objective) & (rows["threat"] == threat)]
        found = found[~found["pairs_by"].str.startswith("factor:").astype(bool)]
        found = found[found["attack"] == found.groupby("cell")["attack"].transform("first")]
        return joined(cells, found)

    def attacked(self, cell: str, pattern: str = "*.npz") -> Iterator[tuple[pathlib.Path, AttackResult]]:
        """The results of attacks in a cell's run directories, those whose files match a pattern."""
        folders = self.runs.get(cell, [])
        found = (file for folder in folders for file in sorted((folder / "attacks").glob(pattern)))
        return readable(found, partial(files.read, kind=AttackResult))


def joined(cells: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that are of these cells, with the cells' columns."""
    return rows.merge(cells, on="cell", how="inner")


def read(folders: Sequence[str | pathlib.Path]) -> Tables:
    """Reads the tables of sweeps' folders, or of folders with tables alone, and puts them together.

    A folder without sweep.csv is read by its shards' tables. Cells without results are left out.

    Raises:
      FileNotFoundError: where a folder has no table.
      ValueError: where two sweeps say different things of one cell, or a table is damaged.
    """
    parts: dict[str, list[tuple[pathlib.Path, pd.DataFrame]]] = {name: [] for name in schema.TABLES}
    runs: dict[str, list[pathlib.Path]] = {}
    for folder in map(pathlib.Path, folders):
        for table in _tables(folder):
            for name, file in schema.files(table).items():
                if name == "cells" or file.exists():
                    parts[name].append((file, schema.read(name, file)))
            file, cells = parts["cells"].pop()
            cells = cells[cells["step"].notna()]
            _check_complete(cells, file)
            parts["cells"].append((file, cells))
            for path in (folder / str(cell) for cell in cells["cell"]):
                if (path / "config.json").exists() and path not in runs.get(path.name, []):
                    runs.setdefault(path.name, []).append(path)
    found = {name: _together(name, tables) for name, tables in parts.items()}
    cells = found["cells"]
    found["cells"] = cells.assign(kind=[_kind(cell) for cell in cells.itertuples()])
    return Tables(**found, runs=runs)


def _kind(cell: Any) -> str:
    """Empty for a model that no paper has."""
    return _KINDS.get((cell.L > 1, cell.penalty, cell.decoder_reads or "all", bool(cell.discrete_sizes)), "")


def _tables(folder: pathlib.Path) -> list[pathlib.Path]:
    whole = folder / "sweep.csv"
    found = [whole] if whole.exists() else sorted(folder.glob("sweep_[0-9]*_of_[0-9]*.csv"))
    if not found:
        raise FileNotFoundError(f"{folder} has no sweep.csv; seatbelt sweep --sweep=FILE writes one")
    return found


def _together(name: str, tables: Sequence[tuple[pathlib.Path, pd.DataFrame]]) -> pd.DataFrame:
    """The rows of several tables; what one of them leaves empty may stand in another.

    Raises:
      ValueError: where two say different things of one row. Cells may differ in their status: the last counts.
    """
    if not tables:
        return schema.frame(name, ())
    every = pd.concat([table for _, table in tables], ignore_index=True)
    key = schema.keys(name)
    again = every.duplicated(key, keep=False)
    if not again.any():
        return every
    columns = [column for column in every if column not in key]
    known = every[columns].mask(every[columns].isin(["", np.nan]))
    groups = [every[column] for column in key]
    filled = known.groupby(groups, sort=False).transform("first")
    beside = ["status", "curve", "density"]
    for column in (column for column in columns if column not in beside):
        wrong = known[column].notna() & (known[column] != filled[column])
        if wrong.any():
            place = every.loc[wrong.idxmax()]
            ends = np.cumsum([len(table) for _, table in tables])
            file = tables[int(np.searchsorted(ends, wrong.idxmax(), side="right"))][0]
            raise ValueError(
                f"{file} has {column} = {place[column]} for {', '.join(str(place[name]) for name in key)}, and another "
                f"table {filled.loc[wrong.idxmax(), column]}: these are two trainings, of which a figure can show one; "
                "give each a seed of its own, or leave one sweep out"
            )
    merged = every.assign(**{column: filled[column] for column in columns})
    if "status" in columns:
        merged["status"] = every.groupby(key, sort=False)["status"].transform("last")
    return schema.frame(name, merged[~every.duplicated(key)].to_dict("records"))


def readable(
    paths: Iterable[pathlib.Path], read: Callable[[pathlib.Path], Content]
) -> Iterator[tuple[pathlib.Path, Content]]:
    """Those files of runs that are there and whole, with what they hold; the others are named and left out."""
    for file in paths:
        try:
            yield file, read(file)
        except FileNotFoundError:
            continue
        except (ValueError, OSError) as error:
            print(f"left out: {error}", file=sys.stderr)


def _check_complete(cells: pd.DataFrame, file: pathlib.Path) -> None:
    for name in _OF_A_CELL:
        if not (finite := np.isfinite(cells[name])).all():
            value, cell = cells.loc[~finite, name].iloc[0], cells.loc[~finite, "cell"].iloc[0]
            raise ValueError(
                f"{file} is damaged: the column {name!r} must hold a finite number for each trained cell, got "
                f"{'nothing' if np.isnan(value) else value} for {cell}"
            )
