"""What attacks show of margins: upper bounds, and the distortions that prove them."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from seatbelt_jax.results.certificate import Comparable, Norm
from seatbelt_jax.results.record import RecordOfImages


@dataclasses.dataclass(frozen=True, eq=False)
class EmpiricalMargin(RecordOfImages):
    """Distortions that show n images' margins of r-robustness to be no larger than their norms.

    For each image on its own, with probability at least 1 - alpha: the probability that a draw of the encoder at
    x + distortion decodes to within reconstruction_radius of the unperturbed image's reconstruction is below risk,
    hence R(x) <= upper. Such a draw has the sigma of x + distortion, or the sigma of x where `frozen_std`.

    Attributes:
      upper: [n], ||distortion|| in the norm, pixel units; infinite where nothing was confirmed, 0 where the
        unperturbed image is shown not to be r-robust.
      distortion: [n, *image] float64, exactly what the encoder was given less the image; 0 where upper is infinite.
      p_upper: [n], the upper confidence bound of the probability at x + distortion.
      p_clean: [n], the estimated probability at x.
      curve_norms: [n, k], norms along the direction found (the most promising one where nothing was confirmed).
      curve_probability: [n, k], estimated probabilities there, by the search's draws; Camuto et al. 2021, Fig. 5.
      alpha: probability of a wrong upper, for each image.
      risk: m.
      reconstruction_radius: r, L2 in pixel units.
      num_samples: fresh draws for each distortion tried.
      num_tried: distortions tried on them for each image, d = 0 included; each has alpha / num_tried.
      norm: "l2" or "linf".
      frozen_std: whether draws at x + distortion had the sigma of x (Camuto et al. 2021, Eq. 3); files of versions
        without this field hold margins of a moving sigma.
      image_range: that x + d kept to; None for any d, which is what a certificate speaks of.
    """

    called: ClassVar[str] = "an empirical margin"

    upper: Float[ndarray, "n"]
    distortion: Float[ndarray, "n *image"]
    p_upper: Float[ndarray, "n"]
    p_clean: Float[ndarray, "n"]
    curve_norms: Float[ndarray, "n k"]
    curve_probability: Float[ndarray, "n k"]
    alpha: float
    risk: float
    reconstruction_radius: float
    num_samples: int
    num_tried: int
    norm: Norm
    frozen_std: bool = False
    image_range: tuple[float, float] | None = None

    @property
    def comparable(self) -> Comparable:
        """What was asked of each image."""
        return Comparable(self.norm, self.split, self.reconstruction_radius, self.risk)

    def rows(self) -> list[dict[str, Any]]:
        """One row per image, for a tidy CSV, units in the names."""
        return [
            {
                "split": self.split,
                "image": image,
                "norm": self.norm,
                "upper_margin_pixel_units": self.upper[image],
                "found": bool(np.isfinite(self.upper[image])),
                "probability_upper_bound": self.p_upper[image],
                "clean_probability": self.p_clean[image],
                "num_samples": self.num_samples,
                "num_tried": self.num_tried,
                "reconstruction_radius_l2": self.reconstruction_radius,
                "risk": self.risk,
                "frozen_std": self.frozen_std,
                "alpha": self.alpha,
            }
            for image in range(len(self.upper))
        ]
