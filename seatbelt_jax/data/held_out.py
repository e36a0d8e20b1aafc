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
    order = _permutation(size)
    held_out = min(max(round(share * size), 1), size - 1)
    return order[held_out:], order[:held_out]


def hold_out(everything: Dataset, share: float) -> Splits:
    """Splits a data set that comes in one part into training and validation images."""
    try:
        train, validation = training_and_held_out(everything.size, share)
    except ValueError as error:
        raise ValueError(f"{everything.name}: {error}") from None
    return Splits(train=subset(everything, train), validation=subset(everything, validation))


def in_parts(train: Dataset, validation: Dataset | None, test: Dataset | None, share: float) -> Splits:
    """Splits a data set that comes in parts; where none is for validation, it holds out a share of the training images.

    Images for validation and test are put into a fixed random order: evaluation, attacks and certificates take the
    first of them, which of a part that is read class by class would be of one class.
    """
    validation, test = (None if part is None else subset(part, _permutation(part.size)) for part in (validation, test))
    if validation is None:
        parts = hold_out(train, share)
        return Splits(parts.train, parts.validation, test)
    return Splits(train, validation, test)


def _permutation(size: int) -> Int[np.ndarray, " size"]:
    return np.random.default_rng(_SPLIT_SEED).permutation(size).astype(np.int32)


def first_held_out(everything: Dataset, number: int) -> Splits:
    """The first so many images for validation, in the order of their numbers."""
    indices = np.arange(everything.size, dtype=np.int32)
    return Splits(train=subset(everything, indices[number:]), validation=subset(everything, indices[:number]))
