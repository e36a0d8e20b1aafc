"""What training and evaluation see of a data set: numbered images."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from seatbelt_jax.data.digest import digest_of
from seatbelt_jax.data.transforms import to_floats

Indices = Int[Array | np.ndarray, " batch"]
# Images as they are stored, of the size that was asked for, black 0 and white 255.
Pixels = UInt8[np.ndarray, "batch height width channels"]


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
      pixels: indices [batch] -> images as bytes, of stored data; None where images are computed.
      image_range: of `images`; what bytes are scaled to.
      resident: all pixels, on the device; None where they stay on the host.
      digest: of what is stored, before it is fitted to the model, and of its order; see `digest_of`. None where it is
        not known.
    """

    name: str
    size: int
    image_shape: tuple[int, int, int]
    images: Callable[[Indices], Float[Array | np.ndarray, "batch height width channels"]]
    traceable: bool
    labels: Callable[[Indices], Int[Array | np.ndarray, " batch"]] | None = None
    factors: Callable[[Indices], Int[Array | np.ndarray, "batch factor"]] | None = None
    pixels: Callable[[Indices], Pixels] | None = None
    image_range: tuple[float, float] = (0.0, 1.0)
    resident: UInt8[Array, "size height width channels"] | None = None
    digest: str | None = None

    @classmethod
    def from_pixels(
        cls,
        name: str,
        size: int,
        image_shape: tuple[int, int, int],
        pixels: Callable[[Indices], Pixels],
        image_range: tuple[float, float],
        *,
        labels: Callable[[Indices], Int[np.ndarray, " batch"]] | None = None,
        factors: Callable[[Indices], Int[np.ndarray, "batch factor"]] | None = None,
        digest: str | None = None,
    ) -> "Dataset":
        """A host data set of stored images."""
        return cls(
            name,
            size,
            image_shape,
            lambda indices: np.asarray(to_floats(pixels(indices), image_range)),
            traceable=False,
            labels=labels,
            factors=factors,
            pixels=pixels,
            image_range=image_range,
            digest=digest,
        )

    def from_batch(
        self, batch: Array, resident: UInt8[Array, "size height width channels"] | None
    ) -> Float[Array, "batch height width channels"]:
        """The images of what `batches` yields: indices, bytes or floats. A pure JAX function.

        The resident pixels are an argument, because a compiled program would hold a copy of what it closes over.
        """
        if resident is not None:
            return to_floats(resident[batch], self.image_range)
        if self.traceable:
            return jnp.asarray(self.images(batch))
        return to_floats(batch, self.image_range) if self.pixels is not None else batch


@dataclasses.dataclass(frozen=True)
class Splits:
    """A data set's parts, disjoint; a test part where the data set comes with one beside those used in training."""

    train: Dataset
    validation: Dataset
    test: Dataset | None = None

    @property
    def record(self) -> dict[str, dict[str, Any]]:
        """What tells later whether the data are still the same: size and digest of each part, for JSON."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: {"size": part.size, "digest": part.digest} for name, part in parts.items() if part is not None}


def subset(dataset: Dataset, indices: Int[np.ndarray, " size"]) -> Dataset:
    """The images with these numbers, numbered anew from 0."""
    table = jnp.asarray(indices) if dataset.traceable else None

    def place(index: Indices) -> Indices:
        # A traced index cannot look things up in a NumPy table.
        if table is not None and isinstance(index, jax.core.Tracer):
            return table[index]
        return indices[np.asarray(index)]

    def renumbered(look_up: Callable[..., Any] | None) -> Callable[..., Any] | None:
        return None if look_up is None else lambda index: look_up(place(index))

    return dataclasses.replace(
        dataset,
        size=len(indices),
        images=renumbered(dataset.images) or dataset.images,
        labels=renumbered(dataset.labels),
        factors=renumbered(dataset.factors),
        pixels=renumbered(dataset.pixels),
        resident=None,  # its numbers are the old ones
        digest=None if dataset.digest is None else digest_of(dataset.digest, np.asarray(indices)),
    )
