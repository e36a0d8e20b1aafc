"""From the file of a sweep to its cells: configurations, and what is done to the runs trained under them."""

import copy
import dataclasses
import fnmatch
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from seatbelt_jax import data, models, sections, training
from seatbelt_jax.jobs import attack, certification, evaluate, evaluation

# What a sweep's file may say, and of these what it must.
_SECTIONS = ("base", "models", "data_sets", "grids", "together", "attacks", "certify", "evaluate")
_REQUIRED = ("base", "grids")
# Axes, and how each is written in the name of a cell.
AXES = {"data": "", "model": "", "L": "L", "d_z": "dz", "beta": "beta", "tau": "tau", "seed": "seed"}
_NAME = re.compile(r"[\w.+-]{1,100}")

Options = TypeVar("Options", attack.Options, certification.Options, evaluation.Options)


class Cell(NamedTuple):
    """One point of a grid.

    Attributes:
      name: of its run directory.
      axes: its place, by the names of `AXES`.
      config: as `jobs.train` takes it.
    """

    name: str
    axes: Mapping[str, Any]
    config: dict[str, Any]


class Sweep(NamedTuple):
    """What a sweep's file says.

    Attributes:
      groups: the cells; those of a group are trained together, and differ in seed and beta alone.
      attacks: on each cell, by their names.
      certify, evaluate: None where that is not done.
    """

    groups: list[list[Cell]]
    attacks: Mapping[str, attack.Options]
    certify: certification.Options | None
    evaluate: evaluation.Options | None

    @property
    def cells(self) -> list[Cell]:
        return [cell for group in self.groups for cell in group]


def parse(config: Mapping[str, Any]) -> Sweep:
    """Checks a sweep's file, see docs/sweeps.md, before anything is done.

    Raises:
      ValueError: for a section, axis or field that does not exist, an axis without values, or values that make no
        sense.
    """
    if unknown := sorted(set(config) - set(_SECTIONS)):
        raise ValueError(f"a sweep has no section {', '.join(unknown)}; there are {', '.join(_SECTIONS)}")
    if missing := [name for name in _REQUIRED if not config.get(name)]:
        raise ValueError(f"the sweep lacks {', '.join(missing)}")
    attacks = {
        name: _options(attack.Options, f"attacks.{_checked_name(name)}", {**given, "name": name})
        for name, given in config.get("attacks", {}).items()
    }
    measured = _section(evaluation.Options, config, "evaluate")
    if measured is not None:
        evaluate.check_measures(measured)
    groups: dict[str, list[Cell]] = {}
    for cell in _cells(config).values():
        groups.setdefault(_shared(cell.config), []).append(cell)
    most = config.get("together", 0)
    if not isinstance(most, int) or most < 0:
        raise ValueError(f"together must be how many cells at most are trained together, 0 for all, got {most!r}")
    parts = [
        group[first : first + (most or len(group))]
        for group in groups.values()
        for first in range(0, len(group), most or len(group))
    ]
    return Sweep(parts, attacks, _section(certification.Options, config, "certify"), measured)


def of_shard(groups: list[list[Cell]], shard: str) -> list[list[Cell]]:
    """Every n-th group from the i-th on, for `shard` = "i/n".

    Raises:
      ValueError: where it is not two whole numbers with 1 <= i <= n, or nothing is left for it.
    """
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", shard)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"--shard={shard} must be i/n, the i-th of n shards from 1 on, as in --shard=1/3")
    if number > len(groups):
        raise ValueError(f"--shard={shard} has nothing to do: the cells make {len(groups)} groups; take fewer shards")
    return groups[number - 1 :: count]


def matching(groups: list[list[Cell]], patterns: Sequence[str]) -> list[list[Cell]]:
    """The cells whose names match a pattern, as a shell's patterns of files do, and in their groups.

    Raises:
      ValueError: for a pattern that no cell matches.
    """
    names = [cell.name for group in groups for cell in group]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ValueError(f"--cells: no cell is called {pattern}; the first of {len(names)} is {names[0]}")
    found = [[cell for cell in group if any(fnmatch.fnmatchcase(cell.name, p) for p in patterns)] for group in groups]
    return [group for group in found if group]


def _cells(config: Mapping[str, Any]) -> dict[str, Cell]:
    """The cells of all grids, by name; one that is in two grids once."""
    cells: dict[str, Cell] = {}
    for grid, axes in config["grids"].items():
        where = f"grids.{grid}"
        if not isinstance(axes, Mapping):
            raise ValueError(f"{where} must map axes to their values, got {axes!r}")
        if unknown := sorted(set(axes) - set(AXES)):
            raise ValueError(f"{where}: there is no axis {', '.join(unknown)}; there are {', '.join(AXES)}")
        named = [name for name in AXES if name in axes]
        for name in named:
            if not isinstance(axes[name], tuple | list) or not axes[name]:
                raise ValueError(f"{where}.{name} must list one value or more, got {axes[name]!r}")
        if not named:
            raise ValueError(f"{where} has no axes; there are {', '.join(AXES)}")
        for values in itertools.product(*(axes[name] for name in named)):
            place = dict(zip(named, values, strict=True))
            name = "_".join(f"{AXES[axis]}{_text(value)}" for axis, value in place.items())
            try:
                cell = Cell(_checked_name(name), place, _configuration(config, place))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{where}, cell {name}: {error}") from error
            if cells.setdefault(name, cell).config != cell.config:
                raise ValueError(f"{where}: two different cells would be called {name}; give them names that differ")
    return cells


def _configuration(config: Mapping[str, Any], place: Mapping[str, Any]) -> dict[str, Any]:
    """What `jobs.train` is given at a place of the grid."""
    found = copy.deepcopy(dict(config["base"]))
    for axis, section in (("model", "models"), ("data", "data_sets")):
        if axis in place:
            known = config.get(section, {})
            if place[axis] not in known:
                listed = ", ".join(map(str, known)) or "none"
                raise ValueError(f"there is no {place[axis]!r} in the sweep's section {section}, but {listed}")
            if axis == "data":
                found["data"] = copy.deepcopy(dict(known[place[axis]]))
            else:
                found = _changed(found, known[place[axis]])
    sections.check_sections(found)
    if "L" in place or "d_z" in place:
        found["model"]["latent_sizes"] = _latent_sizes(found["model"]["latent_sizes"], place)
    if "beta" in place:
        found["objective"]["beta"] = place["beta"]
    if "tau" in place:
        found["model"]["posterior_std_offset"] = place["tau"]
    found["seed"] = place.get("seed", found["seed"])
    training.parse_settings(found)
    sections.parse(models.ModelConfig, "model", found["model"])
    sections.parse(data.DataConfig, "data", found["data"])
    return found


def _latent_sizes(listed: tuple[int, ...], place: Mapping[str, Any]) -> tuple[int, ...]:
    """L alone takes the last of those listed; d_z is the bottom layer's, and each layer has half of the one below."""
    depth, bottom = place.get("L", len(listed)), place.get("d_z")
    for name, value in (("L", depth), ("d_z", 1 if bottom is None else bottom)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if bottom is not None:
        return tuple(max(1, bottom >> layer) for layer in range(depth))
    if depth > len(listed):
        raise ValueError(f"model.latent_sizes has {len(listed)} layers, and L is {depth}; list more, or give d_z")
    return tuple(listed[-depth:])


def _changed(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with other values at some places."""
    both = {name: value for name, value in config.items() if isinstance(value, dict) and name in changes}
    return {**config, **changes, **{name: _changed(value, changes[name]) for name, value in both.items()}}


def _shared(config: Mapping[str, Any]) -> str:
    """What trainings that can share a program have in common."""
    objective = {**config["objective"], "beta": None}
    return json.dumps({**config, "objective": objective, "seed": None}, sort_keys=True)


def _section(kind: type[Options], config: Mapping[str, Any], name: str) -> Options | None:
    return _options(kind, name, config[name]) if name in config else None


def _options(kind: type[Options], where: str, given: Mapping[str, Any]) -> Options:
    """The options of a job, which check themselves."""
    fields = [field.name for field in dataclasses.fields(kind)]
    if unknown := sorted(set(given) - set(fields)):
        raise ValueError(f"{where} has no field {', '.join(unknown)}; there are {', '.join(fields)}")
    tuples = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    try:
        return kind(**{**given, **tuples})
    except ValueError as error:
        raise ValueError(f"in the sweep's section {where}, {error}") from error


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} becomes part of files' names: take at most 100 letters, digits, dots, hyphens, + and _"
        )
    return name


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
