"""One function mapped over the images of a data set, a batch at a time, so that memory does not grow with them."""

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from tqdm import tqdm

from seatbelt_jax.vae import VAE, Latents, sample_noise


@runtime_checkable
class ImageSource(Protocol):
    """Images by number, as `data.Dataset` has them."""

    @property
    def size(self) -> int: ...

    @property
    def images(self) -> Callable[[Int[np.ndarray, " batch"]], Float[Array | np.ndarray, "batch *image"]]: ...


# All of them in one array, or a source that they are fetched from batch by batch.
Images = Float[Array | np.ndarray, "image height width channels"] | ImageSource


def number_of(images: Images) -> int:
    """How many images there are."""
    return len(images) if isinstance(images, jax.Array | np.ndarray) else images.size


def map_images(
    function: Callable[..., Any],
    vae: VAE,
    images: Images,
    *arguments: Any,
    batch_size: int,
    numbers: Int[np.ndarray, " chosen"] | None = None,
    settings: Mapping[str, Hashable] | None = None,
    progress: bool = False,
    description: str = "",
) -> Any:
    """The function's answers for all images, on the host, joined along their leading axis.

    The function sees a whole batch, as a network runs fastest. `bounds.streaming.map_images` gives one image at a time,
    whose thousands of draws fill the device. `attacks.measure.in_batches` maps over arrays of pairs, without a model.

    Args:
      function: (vae, images [batch, ...], their numbers [batch], *arguments, **settings) -> a tree of arrays
        [batch, ...]. One of a module, without arrays of its own: it is compiled once for all models of one
        architecture. The last batch is filled up with copies of its first image.
      vae: the model; images must have its shape.
      images: all of them.
      arguments: trees of arrays that the function reads.
      batch_size: images at once.
      numbers: which images; all if None.
      settings: what the function is compiled for.
      progress: whether a terminal sees a progress bar, of this description.

    Raises:
      ValueError: for images of another shape than the model's, values that are not finite, none at all, or a batch
        size below 1.
      TypeError: for images that are neither an array nor a source.
    """
    check_count("batch_size", batch_size)
    if not isinstance(images, jax.Array | np.ndarray) and not hasattr(images, "size"):
        raise TypeError(
            "images must be an array [image, height, width, channels], or have a size and a function images as "
            f"data.Dataset has; got {type(images).__name__}"
        )
    numbers = np.arange(number_of(images)) if numbers is None else numbers
    if not len(numbers):
        raise ValueError("there are no images; give at least one")
    fetch = np.asarray(images).__getitem__ if isinstance(images, jax.Array | np.ndarray) else images.images
    size = min(batch_size, len(numbers))
    vae, static = vae.traced(), tuple(sorted((settings or {}).items()))
    parts = []
    with tqdm(total=len(numbers), desc=description, unit="image", disable=None if progress else True) as bar:
        for start in range(0, len(numbers), size):
            chosen = numbers[start : start + size]
            kept = len(chosen)
            filled = np.concatenate([chosen, np.full(size - kept, chosen[0])])
            batch = np.asarray(fetch(filled))
            _check_images(batch, vae)
            found = _call(function, static, vae, batch.astype(np.float32, copy=False), filled, *arguments)
            parts.append(jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf)[:kept], found))
            bar.update(kept)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _call(
    function: Callable[..., Any],
    settings: tuple[tuple[str, Hashable], ...],
    vae: VAE,
    images: Float[Array, "batch *image"],
    numbers: Int[Array, " batch"],
    *arguments: Any,
) -> Any:
    return function(vae, images, numbers, *arguments, **dict(settings))


def noise_of_images(key: PRNGKeyArray, latent_sizes: Sequence[int], numbers: Int[Array, " batch"]) -> Latents:
    """Standard normals [batch, latent] per layer, each image's by its number: the same however images are batched."""
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
    return jax.vmap(lambda own: tuple(layer[0] for layer in sample_noise(own, latent_sizes, 1)))(keys)


def check_count(name: str, value: int, least: int = 1) -> None:
    """Raises ValueError unless a number is whole and at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _check_images(batch: np.ndarray, vae: VAE) -> None:
    if batch.shape[1:] != tuple(vae.image_shape):
        raise ValueError(f"the model takes images of shape {tuple(vae.image_shape)}, got {batch.shape[1:]}")
    if not np.all(np.isfinite(batch)):
        raise ValueError("there are images with values that are not finite; leave them out")
