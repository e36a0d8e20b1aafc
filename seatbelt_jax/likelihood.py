"""Observation models p(x|z): log densities in nats, summed over pixels, one number per image."""

import dataclasses
import math
import numbers
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax import values
from seatbelt_jax.arithmetic import finite, in_common_type


@runtime_checkable
class Likelihood(Protocol):
    """What a decoder's output means."""

    image_range: ClassVar[tuple[float, float]]

    def log_prob(
        self, parameters: Float[Array, "batch *image"], images: Float[Array, "batch *image"]
    ) -> Float[Array, " batch"]:
        """log p(images | parameters) per image, in nats."""
        ...

    def mean(self, parameters: Float[Array, "batch *image"]) -> Float[Array, "batch *image"]:
        """The mean image, in `image_range`'s units."""
        ...


def _sum_pixels(values: Float[Array, "batch *image"]) -> Float[Array, " batch"]:
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


@values.register("std")
@dataclasses.dataclass(frozen=True)
class GaussianLikelihood:
    """N(x; parameters, std^2 I) on images in [-1, 1] (Willetts et al. 2021, App. G: std = 0.1).

    A pytree of std, which may be traced.

    Raises:
      TypeError: for a std that is neither a number nor a floating-point array of one.
      ValueError: for a std that is not positive and finite, where its value is known.
    """

    std: float | Float[Array, ""] = 0.1
    image_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __post_init__(self):
        if isinstance(self.std, jax.Array | np.ndarray):
            number = self.std.ndim == 0 and jnp.issubdtype(self.std.dtype, jnp.floating)
        else:
            number = isinstance(self.std, numbers.Real) and not isinstance(self.std, bool)
        if not number:
            raise TypeError(f"likelihood std must be a number, got {self.std!r}")
        if not isinstance(self.std, jax.core.Tracer) and not 0.0 < self.std < math.inf:
            raise ValueError(f"likelihood std must be positive and finite, got {self.std}")

    def log_prob(
        self, parameters: Float[Array, "batch *image"], images: Float[Array, "batch *image"]
    ) -> Float[Array, " batch"]:
        parameters, images = in_common_type(parameters, images)
        log_std = math.log(self.std) if isinstance(self.std, numbers.Real) else jnp.log(self.std)
        log_normaliser = log_std + 0.5 * math.log(2.0 * math.pi)
        return _sum_pixels(-0.5 * jnp.square((images - parameters) / self.std) - log_normaliser)

    def mean(self, parameters: Float[Array, "batch *image"]) -> Float[Array, "batch *image"]:
        return parameters


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class BernoulliLikelihood:
    """Bernoulli(x; sigmoid(parameters)) on images in [0, 1]; grey values count as soft labels."""

    image_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def log_prob(
        self, parameters: Float[Array, "batch *image"], images: Float[Array, "batch *image"]
    ) -> Float[Array, " batch"]:
        parameters, images = in_common_type(parameters, images)
        parameters = finite(parameters)
        # log sigmoid(a) x + log sigmoid(-a) (1 - x), written so that neither term overflows.
        return _sum_pixels(images * parameters - jax.nn.softplus(parameters))

    def mean(self, parameters: Float[Array, "batch *image"]) -> Float[Array, "batch *image"]:
        return jax.nn.sigmoid(parameters)
