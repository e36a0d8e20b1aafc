"""What the measures of a run are given: the run, opened, and what is asked of it."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int

from seatbelt_jax import data, models, runs, sections
from seatbelt_jax.jobs import run_data
from seatbelt_jax.options import check, option
from seatbelt_jax.vae import VAE

# Beyond this memory ends before the evaluation begins.
_MOST_PATHS = 10_000


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured of a run.

    Raises:
      ValueError: for values that an option does not allow.
    """

    measures: tuple[str, ...] = option((), "Measures to compute. Default: all.")
    split: str = option("validation", run_data.SPLIT_HELP, choices=run_data.UNSEEN)
    images: int = option(10_000, "Largest number of images to use, from the first of the split on.", least=1)
    paths: int = option(16, "ELBO of a hierarchy: paths an image that bracket q(z^L).", least=1, most=_MOST_PATHS)
    samples: int = option(100, "Importance-weighted bound: samples per image.", least=1)
    samples_images: int = option(256, "Importance-weighted bound: number of images.", least=1)
    levels: int = option(10, "Mutual information gap: largest number of levels per factor, evenly spaced.", least=2)
    pairs: int = option(50, "Downstream task: number of image pairs with different labels to attack.", least=1)
    training_images: int = option(10_000, "Classifiers: number of training images.", least=1)
    epochs: int = option(10, "Classifiers: number of epochs.", least=1)
    seed: int = option(0, "Seed of the samples, the pairs and the classifiers.")

    def __post_init__(self) -> None:
        check("evaluate", self)
        sections.check_seed("evaluate.seed", self.seed)


class Task(NamedTuple):
    """A run, opened.

    Attributes:
      step: of the model.
      images: of the split that is measured, as many as asked for; `splits` has all.
    """

    opened: runs.Run
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


def first(images: data.Dataset, number: int) -> data.Dataset:
    """The first so many images, or all there are."""
    return dataclasses.replace(images, size=min(number, images.size))


def labels_of(splits: data.Splits, images: data.Dataset) -> Int[np.ndarray, " image"]:
    if images.labels is None:
        raise NotApplicableError(f"{splits.train.name} has no labels")
    return np.asarray(images.labels(np.arange(images.size, dtype=np.int32)))
