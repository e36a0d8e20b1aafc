"""Image data sets of TensorFlow Datasets, read through their data sources, without TensorFlow."""

import difflib
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from seatbelt_jax.data.dataset import Dataset, Splits

# The first of these splits that a data set has is used for validation.
_VALIDATION_SPLITS = ("validation", "test")


def load(
    name: str,
    *,
    image_size: int,
    crop: tuple[int, int, int, int] | None,
    data_dir: str | None,
    image_range: tuple[float, float],
) -> Splits:
    """Opens a prepared data set; images are decoded when asked for.

    Raises:
      ValueError: for a name that TensorFlow Datasets does not know or a data set without images.
      FileNotFoundError: where it is not prepared; says how to.
    """
    # Importing it takes a second, which only those who use it should pay.
    import tensorflow_datasets as tfds

    # Community data sets would need TensorFlow to be listed.
    available = tfds.list_builders(with_community_datasets=False)
    base_name = name.split("/")[0].split(":")[0]
    if base_name not in available:
        near = difflib.get_close_matches(base_name, [*available, "sprites", "swiss_roll", "mock"])
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ValueError(
            f"unknown data set {name!r}: it is neither sprites, swiss_roll, mock nor in TensorFlow Datasets{hint}"
        )
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    splits = builder.info.splits
    if "train" not in splits:
        raise FileNotFoundError(
            f"the data set {name!r} is not prepared in {builder.data_path}; prepare it once with: "
            f"pip install -e '.[prepare]' && tfds build {name} --file_format=array_record"
            + (f" --data_dir={data_dir}" if data_dir else "")
        )
    validation = next((split for split in _VALIDATION_SPLITS if split in splits), None)
    if validation is None:
        raise ValueError(f"the data set {name!r} has no validation or test split, only {', '.join(splits)}")
    # To read labels alone, without decoding the images beside them.
    undecoded = {"image": tfds.decode.SkipDecoding()} if "image" in builder.info.features else None
    datasets = [
        image_dataset(
            name,
            builder.as_data_source(split),
            label_source=builder.as_data_source(split, decoders=undecoded),
            image_size=image_size,
            crop=crop,
            image_range=image_range,
        )
        for split in ("train", validation)
    ]
    return Splits(*datasets)


def image_dataset(
    name: str,
    source: Any,
    *,
    label_source: Any = None,
    image_size: int,
    crop: tuple[int, int, int, int] | None,
    image_range: tuple[float, float],
) -> Dataset:
    """A host data set from a random-access source of examples with an "image" array, uint8 [h, w, c].

    An integer "label" beside the image becomes the data set's labels. They are read from `label_source`, where that
    gives them at less cost, otherwise from `source`.
    """
    first = source[0]
    if "image" not in first:
        raise ValueError(f"the data set {name!r} has no images; its features are {', '.join(first)}")

    def images(indices):
        examples = source.__getitems__([int(index) for index in indices])
        return np.stack([resize(example["image"], image_size, crop, image_range) for example in examples])

    def labels(indices):
        examples = (source if label_source is None else label_source).__getitems__([int(index) for index in indices])
        return np.array([example["label"] for example in examples], np.int32)

    label = np.asarray(first.get("label"))
    labelled = label.ndim == 0 and np.issubdtype(label.dtype, np.integer)
    shape = (image_size, image_size, first["image"].shape[-1])
    return Dataset(name, len(source), shape, images, traceable=False, labels=labels if labelled else None)


def resize(
    image: np.ndarray,
    size: int,
    crop: tuple[int, int, int, int] | None,
    image_range: tuple[float, float],
) -> Float[np.ndarray, "size size channels"]:
    """Cuts out `crop` = (top, left, height, width), resizes bilinearly with antialiasing, scales."""
    if crop is not None:
        top, left, height, width = crop
        if top + height > image.shape[0] or left + width > image.shape[1]:
            raise ValueError(f"crop {tuple(crop)} does not fit into an image of {image.shape[:2]} pixels")
        image = image[top : top + height, left : left + width]
    grey = image.shape[-1] == 1
    picture = Image.fromarray(image[..., 0] if grey else image)
    pixels = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255.0
    low, high = image_range
    return (low + (high - low) * pixels).reshape(size, size, -1)
