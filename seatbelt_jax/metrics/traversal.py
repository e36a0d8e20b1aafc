"""Latent traversals: what one latent unit changes in the picture (Sootla 2018, Fig. 4.1)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax.vae import VAE

# In prior standard deviations.
VALUES = tuple(np.linspace(-3.0, 3.0, 11).tolist())
_IMAGES_AT_ONCE = 256


def traversal_noise(
    vae: VAE, layer: int, *, coordinates: Sequence[int] | None = None, values: Sequence[float] = VALUES
) -> tuple[Float[Array, "coordinate value latent"], ...]:
    """The noise of every layer, for `VAE.generate`: 0 everywhere but in one coordinate of one layer.

    Coordinates are moved in units of the prior's standard deviation, so that a value of the top layer is z_j itself,
    and one of a layer below is how far z_j is from what the layers above, at their means, say of it. A class of
    Concrete latents is chosen by a large positive value.

    Args:
      layer: which is traversed, from 1.
      coordinates: of that layer, from 0; all if None.
      values: of the noise.

    Raises:
      ValueError: for a layer or coordinate that there is not, or no values.
    """
    if isinstance(layer, bool) or layer not in range(1, len(vae.latent_sizes) + 1):
        raise ValueError(f"layer must be from 1 to {len(vae.latent_sizes)}, got {layer!r}")
    size = vae.latent_sizes[layer - 1]
    chosen = np.arange(size) if coordinates is None else np.asarray(coordinates)
    whole = chosen.ndim == 1 and chosen.size and np.issubdtype(chosen.dtype, np.integer)
    if not whole or chosen.min() < 0 or chosen.max() >= size:
        raise ValueError(f"coordinates of layer {layer} must be from 0 to {size - 1}, got {coordinates}")
    steps = np.asarray(values, np.float32)
    if steps.ndim != 1 or not steps.size or not np.all(np.isfinite(steps)):
        raise ValueError(f"values must list finite numbers, got {values}")
    moved = jnp.asarray(np.eye(size, dtype=np.float32)[chosen][:, None, :] * steps[:, None])
    return tuple(
        moved if number == layer else jnp.zeros((len(chosen), len(steps), width))
        for number, width in enumerate(vae.latent_sizes, 1)
    )


def latent_traversal(
    vae: VAE, layer: int, *, coordinates: Sequence[int] | None = None, values: Sequence[float] = VALUES
) -> Float[np.ndarray, "coordinate value height width channels"]:
    """The mean images that `traversal_noise` generates; takes its arguments and raises its errors."""
    noise = traversal_noise(vae, layer, coordinates=coordinates, values=values)
    rows, columns = noise[0].shape[:2]
    flat = [part.reshape(rows * columns, -1) for part in noise]
    starts = range(0, rows * columns, _IMAGES_AT_ONCE)
    generate = jax.jit(vae.generate)
    pictures = [np.asarray(generate(tuple(part[start : start + _IMAGES_AT_ONCE] for part in flat))) for start in starts]
    return np.concatenate(pictures).reshape(rows, columns, *vae.image_shape)
