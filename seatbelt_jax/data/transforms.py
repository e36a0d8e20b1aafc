"""From pictures of any size to the images that a model reads: cut, pad, resize, scale."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

Crop = tuple[int, int, int, int]
Fit = Literal["resize", "pad"]


def prepare(
    image: UInt8[np.ndarray, "height width channels"], size: int, crop: Crop | None = None, fit: Fit = "resize"
) -> UInt8[np.ndarray, "size size channels"]:
    """Cuts out `crop` = (top, left, height, width), then brings the rest to size x size.

    Args:
      image: bytes, of one or three channels.
      size: of the result.
      crop: None takes all of the image.
      fit: "resize", bilinearly with antialiasing, whatever the sides' ratio; or "pad" with black, centred.

    Raises:
      ValueError: for a crop that does not lie in the image, or an image larger than what it is padded to.
    """
    if crop is not None:
        top, left, height, width = crop
        if top + height > image.shape[0] or left + width > image.shape[1]:
            raise ValueError(f"crop {tuple(crop)} does not fit into an image of {image.shape[:2]} pixels")
        image = image[top : top + height, left : left + width]
    if fit == "pad":
        spare = size - image.shape[0], size - image.shape[1]
        if min(spare) < 0:
            raise ValueError(f"an image of {image.shape[:2]} pixels cannot be padded to {size}; resize it, or crop it")
        return np.pad(image, [(extra // 2, extra - extra // 2) for extra in spare] + [(0, 0)])
    if image.shape[:2] == (size, size):
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)).reshape(size, size, -1)


@functools.partial(jax.jit, static_argnums=1)
def to_floats(pixels: UInt8[Array | np.ndarray, "*batch"], image_range: tuple[float, float]) -> Float[Array, "*batch"]:
    """Bytes as float32, black the lower end of the range and white the upper."""
    low, high = image_range
    return low + (high - low) / 255.0 * jnp.asarray(pixels).astype(jnp.float32)
