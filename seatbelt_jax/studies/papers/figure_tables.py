"""The tables of sweeps, put together: what the figures of papers are drawn from."""

import math
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from seatbelt_jax import storage
from seatbelt_jax.results import AttackResult, files
from seatbelt_jax.studies import companions as sweep_companions

Row = dict[str, Any]
Content = TypeVar("Content")

# What tells one model from another, whatever a sweep calls it: layers, penalty, and what the decoder reads.
KINDS: dict[str, Callable[[Row], bool]] = {
    "beta_vae": lambda row: row["L"] == 1 and row["penalty"] == "kl" and not row.get("discrete_sizes"),
    "beta_tcvae": lambda row: row["L"] == 1 and row["penalty"] == "total_correlation",
    "beta_hvae": lambda row: row["L"] > 1 and row["penalty"] == "kl" and row["decoder_reads"] == "all",
    "seatbelt": lambda row: row["L"] > 1 and row["penalty"] == "total_correlation" and row["decoder_reads"] == "all",
    "beta_tcdlgm": lambda row: (
        row["L"] > 1 and row["penalty"] == "total_correlation" and row["decoder_reads"] == "bottom"
    ),
}
# Columns of sweep.csv and its companions that hold words, or lists such as "64 32"; all others hold numbers.
_WORDS = {"cell", "status", "data", "model", "latent_sizes", "penalty", "decoder_reads", "discrete_sizes"}
_WORDS |= {"attack", "objective", "threat", "pairs_by", "unit", "measure", "part"}
_TRUE_OR_FALSE = "_determined"
# Numbers that every trained cell has, and figures compare.
_OF_A_CELL = ("L", "d_z", "beta", "seed")
# What makes a row of a companion one of its own.
_KEYS = {
    "pairs": ("cell", "attack", "pair"),
    "budgets": ("cell", "attack", "budget"),
    "images": ("cell", "image"),
    "densities": ("cell", "measure", "part"),
    "success": ("cell", "attack", "source_label", "target_label"),
}


class MissingError(ValueError):
    """What a figure needs and no sweep has; the message says what."""


class Tables(NamedTuple):
    """Rows of one or several sweeps, with numbers for what are numbers, and None for what is empty.

    Attributes:
      cells: sweep.csv.
      pairs, budgets, images, densities, success: its companions; rows know their cells by name.
      runs: the run directories that are there, by cell; several where sweeps did different things to one cell.
    """

    cells: list[Row]
    pairs: list[Row]
    budgets: list[Row]
    images: list[Row]
    densities: list[Row]
    success: list[Row]
    runs: Mapping[str, list[pathlib.Path]]

    def of_kind(self, *kinds: str, **wanted: Any) -> list[Row]:
        """Cells of these models, of `KINDS`, with these values in their columns.

        Raises:
          MissingError: where there is none.
        """
        found = [
            cell
            for cell in self.cells
            if any(KINDS[kind](cell) for kind in kinds) and all(cell.get(name) == wanted[name] for name in wanted)
        ]
        if not found:
            where = ", ".join(f"{name} = {value}" for name, value in wanted.items())
            raise MissingError(f"trained cells of {' or '.join(kinds)}{f' with {where}' if where else ''}")
        return found

    def attacks(self, cells: Sequence[Row], objective: str, threat: str = "penalty") -> list[Row]:
        """Rows of `pairs` of an attack on these cells, each with its cell's own columns beside.

        Pairs that differ in one factor alone are left out: they are another question. Where a cell has two attacks of
        one kind, the first is taken.
        """
        kind = (objective, threat)
        found = [row for row in self.pairs if (row["objective"], row["threat"]) == kind]
        found = [row for row in found if not str(row["pairs_by"]).startswith("factor:")]
        first: dict[str, str] = {}
        chosen = [row for row in found if first.setdefault(row["cell"], row["attack"]) == row["attack"]]
        return list(joined(cells, chosen))

    def attacked(self, cell: str, pattern: str = "*.npz") -> Iterator[tuple[pathlib.Path, AttackResult]]:
        """The results of attacks in a cell's run directories, those whose files match a pattern."""
        folders = self.runs.get(cell, [])
        found = (file for folder in folders for file in sorted((folder / "attacks").glob(pattern)))
        return readable(found, partial(files.read, kind=AttackResult))

    def data_sets(self, rows: Sequence[Row]) -> list[str]:
        return list(dict.fromkeys(str(row["data"]) for row in rows))


def joined(cells: Sequence[Row], rows: Iterator[Row] | Sequence[Row]) -> Iterator[Row]:
    """Rows of a companion that are of these cells, with the cells' columns."""
    known = {cell["cell"]: cell for cell in cells}
    return ({**known[row["cell"]], **row} for row in rows if row["cell"] in known)


def read(folders: Sequence[str | pathlib.Path]) -> Tables:
    """Reads the tables of sweeps' folders, or of folders with tables alone, and puts them together.

    A folder without sweep.csv is read by its shards' tables. Cells without results are left out.

    Raises:
      FileNotFoundError: where a folder has no table.
      ValueError: where two sweeps say different things of one cell, or a table is damaged.
    """
    cells: dict[tuple, Row] = {}
    companions: dict[str, dict[tuple, Row]] = {name: {} for name in sweep_companions.NAMES}
    runs: dict[str, list[pathlib.Path]] = {}
    for folder in map(pathlib.Path, folders):
        for table in _tables(folder):
            rows = [row for row in _numeric_rows(table) if row.get("step") is not None]
            _check_complete(rows, table)
            _add(cells, rows, ("cell",), table, beside=("status",))
            for name, file in sweep_companions.paths(table).items():
                if file.exists():
                    _add(companions[name], _numeric_rows(file), _KEYS[name], file)
            for path in (folder / str(row["cell"]) for row in rows):
                if (path / "config.json").exists() and path not in runs.get(path.name, []):
                    runs.setdefault(path.name, []).append(path)
    return Tables(
        cells=list(cells.values()), runs=runs, **{name: list(rows.values()) for name, rows in companions.items()}
    )


def _tables(folder: pathlib.Path) -> list[pathlib.Path]:
    whole = folder / "sweep.csv"
    found = [whole] if whole.exists() else sorted(folder.glob("sweep_[0-9]*_of_[0-9]*.csv"))
    if not found:
        raise FileNotFoundError(f"{folder} has no sweep.csv; seatbelt sweep --sweep=FILE writes one")
    return found


def _add(
    known: dict[tuple, Row], rows: Sequence[Row], key: Sequence[str], file: pathlib.Path, beside: Sequence[str] = ()
) -> None:
    """Puts rows to those that are known; of a row that is known already, what is new in it.

    Args:
      beside: columns in which rows of one key may differ: the later one counts.
    """
    for row in rows:
        try:
            place = tuple(row[name] for name in key)
        except KeyError as error:
            raise ValueError(f"{file} has no column {error}; it is damaged or of another program") from error
        before = known.setdefault(place, row)
        for name, value in row.items():
            if name not in beside and value is not None and before.get(name) not in (None, value):
                raise ValueError(
                    f"{file} has {name} = {value} for {', '.join(map(str, place))}, and another table "
                    f"{before[name]}: these are two trainings, of which a figure can show one; give each a seed of "
                    "its own, or leave one sweep out"
                )
        known[place] = before | {name: value for name, value in row.items() if value is not None}


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


def _rows(file: pathlib.Path) -> list[Row]:
    return [{name: _value(text) for name, text in row.items()} for row in storage.read_csv(file)]


def _numeric_rows(file: pathlib.Path) -> list[Row]:
    """The rows of a sweep's table.

    Raises:
      ValueError: where a column of numbers holds a word.
    """
    rows = _rows(file)
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str) and name not in _WORDS and not name.endswith(_TRUE_OR_FALSE):
                raise ValueError(f"{file} is damaged: the column {name[:80]!r} must hold numbers, got {value[:80]!r}")
    return rows


def _check_complete(cells: Sequence[Row], file: pathlib.Path) -> None:
    for cell in cells:
        for name in _OF_A_CELL:
            if (value := cell.get(name)) is None or not math.isfinite(value):
                found = "nothing" if value is None else value
                raise ValueError(
                    f"{file} is damaged: the column {name!r} must hold a finite number for each trained cell, got "
                    f"{found} for {cell.get('cell')}"
                )


def _value(text: str | None) -> Any:
    """A number where it is one; None where there is nothing, or nothing defined."""
    if not text or text == "nan":
        return None
    try:
        return float(text)
    except ValueError:
        return text
