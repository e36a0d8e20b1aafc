"""Rays from one image: how many draws of a perturbed image still decode into the ball of reconstructions."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.layers import Layers, count_hits


class Noise(NamedTuple):
    """Draws of one image for the search, for a closer look at what it finds, and fresh ones that confirm it."""

    search: Float[Array, "search total"]
    close: Float[Array, "draw total"]
    fresh: Float[Array, "draw total"]


@dataclasses.dataclass(frozen=True, eq=False)
class Rays:
    """One image, what is decoded around it, and draws; inside of a trace.

    Attributes:
      x, centre: the image, and the centre of the ball of reconstructions.
      radius: of that ball.
      norm: of distortions.
      box: range of the pixels; may be infinite.
      decode_batch: draws decoded at once.
    """

    layers: Layers
    x: Float[Array, "*image"]
    centre: Float[Array, "*image"]
    noise: Noise
    radius: float
    norm: Norm
    box: tuple[float, float]
    decode_batch: int

    def hits(self, image: Float[Array, "*image"], noise: Float[Array, "draw total"]) -> Int[Array, ""]:
        """How many draws at an image lie in the ball."""
        return count_hits(self.layers, image, self.centre, noise, radius=self.radius, decode_batch=self.decode_batch)

    def along(self, direction: Float[Array, "*image"], length: Float[Array, ""]) -> Float[Array, "*image"]:
        """The image at a point of a ray, cut to the box."""
        return jnp.clip(self.x + length.astype(self.x.dtype) * direction, *self.box)

    def shares(
        self, direction: Float[Array, "*image"], points: Float[Array, "k"], noise: Float[Array, "draw total"]
    ) -> Float[Array, "k"]:
        """The shares of draws in the ball at points of a ray."""
        at_once = max(1, min(self.decode_batch // len(noise), len(points)))
        counts = jax.lax.map(lambda length: self.hits(self.along(direction, length), noise), points, batch_size=at_once)
        return counts / len(noise)

    def crossing(
        self,
        direction: Float[Array, "*image"],
        points: Float[Array, "k"],
        shares: Float[Array, "k"],
        target: Float[Array, ""] | float,
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Where along a ray, and at what norm, the share first comes down to a target; infinite where it does not."""
        point = _crossing(points, shares, target)
        moved = self.along(direction, jnp.nan_to_num(point, posinf=0.0)) - self.x
        distance = jnp.linalg.norm(moved.reshape(-1), ord=2 if self.norm == "l2" else jnp.inf)
        return point, jnp.where(jnp.isfinite(point), distance, jnp.inf)


def _crossing(points: Float[Array, "k"], shares: Float[Array, "k"], target: float | Array) -> Float[Array, ""]:
    """The point, where the share falls between points as a straight line."""
    reached = shares <= target
    after = jnp.argmax(reached)
    before = jnp.maximum(after - 1, 0)
    drop = shares[before] - shares[after]
    part = jnp.where(drop > 0.0, (shares[before] - target) / jnp.where(drop > 0.0, drop, 1.0), 1.0)
    return jnp.where(reached.any(), points[before] + part * (points[after] - points[before]), jnp.inf)


def around(
    points: Float[Array, "k"], shares: Float[Array, "k"], bracket: tuple[float, float]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The points of a ray between which the share comes down through the bracket; the last where it does not."""
    high, low = bracket
    begun, ended = shares <= high, shares <= low
    before = jnp.where(begun.any(), jnp.maximum(jnp.argmax(begun) - 1, 0), 0)
    return points[before], points[jnp.where(ended.any(), jnp.argmax(ended), len(points) - 1)]
