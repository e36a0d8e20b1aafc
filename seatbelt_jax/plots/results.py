"""What a report shows of a model, as plain arrays and words: the room's only input."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int


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


@dataclasses.dataclass(frozen=True)
class Flag:
    """A sign that attacks are weaker than they look.

    Attributes:
      name: in words.
      meaning: what was seen, part of a sentence.
      share: the share of the sweep's attacks that have it; None where the sweep did not test it.
      unchecked: what stays open where the sweep did not test it, part of a sentence.
    """

    name: str
    meaning: str
    share: float | None
    unchecked: str = ""


@dataclasses.dataclass(frozen=True)
class AttackData:
    """One sweep of attacks over pairs x budgets, with its summary and flags.

    Distances between images are L2 over the whole image in pixel units; log densities in nats.

    Attributes:
      name: the name of the attacker's objective, such as "latent_kl_all".
      unit: the unit of the objective.
      targeted: whether the attacker has a target; if not, the fields about targets are meaningless.
      threat: "penalty", "squared_penalty", "l2_ball" or "linf_ball".
      budgets: lambda, or the radii of balls, in any order.
      sources, targets: x and x^t.
      source_reconstructions, target_reconstructions: recon(x) and recon(x^t).
      adversarial, adversarial_reconstructions: x + d and recon(x + d).
      objective: Delta.
      distortion_norm: ||d||.
      negative_log_likelihood: -log p(x^t|z*); clean: the same for the target's own code.
      distance_left: ||recon(x + d) - recon(x^t)||; distance_at_start: at d = 0.
      shown: for each pair, the index of the budget whose attack is shown first.
      summary: numbers by name, of the whole sweep; NAME_low and NAME_high are the bounds of NAME's interval.
      endings: how many attacks ended how.
      flags: every sign of weakness that was looked for, and those that were not.
      image_range: (low, high) of the images.
    """

    name: str
    unit: str
    targeted: bool
    threat: str
    budgets: Float[np.ndarray, " budget"]
    sources: Float[np.ndarray, "pair height width channels"]
    targets: Float[np.ndarray, "pair height width channels"]
    source_reconstructions: Float[np.ndarray, "pair height width channels"]
    target_reconstructions: Float[np.ndarray, "pair height width channels"]
    adversarial: Float[np.ndarray, "pair budget height width channels"]
    adversarial_reconstructions: Float[np.ndarray, "pair budget height width channels"]
    objective: Float[np.ndarray, "pair budget"]
    distortion_norm: Float[np.ndarray, "pair budget"]
    negative_log_likelihood: Float[np.ndarray, "pair budget"]
    clean_negative_log_likelihood: Float[np.ndarray, " pair"]
    distance_left: Float[np.ndarray, "pair budget"]
    distance_at_start: Float[np.ndarray, " pair"]
    shown: Int[np.ndarray, " pair"]
    summary: Mapping[str, float]
    endings: Mapping[str, int]
    flags: Sequence[Flag]
    image_range: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class CertificateData:
    """Certified margins of a set of images by one method, with the words that go with them.

    Attributes:
      method: the name of the bound.
      soundness: "first_order", "locally_exact" or "sound".
      assumptions: one sentence each.
      radius: the certified margin per image, in pixel units of the norm; 0 where abstained.
      abstained: images without a claim.
      alpha: probability, for each image, that its bound fails.
      risk: the probability that must be exceeded.
      reconstruction_radius: r, how far a reconstruction may move, L2 in pixel units.
      num_samples: draws for each image.
      norm: the norm of distortions, "l2" or "linf".
      split: the split of the images, "validation" or "test".
    """

    method: str
    soundness: str
    assumptions: Sequence[str]
    radius: Float[np.ndarray, " image"]
    abstained: Bool[np.ndarray, " image"]
    alpha: float
    risk: float
    reconstruction_radius: float
    num_samples: int
    norm: str
    split: str = "validation"


@dataclasses.dataclass(frozen=True)
class EmpiricalData:
    """Upper bounds, found by attacks, of the margins of the first images of a set.

    Attributes:
      upper: the upper bound per image, in pixel units of the norm; infinite where no attack was confirmed.
      curve_norms, curve_probability: norms along the direction found, and the estimated probabilities there that the
        reconstruction stays within r.
      alpha: probability, for each image, that its bound fails.
      risk, reconstruction_radius, num_samples, norm, split: as in `CertificateData`.
    """

    upper: Float[np.ndarray, " image"]
    curve_norms: Float[np.ndarray, "image point"]
    curve_probability: Float[np.ndarray, "image point"]
    alpha: float
    risk: float
    reconstruction_radius: float
    num_samples: int
    norm: str
    split: str = "validation"


@dataclasses.dataclass(frozen=True)
class MinimalRadiusData:
    """The least r for which each unperturbed image is r-robust, L2 in pixel units.

    Attributes:
      estimate: the estimate per image.
      lower, upper: its confidence interval.
    """

    estimate: Float[np.ndarray, " image"]
    lower: Float[np.ndarray, " image"]
    upper: Float[np.ndarray, " image"]


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
    certificates: Sequence[CertificateData]
    empirical: Sequence[EmpiricalData]
    minimal_radius: MinimalRadiusData | None
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
    attacks: Mapping[str, AttackData]
    certificates: Sequence[CertificateData]
    empirical: Sequence[EmpiricalData]
    settings: Mapping[str, str]
    provenance: Mapping[str, str]
    measures: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
