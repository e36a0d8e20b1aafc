"""What a certificate states, with the conditions under which it holds."""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.results.record import RecordOfImages
from seatbelt_jax.values import register

Soundness = Literal["first_order", "locally_exact", "sound"]
# Norm of perturbations. Reconstructions are always compared in L2.
Norm = Literal["l2", "linf"]
NORMS = {"l2": "L2", "linf": "L-infinity"}


class Comparable(NamedTuple):
    """What margins have in common if they can be compared; r in pixel units."""

    norm: str
    split: str
    radius: float
    risk: float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class JacobianNorms:
    """Norms of an encoder's Jacobians at one or several images: NumPy float64, or arrays of a trace; a pytree.

    The operator norms measure perturbations d in L2, or in L-infinity, and what comes of them in L2; those from
    L-infinity are upper bounds (`bounds.operator_norm`).

    Attributes:
      spectral: [...], ||J||, J of the mean; latent units per pixel unit. In L2 the largest singular value.
      frobenius: [...], ||J||_F, the root of the summed squares; latent units per pixel unit.
      whitened_spectral: [...], ||W||; standard deviations per pixel unit.
      whitened_frobenius: [...], ||W||_F; standard deviations per pixel unit.
      log_std_spectral: [...], the operator norm of the Jacobian of log sigma; per pixel unit.
      smallest_std: [...], min_i sigma_i(x); latent units.
    """

    spectral: Float[Array | ndarray, "*batch"]
    frobenius: Float[Array | ndarray, "*batch"]
    whitened_spectral: Float[Array | ndarray, "*batch"]
    whitened_frobenius: Float[Array | ndarray, "*batch"]
    log_std_spectral: Float[Array | ndarray, "*batch"]
    smallest_std: Float[Array | ndarray, "*batch"]


@register("radius", "p_lower", "hits", "abstained", "norm_bound", "norms")
@dataclasses.dataclass(frozen=True, eq=False)
class Certificate(RecordOfImages):
    """r-robustness of n images, each with its margin; a pytree, what holds for all images being static.

    For each image on its own, with probability at least `confidence` over the draws and under `assumptions`:
    every perturbation d with ||d|| < radius leaves P(||g(z) - c||_2 <= reconstruction_radius) > risk, z drawn
    by the encoder at x + d (all latent layers, in turn) and c the reconstruction of the unperturbed x.

    Attributes:
      radius: [n], the certified margin, in pixel units, in the norm of perturbations; 0 where abstained.
      p_lower: [n], the lower confidence bound of the probability of the event at d = 0.
      hits: [n], draws in the event: within the reconstruction radius (for "hybrid" a smaller one, chosen for each
        image by draws of its own) and, for "hierarchical", with whitened Jacobians of norm at most kappa.
      abstained: [n], the image carries no claim (not: it is not robust).
      norm_bound: [n], how fast a perturbation moves the draw at most, standard deviations per pixel unit: ||J||_F /
        min_i sigma_i for "camuto", the whitened Jacobian's norm at the image for the other methods of first order, a
        bound of it over the certified ball for "lipschitz" and "hybrid", kappa for "hierarchical"; NaN for margins by
        "pathwise" and "pathwise_first_order", which ask how far draws move the reconstruction.
      norms: norms of the encoder's Jacobian and its smallest sigma, each [n]; None in a hierarchy, where they
        depend on the draw.
      method: a name of `METHODS`, or "hierarchical" or "hierarchical_sup".
      soundness: "first_order" (exact only for an affine mean), "locally_exact" (inside a region that ends no later
        than the margin) or "sound" (without linearising the model).
      assumptions: the conditions, one sentence each.
      alpha: probability, for each image, that its p_lower is above the truth.
      risk: the probability m that must be exceeded.
      reconstruction_radius: r, L2 in pixel units.
      num_samples: draws for each image, not counting pilot draws; of "antithetic" pairs of draws. For "best_sound"
        those of "hybrid", the first of which "pathwise" bounds.
      norm: of perturbations, "l2" or "linf".
      centre: where the ball of reconstructions is centred: the decoded "mean" of the clean image.
    """

    called: ClassVar[str] = "a certificate"

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
    norm: Norm = "l2"
    centre: str = "mean"

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.radius)

    @property
    def comparable(self) -> Comparable:
        """What was asked of each image."""
        return Comparable(self.norm, self.split, self.reconstruction_radius, self.risk)

    @property
    def units(self) -> str:
        """Units of radius and reconstruction_radius, in words."""
        of_radius = {"l2": "L2 distance over the whole image", "linf": "largest change of a pixel"}[self.norm]
        return f"radius: {of_radius}, in pixel units; reconstruction_radius: L2 over the whole image, in pixel units"

    @property
    def confidence(self) -> float:
        """1 - alpha, for each image on its own."""
        return 1.0 - self.alpha

    @property
    def expected_failures(self) -> float:
        """n * alpha: at most so many images are expected to have a p_lower above the truth.

        To hold for all n images at once with probability 1 - alpha, certify with alpha / n.
        """
        return self.n * self.alpha

    @property
    def mean_margin(self) -> float:
        """E_x[R(x)] over the images, abstentions counted as 0, in pixel units (Camuto et al. 2021, Sec. 3.2.2).

        Infinite margins, of images whose latents nothing moves, make it infinite.
        """
        return float(np.mean(self.radius))

    def certified_fraction(self, radii: Float[ndarray, "*radius"] | float) -> Float[ndarray, "*radius"]:
        """The share of all images whose margin is at least each radius, abstentions counted as not certified."""
        held = (self.radius >= np.asarray(radii, np.float64)[..., None]) & ~self.abstained
        return np.mean(held, axis=-1)

    def rows(self) -> list[dict[str, Any]]:
        """One row per image, for a tidy CSV, units in the names; the same columns for every method."""
        return [
            {
                "split": self.split,
                "image": image,
                "method": self.method,
                "soundness": self.soundness,
                "norm": self.norm,
                "certified_radius_pixel_units": self.radius[image],
                "abstained": self.abstained[image],
                "probability_lower_bound": self.p_lower[image],
                "hits": self.hits[image],
                "num_samples": self.num_samples,
                "norm_bound_stds_per_pixel_unit": self.norm_bound[image],
                "reconstruction_radius_l2": self.reconstruction_radius,
                "risk": self.risk,
                "alpha": self.alpha,
            }
            for image in range(self.n)
        ]
