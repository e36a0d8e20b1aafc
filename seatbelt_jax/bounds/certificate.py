"""What a certificate states, with the conditions under which it holds."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.jacobian import JacobianNorms
from seatbelt_jax.bounds.margin import Soundness

_NORMS_PREFIX = "norms_"


@dataclasses.dataclass(frozen=True, eq=False)
class Certificate:
    """r-robustness of n images, each with its margin.

    For each image on its own, with probability at least `confidence` over the draws and under `assumptions`:
    every perturbation d with ||d||_2 < radius leaves P(||g(z) - c||_2 <= reconstruction_radius) > risk, z drawn
    by the encoder at x + d (all latent layers, in turn) and c the reconstruction of the unperturbed x.

    Attributes:
      radius: [n], the certified margin (Phi^-1(p_lower) - Phi^-1(risk)) / norm_bound, L2 in pixel units; 0 where
        abstained.
      p_lower: [n], the lower confidence bound of the probability of the event at d = 0.
      hits: [n], draws in the event: within the reconstruction radius and, for "hierarchical", with a whitened
        Jacobian of norm at most kappa.
      abstained: [n], p_lower <= risk: the image carries no claim (not: it is not robust).
      norm_bound: [n], what bounds the norm of the whitened Jacobian, standard deviations per pixel unit:
        ||J||_F / min_i sigma_i for "camuto", ||W||_2 for "spectral", kappa for "hierarchical".
      norms: norms of the encoder's Jacobian and its smallest sigma, each [n]; None for "hierarchical", where they
        depend on the draw.
      method: "camuto", "spectral" or "hierarchical".
      soundness: "first_order" (exact only for an affine mean), "locally_exact" or "sound".
      assumptions: the conditions, one sentence each.
      alpha: probability, for each image, that its p_lower is above the truth.
      risk: the probability m that must be exceeded.
      reconstruction_radius: r, L2 in pixel units.
      num_samples: draws for each image, not counting pilot draws.
      centre: where the ball of reconstructions is centred: the decoded "mean" of the clean image.
      units: of radius and reconstruction_radius.
    """

    radius: Float[ndarray, "n"]
    p_lower: Float[ndarray, "n"]
    hits: Int[ndarray, "n"]
    abstained: Bool[ndarray, "n"]
    norm_bound: Float[ndarray, "n"]
    norms: JacobianNorms | None
    method: str
    soundness: Soundness
    assumptions: tuple[str, ...]
    alpha: float
    risk: float
    reconstruction_radius: float
    num_samples: int
    centre: str = "mean"
    units: str = "L2 distance over the whole image, in pixel units"

    @property
    def confidence(self) -> float:
        """1 - alpha, for each image on its own."""
        return 1.0 - self.alpha

    @property
    def expected_failures(self) -> float:
        """n * alpha: at most so many images are expected to have a p_lower above the truth.

        To hold for all n images at once with probability 1 - alpha, certify with alpha / n.
        """
        return len(self.radius) * self.alpha

    def to_arrays(self) -> dict[str, ndarray]:
        """The fields by name, for an npz that loads with allow_pickle=False.

        Texts and numbers are 0-d arrays, the assumptions an array of strings, and the norms one array each, named
        "norms_spectral" and so on; they are left out where `norms` is None.
        """
        arrays = {name: np.asarray(getattr(self, name)) for name in _names(type(self)) if name != "norms"}
        if self.norms is not None:
            norms = self.norms
            arrays |= {_NORMS_PREFIX + name: np.asarray(getattr(norms, name)) for name in _names(JacobianNorms)}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ndarray]) -> "Certificate":
        """Undoes `to_arrays`; raises ValueError where a field is missing."""
        norm_names = {name: _NORMS_PREFIX + name for name in _names(JacobianNorms)}
        required = [name for name in _names(cls) if name != "norms"]
        has_norms = any(name in arrays for name in norm_names.values())
        if has_norms:
            required += norm_names.values()
        if missing := [name for name in required if name not in arrays]:
            raise ValueError(f"this is not a certificate: {', '.join(missing)} missing")
        norms = JacobianNorms(**{name: arrays[key] for name, key in norm_names.items()}) if has_norms else None
        values: dict[str, Any] = {name: arrays[name] for name in required if name in _names(cls)}
        # The 0-d arrays become the Python texts and numbers that they were made of.
        values = {name: value.item() if value.ndim == 0 else value for name, value in values.items()}
        values["assumptions"] = tuple(values["assumptions"].tolist())
        return cls(**values, norms=norms)

    def rows(self) -> list[dict[str, Any]]:
        """One row per image, for a tidy CSV, units in the names; the same columns for every method."""
        return [
            {
                "image": image,
                "method": self.method,
                "soundness": self.soundness,
                "certified_radius_l2": self.radius[image],
                "abstained": self.abstained[image],
                "probability_lower_bound": self.p_lower[image],
                "hits": self.hits[image],
                "num_samples": self.num_samples,
                "norm_bound_stds_per_pixel_unit": self.norm_bound[image],
                "reconstruction_radius_l2": self.reconstruction_radius,
                "risk": self.risk,
                "alpha": self.alpha,
            }
            for image in range(len(self.radius))
        ]


def _names(record: type) -> list[str]:
    return [field.name for field in dataclasses.fields(record)]
