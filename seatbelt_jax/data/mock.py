"""Smooth random images, for trying things out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from seatbelt_jax.data.dataset import Dataset, Splits
from seatbelt_jax.data.digest import digest_of
from seatbelt_jax.data.held_out import first_held_out


def load(size: int, channels: int, number: int, image_range: tuple[float, float]) -> Splits:
    """Each image is one random Gaussian blob of a random colour, computed from its number."""
    shape = (size, size, channels)

    def images(index: Int[Array | np.ndarray, " batch"]) -> Float[Array, "batch size size channels"]:
        return _blobs(index, size, channels, image_range)

    digest = digest_of("mock", number)
    everything = Dataset("mock", number, shape, images, traceable=True, digest=digest)
    return first_held_out(everything, number // 10)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _blobs(
    index: Int[Array, " batch"], size: int, channels: int, image_range: tuple[float, float]
) -> Float[Array, "batch size size channels"]:
    low, high = image_range

    def one(number: Int[Array, ""]) -> Float[Array, "size size channels"]:
        key_centre, key_width, key_colour = jax.random.split(jax.random.fold_in(jax.random.key(0), number), 3)
        centre = jax.random.uniform(key_centre, (2,))
        width = jax.random.uniform(key_width, (), minval=0.05, maxval=0.3)
        colour = jax.random.uniform(key_colour, (channels,), minval=0.3)
        axis = (jnp.arange(size) + 0.5) / size
        squared = (axis[:, None] - centre[0]) ** 2 + (axis[None, :] - centre[1]) ** 2
        blob = jnp.exp(-0.5 * squared / width**2)
        return low + (high - low) * blob[..., None] * colour

    return jax.vmap(one)(index)
