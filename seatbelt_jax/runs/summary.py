"""An overview of a run's results in a few lines of text or HTML.

All numbers are read from the run's files. Only the medians of certified margins are computed here.
"""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seatbelt_jax import storage
from seatbelt_jax.results import Certificate, files
from seatbelt_jax.results.measures import OF_ATTACKS, OF_MODELS, of_place
from seatbelt_jax.runs import measures
from seatbelt_jax.runs.overview import Row, Section, Summary, number

if TYPE_CHECKING:
    from seatbelt_jax.runs.run import Run

_OF_ATTACKS = tuple(of_place("summary", OF_ATTACKS))
_OF_MODELS = tuple(of_place("summary", OF_MODELS))


def summarise(opened: "Run") -> Summary:
    """Summarises a run.

    Raises:
      ValueError: a file is damaged; the message names it.
    """
    sections = [_model(opened), _training(opened), _attacks(opened), _certificates(opened), _evaluation(opened)]
    return Summary(opened.name, [*sections, _files(opened)])


def _model(opened: "Run") -> Section:
    model, images = opened.config["model"], " x ".join(map(str, opened.image_shape))
    network = f"{model.get('network', '')} network, {model.get('likelihood', '')} likelihood".strip()
    made = model["build"] if opened.is_own else network
    name = opened.config["data"].get("name")
    return Section("Model", [("model", opened.kind), ("made of", made), ("data", f"{name}, {images}")])


def _training(opened: "Run") -> Section:
    step, steps = opened.latest_step, opened.config.get("train", {}).get("steps")
    if step is None:
        return Section("Training", note=f"no checkpoint yet: {_command(opened, 'train')}")
    rows: list[Row] = [("step", f"{step} of {steps}" if steps else f"{step}")]
    file = opened.path / "metrics.jsonl"
    found = [row for row in storage.read_json_lines(file) if isinstance(row, dict) and row.get("split") == "validation"]
    if found:
        last = found[-1]
        known = [measure for measure in _OF_MODELS if measure.training in last]
        rows += [(f"{one.words}, step {last.get('step')}", number(last[one.training])) for one in known]
    return Section("Training, on validation images", rows)


def _attacks(opened: "Run") -> Section:
    rows: list[Row] = []
    old: list[str] = []
    for file in sorted((opened.path / "attacks").glob("*_summary.csv")):
        name = file.name.removesuffix("_summary.csv")
        arrays = file.with_name(f"{name}.npz")
        if arrays.exists() and not files.made_by(arrays).is_of(opened.latest_step):
            old.append(name)
            continue
        unit = storage.read_npz(arrays, ("unit",)).get("unit", "") if arrays.exists() else ""
        values = {row.get("measure", ""): row.get("value", "") for row in storage.read_csv(file)}
        cells = ((_percent if one.is_share else number)(values.get(one.name)) for one in _OF_ATTACKS)
        rows.append((name, *cells, f"{unit}"))
    header = ("attack", *(measure.short for measure in _OF_ATTACKS), "Δ in")
    title = "Attacks: medians; distortions L2, in pixel units"
    return Section(title, rows, header if rows else (), _note(opened, "attack", bool(rows), old))


def _certificates(opened: "Run") -> Section:
    rows: list[Row] = []
    old: list[str] = []
    for split in files.SPLITS:
        folder = files.of_split("certificates", split)
        current, of_earlier = files.current(opened.path / folder, opened.latest_step)
        old += [f"{folder}/{file.stem}" for file in of_earlier]
        for one in map(files.read_margins, current):
            if isinstance(one, Certificate):
                # A median of abstentions would look like a measured margin.
                margin = "abstained" if one.abstained.all() else number(np.median(one.radius))
                words = (f"{one.n} {split}", margin)
                soundness = one.soundness.replace("_", " ")
                rows.append((one.method, soundness, one.norm, f"{one.reconstruction_radius:g}", *words))
    header = ("method", "soundness", "norm", "r", "images", "median margin")
    title = "Certificates, in pixel units"
    return Section(title, rows, header if rows else (), _note(opened, "certify", bool(rows), old))


def _evaluation(opened: "Run") -> Section:
    rows: list[Row] = []
    old: list[str] = []
    for split in files.SPLITS:
        file = opened.path / files.of_split("evaluation.json", split)
        if not file.exists():
            continue
        record = measures.read_record(file)
        if record["step"] != opened.latest_step:
            old.append(file.name)
            continue
        of_split: list[Row] = []
        found = record["measures"]
        unknown = measures.without_bracket(found.get("elbo", {}), opened.config)
        for one in _OF_MODELS:
            measure, _, entry = one.evaluation.partition("/")
            if measure == "elbo" and entry in unknown:
                of_split.append((f"{one.words}, {split}", "bracket not measured; evaluate again"))
            elif (value := measures.at(found, one.evaluation)) is not None:
                of_split.append((f"{one.words}, {split}", number(value)))
            elif words := measures.bracket(found.get(measure, {}), entry):
                of_split.append((f"{one.words}, {split}", words))
        units = found.get("active_units", {})
        if active := [f"{value}" for key, value in units.items() if key.startswith("active_")]:
            of_split.append((f"active units of each layer, {split}", ", ".join(active)))
        rows += of_split or [(f"measures, {split}", ", ".join(found))]
    return Section("Evaluation", rows, note=_note(opened, "evaluate", bool(rows), old))


def _files(opened: "Run") -> Section:
    page = opened.path / "report.html"
    shown = f"{page}" if page.exists() else f"none yet: {_command(opened, 'report')}"
    return Section("Files", [("folder", f"{opened.path}"), ("page", shown)])


def _note(opened: "Run", command: str, has_some: bool, old: Sequence[str]) -> str:
    parts = [f"of an earlier step, to be made anew: {', '.join(old)}"] if old else []
    if not has_some:
        parts.append(f"none yet: {_command(opened, command)}")
    return "; ".join(parts)


def _command(opened: "Run", command: str) -> str:
    option = "--config=CONFIG --workdir" if command == "train" else "--run"
    allow = f" --allow={opened.config['model']['build']}" if opened.is_own and command != "report" else ""
    return f"seatbelt {command} {option}={shlex.quote(str(opened.path))}{allow}"


def _percent(value: Any) -> str:
    shown = number(value)
    return shown if shown in ("-", "nan") else f"{float(value):.0%}"
