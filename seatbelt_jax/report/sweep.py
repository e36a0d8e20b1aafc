"""What a report shows of a sweep: its tables, and what its cells' runs hold."""

import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tqdm import tqdm

from seatbelt_jax import interrupts, metrics, plots, runs, storage
from seatbelt_jax.report import results
from seatbelt_jax.report.gallery import gallery_of
from seatbelt_jax.results import files

# Columns of the table that say where a cell is; of these, the ones that are words.
_AXES = ("data", "model", "L", "d_z", "beta", "tau", "seed")
_WORDS = ("data", "model")
_NO_NUMBERS = ("cell", "status", "latent_sizes", "penalty", *_AXES)
# Budgets of each attack to choose from for the gallery.
_BUDGETS = 7


def of_folder(folder: pathlib.Path) -> plots.SweepData:
    """Everything that a sweep has to show. What is damaged is said of its cell, and takes no other along.

    Raises:
      FileNotFoundError: where there is no table of a sweep.
      ValueError: where a table is none.
    """
    rows = _tables(folder)
    names = [*rows, *(path.name for path in _runs(folder) if path.name not in rows)]
    attacks = _attacks(rows.values())
    cells = [_cell(folder / name, rows.get(name), attacks) for name in tqdm(names, unit="cell", disable=None)]
    return plots.SweepData(folder.resolve().name, str(folder), cells, attacks)


def _tables(folder: pathlib.Path) -> dict[str, Mapping[str, str]]:
    """The rows of all tables by cell; of a cell in several, as in those of shards, that of the newest table."""
    if not folder.is_dir():
        raise FileNotFoundError(f"--sweep={folder} is no folder; sweeps are made by `seatbelt sweep`")
    files = sorted([*folder.glob("sweep.csv"), *folder.glob("sweep_*_of_*.csv")], key=lambda file: file.stat().st_mtime)
    if not files:
        raise FileNotFoundError(f"{folder} has no sweep.csv; sweeps are made by `seatbelt sweep`")
    rows: dict[str, Mapping[str, str]] = {}
    for file in files:
        found = storage.read_csv(file)
        if not all(row.get("cell") and row.get("status") for row in found):
            raise ValueError(f"{file} is no table of a sweep: it lacks the column cell or status")
        rows |= {row["cell"]: row for row in found}
    return rows


def _runs(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(file.parent for file in folder.glob("*/config.json"))


def _attacks(rows: Any) -> dict[str, str]:
    """The attacks that the tables have columns of, and the unit of each one's Delta."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    found = {}
    for column in columns:
        if match := re.fullmatch(r"(.+)_share_suspicious", column):
            beginning = f"{match[1]}_median_delta_"
            units = [name.removeprefix(beginning) for name in columns if name.startswith(beginning)]
            found[match[1]] = min(units, key=len, default="")
    return found


def _cell(path: pathlib.Path, row: Mapping[str, str] | None, attacks: Mapping[str, str]) -> plots.CellData:
    """A cell by its row, with what its run holds."""
    given: dict[str, Any] = {"name": path.name, "axes": {}, "numbers": {}}
    if row is not None:
        status, _, reason = row["status"].partition(":")
        given |= {"status": status, "reason": reason.strip(), "axes": _place(row), "numbers": _numbers(row)}
    else:
        given |= {"status": "in no table", "reason": "`seatbelt sweep`, called again without --shard, gathers all"}
    if not (path / "config.json").exists():
        return plots.CellData(**given)
    try:
        opened = runs.open(path)
        given["axes"] = given["axes"] or _place_of_run(opened)
        return plots.CellData(**{**given, **_of_run(opened, attacks)})
    except Exception as error:  # whatever it is that a damaged cell holds, the others are shown
        if interrupts.is_stopping():
            raise
        reason = "; ".join(filter(None, (given["reason"], f"{error}" or type(error).__name__)))
        return plots.CellData(**{**given, "status": "damaged", "reason": reason})


def _of_run(opened: runs.Run, attacks: Mapping[str, str]) -> dict[str, Any]:
    image_range = results.image_range(opened)
    settings = dict(results.flat(opened.config))
    shown = {}
    for file in results.attacks_of(opened):
        options = files.made_by(file).options or {}
        name = options["name"] if options.get("name") in attacks else file.stem
        attack = results.read_attack(file, image_range, summary={})
        chosen = metrics.telling_budgets(attack.budgets, attack.distortion_norm, _BUDGETS)
        shown[name] = plots.CellAttack(gallery_of(attack, [int(index) for index in chosen]), attack.diagnosis)
        settings |= {f"attack {name}: {key}": value for key, value in results.flat(options) if key != "name"}
    found = results.certification_of(opened)
    in_order = [name for name in attacks if name in shown] + [name for name in shown if name not in attacks]
    return {
        "attacks": {name: shown[name] for name in in_order},
        "certificates": found.certificates,
        "empirical": found.empirical,
        "settings": settings,
        "provenance": dict(results.flat(opened.provenance)),
    }


def _place(row: Mapping[str, str]) -> dict[str, str | float]:
    known = ((axis, row.get(axis) or "") for axis in _AXES)
    return {axis: value if axis in _WORDS else _number(value, value) for axis, value in known if value}


def _place_of_run(opened: runs.Run) -> dict[str, str | float]:
    """As the table has it, as far as a run knows."""
    config = opened.config
    model = config["model"]
    return {
        "data": f"{config['data'].get('name', '')}",
        "L": float(len(model["latent_sizes"])),
        "d_z": float(model["latent_sizes"][0]),
        "beta": float(config.get("objective", {}).get("beta", 1.0)),
        "tau": float(model.get("posterior_std_offset", 0.0)),
        "seed": float(config.get("seed", 0)),
    }


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    return dict(_known_numbers(row))


def _known_numbers(row: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if name not in _NO_NUMBERS and value and isinstance(number := _number(value, value), float):
            yield name, number


def _number(value: str, otherwise: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return otherwise
