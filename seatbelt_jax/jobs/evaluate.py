"""Measures the model of a run."""

import dataclasses
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from seatbelt_jax import runs, storage
from seatbelt_jax.jobs import classifier_measures, model_measures, run_data
from seatbelt_jax.jobs.evaluation import NotApplicableError, Options, Task, first
from seatbelt_jax.registry import Registry
from seatbelt_jax.results import files
from seatbelt_jax.runs.measures import at, bracket, current_record

# In the order in which they are made, the quick ones first.
MEASURES: Registry[Callable[[Task], dict[str, Any]]] = Registry(
    "a measure",
    {
        "weight_norms": model_measures.weight_norms,
        "active_units": model_measures.active_units,
        "posterior_std": model_measures.posterior_std,
        "noise_robustness": model_measures.noise_robustness,
        "elbo": model_measures.elbo,
        "traversals": model_measures.traversals,
        "importance_weighted": model_measures.importance_weighted,
        "mig": model_measures.mig,
        "attack_success": classifier_measures.attack_success,
        "downstream": classifier_measures.downstream,
    },
)

# What the table on the terminal says of a measure: entries of it by their path.
_HEADLINES = {
    "weight_norms": ("encoder", "decoder"),
    "elbo": ("elbo_nats", "reconstruction_error_l2", "total_correlation_nats", "mutual_information_nats"),
    "importance_weighted": ("log_likelihood_nats", "median_effective_sample_size"),
    "posterior_std": ("layer_1/mean", "layer_2/mean"),
    "noise_robustness": ("scale_0/mean", "scale_0.1/mean", "scale_0.5/mean", "scale_1/mean"),
    "active_units": ("active_1", "active_2", "active_3", "active_4", "active_5"),
    "mig": ("layer_1/mig", "layer_2/mig", "all_layers/mig", "images"),
    "downstream": (
        "mlp_reconstructions/accuracy_attacked",
        "mlp_reconstructions/accuracy_change",
        "conv_reconstructions/accuracy_change",
        "mlp_codes/accuracy_change",
    ),
    "attack_success": ("held_out_accuracy",),
}


def evaluate(path: str | pathlib.Path, options: Options, *, allow: Collection[str] = ()) -> None:
    """Measures the model of a run and writes what it finds into the run, each measure as soon as there is one.

    `allow` is as in `runs.open`.

    Raises:
      FileNotFoundError: where the run does not exist or has no checkpoint.
      ValueError: for an unknown measure, a split that the data do not have, or an evaluation.json that is damaged.
    """
    check_measures(options)
    opened = runs.open(path, allow=allow)
    # Before minutes of work.
    for place in (opened.path, opened.path / "figures"):
        storage.check_writable(place)
    task = _task(opened, options)
    file = record_file(task.opened, options)
    record = current_record(file, task.step)
    for name in options.measures or MEASURES:
        record["measures"].pop(name, None)
        record["skipped"].pop(name, None)
        try:
            found = MEASURES[name](task)
        except NotApplicableError as reason:
            record["skipped"][name] = str(reason)
            print(f"{name:20} skipped: {reason}")
        else:
            record["measures"][name] = {**storage.plain(found), "options": storage.plain(dataclasses.asdict(options))}
            print(f"{name:20} {_headline(name, record['measures'][name])}")
        storage.write_json(file, record)
    print(f"{file}: {len(record['measures'])} measures of step {task.step}, {len(record['skipped'])} skipped")


def check_measures(options: Options) -> None:
    """Raises ValueError for a measure that does not exist."""
    if unknown := [name for name in options.measures if name not in MEASURES]:
        raise ValueError(f"measures: unknown measure {', '.join(unknown)}; there are {', '.join(MEASURES)}")


def record_file(opened: runs.Run, options: Options) -> pathlib.Path:
    """What `evaluate` writes; as all results on test images, apart from those on validation images."""
    return opened.path / files.of_split("evaluation.json", options.split)


def _task(opened: runs.Run, options: Options) -> Task:
    # Before the work: a training that goes on meanwhile must not put its later step on these results.
    step = opened.latest_step
    variables = opened.load_variables(step)
    vae = opened.model.bind(variables)
    splits = run_data.splits_of(opened, vae.likelihood.image_range)
    images = first(run_data.unseen_of(splits, options.split), options.images)
    return Task(opened, step, vae, variables, splits, images, options)


def _headline(name: str, found: Mapping[str, Any]) -> str:
    parts = []
    for path in _HEADLINES.get(name, ()):
        if (value := at(found, path)) is not None:
            parts.append(f"{path} {value:.4g}")
        elif words := bracket(found, path):
            parts.append(f"{path} {words}")
    for attack, of_attack in found.items():
        if isinstance(of_attack, Mapping) and (left_out := of_attack.get("label_pairs_left_out")):
            parts.append(f"{attack}: {left_out} of {of_attack['label_pairs']} ordered pairs of labels are left out")
    return ", ".join(parts) or "done"
