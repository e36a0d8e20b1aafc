"""Image data sets of TensorFlow Datasets, read through their data sources, without TensorFlow."""

import difflib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from seatbelt_jax.data.dataset import Dataset, Indices, Pixels, Splits
from seatbelt_jax.data.digest import digest_of, sample
from seatbelt_jax.data.held_out import in_parts
from seatbelt_jax.data.tfds_examples import Examples
from seatbelt_jax.data.transforms import Crop, Fit, prepare

# Data sets of this package, which a mistyped name may have meant.
EMBEDDED = ("sprites", "large_sprites", "digits", "swiss_roll", "mock")
# Examples by which a change of the files is noticed.
_LOOKED_AT = 64
_JPEG = b"\xff\xd8"
_LABEL = "label"
# What an image was generated from stands in whole numbers beside it.
_FACTOR_PREFIX = "label_"
# The order of the official arrays, and of the embedded sprites; other data sets' factors are in alphabetical order.
_DSPRITES_FACTORS = ("label_shape", "label_scale", "label_orientation", "label_x_position", "label_y_position")


def open_builder(name: str, data_dir: str | None = None) -> Any:
    """The builder of an image data set, whether prepared or not.

    Args:
      name: as TensorFlow Datasets writes it: NAME, NAME/VARIANT or NAME:VERSION.
      data_dir: where data sets are prepared; None for its own default.

    Raises:
      ValueError: for a name, variant or version that it does not know, or a data set without images in bytes.
    """
    # Importing it takes a second, which only those who use it should pay.
    import tensorflow_datasets as tfds

    # Community data sets would need TensorFlow to be listed.
    available = tfds.list_builders(with_community_datasets=False)
    base_name = name.split("/")[0].split(":")[0]
    if base_name not in available:
        near = difflib.get_close_matches(base_name, [*available, *EMBEDDED])
        hint = _path_hint(name) or (f"; did you mean {', '.join(near)}?" if near else "")
        raise ValueError(
            f"unknown data set {name!r}: it is neither {', '.join(EMBEDDED)} nor in TensorFlow Datasets{hint}"
        )
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (AssertionError, ValueError) as error:
        # After it come lists of variants, over many lines.
        reason = str(error).split('}": ')[-1].split(". Here are")[0].strip()
        raise ValueError(f"TensorFlow Datasets has no {name!r}: {reason}") from error
    features = builder.info.features
    image = dict(features.items()).get("image")
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"the data set {name!r} has no images of one or three channels in bytes; its features are "
            f"{', '.join(features)}"
        )
    return builder


def _path_hint(name: str) -> str:
    """What to write in place of the path of local files."""
    path = pathlib.PurePath(name)
    if path.suffix.lower() in (".npz", ".mat"):
        kind = path.suffix.lower()[1:]
    elif name.startswith(("/", ".", "~")) or len(path.parts) > 2 or "\\" in name:
        kind = "folder"
    else:
        return ""
    return f"; did you mean {kind}:{name}? Local files are folder:PATH, chairs:PATH, npz:PATH or mat:PATH"


def load(
    name: str,
    *,
    image_size: int,
    image_range: tuple[float, float],
    crop: Crop | None = None,
    fit: Fit = "resize",
    held_out: float = 0.05,
    data_dir: str | None = None,
) -> Splits:
    """Opens a prepared data set; images are decoded when asked for.

    Validation images are those of its "validation" split, or else a share of the training images, drawn by a
    permutation that is always the same. Test images are those of its "test" split, or None.

    Args:
      name: as TensorFlow Datasets writes it.
      image_size: height and width of the images, in pixels.
      image_range: what black and white shall be.
      crop: (top, left, height, width) cut out first, in pixels of the original.
      fit: how the rest comes to image_size, see `transforms.prepare`.
      held_out: the share of the training images kept for validation where there is no such split.
      data_dir: where it was prepared; None for the default of TensorFlow Datasets.

    Raises:
      ValueError: as `open_builder`, for a data set prepared in a format without random access, and one without
        training images.
      FileNotFoundError: where it is not prepared, or files of it are missing; says how to prepare it.
      OSError: for files that cannot be read.
    """
    builder = open_builder(name, data_dir)
    check_prepared(builder, name, data_dir)
    splits = builder.info.splits
    if "train" not in splits:
        raise ValueError(f"the data set {name!r} has no training images, only {', '.join(splits)}")

    beside = [key for key in builder.info.features if key == _LABEL or key.startswith(_FACTOR_PREFIX)]

    def opened(split: str) -> Dataset:
        return image_dataset(
            name,
            Examples(builder, split, ["image"]),
            # To read labels alone, without decoding the images beside them.
            label_source=Examples(builder, split, ["image", *beside], decode_images=False),
            image_size=image_size,
            crop=crop,
            fit=fit,
            image_range=image_range,
        )

    validation, test = (opened(split) if split in splits else None for split in ("validation", "test"))
    return in_parts(opened("train"), validation, test, held_out)


def check_prepared(builder: Any, name: str, data_dir: str | None) -> None:
    """Raises what `load` raises of a data set that is not there whole, or not with random access."""
    command = f"seatbelt prepare-data --dataset={name}" + (f" --data_dir={data_dir}" if data_dir else "")
    if not builder.info.splits:
        raise FileNotFoundError(
            f"the data set {name!r} is not prepared in {builder.data_path}; prepare it once with: "
            f"pip install -e '.[prepare]' && {command}"
        )
    if (found := builder.info.file_format.value) != "array_record":
        raise ValueError(
            f"the data set {name!r} is prepared in {builder.data_path} as {found}, which cannot be read in random "
            f"order; remove that folder, or choose another data_dir, and prepare it with: {command}"
        )
    files = [file for split in builder.info.splits.values() for file in split.filepaths]
    if missing := [file for file in files if not file.exists()]:
        raise FileNotFoundError(
            f"of the data set {name!r}, {missing[0]} is missing; remove {builder.data_path} and prepare it with: "
            f"{command}"
        )


def image_dataset(
    name: str,
    source: Any,
    *,
    image_size: int,
    image_range: tuple[float, float],
    crop: Crop | None = None,
    fit: Fit = "resize",
    label_source: Any = None,
) -> Dataset:
    """A host data set from a random-access source of examples with an "image" array, uint8 [h, w, c].

    A whole number "label" beside the image becomes the data set's labels, whole numbers "label_..." its factors. They
    are read from `label_source`, where that gives them at less cost, otherwise from `source`.

    Raises:
      ValueError: for examples without images, or images that `transforms.prepare` refuses.
      OSError: where the first or the last example cannot be read; and, from what is returned, where others cannot.
    """
    # A file that is cut off lacks its last examples.
    first, last = _read(name, source, [0, len(source) - 1])
    if "image" not in first:
        raise ValueError(f"the data set {name!r} has no images; its features are {', '.join(first)}")
    dsprites = name.startswith("dsprites")
    beside = source if label_source is None else label_source

    def pixels(indices: Indices) -> Pixels:
        images = [example["image"] for example in _read(name, source, indices)]
        # dSprites writes white as 1; should it ever be 255, this does no harm.
        images = [255 * np.minimum(image, 1) for image in images] if dsprites else images
        return np.stack([prepare(image, image_size, crop, fit) for image in images])

    def numbers(indices: Indices, keys: Sequence[str]) -> Int[np.ndarray, "batch key"]:
        examples = _read(name, beside, indices)
        return np.array([[example[key] for key in keys] for example in examples], np.int32).reshape(-1, len(keys))

    whole = {key for key, value in _read(name, beside, [0])[0].items() if _is_whole_number(value)}
    factors = _DSPRITES_FACTORS if dsprites else sorted(key for key in whole if key.startswith(_FACTOR_PREFIX))
    # A dSprite's class is its shape, as of the embedded sprites.
    label = _DSPRITES_FACTORS[0] if dsprites else _LABEL
    # Refuses a crop or padding that does not fit, before anything else is done.
    channels = prepare(last["image"], image_size, crop, fit).shape[-1]
    return Dataset.from_pixels(
        name,
        len(source),
        (image_size, image_size, channels),
        pixels,
        image_range,
        labels=(lambda indices: numbers(indices, (label,))[:, 0]) if label in whole else None,
        factors=(lambda indices: numbers(indices, factors)) if factors else None,
        digest=_digest(name, source, beside, sorted(whole)),
    )


def _read(name: str, source: Any, indices: Indices | Sequence[int]) -> Sequence[Mapping[str, Any]]:
    try:
        return source.__getitems__([int(index) for index in np.asarray(indices)])
    # The record reader, the message parser and Pillow each have exceptions of their own for damaged bytes.
    except Exception as error:
        raise OSError(
            f"the files of the data set {name!r} are damaged; remove them and prepare it anew ({error})"
        ) from error


def _digest(name: str, source: Any, beside: Any, numbers: Sequence[str]) -> str:
    """Hash a sample of the images and the whole numbers beside them."""
    places = sample(len(source), _LOOKED_AT)
    parts: list[bytes | np.ndarray] = []
    for stored, example in zip(_read(name, beside, places), _read(name, source, places), strict=True):
        # JPEG is stored as it came, and read not quite alike everywhere; PNG is packed when it is prepared, by one
        # program or the next, and read alike.
        is_jpeg = isinstance(stored["image"], bytes) and stored["image"].startswith(_JPEG)
        parts.append(stored["image"] if is_jpeg else example["image"])
        parts.append(np.array([stored[key] for key in numbers], np.int64))
    return digest_of(len(source), *parts)


def _is_whole_number(value: Any) -> bool:
    number = np.asarray(value)
    return number.ndim == 0 and np.issubdtype(number.dtype, np.integer)
