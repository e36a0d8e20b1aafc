"""All sprites of dSprites as a data set, a hundredth of them held out."""

import functools

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from seatbelt_jax.data import sprites
from seatbelt_jax.data.dataset import Dataset, Splits
from seatbelt_jax.data.digest import digest_of
from seatbelt_jax.data.held_out import hold_out, training_and_held_out

_VALIDATION_SHARE = 0.01


def load(size: int, image_range: tuple[float, float]) -> Splits:
    """The sprites at `size` pixels; what black and white are is the image range.

    Raises:
      ValueError: for a size that `sprites.draw` does not draw.
    """
    sprites.draw(np.zeros(len(sprites.FACTOR_SIZES), np.int32), size=size)
    everything = Dataset(
        "sprites",
        sprites.NUM_SPRITES,
        (size, size, 1),
        lambda index: images_at(index, size, image_range),
        traceable=True,
        labels=sprites.shape_from_index,
        factors=sprites.factors_from_index,
        digest=digest_of("sprites", sprites.NUM_SPRITES),
    )
    return hold_out(everything, _VALIDATION_SHARE)


def images_at(
    index: Int[Array | np.ndarray, " batch"], size: int, image_range: tuple[float, float]
) -> Float[Array, "batch size size 1"]:
    """The sprites with these numbers in the official arrays."""
    return _in_range(sprites.draw(sprites.factors_from_index(index), size=size), image_range)


@functools.partial(jax.jit, static_argnums=1)
def _in_range(
    images: Float[Array, "batch size size 1"], image_range: tuple[float, float]
) -> Float[Array, "batch size size 1"]:
    """Images in [0, 1] as images in another range."""
    low, high = image_range
    return low + (high - low) * images


def training_and_validation() -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " validation"]]:
    """Which of the official images are for training, and which for validation."""
    return training_and_held_out(sprites.NUM_SPRITES, _VALIDATION_SHARE)
