"""How far the latents can move while a perturbation stays in a ball, and the largest ball that this certifies."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.functions import Decode, Encode
from seatbelt_jax.bounds.lipschitz import LipschitzBound, local_lipschitz
from seatbelt_jax.bounds.margin import LipschitzConstants

# From the radius of a ball to constants that hold in it.
ConstantsIn = Callable[[float], LipschitzConstants]
# Balls tried for one image: each try narrows the bracket from both sides.
_TRIES = 8
# Width of the bracket, relative, at which it is narrow enough.
_NARROW = 5e-3


@dataclasses.dataclass(frozen=True, eq=False)
class MovementBounds:
    """Bounds of how far an encoder's posterior moves, from its code or from constants that are given.

    Attributes:
      encode, decode: of one example.
      norm: of perturbations.
      given: constants that hold for every perturbation, in the place of what is found from the code.
    """

    encode: Encode
    decode: Decode
    norm: Norm
    given: LipschitzConstants | None = None
    _known: dict[Any, Any] = dataclasses.field(default_factory=dict)

    def linear_region_radius(self, image: Float[ndarray, "*image"], std: Float[ndarray, "latent"]) -> float:
        """How far the image can move in any direction while mean and log_std stay affine."""
        return self._read(image, std, False).at(image, std).linear_region_radius()

    def at_centre(self, image: Float[ndarray, "*image"], std: Float[ndarray, "latent"]) -> LipschitzConstants:
        """The norms of the Jacobians at the image, of the code itself, whatever derivatives it declares."""
        return LipschitzConstants(**self._read(image, std, False).at(image, std).bound(0.0))

    def in_ball(
        self, image: Float[ndarray, "*image"], std: Float[ndarray, "latent"], *, with_decoder: bool
    ) -> ConstantsIn:
        """From the radius of a ball around the image to constants that hold in it; without the decoder's, or with."""
        if self.given is not None:
            given = self.given
            return lambda radius: given

        bound = self._read(image, std, with_decoder).at(image, std)
        known: dict[float, LipschitzConstants] = {}

        def constants_in(radius: float) -> LipschitzConstants:
            if radius not in known:
                decoder = self._decoder_constant(len(std)) if with_decoder else None
                known[radius] = LipschitzConstants(**bound.bound(radius), decoder=decoder)
            return known[radius]

        return constants_in

    def _read(self, image: Float[ndarray, "*image"], std: Float[ndarray, "latent"], with_mean: bool) -> LipschitzBound:
        """The encoder's code, read once for all images."""

        def outputs(x: Float[Array, "*image"], sigma: Float[Array, "latent"]) -> dict[str, Float[Array, "latent"]]:
            posterior = self.encode(x)
            whitened = {"whitened_mean": posterior.mean / sigma, "log_std": posterior.log_std}
            return whitened | ({"mean": posterior.mean} if with_mean else {})

        if with_mean not in self._known:
            self._known[with_mean] = LipschitzBound(outputs, image, std, norm=self.norm)
        return self._known[with_mean]

    def _decoder_constant(self, latent: int) -> float:
        """Over all latents, once for all images."""
        if "decoder" not in self._known:
            self._known["decoder"] = local_lipschitz(self.decode, np.zeros(latent, np.float32), math.inf)
        return self._known["decoder"]


def largest_ball(
    constants_in: ConstantsIn,
    margin_with: Callable[[LipschitzConstants], float],
    reach: float,
) -> tuple[float, float]:
    """The largest radius found that is certified by constants that hold in the ball of that radius.

    With f(R) the margin under the constants of the ball of radius R, the radius min(R, f(R)) is certified, whatever R
    is tried: the ball of f(R), if smaller, lies in that of R. As the constants grow with R, f falls, and the best
    radius, f(R) = R, lies between R and f(R) for every R; where they step back a little, the search may miss it.

    Args:
      constants_in: from a radius to constants that hold in its ball.
      margin_with: from constants to the margin that they give.
      reach: no radius above it can be certified; infinite where none is known.

    Returns:
      (radius, whitened_mean): the radius certified, and the constant of the mean that certifies it.
    """
    best, low, high, radius = (0.0, 0.0), 0.0, math.inf, reach
    for _ in range(_TRIES):
        constants = constants_in(radius)
        reached = margin_with(constants)
        best = max(best, (min(radius, reached), float(np.asarray(constants.whitened_mean))))
        low, high = max(low, min(radius, reached)), min(high, max(radius, reached))
        if high <= low * (1.0 + _NARROW) or high == 0.0 or (low == 0.0 and math.isinf(high)):
            break
        # Between a bound of all slopes and the one at the centre lie orders of magnitude.
        between = math.sqrt(low * high) if low > 0.0 else 0.5 * high
        radius = 2.0 * low if math.isinf(high) else between
    return best
