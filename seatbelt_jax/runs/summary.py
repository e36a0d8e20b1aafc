"""An overview of a run's results in a few lines of text or HTML.

All numbers are read from the run's files. Only the medians of certified margins are computed here.
"""

import dataclasses
import html
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seatbelt_jax import storage
from seatbelt_jax.runs import model_name

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
# Terms of the measure "elbo" that depend on the aggregate posterior: in hierarchies they are brackets.
_BRACKETED = ("mutual_information_nats", "total_correlation_nats", "dimension_wise_kl_nats")
_FOLDERS = {"validation": ("certificates", "evaluation.json"), "test": ("certificates_test", "evaluation_test.json")}
_NOT_CERTIFICATES = ("empirical_margin", "minimal_radius")

_Row = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Section:
    """Rows below a title; the first cell of each row is a label. `note` names missing results and their commands."""

    title: str
    rows: Sequence[_Row] = ()
    header: _Row = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Summary:
    """The overview, which prints as a short table and displays as HTML in a notebook.

    Attributes:
      name: of the run.
      sections: in reading order.
    """

    name: str
    sections: Sequence[Section]

    def __str__(self) -> str:
        return "\n".join([self.name, *(line for section in self.sections for line in _lines(section))])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        parts = [f"<h3>{html.escape(self.name)}</h3>"]
        for section in self.sections:
            parts.append(f"<h4>{html.escape(section.title)}</h4>")
            rows = [section.header] * bool(section.header) + list(section.rows)
            cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
            parts.append(f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>" if rows else "")
            parts.append(f"<p>{html.escape(section.note)}</p>" if section.note else "")
        return "".join(parts)


def summarise(opened: "Run") -> Summary:
    """Summarises a run.

    Raises:
      ValueError: a file is damaged; the message names it.
    """
    sections = [_model(opened), _training(opened), _attacks(opened), _certificates(opened), _evaluation(opened)]
    return Summary(opened.name, [*sections, _files(opened)])


def bracket(found: Mapping[str, Any], name: str) -> str:
    """Describes the bracket of a term of `metrics.elbo_decomposition`: its ends, and whether they determine it.

    An empty string if the term is missing.
    """
    lower, upper = (found.get(f"{name}_{end}") for end in ("lower", "upper"))
    if lower is None or upper is None:
        return ""
    ends = f"{_number(lower)} to {_number(upper)}, {found.get('paths')} paths"
    return ends if found.get(f"{name}_determined") else f"not determined ({ends})"


def without_bracket(elbo: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Entries of the measure "elbo" that hold one number although a bracket is needed.

    An earlier version computed them from one path an image and called them exact, also for hierarchies.

    Args:
      elbo: the measure, of evaluation.json.
      config: of the run.
    """
    is_hierarchy = len(_mapping(config.get("model")).get("latent_sizes", ())) > 1
    if not is_hierarchy or "paths" in elbo or "paths" in _mapping(elbo.get("options")):
        return []
    return [name for name in elbo if name.startswith(_BRACKETED)]


def _lines(section: Section) -> list[str]:
    rows = [section.header] * bool(section.header) + list(section.rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    lines = ["", section.title]
    for row in rows:
        # Where there are several columns, those after the first hold numbers.
        aligned = [row[0].ljust(widths[0])]
        aligned += [
            cell.ljust(width) if len(row) == 2 else cell.rjust(width)
            for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        lines.append(f"  {'  '.join(aligned)}".rstrip())
    return [*lines, f"  {section.note}"] if section.note else lines


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
    rows: list[_Row] = [("step", f"{step} of {steps}" if steps else f"{step}")]
    file = opened.path / "metrics.jsonl"
    found = [row for row in map(_mapping, storage.read_json_lines(file)) if row.get("split") == "validation"]
    if found:
        last = found[-1]
        known = ((name, label) for name, label in _METRICS.items() if name in last)
        rows += [(f"{label}, step {last.get('step')}", _number(last[name])) for name, label in known]
    return Section("Training, on validation images", rows)


def _attacks(opened: "Run") -> Section:
    rows: list[_Row] = []
    old: list[str] = []
    for file in sorted((opened.path / "attacks").glob("*_summary.csv")):
        name = file.name.removesuffix("_summary.csv")
        arrays = _arrays(file.with_name(f"{name}.npz"))
        if _is_old(arrays, opened):
            old.append(name)
            continue
        values = {row.get("measure", ""): row.get("value", "") for row in storage.read_csv(file)}
        cells = (
            _percent(values.get(measure)) if measure.startswith("share_") else _number(values.get(measure))
            for measure in _OF_ATTACKS
        )
        rows.append((name, *cells, f"{arrays.get('unit', '')}"))
    header = ("attack", *_OF_ATTACKS.values(), "Delta in")
    title = "Attacks: medians; distortions L2, in pixel units"
    return Section(title, rows, header if rows else (), _note(opened, "attack", bool(rows), old))


def _certificates(opened: "Run") -> Section:
    rows: list[_Row] = []
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
            margin = _number(np.median(arrays["radius"])) if is_certified else "abstained"
            words = (f"{arrays[key]}".replace("_", " ") for key in ("soundness", "norm"))
            rows.append((f"{arrays['method']}", *words, f"{r:g}", f"{len(arrays['radius'])} {split}", margin))
    header = ("method", "soundness", "norm", "r", "images", "median margin")
    title = "Certificates, in pixel units"
    return Section(title, rows, header if rows else (), _note(opened, "certify", bool(rows), old))


def _evaluation(opened: "Run") -> Section:
    rows: list[_Row] = []
    old: list[str] = []
    for split, (_, name) in _FOLDERS.items():
        file = opened.path / name
        record = _mapping(storage.read_json(file)) if file.exists() else {}
        if not record:
            continue
        if record.get("step") != opened.latest_step:
            old.append(name)
            continue
        measures = _mapping(record.get("measures"))
        unknown = without_bracket(_mapping(measures.get("elbo")), opened.config)
        for path, label in _EVALUATION.items():
            measure, _, entry = path.partition("/")
            if measure == "elbo" and entry in unknown:
                rows.append((f"{label}, {split}", "bracket not measured; evaluate again"))
            elif (value := _at(measures, path)) is not None:
                rows.append((f"{label}, {split}", _number(value)))
            elif words := bracket(_mapping(measures.get(measure)), entry):
                rows.append((f"{label}, {split}", words))
        units = _mapping(measures.get("active_units"))
        if active := [f"{value}" for key, value in units.items() if key.startswith("active_")]:
            rows.append((f"active units of each layer, {split}", ", ".join(active)))
        if not rows:
            rows.append((f"measures, {split}", ", ".join(measures)))
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


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _at(measures: Mapping[str, Any], path: str) -> Any:
    found: Any = measures
    for step in path.split("/"):
        found = _mapping(found).get(step)
    return found


def _number(value: Any) -> str:
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return "-"


def _percent(value: Any) -> str:
    number = _number(value)
    return number if number in ("-", "nan") else f"{float(value):.0%}"
