"""Which images of a data set that comes in one part are kept for validation."""

import numpy as np
from jaxtyping import Int

from seatbelt_jax.data.dataset import Dataset, Splits, subset

# Part of a data set, not of a run's seed.
_SPLIT_SEED = 20210312


def training_and_held_out(size: int, share: float) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"]]:
    """A fixed permutation of `size` images: those for training, and the share held out, at least one of each.

    Raises ValueError where there are fewer than two images.
    """
    if size < 2:
        raise ValueError(f"there must be at least 2 images, one to train on and one held out; got {size}")
    order = np.random.default_rng(_SPLIT_SEED).permutation(size).astype(np.int32)
    held_out = min(max(round(share * size), 1), size - 1)
    return order[held_out:], order[:held_out]


def hold_out(everything: Dataset, share: float) -> Splits:
    """Splits a data set that comes in one part into training and validation images."""
    try:
        train, validation = training_and_held_out(everything.size, share)
    except ValueError as error:
        raise ValueError(f"{everything.name}: {error}") from None
    return Splits(train=subset(everything, train), validation=subset(everything, validation))
