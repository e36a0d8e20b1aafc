"""What tests of data in files share: small files, and all that a data set gives."""

import numpy as np
from PIL import Image

from seatbelt_jax import data

BYTES = (0.0, 255.0)  # a range that shows pixels as they are stored


def load(name, **fields):
    return data.load({"name": name, "image_size": 8, "held_out": 0.25, **fields}, BYTES)


def everything(splits):
    """All images of a data set that was split, with labels and factors, in the order of their mean values."""
    parts = [splits.train, splits.validation]
    images, labels, factors = (
        None
        if getattr(parts[0], attribute) is None
        else np.concatenate([getattr(part, attribute)(np.arange(part.size)) for part in parts])
        for attribute in ("images", "labels", "factors")
    )
    order = np.argsort(images.mean(axis=(1, 2, 3)), kind="stable")
    return images[order], None if labels is None else labels[order], None if factors is None else factors[order]


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)


def flat(value, shape=(8, 8)):
    return np.full(shape, value, np.uint8)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def truncate(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def eight_pictures(folder):
    """Eight grey pictures of one value each, ten times its number."""
    for number in range(8):
        save(folder / f"{number}.png", flat(10 * number))
    return folder
