"""Data sets that are one array of images in memory, checked at the door."""

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from seatbelt_jax.data.dataset import Dataset
from seatbelt_jax.data.digest import digest_of
from seatbelt_jax.data.fitting import Fitting

# Floats are checked and rounded this many images at a time, to hold no second array of floats.
_CHUNK = 4096


def has_levels(images: Shaped[np.ndarray, "..."]) -> bool:
    """Whether bytes are more than zeros and ones: from 0 to 255, and not black and white."""
    return images.dtype == np.uint8 and bool(images.size) and bool(images.max() > 1)


def as_pixels(
    images: Shaped[np.ndarray, "..."], what: str, *, in_levels: bool | None = None
) -> UInt8[np.ndarray, "size height width channels"]:
    """Images of the usual kinds as bytes, black 0 and white 255.

    Floats are rounded to the nearest of 256 levels. Whole numbers that are all 0 or 1 are black and white, as in
    dSprites; those are scaled in place, because that array is large.

    Args:
      images: bytes, booleans, or floats in [0, 1]; [size, height, width] for grey ones, or with a last axis of one or
        three channels.
      what: for messages.
      in_levels: whether bytes count from 0 to 255, as other splits of the same file may tell (`has_levels`); None
        takes these images' own word for it.

    Raises:
      TypeError: for another type of numbers.
      ValueError: for another shape, no images, or floats outside [0, 1].
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"{what} has shape {images.shape}; images must be [size, height, width] or [size, height, width, channels] "
            "with 1 or 3 channels"
        )
    if 0 in images.shape:
        raise ValueError(f"{what} holds no images: its shape is {images.shape}")
    if images.dtype == np.bool_:
        images, in_levels = images.view(np.uint8), False
    if images.dtype == np.uint8:
        if has_levels(images) if in_levels is None else in_levels:
            return images
        return np.multiply(images, np.uint8(255), out=images if images.flags.writeable else None)
    if not np.issubdtype(images.dtype, np.floating):
        raise TypeError(
            f"{what} holds numbers of type {images.dtype}; images must be uint8 from 0 to 255, or floats in [0, 1]: "
            "convert values from 0 to 255 with .astype(numpy.uint8)"
        )
    pixels = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        low, high = chunk.min(), chunk.max()
        # Not a number is neither.
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(
                f"{what} holds values from {low} to {high}; images of floats must lie in [0, 1], with no NaN: scale "
                "them, or store bytes"
            )
        pixels[start : start + _CHUNK] = np.rint(np.asarray(chunk, np.float32) * 255.0)
    return pixels


def as_levels(levels: Shaped[np.ndarray, "size ..."], size: int, what: str) -> Int[np.ndarray, "size ..."]:
    """Labels or factors, one row an image, as whole numbers from 0.

    Raises:
      TypeError: where they are no whole numbers.
      ValueError: where they are negative or not as many as the images.
    """
    if not (np.issubdtype(levels.dtype, np.integer) or levels.dtype == np.bool_):
        raise TypeError(f"{what} holds {levels.dtype}; labels and factors must be whole numbers")
    if len(levels) != size:
        raise ValueError(f"{what} has {len(levels)} rows for {size} images; there must be one an image")
    if levels.min() < 0 or levels.max() > np.iinfo(np.int32).max:
        raise ValueError(f"{what} holds {levels.min()} to {levels.max()}; labels and factors count from 0")
    return levels.astype(np.int32)


def as_labels(labels: Shaped[np.ndarray, "size ..."], size: int, what: str) -> Int[np.ndarray, " size"]:
    """Class numbers from 0, [size] or [size, 1]; raises as `as_levels`, and ValueError for one-hot rows."""
    flat = labels.reshape(-1) if labels.ndim == 2 and 1 in labels.shape else labels
    if flat.ndim != 1:
        raise ValueError(f"{what} has shape {labels.shape}; labels must be [size]: of one-hot rows, give the argmax")
    return as_levels(flat, size, what)


def dataset(
    name: str,
    pixels: UInt8[np.ndarray, "size height width channels"],
    fitting: Fitting,
    *,
    labels: Int[np.ndarray, " size"] | None = None,
    factors: Int[np.ndarray, "size factor"] | None = None,
) -> Dataset:
    """A host data set of images in memory, prepared when asked for.

    Raises ValueError where images of this size cannot be prepared.
    """
    size, *image_size, channels = pixels.shape
    fitting.check(image_size[0], image_size[1], name)
    kept = fitting.keeps(image_size[0], image_size[1])

    def images(indices):
        chosen = pixels[np.asarray(indices)]
        return chosen if kept else np.stack([fitting(image) for image in chosen])

    return Dataset.from_pixels(
        name,
        size,
        (fitting.image_size, fitting.image_size, channels),
        images,
        fitting.image_range,
        labels=None if labels is None else lambda indices: labels[np.asarray(indices)],
        factors=None if factors is None else lambda indices: factors[np.asarray(indices)],
        digest=digest_of(pixels, labels, factors),
    )
