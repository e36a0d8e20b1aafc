"""What a certificate states, with the conditions under which it holds."""

import dataclasses

from jaxtyping import Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.jacobian import JacobianNorms
from seatbelt_jax.bounds.margin import Soundness


@dataclasses.dataclass(frozen=True, eq=False)
class Certificate:
    """r-robustness of n images, each with its margin.

    For each image on its own, with probability at least `confidence` over the draws and under
    `assumptions`: every perturbation d with ||d||_2 < radius leaves
    P(||g(z) - g(mu(x))||_2 <= reconstruction_radius) > risk, z drawn by the encoder at x + d.

    Attributes:
      radius: [n], the certified margin, L2 in pixel units; 0 where abstained.
      p_lower: [n], the lower confidence bound of the probability at d = 0.
      hits: [n], draws that fell within the reconstruction radius.
      abstained: [n], p_lower <= risk: the image carries no claim (not: it is not robust).
      norms: norms of the encoder's Jacobian and its smallest sigma, each [n].
      method: "camuto" or "spectral".
      soundness: "first_order" (exact only for an affine mean), "locally_exact" or "sound".
      assumptions: the conditions, one sentence each.
      alpha: probability, for each image, that its p_lower is above the truth.
      risk: the probability m that must be exceeded.
      reconstruction_radius: r, L2 in pixel units.
      num_samples: draws for each image.
      centre: where the ball of reconstructions is centred: the decoded "mean" of the clean image.
      units: of radius and reconstruction_radius.
    """

    radius: Float[ndarray, "n"]
    p_lower: Float[ndarray, "n"]
    hits: Int[ndarray, "n"]
    abstained: Bool[ndarray, "n"]
    norms: JacobianNorms
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
