"""Tables beside a sweep's own, of what one row a cell cannot hold: its attacks by pair and by budget, the images that
were certified, densities, and attack success by labels. docs/sweeps.md has the columns."""

import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from seatbelt_jax import runs, storage
from seatbelt_jax.jobs import certify, evaluate
from seatbelt_jax.results import EmpiricalMargin, MinimalRobustRadius, files
from seatbelt_jax.studies.cells import Sweep
from seatbelt_jax.studies.stages import attack_file

Rows = list[dict[str, Any]]

NAMES = ("pairs", "budgets", "images", "densities", "success")

# Columns of an attack's table that are averaged, beside its objective.
_MEASURES = (
    "distortion_l2",
    "target_nll_nats",
    "adversarial_error_l2",
    "distance_to_target_l2",
    "source_log_likelihood_nats",
    "relative_likelihood_degradation",
)
# Those that are one number a pair.
_OF_A_PAIR = (
    "source_index",
    "target_index",
    "source_label",
    "target_label",
    "delta_at_source",
    "clean_target_nll_nats",
    "clean_source_log_likelihood_nats",
    "target_error_l2",
    "distortion_half_way_l2",
    "distortion_nine_tenths_l2",
)
# Points of a density; evenly spaced, so that its first and its last place say where all are.
POINTS = 51
_DIGITS, _WHOLE = 6, 1e9


def paths(table: pathlib.Path) -> dict[str, pathlib.Path]:
    """Where the companions of a sweep's table are: sweep_pairs.csv, or sweep_pairs_1_of_2.csv, and so on."""
    shard = table.stem.removeprefix("sweep")
    return {name: table.with_name(f"sweep_{name}{shard}.csv") for name in NAMES}


def write(table: pathlib.Path, of_cells: Sequence[Mapping[str, Rows]]) -> None:
    """Writes those that have any rows; one that is there from earlier, and has none now, is removed."""
    for name, file in paths(table).items():
        rows = [row for cell in of_cells for row in cell.get(name, [])]
        if rows:
            columns = list(dict.fromkeys(column for row in rows for column in row))
            storage.write_csv(file, [{column: row.get(column, "") for column in columns} for row in rows])
        else:
            file.unlink(missing_ok=True)


def rows_of(sweep: Sweep, path: pathlib.Path) -> dict[str, Rows]:
    """The rows of a cell in each companion; results of another step, and attacks with other options, have none.

    Raises:
      ValueError: where something is damaged.
    """
    opened = runs.open(path)
    rows: dict[str, Rows] = {name: [] for name in NAMES}
    attacked: dict[str, str] = {}
    for name, options in sweep.attacks.items():
        if (file := attack_file(opened, options)) is not None:
            attacked[file.stem] = name
            lanes = storage.read_csv(file.with_suffix(".csv"))
            rows["pairs"] += _by("pair", name, options.pairs_by, lanes)
            rows["budgets"] += _by("budget", name, options.pairs_by, lanes)
    if sweep.certify is not None:
        rows["images"] = _images(opened, certify.results(opened, sweep.certify))
    if sweep.evaluate is not None:
        measures = evaluate.newest_measures(opened, sweep.evaluate)
        rows["densities"] = list(_densities(measures))
        rows["success"] = list(_success(measures.get("attack_success", {}), attacked))
    return {name: [{"cell": path.name, **_rounded(row)} for row in found] for name, found in rows.items()}


def _by(what: str, name: str, pairs_by: str, lanes: Sequence[Mapping[str, str]]) -> Iterator[dict[str, Any]]:
    """The attacks of each pair, or under each budget, as count, means and standard deviations (sum of squares over the
    count). Attacks whose objective is not finite are left out."""
    first = lanes[0]
    unit = next(column.removeprefix("objective_") for column in first if column.startswith("objective_"))
    budget = next(column for column in ("penalty", "radius") if column in first)
    groups: dict[str, list[Mapping[str, str]]] = {}
    for lane in lanes:
        groups.setdefault(lane["pair" if what == "pair" else budget], []).append(lane)
    for label, group in groups.items():
        finite = [lane for lane in group if math.isfinite(float(lane[f"objective_{unit}"]))]
        row: dict[str, Any] = {
            "attack": name,
            "objective": first["attack"],
            "threat": first["threat"],
            "pairs_by": pairs_by,
            "unit": unit,
            what: float(label),
        }
        if what == "pair":
            known = {**group[0], "delta_at_source": group[0][f"objective_at_source_{unit}"]}
            row |= {column: _number(known[column]) for column in _OF_A_PAIR if column in known}
        row["attacks"] = len(finite)
        for column, called in {f"objective_{unit}": "delta", **dict(zip(_MEASURES, _MEASURES, strict=True))}.items():
            values = np.array([_number(lane[column]) for lane in finite])
            row[f"{called}_mean"] = values.mean() if len(values) else math.nan
            row[f"{called}_std"] = values.std() if len(values) else math.nan
        yield row


def _images(opened: runs.Run, found: Sequence[pathlib.Path]) -> Rows:
    """A row for each certified image, with what each method and each attack says of it."""
    columns: dict[str, np.ndarray] = {}
    for file in found:
        if not file.exists() or not files.made_by(file).is_of(opened.latest_step):
            continue
        name, margins = file.stem, files.read_margins(file)
        if isinstance(margins, MinimalRobustRadius):
            columns["minimal_radius_l2"] = margins.estimate
        elif isinstance(margins, EmpiricalMargin):
            columns |= {
                f"empirical_margin_{margins.norm}": margins.upper,
                f"empirical_margin_{margins.norm}_frozen_std": np.full(margins.upper.shape, int(margins.frozen_std)),
                "probability_clean": margins.p_clean,
                # Evenly spaced along a direction, so that the last place says where all are.
                f"curve_last_{margins.norm}": margins.curve_norms[:, -1],
            }
            for point, share in enumerate(margins.curve_probability.T):
                columns[f"curve_probability_{point}"] = share
        else:
            columns |= {
                f"margin_{name}_{margins.norm}": margins.radius,
                f"probability_lower_bound_{name}": margins.p_lower,
                f"norm_bound_{name}_stds_per_pixel_unit": margins.norm_bound,
                "reconstruction_radius_l2": np.full(margins.n, margins.reconstruction_radius),
            }
            if margins.norm == "l2" and margins.norms is not None:
                columns["encoder_jacobian_frobenius_latent_units_per_pixel_unit"] = np.asarray(margins.norms.frobenius)
    count = max(map(len, columns.values()), default=0)
    # Attacks may be on the first images alone.
    return [
        {"image": image, **{name: column[image] if image < len(column) else "" for name, column in columns.items()}}
        for image in range(count)
    ]


def _densities(measures: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each density of `seatbelt evaluate`: of ||sigma|| by layer, of log p(x|z) by the noise's scale."""
    for measure, unit in (("posterior_std", "latent_units"), ("noise_robustness", "nats")):
        for part, found in measures.get(measure, {}).items():
            if isinstance(found, Mapping) and "density" in found:
                places = np.linspace(found["density_grid"][0], found["density_grid"][-1], POINTS)
                density = np.interp(places, found["density_grid"], found["density"])
                yield {
                    "measure": measure,
                    "part": part,
                    "unit": unit,
                    "mean": found["mean"],
                    "std": found.get("std", ""),
                    "first": places[0],
                    "last": places[-1],
                    **{f"density_{number}": value for number, value in enumerate(density)},
                }


def _success(found: Mapping[str, Any], attacked: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """A row for each ordered pair of labels of which an attack was counted, of sweeps under one budget.

    Args:
      found: the measure attack_success, tables by the names of the attacks' files.
      attacked: the names that the sweep has for these.
    """
    for stem, name in attacked.items():
        measured = found.get(stem, {})
        if len(measured.get("budgets", ())) != 1:
            continue
        for source, row in enumerate(measured["ignore_target"]):
            for target, share in enumerate(row):
                if share is not None:
                    yield {
                        "attack": name,
                        "source_label": source,
                        "target_label": target,
                        "ignore_target": share,
                        "target": measured["target"][source][target],
                        "counted_pairs": measured["counted_pairs"],
                    }


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers to six digits, whole ones in full: the tables of a whole sweep are to stay small."""
    return {
        name: _short(float(value)) if isinstance(value, float | np.floating) else value for name, value in row.items()
    }


def _short(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < _WHOLE else f"{value:.{_DIGITS}g}"
