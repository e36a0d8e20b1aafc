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
      step: of training.
      image_range: (low, high), the grey levels shown black and white.
    """

    images: Float[np.ndarray, "shown height width channels"]
    reconstructions: Float[np.ndarray, "shown height width channels"]
    samples: Float[np.ndarray, "generated height width channels"]
    step: int
    image_range: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class AttackData:
    """One sweep of attacks over pairs x penalties, and what was concluded from it.

    Distances are L2 over the whole image in pixel units; log densities and divergences in nats.

    Attributes:
      penalties: lambda, rising, nats per unit of distortion.
      sources, targets: x and x^t; beside them their reconstructions.
      adversarial, adversarial_reconstructions: x + d and what the model makes of it.
      objective: Delta.
      distortion_norm: ||d||.
      negative_log_likelihood: -log p(x^t|z*); clean: the same for the target's own code.
      distance_left: ||recon(x + d) - recon(x^t)||; distance_at_start: at d = 0.
      shown: for each pair, the index of the penalty whose attack is shown first.
      summary: numbers by name, of the whole sweep.
      endings: how many attacks ended how.
      image_range: (low, high) of the images.
    """

    penalties: Float[np.ndarray, " penalty"]
    sources: Float[np.ndarray, "pair height width channels"]
    targets: Float[np.ndarray, "pair height width channels"]
    source_reconstructions: Float[np.ndarray, "pair height width channels"]
    target_reconstructions: Float[np.ndarray, "pair height width channels"]
    adversarial: Float[np.ndarray, "pair penalty height width channels"]
    adversarial_reconstructions: Float[np.ndarray, "pair penalty height width channels"]
    objective: Float[np.ndarray, "pair penalty"]
    distortion_norm: Float[np.ndarray, "pair penalty"]
    negative_log_likelihood: Float[np.ndarray, "pair penalty"]
    clean_negative_log_likelihood: Float[np.ndarray, " pair"]
    distance_left: Float[np.ndarray, "pair penalty"]
    distance_at_start: Float[np.ndarray, " pair"]
    shown: Int[np.ndarray, " pair"]
    summary: Mapping[str, float]
    endings: Mapping[str, int]
    image_range: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class CertificateData:
    """Certified margins of a set of images by one method, with the words that go with them.

    Attributes:
      method: the name of the bound.
      soundness: "first_order", "locally_exact" or "sound".
      assumptions: one sentence each.
      radius: the certified margin per image, L2 in pixel units; 0 where abstained.
      abstained: images without a claim.
      alpha: probability, for each image, that its bound fails.
      risk: the probability that must be exceeded.
      reconstruction_radius: r, how far a reconstruction may move, L2 in pixel units.
      num_samples: draws for each image.
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


@dataclasses.dataclass(frozen=True)
class ModelResults:
    """Everything a report shows of one model; what is absent is None or empty.

    Attributes:
      name: short and unlike the other models'.
      kind: in words, for example "VAE, one latent layer of 16".
      path: of its run, for the commands that make what is absent.
      num_layers: of latents.
      metrics: rows of learning curves, each with its "step" and "split".
      samples: the newest look at it.
      attacks: by name.
      certificates: one per method.
      settings, provenance: by name, ready to print.
    """

    name: str
    kind: str
    path: str
    num_layers: int
    metrics: Sequence[Mapping[str, Any]]
    samples: Samples | None
    attacks: Mapping[str, AttackData]
    certificates: Sequence[CertificateData]
    settings: Mapping[str, str]
    provenance: Mapping[str, str]
