"""What training and evaluation see of a data set: numbered images."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images by number.

    Attributes:
      name: for messages.
      size: how many there are.
      image_shape: (height, width, channels).
      images: indices [batch] -> images [batch, height, width, channels], float32 in the range that was
        asked for at loading.
      traceable: whether `images` is a pure JAX function, which the training step may call inside its
        own compiled program; otherwise it runs on the host.
      labels: indices [batch] -> the class of each image, whole numbers from 0; None where the data have none.
      factors: indices [batch] -> the levels [batch, factor] that each image was generated from; None where they
        are not known.
    """

    name: str
    size: int
    image_shape: tuple[int, int, int]
    images: Callable[[Int[Array | np.ndarray, " batch"]], Float[Array | np.ndarray, "batch height width channels"]]
    traceable: bool
    labels: Callable[[Int[Array | np.ndarray, " batch"]], Int[Array | np.ndarray, " batch"]] | None = None
    factors: Callable[[Int[Array | np.ndarray, " batch"]], Int[Array | np.ndarray, "batch factor"]] | None = None


@dataclasses.dataclass(frozen=True)
class Splits:
    """A data set's training and validation parts, disjoint."""

    train: Dataset
    validation: Dataset


def subset(dataset: Dataset, indices: Int[np.ndarray, " size"]) -> Dataset:
    """The images with these numbers, numbered anew from 0."""
    # A traced index cannot look things up in a NumPy table.
    table = jnp.asarray(indices) if dataset.traceable else indices

    def renumbered(look_up: Callable[..., Any]) -> Callable[..., Any]:
        return lambda index: look_up(table[index])

    return dataclasses.replace(
        dataset,
        size=len(indices),
        images=renumbered(dataset.images),
        labels=renumbered(dataset.labels) if dataset.labels else None,
        factors=renumbered(dataset.factors) if dataset.factors else None,
    )
