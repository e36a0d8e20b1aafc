"""An overview of a run's results in a few lines of text or HTML.

All numbers are read from the run's files. Only the medians of certified margins are computed here.
"""

import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seatbelt_jax import storage
from seatbelt_jax.runs import measures, model_name
from seatbelt_jax.runs.overview import Row, Section, Summary, number

if TYPE_CHECKING:
    from seatbelt_jax.runs.run import Run

# Columns of an attack's NAME_summary.csv, and their headings.
_OF_ATTACKS = {
    "median_objective": "Delta",
    "median_distortion_half_way_l2": "||d|| half way",
    "median_distortion_nine_tenths_l2": "nine tenths",
    "share_suspicious": "suspicious",
}
# Columns of validation rows of metrics.jsonl, and entries of evaluation.json by measure and name.
_METRICS = {"elbo": "ELBO, nats", "reconstruction_error": "reconstruction error, L2"}
_EVALUATION = {
    "elbo/elbo_nats": "ELBO, nats",
    "elbo/reconstruction_error_l2": "reconstruction error, L2",
    "elbo/total_correlation_nats": "total correlation, nats",
    "importance_weighted/log_likelihood_nats": "log p(x), nats",
    "mig/all_layers/mig": "mutual information gap",
    "downstream/mlp_reconstructions/accuracy_attacked": "accuracy under attack",
}
_FOLDERS = {"validation": ("certificates", "evaluation.json"), "test": ("certificates_test", "evaluation_test.json")}
_NOT_CERTIFICATES = ("empirical_margin", "minimal_radius")


def summarise(opened: "Run") -> Summary:
    """Summarises a run.

    Raises:
      ValueError: a file is damaged; the message names it.
    """
    sections = [_model(opened), _training(opened), _attacks(opened), _certificates(opened), _evaluation(opened)]
    return Summary(opened.name, [*sections, _files(opened)])


def _model(opened: "Run") -> Section:
    config = opened.config
    try:
        words = model_name.described(config)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{opened.path / 'config.json'} lacks {error}; it is damaged or of another program") from error
    model, images = config["model"], " x ".join(map(str, opened.image_shape))
    kinds = f"{model.get('network', '')} network, {model.get('likelihood', '')} likelihood".strip()
    return Section("Model", [("model", words), ("made of", kinds), ("data", f"{config['data'].get('name')}, {images}")])


def _training(opened: "Run") -> Section:
    step, steps = opened.latest_step, opened.config.get("train", {}).get("steps")
    if step is None:
        return Section("Training", note=f"no checkpoint yet: {_command(opened, 'train')}")
    rows: list[Row] = [("step", f"{step} of {steps}" if steps else f"{step}")]
    file = opened.path / "metrics.jsonl"
    found = [row for row in storage.read_json_lines(file) if isinstance(row, dict) and row.get("split") == "validation"]
    if found:
        last = found[-1]
        known = ((name, label) for name, label in _METRICS.items() if name in last)
        rows += [(f"{label}, step {last.get('step')}", number(last[name])) for name, label in known]
    return Section("Training, on validation images", rows)


def _attacks(opened: "Run") -> Section:
    rows: list[Row] = []
    old: list[str] = []
    for file in sorted((opened.path / "attacks").glob("*_summary.csv")):
        name = file.name.removesuffix("_summary.csv")
        arrays = _arrays(file.with_name(f"{name}.npz"))
        if _is_old(arrays, opened):
            old.append(name)
            continue
        values = {row.get("measure", ""): row.get("value", "") for row in storage.read_csv(file)}
        cells = (
            _percent(values.get(measure)) if measure.startswith("share_") else number(values.get(measure))
            for measure in _OF_ATTACKS
        )
        rows.append((name, *cells, f"{arrays.get('unit', '')}"))
    header = ("attack", *_OF_ATTACKS.values(), "Delta in")
    title = "Attacks: medians; distortions L2, in pixel units"
    return Section(title, rows, header if rows else (), _note(opened, "attack", bool(rows), old))


def _certificates(opened: "Run") -> Section:
    rows: list[Row] = []
    old: list[str] = []
    for split, (folder, _) in _FOLDERS.items():
        for file in sorted((opened.path / folder).glob("*.npz")):
            if file.stem.startswith(_NOT_CERTIFICATES):
                continue
            arrays = _arrays(file)
            if missing := [key for key in ("method", "soundness", "radius", "reconstruction_radius", "norm")
                           if key not in arrays]:  # fmt: skip
                raise ValueError(f"{file} is not a certificate: {', '.join(missing)} missing")
            if _is_old(arrays, opened):
                old.append(f"{folder}/{file.stem}")
                continue
            r = float(arrays["reconstruction_radius"])
            # A median of abstentions would look like a measured margin.
            is_certified = not np.all(arrays.get("abstained", False))
            margin = number(np.median(arrays["radius"])) if is_certified else "abstained"
            words = (f"{arrays[key]}".replace("_", " ") for key in ("soundness", "norm"))
            rows.append((f"{arrays['method']}", *words, f"{r:g}", f"{len(arrays['radius'])} {split}", margin))
    header = ("method", "soundness", "norm", "r", "images", "median margin")
    title = "Certificates, in pixel units"
    return Section(title, rows, header if rows else (), _note(opened, "certify", bool(rows), old))


def _evaluation(opened: "Run") -> Section:
    rows: list[Row] = []
    old: list[str] = []
    for split, (_, name) in _FOLDERS.items():
        file = opened.path / name
        if not file.exists():
            continue
        record = measures.read_record(file)
        if record["step"] != opened.latest_step:
            old.append(name)
            continue
        found = record["measures"]
        unknown = measures.without_bracket(found.get("elbo", {}), opened.config)
        for path, label in _EVALUATION.items():
            measure, _, entry = path.partition("/")
            if measure == "elbo" and entry in unknown:
                rows.append((f"{label}, {split}", "bracket not measured; evaluate again"))
            elif (value := measures.at(found, path)) is not None:
                rows.append((f"{label}, {split}", number(value)))
            elif words := measures.bracket(found.get(measure, {}), entry):
                rows.append((f"{label}, {split}", words))
        units = found.get("active_units", {})
        if active := [f"{value}" for key, value in units.items() if key.startswith("active_")]:
            rows.append((f"active units of each layer, {split}", ", ".join(active)))
        if not rows:
            rows.append((f"measures, {split}", ", ".join(found)))
    return Section("Evaluation", rows, note=_note(opened, "evaluate", bool(rows), old))


def _files(opened: "Run") -> Section:
    page = opened.path / "report.html"
    shown = f"{page}" if page.exists() else f"none yet: {_command(opened, 'report')}"
    return Section("Files", [("folder", f"{opened.path}"), ("page", shown)])


def _note(opened: "Run", launcher: str, has_some: bool, old: Sequence[str]) -> str:
    parts = [f"of an earlier step, to be made anew: {', '.join(old)}"] if old else []
    if not has_some:
        parts.append(f"none yet: {_command(opened, launcher)}")
    return "; ".join(parts)


def _command(opened: "Run", launcher: str) -> str:
    option = "--config=CONFIG --workdir" if launcher == "train" else "--run"
    return f"seatbelt {launcher} {option}={shlex.quote(str(opened.path))}"


def _arrays(file: pathlib.Path) -> Mapping[str, np.ndarray]:
    return storage.read_npz(file) if file.exists() else {}


def _is_old(arrays: Mapping[str, np.ndarray], opened: "Run") -> bool:
    """Whether results belong to another step than the model. Results without a step are accepted."""
    return "step" in arrays and arrays["step"] != opened.latest_step


def _percent(value: Any) -> str:
    shown = number(value)
    return shown if shown in ("-", "nan") else f"{float(value):.0%}"
