"""What is asked of every image."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array

from seatbelt_jax import values
from seatbelt_jax.bounds.checks import Norm, check_counts, check_key, check_norm, check_probability, check_radius
from seatbelt_jax.bounds.margin import LipschitzConstants


@values.register("key")
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Question:
    """All that an answer depends on besides the model and the images; checked where it is made.

    Attributes:
      key: one typed key. The draws depend on it, on the image's index and on the draw's index alone.
      radius: r, the L2 radius of the ball of reconstructions, in pixel units; infinite where it is what is asked for.
      method: a name of `METHODS`.
      num_samples: draws for each image.
      num_paths: draws that the pathwise methods bound one by one, the first of all.
      num_pilot_samples: further draws for each image, where a method chooses by draws.
      alpha: probability of a failed bound, for each image.
      risk: m, the probability that must be exceeded.
      norm: of perturbations: "l2", or "linf", the largest change of a pixel.
      lipschitz: constants known to hold for every perturbation, as numbers; methods that bound the code take them.
      level_norms: bounds of the levels' whitened Jacobians that hold for all latents below; "hierarchical_sup" takes
        them.

    Raises:
      TypeError, ValueError: names what is not as above.
    """

    key: Array
    radius: float = math.inf
    method: str = "spectral"
    num_samples: int = 10_000
    num_paths: int = 64
    num_pilot_samples: int = 1_000
    alpha: float = 1e-3
    risk: float = 0.5
    norm: Norm = "l2"
    lipschitz: LipschitzConstants | None = None
    level_norms: Sequence[float] | None = None

    def __post_init__(self) -> None:
        check_key(self.key)
        if not self.is_open:
            check_radius(self.radius)
        check_counts(num_samples=self.num_samples, num_paths=self.num_paths, num_pilot_samples=self.num_pilot_samples)
        check_probability("alpha", self.alpha)
        check_probability("risk", self.risk)
        check_norm(self.norm)
        constants = {} if self.lipschitz is None else dataclasses.asdict(self.lipschitz)
        if any(np.ndim(value) for value in constants.values()):
            raise ValueError(
                "the Lipschitz constants of a certificate are numbers that hold for all images, not arrays"
            )
        if self.level_norms is not None:
            try:
                norms = tuple(map(float, self.level_norms))
            except (TypeError, ValueError) as error:
                raise TypeError(f"level_norms must be numbers, one for each layer; got {self.level_norms!r}") from error
            object.__setattr__(self, "level_norms", norms)

    @property
    def is_open(self) -> bool:
        """Whether the radius is what is asked for."""
        return isinstance(self.radius, float) and self.radius == math.inf

    def describe(self) -> str:
        """All of it but the key, in words."""
        return str([getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "key"])
