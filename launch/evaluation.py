"""What the measures of launch/evaluate.py are given: a run, opened, and what is asked of it."""

import dataclasses
import pathlib
import sys
from typing import Any, NamedTuple

import jax
import numpy as np
import run_data
from jaxtyping import Array, Int

from seatbelt_jax import data, models, run, run_summary, sections, storage
from seatbelt_jax.untrusted import check
from seatbelt_jax.vae import VAE


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured of a run; the flags of launch/evaluate.py say what each means.

    Raises:
      ValueError: for values that the flags refuse.
    """

    measures: tuple[str, ...] = ()
    split: str = "validation"
    images: int = 10_000
    paths: int = 16
    samples: int = 100
    samples_images: int = 256
    levels: int = 10
    pairs: int = 50
    training_images: int = 10_000
    epochs: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        sections.check_types("evaluate", self)
        sections.check_seed("evaluate.seed", self.seed)
        sections.check_choice("evaluate.split", self.split, run_data.UNSEEN)
        counts = ("images", "paths", "samples", "samples_images", "levels", "pairs", "training_images", "epochs")
        # Beyond this memory ends before the evaluation begins.
        sections.check_limits("evaluate", self, dict.fromkeys(counts, 1), {"paths": 10_000})


class Task(NamedTuple):
    """A run, opened.

    Attributes:
      step: of the model.
      images: of the split that is measured, as many as asked for; `splits` has all.
    """

    opened: run.Run
    step: int | None
    vae: VAE
    variables: models.Variables
    splits: data.Splits
    images: data.Dataset
    options: Options

    @property
    def key(self) -> Array:
        return jax.random.key(self.options.seed)


class NotApplicableError(Exception):
    """A measure that a model or its data do not have; the message says why."""


# What evaluation.json holds: each measure is a mapping, and each that was skipped has its reason.
_RECORD = {"step": (int, type(None)), "measures": {"*": {"options?": {}}}, "skipped": {"*": str}}


def read_record(file: pathlib.Path) -> dict[str, Any]:
    """What launch/evaluate.py wrote; raises ValueError naming the file where it is something else."""
    found = storage.read_json(file)
    try:
        check(found, _RECORD, f"{file}")
    except ValueError as error:
        raise ValueError(f"{error}; this is not an evaluation; remove the file") from error
    return found


def read_measures(file: pathlib.Path, opened: run.Run) -> dict[str, Any]:
    """The measures in a file of launch/evaluate.py, but for terms that lack their bracket; one line says so.

    Raises:
      ValueError: as `read_record`.
    """
    measures = read_record(file)["measures"]
    elbo = measures.get("elbo", {})
    if unknown := run_summary.without_bracket(elbo, opened.config):
        terms = ", ".join(name for name in unknown if not name.endswith("_error"))
        print(f"left out: {terms} in {file}: bracket not measured by that version; evaluate again", file=sys.stderr)
    return {**measures, "elbo": {k: v for k, v in elbo.items() if k not in unknown}} if unknown else measures


def first(images: data.Dataset, number: int) -> data.Dataset:
    """The first so many images, or all there are."""
    return dataclasses.replace(images, size=min(number, images.size))


def labels_of(splits: data.Splits, images: data.Dataset) -> Int[np.ndarray, " image"]:
    if images.labels is None:
        raise NotApplicableError(f"{splits.train.name} has no labels")
    return np.asarray(images.labels(np.arange(images.size, dtype=np.int32)))
