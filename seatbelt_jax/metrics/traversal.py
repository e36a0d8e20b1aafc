"""Latent traversals: what one latent unit changes in the picture (Sootla 2018, Fig. 4.1)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax.concrete import Concrete
from seatbelt_jax.vae import VAE, Encoding, Latents

# In prior standard deviations.
VALUES = tuple(np.linspace(-3.0, 3.0, 11).tolist())
_IMAGES_AT_ONCE = 256


def traversal_noise(
    vae: VAE, layer: int, *, coordinates: Sequence[int] | None = None, values: Sequence[float] = VALUES
) -> tuple[Float[np.ndarray, "coordinate value latent"], ...]:
    """The noise of every layer for `VAE.generate`: 0 everywhere except in one coordinate of one layer.

    Values are in units of the prior's standard deviation. In the top layer a value is z_j itself. In a layer below
    it is the distance of z_j from the prior's mean, given that the layers above are at their means. A large positive
    value chooses a class of Concrete latents.

    Args:
      layer: the layer to traverse, from 1.
      coordinates: the coordinates of that layer to traverse, from 0; all if None.
      values: the values of the noise.

    Raises:
      ValueError: for a layer or coordinate that does not exist, or no values.
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
    moved = np.eye(size, dtype=np.float32)[chosen][:, None, :] * steps[:, None]
    return tuple(
        moved if number == layer else np.zeros((len(chosen), len(steps), width), np.float32)
        for number, width in enumerate(vae.latent_sizes, 1)
    )


def latent_traversal(
    vae: VAE, layer: int, *, coordinates: Sequence[int] | None = None, values: Sequence[float] = VALUES
) -> Float[np.ndarray, "coordinate value height width channels"]:
    """The mean images that `traversal_noise` generates; takes its arguments and raises its errors."""
    vae = vae.traced()
    noise = traversal_noise(vae, layer, coordinates=coordinates, values=values)
    rows, columns = noise[0].shape[:2]
    flat = tuple(part.reshape(rows * columns, -1) for part in noise)
    return _in_batches(_generate, vae, flat).reshape(rows, columns, *vae.image_shape)


def traversal_from_image(
    vae: VAE, image: Float[np.ndarray, "height width channels"], *, values: Sequence[float] = VALUES
) -> list[Float[np.ndarray, "value *picture"]]:
    """What becomes of an image when one unit of its own code is set to other values (Sootla 2018, Fig. 4.1).

    Codes are those of the mean path; all units but one stay as they are.

    Args:
      image: of the model.
      values: each Gaussian unit is set to, in latent units.

    Returns:
      The mean images of each Gaussian unit, layer 1 first, one for each value; then those of each Concrete variable,
      one for each of its classes.
    """
    vae = vae.traced()
    encoding = _encode(vae, np.asarray(image)[None])
    codes = [np.asarray(latent[0]) for latent in encoding.latents]
    gaussian: list[list[np.ndarray]] = []
    concrete: list[list[np.ndarray]] = []
    for layer, (posterior, code) in enumerate(zip(encoding.posteriors, codes, strict=True)):
        if isinstance(posterior, Concrete):
            ends = np.cumsum(posterior.sizes)
            for first, end in zip(ends - posterior.sizes, ends, strict=True):
                changed = np.repeat(code[None], end - first, axis=0)
                changed[:, first:end] = np.eye(end - first)
                concrete.append(_with(codes, layer, changed))
        else:
            for unit in range(len(code)):
                changed = np.repeat(code[None], len(values), axis=0)
                changed[:, unit] = values
                gaussian.append(_with(codes, layer, changed))
    strips = gaussian + concrete
    flat = tuple(np.concatenate(parts) for parts in zip(*strips, strict=True))
    pictures = _in_batches(_decode, vae, flat)
    return np.split(pictures, np.cumsum([len(strip[0]) for strip in strips])[:-1])


def _with(codes: Sequence[np.ndarray], layer: int, changed: Float[np.ndarray, "value latent"]) -> list[np.ndarray]:
    """The latents of all layers, one of them changed."""
    kept = [np.repeat(code[None], len(changed), axis=0) for code in codes]
    return [*kept[:layer], changed, *kept[layer + 1 :]]


@jax.jit
def _encode(vae: VAE, images: Float[Array, "batch *image"]) -> Encoding:
    return vae.encode(images, vae.mean_path(images.shape[0]))


@jax.jit
def _decode(vae: VAE, latents: Latents) -> Float[Array, "batch *image"]:
    return vae.likelihood.mean(vae.decode(latents))


@jax.jit
def _generate(vae: VAE, noise: Latents) -> Float[Array, "batch *image"]:
    return vae.generate(noise)


def _in_batches(
    function: Callable[[VAE, Any], Array], vae: VAE, latents: tuple[Float[np.ndarray, "batch _latent"], ...]
) -> Float[np.ndarray, "batch *image"]:
    """The pictures of all latents; the last batch is filled up with copies of its first row."""
    count = len(latents[0])
    size, parts = min(_IMAGES_AT_ONCE, count), []
    for start in range(0, count, size):
        rows = np.arange(start, start + size)
        filled = np.where(rows < count, rows, start)
        found = np.asarray(function(vae, tuple(layer[filled] for layer in latents)))
        parts.append(found[: count - start])
    return np.concatenate(parts)
