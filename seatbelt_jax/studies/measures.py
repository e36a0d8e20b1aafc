"""A cell's place in the grid, and its measures: rows of the tables `cells` and `measures` of `schema`."""

import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from seatbelt_jax import runs, storage
from seatbelt_jax.jobs import certification, certify, evaluate
from seatbelt_jax.results import EmpiricalMargin, MinimalRobustRadius, files
from seatbelt_jax.runs.measures import read_measures
from seatbelt_jax.studies.cells import Cell, Sweep
from seatbelt_jax.studies.stages import attack_file

Row = dict[str, Any]
# Measures of the ELBO that are not of a layer: what is in their names, and the standard error beside them.
_OF_ELBO = re.compile(r"(?P<measure>\w+_(nats|l2)(_lower|_upper|_determined)?)(?P<error>_error)?")
_KL = re.compile(r"kl_(?P<layer>\d+)_nats")


def place_of(cell: Cell) -> Row:
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


def measures_of(sweep: Sweep, opened: runs.Run) -> Iterator[Row]:
    """What is known of a run; results of another step, and attacks with other options, are not.

    Raises:
      ValueError: where something is damaged.
    """
    for name, options in sweep.attacks.items():
        if (file := attack_file(opened, options)) is not None:
            unit = str(storage.read_npz(file, ("unit",))["unit"]).replace(" ", "_")
            for line in storage.read_csv(file.with_name(f"{file.stem}_summary.csv")):
                measure = line["measure"].replace("median_objective", "median_delta")
                found = {key: line[key] for key in ("value", "low", "high") if line[key] != "nan"}
                yield {"measure": measure, "attack": name, "unit": unit * (measure == "median_delta"), **found}
    if sweep.certify is not None and not certification.why_not(opened.config):
        for file in certify.results(opened, sweep.certify):
            if file.exists() and files.made_by(file).is_of(opened.latest_step):
                yield from of_certificate(file)
    if sweep.evaluate is not None:
        yield from of_evaluation(read_measures(evaluate.record_file(opened, sweep.evaluate), opened))


def of_certificate(file: pathlib.Path) -> Iterator[Row]:
    """Measures of a certificate, of the upper bounds of margins, or of the least r that can be met."""
    found = files.read_margins(file)
    if isinstance(found, MinimalRobustRadius):
        yield {"measure": "minimal_radius_median_l2", "value": np.median(found.estimate)}
        return
    if isinstance(found, EmpiricalMargin):
        yield {"measure": f"empirical_margin_median_{found.norm}", "value": np.median(found.upper)}
        return
    # Where none has a certificate, 0 would look like a measured one.
    measured = {} if found.abstained.all() else {f"median_{found.norm}": np.median(found.radius)}
    measured |= {"share_abstained": np.mean(found.abstained)}
    measured |= {"norm_bound_median_stds_per_pixel_unit": np.median(found.norm_bound)}
    yield from ({"measure": f"margin_{key}", "method": file.stem, "value": value} for key, value in measured.items())
    if found.norm == "l2" and found.norms is not None:
        for measure, norms in (
            ("encoder_jacobian_norm_median_latent_units_per_pixel_unit", found.norms.spectral),
            ("encoder_log_std_jacobian_norm_median_per_pixel_unit", found.norms.log_std_spectral),
        ):
            yield {"measure": measure, "value": np.median(norms)}


def of_evaluation(measured: Mapping[str, Any]) -> Iterator[Row]:
    """Measures of `seatbelt evaluate`, by their names there; of one without a reader, as of plug-ins, every number."""
    for name, found in measured.items():
        if name in _READERS:
            yield from _READERS[name](found)
        elif name not in _ELSEWHERE:
            yield from _of_another(name, found)


def _of_another(name: str, found: Mapping[str, Any]) -> Iterator[Row]:
    yield from (
        {"measure": f"{name}_{key}", "value": one} for key, one in found.items() if isinstance(one, int | float)
    )
    for key, part in parts(found):
        yield from _of_another(f"{name}_{key}", part)


def _of_elbo(found: Mapping[str, Any]) -> Iterator[Row]:
    for key in found:
        match = _OF_ELBO.fullmatch(key)
        if match and not match["error"]:
            layer = _KL.fullmatch(key)
            of = {"measure": "kl_nats", "layer": layer["layer"]} if layer else {"measure": key}
            yield {**of, "value": float(found[key]), "error": found.get(f"{key}_error")}
    if "paths" in found:
        yield {"measure": "aggregate_posterior_paths", "value": found["paths"]}


def _of_importance_weighted(found: Mapping[str, Any]) -> Iterator[Row]:
    name = "log_likelihood_nats"
    yield {"measure": f"importance_weighted_{name}", "value": found[name], "error": found[f"{name}_error"]}


def _of_active_units(found: Mapping[str, Any]) -> Iterator[Row]:
    layers = {key.removeprefix("active_"): value for key, value in found.items() if key.startswith("active_")}
    yield {"measure": "active_units", "value": sum(layers.values())}
    yield from ({"measure": "active_units", "layer": layer, "value": value} for layer, value in layers.items())


def _of_weight_norms(found: Mapping[str, Any]) -> Iterator[Row]:
    for network in ("encoder", "decoder"):
        yield {"measure": f"{network}_weight_norm", "value": found[network]}


def _of_posterior_std(found: Mapping[str, Any]) -> Iterator[Row]:
    for layer, part in parts(found, "layer_"):
        for statistic, key in (("mean", "mean"), ("median", "quantile_0.5")):
            yield {"measure": f"posterior_std_norm_{statistic}_latent_units", "layer": layer, "value": part[key]}


def _of_noise(found: Mapping[str, Any]) -> Iterator[Row]:
    for scale, part in parts(found, "scale_"):
        yield {"measure": "noise_log_likelihood_nats", "noise": scale, "value": part["mean"]}


def _of_mig(found: Mapping[str, Any]) -> Iterator[Row]:
    for layer, part in parts(found):
        yield {"measure": "mig", "layer": layer.removeprefix("layer_"), "value": part["mig"]}


def _of_downstream(found: Mapping[str, Any]) -> Iterator[Row]:
    for key in ("median_distortion_l2", "share_suspicious"):
        yield {"measure": f"downstream_{key}", "value": found[key]}
    for task, part in parts(found):
        rates = {rate: value for rate, value in part.items() if rate.startswith("accuracy_")}
        yield from ({"measure": f"downstream_{task}_{rate}", "value": value} for rate, value in rates.items())


def parts(found: Mapping[str, Any], beginning: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The parts of a measure that has several, such as layers, by their names after the beginning."""
    for key, part in found.items():
        if isinstance(part, Mapping) and key != "options" and key.startswith(beginning):
            yield key.removeprefix(beginning), part


# The first has a table of its own, `success`; the second is pictures.
_ELSEWHERE = ("attack_success", "traversals")
_READERS = {
    "elbo": _of_elbo,
    "importance_weighted": _of_importance_weighted,
    "active_units": _of_active_units,
    "weight_norms": _of_weight_norms,
    "posterior_std": _of_posterior_std,
    "noise_robustness": _of_noise,
    "mig": _of_mig,
    "downstream": _of_downstream,
}
