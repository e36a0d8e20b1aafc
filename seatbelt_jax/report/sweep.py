"""What a report shows of a sweep: its tables, and what its cells' runs hold."""

import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tqdm import tqdm

from seatbelt_jax import interrupts, metrics, plots, runs, storage
from seatbelt_jax.report import results
from seatbelt_jax.report.gallery import gallery_of
from seatbelt_jax.results import files

# Columns of the table that say where a cell is; of these, the ones that are words.
_AXES = ("data", "model", "L", "d_z", "beta", "tau", "seed")
_WORDS = ("data", "model")
# In the names of measures, which were columns of this table in earlier versions.
_MEASURED = re.compile("median|share|norm|nats|_l2|accuracy|active")
_Row = Mapping[str, str]
# Budgets of each attack to choose from for the gallery.
_BUDGETS = 7


def of_folder(folder: pathlib.Path) -> plots.SweepData:
    """Everything that a sweep has to show. What is damaged is said of its cell, and takes no other along.

    Raises:
      FileNotFoundError: where there is no table of a sweep.
      ValueError: where a table is none, or of an earlier version.
    """
    rows, measured = _tables(folder)
    names = [*rows, *(path.name for path in _runs(folder) if path.name not in rows)]
    of_delta = [row for found in measured.values() for row in found if row["measure"] == "median_delta"]
    attacks = {row["attack"]: row["unit"] for row in of_delta}
    cells = [
        _cell(folder / name, rows.get(name), dict(_numbers(measured.get(name, ()))), attacks)
        for name in tqdm(names, unit="cell", disable=None)
    ]
    return plots.SweepData(folder.resolve().name, str(folder), cells, attacks)


def _tables(folder: pathlib.Path) -> tuple[dict[str, _Row], dict[str, list[_Row]]]:
    """The rows of all tables of cells, and of their measures, by cell.

    Of a cell in several, as in those of shards, the newest table counts.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--sweep={folder} is no folder; sweeps are made by `seatbelt sweep`")
    tables = [*folder.glob("sweep.csv"), *folder.glob("sweep_[0-9]*_of_[0-9]*.csv")]
    if not tables:
        raise FileNotFoundError(f"{folder} has no sweep.csv; sweeps are made by `seatbelt sweep`")
    rows: dict[str, _Row] = {}
    measured: dict[str, list[_Row]] = {}
    for file in sorted(tables, key=lambda file: file.stat().st_mtime):
        found = storage.read_csv(file)
        if not all(row.get("cell") and row.get("status") for row in found):
            raise ValueError(f"{file} is no table of a sweep: it lacks the column cell or status")
        rows |= {row["cell"]: row for row in found}
        measured |= {row["cell"]: [] for row in found}
        beside = file.with_name(f"sweep_measures{file.stem.removeprefix('sweep')}.csv")
        if not beside.exists() and any(_MEASURED.search(column) for row in found[:1] for column in row):
            raise ValueError(
                f"{file} has measures as columns, as in earlier versions, and {beside.name} is missing; the same "
                "`seatbelt sweep` writes tables of other versions anew"
            )
        for row in storage.read_csv(beside) if beside.exists() else ():
            if row.get("cell") in measured and row.get("measure"):
                measured[row["cell"]].append({"attack": "", "unit": "", "method": "", **row})
    return rows, measured


def _runs(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(file.parent for file in folder.glob("*/config.json"))


def _cell(
    path: pathlib.Path, row: _Row | None, numbers: Mapping[str, float], attacks: Mapping[str, str]
) -> plots.CellData:
    """A cell by its row and its measures, with what its run holds."""
    given: dict[str, Any] = {"name": path.name, "axes": {}, "numbers": {}}
    if row is not None:
        status, _, reason = row["status"].partition(":")
        given |= {"status": status, "reason": reason.strip(), "axes": _place(row), "numbers": numbers}
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
    image_range = opened.image_range
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


def _place(row: _Row) -> dict[str, str | float]:
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


def _numbers(measured: Iterable[_Row]) -> Iterator[tuple[str, float]]:
    """The measures of a cell, by attack or method, name and unit, and the ends of their intervals."""
    for row in measured:
        measure = row["measure"].replace("margin_", f"margin_{row['method']}_") if row["method"] else row["measure"]
        name = "_".join(filter(None, (row["attack"], measure, row["unit"])))
        if not (row.get("layer") or row.get("noise")):
            for column, end in (("value", ""), ("low", "_low"), ("high", "_high")):
                if isinstance(number := _number(row.get(column) or "", ""), float):
                    yield f"{name}{end}", number


def _number(value: str, otherwise: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return otherwise
