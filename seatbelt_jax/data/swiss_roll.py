"""The Swiss roll: a rolled-up sheet in three dimensions, each point a pure function of its number.

A toy whose latents can be seen: two coordinates on the sheet explain three of the point. Willetts et al. 2021
(Fig. A.7) show with it what a penalty on a 2-D latent space does. With u and v uniform on [0, 1),

    t = 1.5 pi (1 + 2 u),    (x, y, z) = (t cos t, 21 v, t sin t),

the usual roll: one and a half turns whose radius grows from 1.5 pi to 4.5 pi. Here it is centred in y and divided by
4.5 pi along every axis, so that all lies in [-1, 1] and keeps its proportions: the radius grows from 1/3 to 1,
neighbouring turns are 4/9 apart, the sheet is 6.4 long and 1.5 wide. There is no noise: a model's likelihood has its
own.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from seatbelt_jax.data.dataset import Dataset, Splits
from seatbelt_jax.data.digest import digest_of
from seatbelt_jax.data.held_out import first_held_out

POINT_SHAPE = (1, 1, 3)  # an image of one pixel whose channels are x, y and z

_LARGEST_ANGLE = 4.5 * np.pi  # also the largest radius: the length that becomes 1
_WIDTH = 21.0
_SEED = 2021
# Enough points to see an aggregate posterior by.
_VALIDATION_SHARE = 0.2


def load(number: int, image_range: tuple[float, float]) -> Splits:
    """The roll's points by their number; the first ones, held out, keep theirs."""
    low, high = image_range

    def images(index: Int[Array | np.ndarray, " batch"]) -> Float[Array, "batch 1 1 3"]:
        unscaled = points(coordinates_from_index(index))
        return (low + (high - low) * 0.5 * (unscaled + 1.0)).reshape(-1, *POINT_SHAPE)

    digest = digest_of("swiss_roll", number)
    everything = Dataset("swiss_roll", number, POINT_SHAPE, images, traceable=True, digest=digest)
    return first_held_out(everything, round(_VALIDATION_SHARE * number))


def coordinates_from_index(index: Int[Array | np.ndarray, " batch"]) -> Float[Array, "batch 2"]:
    """Where on the sheet the points with these numbers lie: (u, v) in [0, 1), along the roll and across it.

    Raises TypeError if `index` does not hold integers.
    """
    if not jnp.issubdtype(jnp.result_type(index), jnp.integer):
        raise TypeError(f"index must hold integers, got {jnp.result_type(index)}; convert it first")

    def one(number: Int[Array, ""]) -> Float[Array, " 2"]:
        return jax.random.uniform(jax.random.fold_in(jax.random.key(_SEED), number), (2,))

    return jax.vmap(one)(jnp.asarray(index))


def points(coordinates: Float[Array, "batch 2"]) -> Float[Array, "batch 3"]:
    """The points (x, y, z) in [-1, 1] at these places (u, v) of the sheet, y along the roll's axis.

    Raises ValueError if the last axis of `coordinates` is not (u, v).
    """
    if jnp.shape(coordinates)[-1:] != (2,):
        raise ValueError(f"coordinates must have shape [batch, 2], (u, v) each, got {jnp.shape(coordinates)}")
    along, across = coordinates[..., 0], coordinates[..., 1]
    angle = 1.5 * jnp.pi * (1.0 + 2.0 * along)
    unscaled = jnp.stack([angle * jnp.cos(angle), _WIDTH * (across - 0.5), angle * jnp.sin(angle)], axis=-1)
    return unscaled / _LARGEST_ANGLE
