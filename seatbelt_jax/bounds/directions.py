"""Where to push an image: directions that move its latents most, ascents of the damage, and directions at random."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy import ndarray

from seatbelt_jax.attacks.projected_gradient import ProjectedGradient
from seatbelt_jax.attacks.region import L2Ball, Region
from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.layers import Layers
from seatbelt_jax.bounds.paths import mean_path_rows

# Noise draws that an ascent holds fixed.
ASCENT_DRAWS = 32
# Width of the ascent's hinge at the ball of reconstructions, relative to its radius.
_HINGE_WIDTH = 0.5


def lengths(distortions: Float[ndarray, "*batch"], norm: Norm, image_axes: int) -> Float[ndarray, "*batch"]:
    """Norms on the host, in float64, over the last `image_axes` axes."""
    flat = np.asarray(distortions, np.float64)
    flat = flat.reshape(*flat.shape[: flat.ndim - image_axes], -1)
    return np.linalg.norm(flat, axis=-1) if norm == "l2" else np.abs(flat).max(axis=-1)


def unit(direction: Float[Array, "*image"], norm: Norm) -> Float[Array, "*image"]:
    """The direction at length 1 in the norm; 0 where it has none, being 0 or not finite."""
    # The largest entry first, so that no square over- or underflows.
    largest = jnp.max(jnp.abs(direction))
    usable = jnp.isfinite(largest) & (largest > 0.0)
    scaled = jnp.where(usable, direction / jnp.where(usable, largest, 1.0), 0.0)
    return scaled / jnp.maximum(jnp.linalg.norm(scaled.reshape(-1)), 1.0) if norm == "l2" else scaled


def steepest_directions(
    layers: Layers, x: Float[Array, "*image"], norm: Norm, count: int, chunk_size: int = 16
) -> tuple[Float[Array, "direction *image"], Float[Array, ""]]:
    """Unit directions that move the latents most, to first order, and how far the first moves them.

    They are the leading right singular vectors of the whitened Jacobian W = S^{-1/2} J at x, or their signs for linf;
    of a hierarchy W stacks the layers along the mean path. At most `count` of them; 0 where W has no more.

    Returns:
      directions, and ||W u||_2 of the first, u: standard deviations per unit of the norm.
    """
    rows, scale = map(jnp.asarray, mean_path_rows(layers, x, chunk_size))
    largest = jnp.max(scale)
    whitened = rows * (scale / largest)[:, None]
    _, left = jnp.linalg.eigh(whitened @ whitened.T)
    right = left[:, ::-1][:, : min(count, *whitened.shape)].T @ whitened
    if norm == "linf":
        right = jnp.sign(right)
    directions = jax.vmap(lambda v: unit(v, norm))(right)
    return directions.reshape(-1, *x.shape), largest * jnp.linalg.norm(whitened @ directions[0])


@dataclasses.dataclass(frozen=True)
class Ascent:
    """How images are moved until as many as possible of fixed draws leave the ball of reconstructions.

    Even lanes ascend the mean distance from the centre (the maximum-damage attack, Camuto et al. 2021, Eq. 5, over
    several eta); odd ones a hinge of it, which only draws still inside the ball, or hardly outside, pull at.

    Attributes:
      radius: of the ball of reconstructions.
      norm: of distortions.
      box: range of the pixels; may be infinite.
      steps: evaluations of the objective, at most.
      decode_batch: draws decoded at once.
    """

    radius: float
    norm: Norm
    box: tuple[float, float]
    steps: int
    decode_batch: int

    def run(
        self,
        layers: Layers,
        x: Float[Array, "*image"],
        centre: Float[Array, "*image"],
        noise: Float[Array, "draw total"],
        starts: Float[Array, "lane *image"],
        limits: Float[Array, "lane"],
    ) -> Float[Array, "lane *image"]:
        """The moved images, near x.

        Args:
          noise: the draws, for all lanes.
          starts: images; one outside of its ball is moved to the nearest point in it.
          limits: the most that ||x' - x|| may be, for each lane.
        """
        width = _HINGE_WIDTH * self.radius

        def loss(image: Float[Array, "*image"], hinge: Bool[Array, ""]) -> Float[Array, ""]:
            distances = jax.vmap(lambda eta: layers.distance(image, eta, centre))(noise)
            inside = width * jax.nn.softplus((self.radius - distances) / width)
            return jnp.mean(jnp.where(hinge, inside, -distances))

        solver = ProjectedGradient(maxiter=self.steps, max_evaluations=self.steps + 1, tol=0.0)

        def ascent(lane: tuple[Array, Array, Array]) -> Float[Array, "*image"]:
            start, limit, hinge = lane
            low, high = self.box
            region: Region = (jnp.maximum(x - limit, low), jnp.minimum(x + limit, high))
            if self.norm == "l2":
                region = L2Ball(x, limit, low, high)
            return solver.run(loss, start, region, hinge).params

        hinge = jnp.arange(len(starts)) % 2 == 1
        batch = max(1, self.decode_batch // len(noise))
        return jax.lax.map(ascent, (starts, limits, hinge), batch_size=batch)


def random_directions(key: Array, count: int, like: Float[Array, "*image"], norm: Norm) -> Float[Array, "count *image"]:
    """Directions of length 1: uniform on the sphere for l2, corners of the cube for linf."""
    if norm == "linf":
        return jax.random.rademacher(key, (count, *like.shape), like.dtype)
    return jax.vmap(lambda direction: unit(direction, norm))(jax.random.normal(key, (count, *like.shape), like.dtype))
