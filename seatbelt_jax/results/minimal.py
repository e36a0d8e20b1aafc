"""The least radius of the ball of reconstructions that unperturbed images meet."""

import dataclasses
from typing import Any, ClassVar

from jaxtyping import Float
from numpy import ndarray

from seatbelt_jax.results.record import RecordOfImages


@dataclasses.dataclass(frozen=True, eq=False)
class MinimalRobustRadius(RecordOfImages):
    """The least r for which each unperturbed image is r-robust, with its confidence interval.

    With probability at least `confidence` for each image on its own, lower <= r_min <= upper, where
    r_min(x) = inf{r : P(||Delta(x)||_2 <= r) > risk}. Distances are L2, in pixel units.

    Attributes:
      estimate: [n], the sample quantile.
      lower: [n], an order statistic of the draws; 0 where there are too few to give one.
      upper: [n], an order statistic of the draws; infinite where there are too few to give one.
      risk: the probability m that must be exceeded.
      confidence: 1 - alpha, both sides together.
      num_samples: draws for each image.
    """

    called: ClassVar[str] = "a minimal radius"

    estimate: Float[ndarray, "n"]
    lower: Float[ndarray, "n"]
    upper: Float[ndarray, "n"]
    risk: float
    confidence: float
    num_samples: int

    def rows(self) -> list[dict[str, Any]]:
        """One row per image, for a tidy CSV, units in the names."""
        return [
            {
                "split": self.split,
                "image": image,
                "minimal_radius_l2": self.estimate[image],
                "lower_bound_l2": self.lower[image],
                "upper_bound_l2": self.upper[image],
                "risk": self.risk,
                "confidence": self.confidence,
                "num_samples": self.num_samples,
            }
            for image in range(len(self.estimate))
        ]
