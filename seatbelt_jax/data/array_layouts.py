"""Which of a file's arrays are the images, labels and factors of which split, by the names that the field uses."""

from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Int, Shaped

from seatbelt_jax.data.dataset import Dataset, Splits
from seatbelt_jax.data.fitting import Fitting
from seatbelt_jax.data.held_out import hold_out, in_parts
from seatbelt_jax.data.image_arrays import as_labels, as_levels, as_pixels, dataset, has_levels

_IMAGES = ("images", "imgs", "x", "data", "arr_0")
_LABELS = ("labels", "y")
# Official dSprites: the levels of colour, which is always white, shape, scale, orientation, x and y.
_DSPRITES_LATENTS = "latents_classes"
_DSPRITES_NUM_LATENTS = 6
_VALIDATION = ("validation", "valid", "val")

# The array with this name; each is read once, whole.
Read = Callable[[str], Shaped[np.ndarray, "..."]]


def splits(name: str, names: Collection[str], read: Read, fitting: Fitting, held_out: float) -> Splits:
    """The splits that a file of named arrays holds.

    Images are under images, imgs, x, data or arr_0, the first that there is, with labels or y, and factors
    [size, factor], beside them; or, as Keras has it, under x_train and x_test, and x_validation (or val, valid), with
    y_train and so on, or as train_images with train_labels. Where no images are for validation, some of those for
    training are held out; see `in_parts` also of the order of the others.

    Two layouts have factors of their own: dSprites' (imgs with latents_classes; its colour, which never changes, is
    left out, its shapes are the labels), and an array of images with five axes or more, [identity, azimuth, elevation,
    light, height, width] in 3D Faces, whose leading axes are the factors, the first of them the labels. No column of
    `factors` is taken for the label: which one would be, only their author knows.

    Args:
      name: of the file, for messages.
      names: of its arrays.
      read: gives one of them.
      fitting: of the images.
      held_out: the share of the training images kept for validation where the file brings none.

    Raises:
      ValueError: where no array has a known name, or one cannot be what its name says.
      TypeError: where an array holds numbers of the wrong type.
    """
    if (images := _first(_IMAGES, names)) is not None:
        labels = _first(_LABELS, names)
        everything = _dataset(name, names, read, images, labels, fitting)
        return hold_out(everything, held_out)
    named = (_images_of(names, aliases) for aliases in (("train",), _VALIDATION, ("test",)))
    stored = {array: read(array) for array in named if array is not None}
    # A dark split by itself may look as if white were 1 in it.
    in_levels = any(has_levels(images) for images in stored.values())

    def once(array: str) -> Shaped[np.ndarray, "..."]:
        return stored[array] if array in stored else read(array)

    train, validation, test = (
        _part(name, names, once, aliases, fitting, in_levels) for aliases in (("train",), _VALIDATION, ("test",))
    )
    if train is None:
        raise ValueError(
            f"{name} holds {_listed(names)}; images must be named {', '.join(_IMAGES)}, or x_train and x_test, or "
            "train_images and test_images"
        )
    for part in (validation, test):
        if part is not None and part.image_shape != train.image_shape:
            raise ValueError(
                f"{name}: images of the splits have {train.image_shape[-1]} and {part.image_shape[-1]} channels"
            )
    return in_parts(train, validation, test, held_out)


def _images_of(names: Collection[str], aliases: tuple[str, ...]) -> str | None:
    return _first([form.format(alias) for form in ("x_{}", "{}_images") for alias in aliases], names)


def _part(
    name: str, names: Collection[str], read: Read, aliases: tuple[str, ...], fitting: Fitting, in_levels: bool
) -> Dataset | None:
    images = _images_of(names, aliases)
    labels = _first([form.format(alias) for form in ("y_{}", "{}_labels") for alias in aliases], names)
    return None if images is None else _dataset(name, (), read, images, labels, fitting, in_levels)


def _dataset(
    name: str,
    beside: Collection[str],
    read: Read,
    images: str,
    labels: str | None,
    fitting: Fitting,
    in_levels: bool | None = None,
) -> Dataset:
    """A split from the arrays with these names, and the factors that may be `beside` them."""
    array = read(images)
    what = f"{name}: the array {images!r}"
    leading: tuple[int, ...] = ()
    if array.ndim >= 5 and array.size:
        inner = 3 if array.shape[-1] in (1, 3) else 2
        leading = array.shape[:-inner]
        array = array.reshape(-1, *array.shape[-inner:])
    pixels = as_pixels(array, what, in_levels=in_levels)
    size = len(pixels)
    factors = None
    if given := _first((_DSPRITES_LATENTS, "factors"), beside):
        factors = _factors(read(given), size, f"{name}: the array {given!r}")
        if given == _DSPRITES_LATENTS and factors.shape[1] == _DSPRITES_NUM_LATENTS:
            factors = factors[:, 1:]
    elif leading:
        factors = _grid(leading)
    classes = None
    if factors is not None and (leading or given == _DSPRITES_LATENTS):
        classes = factors[:, 0]
    if labels is not None:
        classes = as_labels(read(labels), size, f"{name}: the array {labels!r}")
    return dataset(name, pixels, fitting, labels=classes, factors=factors)


def _grid(sizes: tuple[int, ...]) -> Int[np.ndarray, "size factor"]:
    """The levels of all combinations, the last factor changing fastest."""
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=-1).astype(np.int32)


def _factors(levels: np.ndarray, size: int, what: str) -> Int[np.ndarray, "size factor"]:
    if levels.ndim != 2 or levels.shape[1] == 0:
        raise ValueError(f"{what} has shape {levels.shape}; factors must be [size, factor]")
    return as_levels(levels, size, what)


def _first(wanted: Collection[str], names: Collection[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _listed(names: Collection[str]) -> str:
    return f"the arrays {', '.join(sorted(names))}" if names else "no arrays"
