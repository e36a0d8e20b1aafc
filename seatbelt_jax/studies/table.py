"""The table of a sweep: one row for each cell, read from its run directory. docs/sweeps.md has the columns."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from seatbelt_jax import runs, storage
from seatbelt_jax.jobs import certification, certify, evaluate
from seatbelt_jax.results import EmpiricalMargin, MinimalRobustRadius, files
from seatbelt_jax.studies.cells import Cell, Sweep
from seatbelt_jax.studies.stages import attack_file


def write(file: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Cells have columns of their own, such as those of their third layer; others leave them empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    storage.write_csv(file, [{name: row.get(name, "") for name in columns} for row in rows])


def place_of(cell: Cell) -> dict[str, Any]:
    """A cell's name and all axes, also those that the sweep leaves alone."""
    config, axes = cell.config, cell.axes
    sizes = config["model"]["latent_sizes"]
    return {
        "cell": cell.name,
        "data": axes.get("data", config["data"]["name"]),
        "model": axes.get("model", ""),
        "L": len(sizes),
        "d_z": sizes[0],
        "latent_sizes": " ".join(map(str, sizes)),
        "beta": config["objective"]["beta"],
        "penalty": config["objective"].get("penalty", ""),
        "decoder_reads": config["model"].get("decoder_reads", "all"),
        "discrete_sizes": " ".join(map(str, config["model"].get("discrete_sizes", ()))),
        "weight_decay": config["optimizer"].get("weight_decay", 0.0),
        "tau": config["model"].get("posterior_std_offset", 0.0),
        "seed": config["seed"],
    }


def results_of(sweep: Sweep, path: pathlib.Path) -> dict[str, Any]:
    """What is known of a cell's run; results of another step, and attacks with other options, are not.

    Raises:
      ValueError: where something is damaged.
    """
    opened = runs.open(path)
    row: dict[str, Any] = {"step": opened.latest_step}
    for name, options in sweep.attacks.items():
        if (file := attack_file(opened, options)) is not None:
            row |= _of_attack(name, file)
    if sweep.certify is not None and not certification.why_not(opened.config):
        for file in certify.results(opened, sweep.certify):
            if file.exists() and files.made_by(file).is_of(opened.latest_step):
                row |= _of_certificate(file)
    if sweep.evaluate is not None:
        row |= _of_measures(evaluate.newest_measures(opened, sweep.evaluate))
    return row


def _of_attack(name: str, file: pathlib.Path) -> dict[str, Any]:
    unit = str(storage.read_npz(file, ("unit",))["unit"]).replace(" ", "_")
    summary = storage.read_csv(file.with_name(f"{file.stem}_summary.csv"))
    row = {}
    for line in summary:
        measure = line["measure"].replace("median_objective", f"median_delta_{unit}")
        row[f"{name}_{measure}"] = line["value"]
        if line["low"] != "nan":
            row |= {f"{name}_{measure}_{bound}": line[bound] for bound in ("low", "high")}
    return row


def _of_certificate(file: pathlib.Path) -> dict[str, Any]:
    """Columns of a certificate, of the upper bounds of margins, or of the least r that can be met."""
    found = files.read_margins(file)
    if isinstance(found, MinimalRobustRadius):
        return {"minimal_radius_median_l2": np.median(found.estimate)}
    if isinstance(found, EmpiricalMargin):
        return {f"empirical_margin_median_{found.norm}": np.median(found.upper)}
    row = {
        # Where none has a certificate, 0 would look like a measured one.
        f"margin_{file.stem}_median_{found.norm}": "" if found.abstained.all() else np.median(found.radius),
        f"margin_{file.stem}_share_abstained": np.mean(found.abstained),
        f"margin_{file.stem}_norm_bound_median_stds_per_pixel_unit": np.median(found.norm_bound),
    }
    if found.norm == "l2" and found.norms is not None:
        row |= {
            "encoder_jacobian_norm_median_latent_units_per_pixel_unit": np.median(found.norms.spectral),
            "encoder_log_std_jacobian_norm_median_per_pixel_unit": np.median(found.norms.log_std_spectral),
        }
    return row


def _of_measures(measures: Mapping[str, Any]) -> dict[str, Any]:
    return {column: value for name, found in measures.items() for column, value in _columns(name, found)}


def _columns(name: str, found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(column, number) of one measure of `seatbelt evaluate`."""
    if name == "elbo":
        # Its units and its errors are in its names.
        ends = ("_nats", "_l2", "_error", "_lower", "_upper", "_determined")
        yield from ((key, value) for key, value in found.items() if key.endswith(ends))
        if "paths" in found:
            yield "aggregate_posterior_paths", found["paths"]
    elif name == "importance_weighted":
        for key in ("log_likelihood_nats", "log_likelihood_nats_error"):
            yield f"importance_weighted_{key}", found[key]
    elif name == "active_units":
        layers = {key: value for key, value in found.items() if key.startswith("active_")}
        yield "active_units", sum(layers.values())
        yield from ((f"active_units_{key.removeprefix('active_')}", value) for key, value in layers.items())
    elif name == "weight_norms":
        yield from ((f"{network}_weight_norm", found[network]) for network in ("encoder", "decoder"))
    else:
        if name == "downstream":
            yield from ((f"downstream_{key}", found[key]) for key in ("median_distortion_l2", "share_suspicious"))
        for key, part in found.items():
            if not isinstance(part, Mapping) or key == "options":
                continue
            if name == "posterior_std":
                layer = key.removeprefix("layer_")
                yield f"posterior_std_norm_{layer}_mean_latent_units", part["mean"]
                yield f"posterior_std_norm_{layer}_median_latent_units", part["quantile_0.5"]
            elif name == "noise_robustness":
                yield f"noise_{key.removeprefix('scale_')}_log_likelihood_nats", part["mean"]
            elif name == "mig":
                yield f"mig_{key.removeprefix('layer_')}", part["mig"]
            elif name == "downstream":
                accuracies = {rate: value for rate, value in part.items() if rate.startswith("accuracy_")}
                yield from ((f"downstream_{key}_{rate}", value) for rate, value in accuracies.items())
