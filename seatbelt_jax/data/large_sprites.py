"""Large, upright sprites: a set that a dense network learns to draw sharply within a minute.

The sprites of dSprites (`sprites`) at their larger scales, unturned, near the middle of the canvas, which is shown at
twice the size: every combination of

    shape        3   square, ellipse, heart
    scale        4   0.7, 0.8, 0.9, 1
    x            12  the middle ones of the 32 positions, left to right
    y            12  the same, top to bottom

The widest ellipses reach a little beyond the border.
"""

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from seatbelt_jax.data import sprites
from seatbelt_jax.data.dataset import Dataset, Splits
from seatbelt_jax.data.digest import digest_of
from seatbelt_jax.data.held_out import hold_out

ZOOM = 2.0
_POSITIONS = range(10, 22)
_UPRIGHT = (0,)

# Levels of the sprites' factors, one row for each image.
FACTORS = np.asarray(list(itertools.product(range(3), range(2, 6), _UPRIGHT, _POSITIONS, _POSITIONS)), np.int32)
_VALIDATION_SHARE = 0.1


def load(size: int, image_range: tuple[float, float]) -> Splits:
    """All of them, a tenth for validation, at `size` pixels; what black and white are is the image range.

    Raises:
      ValueError: for a size that `sprites.draw` does not draw.
    """
    sprites.draw(FACTORS[:1], size=size, zoom=ZOOM)
    low, high = image_range

    def images(index: Int[Array | np.ndarray, " batch"]) -> Float[Array, "batch size size 1"]:
        return low + (high - low) * sprites.draw(_factors(index), size=size, zoom=ZOOM)

    everything = Dataset(
        "large_sprites",
        len(FACTORS),
        (size, size, 1),
        images,
        traceable=True,
        labels=lambda index: _factors(index)[:, 0],
        factors=_factors,
        digest=digest_of("large_sprites", FACTORS),
    )
    return hold_out(everything, _VALIDATION_SHARE)


def _factors(index: Int[Array | np.ndarray, " batch"]) -> Int[Array, "batch 5"]:
    return jnp.asarray(FACTORS)[jnp.asarray(index)]
