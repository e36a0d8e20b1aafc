"""What a report shows of a model, as records with arrays, numbers and words."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from seatbelt_jax.results import AttackResult, Certificate, Diagnosis, EmpiricalMargin, MinimalRobustRadius


@dataclasses.dataclass(frozen=True)
class Samples:
    """A look at a model during training: images [shown, height, width, channels] in `image_range`.

    Attributes:
      images, reconstructions: validation images and what the model makes of them, in the same order.
      samples: images generated from the prior.
      step: the training step.
      image_range: (low, high), the grey levels shown black and white.
    """

    images: Float[np.ndarray, "shown height width channels"]
    reconstructions: Float[np.ndarray, "shown height width channels"]
    samples: Float[np.ndarray, "generated height width channels"]
    step: int
    image_range: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredAttack(AttackResult):
    """A sweep of attacks with what is measured of it.

    Attributes:
      summary: numbers by name, of the whole sweep; NAME_low and NAME_high are the bounds of NAME's interval.
      diagnosis: every sign of weakness that was looked for, and those that were not.
      image_range: (low, high) of the images.
    """

    summary: Mapping[str, float]
    diagnosis: Diagnosis
    image_range: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class CertifiedModel:
    """The certificates of one model and what belongs to them; what is absent is None or empty.

    Attributes:
      name: short, and different from the other models' names.
      certificates: one per method.
      empirical: upper bounds of margins, found by attacks.
      minimal_radius: the least r of the same images.
      beta, tau: the weight in its objective and the offset of its encoder's sigma.
    """

    name: str
    certificates: Sequence[Certificate]
    empirical: Sequence[EmpiricalMargin]
    minimal_radius: MinimalRobustRadius | None
    beta: float
    tau: float


@dataclasses.dataclass(frozen=True)
class ModelResults:
    """Everything a report shows of one model; what is absent is None or empty.

    Attributes:
      name: short, and different from the other models' names.
      kind: in words, for example "VAE, one latent layer of 16".
      path: its run's directory, for the commands that make what is absent.
      num_layers: how many latent layers it has.
      metrics: rows of learning curves, each with its "step" and "split".
      samples: its newest reconstructions and samples.
      attacks: by the names of their files.
      certificates: one per method, norm and split.
      empirical: upper bounds of margins, found by attacks, one per norm and split.
      settings, provenance: by name, ready to print.
      measures: measures of its evaluation, by split and then by name.
    """

    name: str
    kind: str
    path: str
    num_layers: int
    metrics: Sequence[Mapping[str, Any]]
    samples: Samples | None
    attacks: Mapping[str, MeasuredAttack]
    certificates: Sequence[Certificate]
    empirical: Sequence[EmpiricalMargin]
    settings: Mapping[str, str]
    provenance: Mapping[str, str]
    measures: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
