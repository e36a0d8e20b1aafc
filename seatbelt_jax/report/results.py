"""What a report shows, read from what the commands left in a run."""

import math
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from seatbelt_jax import metrics, plots, runs, storage, training
from seatbelt_jax.attacks import diagnose
from seatbelt_jax.results import AttackResult, Certificate, EmpiricalMargin, files
from seatbelt_jax.runs import measures

_SAMPLES = ("images", "reconstructions", "samples", "step", "image_low", "image_high")


def of_run(opened: runs.Run, name: str) -> plots.ModelResults:
    """Everything that a run has to show under a name.

    Raises:
      ValueError: where something is damaged.
    """
    found = certification_of(opened)
    return plots.ModelResults(
        name=name,
        kind=opened.kind,
        path=str(opened.path),
        num_layers=len(opened.config["model"]["latent_sizes"]),
        metrics=_metrics(opened.path),
        samples=_samples(opened.path / "samples.npz"),
        attacks={file.stem: read_attack(file, opened.image_range) for file in attacks_of(opened)},
        certificates=found.certificates,
        empirical=found.empirical,
        settings=dict(flat(opened.config)),
        provenance=dict(flat(opened.provenance)),
        measures={split: taken for split in files.SPLITS if (taken := _measures(opened, split))},
    )


class Certification(NamedTuple):
    """What certification left in a run, of validation and of test images."""

    certificates: list[Certificate]
    empirical: list[EmpiricalMargin]


def certification_of(opened: runs.Run) -> Certification:
    """Raises ValueError where a file is damaged."""
    found = Certification([], [])
    for split in files.SPLITS:
        for file in _results_of(opened, files.of_split("certificates", split)):
            record = files.read_margins(file)
            if isinstance(record, Certificate):
                found.certificates.append(record)
            elif isinstance(record, EmpiricalMargin):
                found.empirical.append(record)
    return found


def attacks_of(opened: runs.Run) -> list[pathlib.Path]:
    """The files of attacks on the model as it stands."""
    return _results_of(opened, "attacks")


def _results_of(opened: runs.Run, folder: str) -> list[pathlib.Path]:
    """The results of the model as it stands; those of an earlier step are named and left out."""
    current, old = files.current(opened.path / folder, opened.latest_step)
    for file in old:
        _left_out(file, files.made_by(file).step, opened)
    return current


def _left_out(file: pathlib.Path, step: object, opened: runs.Run) -> None:
    print(
        f"left out: {file} was made at step {step}, and the model is at step {opened.latest_step}; make it again",
        file=sys.stderr,
    )


def _metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    rows = training.read_metrics(path)
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]


def read_attack(
    file: pathlib.Path, image_range: tuple[float, float], summary: Mapping[str, float] | None = None
) -> plots.MeasuredAttack:
    """What is shown of the sweep of attacks in a file, as `measured_attack`.

    Raises:
      ValueError: naming the file, where it is damaged.
    """
    found = files.read(file, AttackResult)
    try:
        return measured_attack(found, image_range, summary)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def measured_attack(
    found: AttackResult, image_range: tuple[float, float], summary: Mapping[str, float] | None = None
) -> plots.MeasuredAttack:
    """What is shown of a sweep of attacks; `summary` is made anew where it is not given."""
    return plots.MeasuredAttack(
        **vars(found),
        summary=metrics.summarise(found) if summary is None else summary,
        diagnosis=diagnose(found),
        image_range=image_range,
    )


def _measures(opened: runs.Run, split: str) -> dict[str, float]:
    """The numbers of an evaluation of the model as it stands, by their paths in its file."""
    file = opened.path / files.of_split("evaluation.json", split)
    if not file.exists():
        return {}
    record = measures.read_record(file)
    if record.get("step") != opened.latest_step:
        _left_out(file, record.get("step"), opened)
        return {}
    return dict(_numbers(measures.read_measures(file, opened)))


def _numbers(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers for a table, 1 or 0 for whether a term is determined; no whole arrays, no options of a measure."""
    for key, value in found.items():
        if isinstance(value, Mapping) and key != "options":
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and (not isinstance(value, bool) or key.endswith("_determined")):
            yield f"{prefix}{key}", float(value)


def _samples(file: pathlib.Path) -> plots.Samples | None:
    if not file.exists():
        return None
    arrays = storage.read_npz(file)
    if missing := [name for name in _SAMPLES if name not in arrays]:
        raise ValueError(f"{file} lacks {', '.join(missing)}; train again, or remove it")
    image_range = float(arrays["image_low"]), float(arrays["image_high"])
    return plots.Samples(
        np.asarray(arrays["images"]),
        np.asarray(arrays["reconstructions"]),
        np.asarray(arrays["samples"]),
        int(arrays["step"]),
        image_range,
    )


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """section.field -> value as text."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            listed = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{prefix}{key}", f"{listed}"
