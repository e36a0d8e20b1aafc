"""How an attack on a margin looks for short distortions."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from seatbelt_jax import values
from seatbelt_jax.bounds.checks import check_counts


@values.register("norms")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Search:
    """How short distortions are sought; `empirical_margin` has the meaning of each.

    Raises:
      TypeError, ValueError: names what is not allowed.
    """

    norms: Sequence[float] | ndarray | None = None
    search_samples: int = 256
    restarts: int = 3
    steps: int = 100
    frozen_std: bool = False
    image_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_counts(search_samples=self.search_samples, restarts=self.restarts, steps=self.steps)
        if self.norms is not None:
            norms = np.asarray(self.norms, np.float64)
            if norms.ndim != 1 or norms.size == 0 or not (np.isfinite(norms) & (norms > 0.0)).all():
                raise ValueError(
                    f"norms must be a list of positive, finite norms in pixel units, or None, got {self.norms}"
                )
            object.__setattr__(self, "norms", norms)
        if self.image_range is not None:
            low, high = self.image_range
            if not low < high:
                raise ValueError(
                    f"image_range must be (low, high) with low < high, or None for any d, got {self.image_range}"
                )
            object.__setattr__(self, "image_range", (float(low), float(high)))

    @property
    def box(self) -> tuple[float, float]:
        """The range of pixels; infinite without one."""
        return (-np.inf, np.inf) if self.image_range is None else self.image_range
