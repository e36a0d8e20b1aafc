"""What a cell's measures are of: its attacks by pair and by budget, its certified images, densities, attack success by
labels. Rows of the tables of `schema`."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from seatbelt_jax import runs, storage
from seatbelt_jax.jobs import certify, evaluate
from seatbelt_jax.results import EmpiricalMargin, MinimalRobustRadius, files
from seatbelt_jax.runs.measures import read_measures
from seatbelt_jax.studies import schema
from seatbelt_jax.studies.cells import Sweep
from seatbelt_jax.studies.measures import Row, measures_of, parts
from seatbelt_jax.studies.stages import attack_file

# Points of a density.
POINTS = 51


def rows_of(sweep: Sweep, path: pathlib.Path) -> dict[str, list[Row]]:
    """The rows of a cell in each table; results of another step, and attacks with other options, have none.

    Raises:
      ValueError: where something is damaged.
    """
    opened = runs.open(path)
    rows: dict[str, list[Row]] = {"measures": list(measures_of(sweep, opened))}
    attacked: dict[str, str] = {}
    for name, options in sweep.attacks.items():
        if (file := attack_file(opened, options)) is not None:
            attacked[file.stem] = name
            lanes = pd.DataFrame(storage.read_csv(file.with_suffix(".csv")))
            for table, what in (("pairs", "pair"), ("budgets", "budget")):
                rows.setdefault(table, []).extend(_by(what, name, options.pairs_by, lanes))
    if sweep.certify is not None:
        rows["images"], rows["margins"] = images_of(opened, certify.results(opened, sweep.certify))
    if sweep.evaluate is not None:
        measured = read_measures(evaluate.record_file(opened, sweep.evaluate), opened)
        rows["densities"] = list(_densities(measured))
        rows["success"] = list(success_of(measured.get("attack_success", {}), attacked))
    return {name: [{"cell": path.name, **row} for row in found] for name, found in rows.items()}


def _by(what: str, name: str, pairs_by: str, lanes: pd.DataFrame) -> Iterator[Row]:
    """The attacks of each pair, or under each budget, as count, means and standard deviations."""
    unit = next(column.removeprefix("objective_") for column in lanes if column.startswith("objective_"))
    budget = next(column for column in ("penalty", "radius") if column in lanes)
    first = lanes.iloc[0]
    place = {"attack": name, "objective": first["attack"], "threat": first["threat"], "pairs_by": pairs_by}
    called = {f"objective_{unit}": "delta", f"objective_at_source_{unit}": "delta_at_source", budget: "budget"}
    numbers = lanes.drop(columns=["attack", "threat"]).rename(columns=called)
    numbers = numbers.apply(lambda column: pd.to_numeric(column, errors="coerce"))
    of_a_pair = [column.name for column in schema.TABLES["pairs"] if column.name in numbers]
    for label, group in numbers.groupby(what, sort=False):
        row = {**place, "unit": unit, what: label}
        if what == "pair":
            row |= group.iloc[0][of_a_pair].to_dict()
        finite = group[np.isfinite(group["delta"])][list(schema.OF_ATTACKS)]
        means, stds = finite.mean(), finite.std(ddof=0)
        yield row | {
            "attacks": len(finite),
            **means.add_suffix("_mean").to_dict(),
            **stds.add_suffix("_std").to_dict(),
        }


def images_of(opened: runs.Run, found: Sequence[pathlib.Path]) -> tuple[list[Row], list[Row]]:
    """Rows of `images` and of `margins`."""
    images: dict[int, Row] = {}
    margins: list[Row] = []
    for file in found:
        if not file.exists() or not files.made_by(file).is_of(opened.latest_step):
            continue
        record = files.read_margins(file)
        of_images, of_margins = _of_record(record)
        for image, row in enumerate(_transposed(of_images)):
            images.setdefault(image, {"image": image}).update(row)
        method = "attack" if isinstance(record, EmpiricalMargin) else file.stem
        margins += [
            {"image": image, "method": method, "norm": getattr(record, "norm", ""), **row}
            for image, row in enumerate(_transposed(of_margins))
        ]
    return list(images.values()), margins


def _of_record(found: files.Margins) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns of `images` and of `margins` that a record has."""
    if isinstance(found, MinimalRobustRadius):
        return {"minimal_radius_l2": found.estimate}, {}
    if isinstance(found, EmpiricalMargin):
        margins = {
            "margin": found.upper,
            "frozen_std": np.full(found.upper.shape, float(found.frozen_std)),
            "curve_last": found.curve_norms[:, -1],
            "curve": list(found.curve_probability),
        }
        return {"probability_clean": found.p_clean}, margins
    images = {"reconstruction_radius_l2": np.full(found.n, found.reconstruction_radius)}
    if found.norm == "l2" and found.norms is not None:
        jacobians = np.asarray(found.norms.frobenius)
        images["encoder_jacobian_frobenius_latent_units_per_pixel_unit"] = jacobians
    bounds = {"probability_lower_bound": found.p_lower, "norm_bound": found.norm_bound}
    return images, {"margin": found.radius, **bounds}


def _transposed(columns: Mapping[str, Any]) -> Iterator[Row]:
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _densities(measured: Mapping[str, Any]) -> Iterator[Row]:
    """A row for each density of `seatbelt evaluate`: of ||sigma|| by layer, of log p(x|z) by the noise's scale."""
    for measure, of, beginning, unit in (
        ("posterior_std", "layer", "layer_", "latent_units"),
        ("noise_robustness", "noise", "scale_", "nats"),
    ):
        for part, found in parts(measured.get(measure, {}), beginning):
            if "density" in found:
                places = np.linspace(found["density_grid"][0], found["density_grid"][-1], POINTS)
                yield {
                    "measure": measure,
                    of: part,
                    "unit": unit,
                    "mean": found["mean"],
                    "std": found.get("std"),
                    "first": places[0],
                    "last": places[-1],
                    "density": np.interp(places, found["density_grid"], found["density"]),
                }


def success_of(found: Mapping[str, Any], attacked: Mapping[str, str]) -> Iterator[Row]:
    """A row for each ordered pair of labels of which an attack was counted, of sweeps under one budget.

    Args:
      found: the measure attack_success, tables by the names of the attacks' files.
      attacked: the names that the sweep has for these.
    """
    for stem, name in attacked.items():
        measured = found.get(stem, {})
        if len(measured.get("budgets", ())) != 1:
            continue
        for (source, target), share in np.ndenumerate(np.array(measured["ignore_target"], float)):
            if not np.isnan(share):
                yield {
                    "attack": name,
                    "source_label": source,
                    "target_label": target,
                    "ignore_target": share,
                    "target": measured["target"][source][target],
                    "counted_pairs": measured["counted_pairs"],
                }
