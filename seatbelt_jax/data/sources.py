"""From a configuration's `data` section to training and validation images."""

import dataclasses
import difflib
import functools
import re
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from seatbelt_jax import sections
from seatbelt_jax.data import chairs, digits, folder, large_sprites, mat, npz, sprites, swiss_roll, tfds_source
from seatbelt_jax.data.dataset import Dataset, Splits, subset
from seatbelt_jax.data.digest import digest_of
from seatbelt_jax.data.fitting import Fitting
from seatbelt_jax.data.held_out import training_and_held_out

_SPRITES_VALIDATION_SHARE = 0.01
# Enough points to see an aggregate posterior by.
_SWISS_ROLL_VALIDATION_SHARE = 0.2
_COMPUTED = ("sprites", "large_sprites", "mock", "swiss_roll")
# Kinds of files, which the path follows after a colon.
_ARRAY_FILES = {"npz": npz.load, "mat": mat.load}
_PICTURE_FOLDERS = {"folder": folder.load, "chairs": chairs.load}
# What TensorFlow Datasets writes after a colon: mnist:3.0.1.
_TFDS_VERSION = re.compile(r"[\d.*]+")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What a configuration's `data` section may say.

    Attributes:
      name: "sprites" (embedded, drawn on the device), "large_sprites" (some of them, upright and at twice the size),
        "swiss_roll" (points in space, images of one pixel),
        "mock" (smooth random images, for trying things out), "digits" (scikit-learn's), "folder:PATH" (picture
        files), "chairs:PATH" (the folder of 3D Chairs), "npz:PATH" (arrays, official dSprites and 3D Faces among
        them), "mat:PATH" (SVHN's files), or the name of an image data set of TensorFlow Datasets. Relative paths
        start at the working directory, and ~ is the home folder.
      image_size: height and width in pixels; not read for "swiss_roll".
      channels: 1 or 3; "folder" and "chairs" convert pictures to it. 0 is that of a folder's pictures, and otherwise
        1. Not read elsewhere, but for "mock".
      num_images: "mock" and "swiss_roll" alone: how many; the first tenth of "mock" and the first fifth of
        "swiss_roll" are for validation.
      crop: of stored images alone: (top, left, height, width) cut out before resizing, in pixels of the original; () or
        None takes all of them.
      fit: of stored images alone: "resize" to image_size, bilinearly with antialiasing, or "pad" with black.
      held_out: the share of the training images kept for validation where the data set brings no such part;
        not read for the sprites, "mock" and "swiss_roll", whose shares are fixed.
      on_corrupt: "folder" and "chairs" alone: what a damaged picture does, "refuse" to open the data set or "skip"
        that picture; see `picture_files.survey`.
      data_dir: TensorFlow Datasets alone: where they were prepared; its own default if empty.
    """

    name: str
    image_size: int = 64
    channels: int = 0
    num_images: int = 256
    crop: tuple[int, int, int, int] | tuple[()] | None = ()
    fit: Literal["resize", "pad"] = "resize"
    held_out: float = 0.05
    on_corrupt: Literal["refuse", "skip"] = "refuse"
    data_dir: str = ""

    def __post_init__(self):
        sections.check_types("data", self)
        sections.check_choice("data.fit", self.fit, ("resize", "pad"))
        sections.check_choice("data.on_corrupt", self.on_corrupt, ("refuse", "skip"))
        if self.channels not in (0, 1, 3):
            raise ValueError(
                f"data.channels must be 1 for grey, 3 for colours, or 0 for the data's own, got {self.channels!r}"
            )
        sections.check_limits("data", self, {"image_size": 1, "num_images": 10})
        if self.crop and (min(self.crop) < 0 or min(self.crop[2:]) == 0):
            raise ValueError(
                "data.crop must be (top, left, height, width) in pixels, none negative, height and width not 0; got "
                f"{self.crop!r}"
            )
        if not 0.0 < self.held_out < 1.0:
            raise ValueError(f"data.held_out must be a share between 0 and 1, got {self.held_out}")


# What a configuration means that lacks a field.
DEFAULTS = {field.name: field.default for field in dataclasses.fields(DataConfig) if field.name != "name"}


def load(config: Mapping[str, Any], image_range: tuple[float, float]) -> Splits:
    """Opens the data set that a configuration's `data` section names.

    Args:
      config: the fields of `DataConfig`.
      image_range: what black and white shall be, (-1, 1) or (0, 1).

    Raises:
      ValueError: for a field or data set that does not exist, or a size it cannot have.
      FileNotFoundError: for a data set that is not prepared on this machine; says how to get it.
    """
    settings = sections.parse(DataConfig, "data", config)
    if settings.name in _COMPUTED and (settings.crop or settings.fit != "resize"):
        raise ValueError(
            f"data.crop and data.fit are for stored images, and {settings.name} are computed at the size asked for; "
            f"leave both out, got crop={settings.crop!r} and fit={settings.fit!r}"
        )
    if settings.name == "sprites":
        return _sprites(settings.image_size, image_range)
    if settings.name == "large_sprites":
        return large_sprites.load(settings.image_size, image_range)
    if settings.name == "mock":
        return _mock(settings, image_range)
    if settings.name == "swiss_roll":
        return _swiss_roll(settings, image_range)
    fitting = Fitting(settings.image_size, settings.crop or None, settings.fit, image_range)
    if settings.name == "digits":
        return digits.load(fitting, settings.held_out)
    prefix, colon, path = settings.name.partition(":")
    if prefix in _ARRAY_FILES:
        return _ARRAY_FILES[prefix](path, fitting, settings.held_out)
    if prefix in _PICTURE_FOLDERS:
        return _PICTURE_FOLDERS[prefix](
            path, fitting, settings.held_out, channels=settings.channels or None, on_corrupt=settings.on_corrupt
        )
    if colon and not _TFDS_VERSION.fullmatch(path):
        kinds = [*_PICTURE_FOLDERS, *_ARRAY_FILES]
        near = difflib.get_close_matches(prefix, kinds, n=1)
        raise ValueError(
            f"unknown kind of data {prefix!r} in {settings.name!r}; "
            + (
                f"did you mean {near[0]}:{path}?"
                if near
                else f"there are {', '.join(f'{kind}:PATH' for kind in kinds)}"
            )
        )
    return tfds_source.load(
        settings.name,
        image_size=settings.image_size,
        crop=settings.crop or None,
        fit=settings.fit,
        held_out=settings.held_out,
        data_dir=settings.data_dir or None,
        image_range=image_range,
    )


def one_factor_pairs(
    config: Mapping[str, Any], image_range: tuple[float, float], factor: str, number: int, seed: int
) -> tuple[
    Float[np.ndarray, "pair height width channels"],
    Float[np.ndarray, "pair height width channels"],
    Int[np.ndarray, " pair"],
    Int[np.ndarray, " pair"],
]:
    """Images of sprites that differ in one factor alone, to attack: see `sprites.one_factor_pairs`.

    Args:
      config: a configuration's `data` section; only "sprites" has factors.
      image_range: what black and white shall be.
      factor: one of `sprites.FACTOR_NAMES`.
      number: of pairs.
      seed: of the draw.

    Returns:
      The sources, from the validation part; the targets, from the whole set; and the places of both in the official
      arrays of dSprites, not in a split.

    Raises:
      ValueError: for another data set, an unknown factor, or more pairs than there are.
    """
    settings = sections.parse(DataConfig, "data", config)
    if settings.name != "sprites":
        raise ValueError(f"only the data set sprites has factors, got {settings.name!r}")
    size = settings.image_size
    places = sprites.one_factor_pairs(factor, number, seed=seed, sources=_sprites_order()[1], size=size)
    sources, targets = (np.asarray(_sprite_images(place, size, image_range)) for place in places)
    return sources, targets, *places


def _sprites(size: int, image_range: tuple[float, float]) -> Splits:
    sprites.draw(np.zeros(len(sprites.FACTOR_SIZES), np.int32), size=size)  # refuses sizes it cannot draw
    everything = Dataset(
        "sprites",
        sprites.NUM_SPRITES,
        (size, size, 1),
        lambda index: _sprite_images(index, size, image_range),
        traceable=True,
        labels=sprites.shape_from_index,
        factors=sprites.factors_from_index,
        digest=digest_of("sprites", sprites.NUM_SPRITES),
    )
    train, validation = _sprites_order()
    return Splits(train=subset(everything, train), validation=subset(everything, validation))


def _sprite_images(
    index: Int[Array | np.ndarray, " batch"], size: int, image_range: tuple[float, float]
) -> Float[Array, "batch size size 1"]:
    return _in_range(sprites.draw(sprites.factors_from_index(index), size=size), image_range)


@functools.partial(jax.jit, static_argnums=1)
def _in_range(
    images: Float[Array, "batch size size 1"], image_range: tuple[float, float]
) -> Float[Array, "batch size size 1"]:
    """Images in [0, 1] as images in another range."""
    low, high = image_range
    return low + (high - low) * images


def _sprites_order() -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " validation"]]:
    """Which of the official images are for training, and which for validation."""
    return training_and_held_out(sprites.NUM_SPRITES, _SPRITES_VALIDATION_SHARE)


def _mock(settings: DataConfig, image_range: tuple[float, float]) -> Splits:
    """Each image is one random Gaussian blob of a random colour, computed from its number."""
    channels = settings.channels or 1
    shape = (settings.image_size, settings.image_size, channels)

    def images(index: Int[Array | np.ndarray, " batch"]) -> Float[Array, "batch size size channels"]:
        return _blobs(index, settings.image_size, channels, image_range)

    digest = digest_of("mock", settings.num_images)
    everything = Dataset("mock", settings.num_images, shape, images, traceable=True, digest=digest)
    indices = np.arange(settings.num_images, dtype=np.int32)
    held_out = settings.num_images // 10
    return Splits(train=subset(everything, indices[held_out:]), validation=subset(everything, indices[:held_out]))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _blobs(
    index: Int[Array, " batch"], size: int, channels: int, image_range: tuple[float, float]
) -> Float[Array, "batch size size channels"]:
    low, high = image_range

    def one(number: Int[Array, ""]) -> Float[Array, "size size channels"]:
        key_centre, key_width, key_colour = jax.random.split(jax.random.fold_in(jax.random.key(0), number), 3)
        centre = jax.random.uniform(key_centre, (2,))
        width = jax.random.uniform(key_width, (), minval=0.05, maxval=0.3)
        colour = jax.random.uniform(key_colour, (channels,), minval=0.3)
        axis = (jnp.arange(size) + 0.5) / size
        squared = (axis[:, None] - centre[0]) ** 2 + (axis[None, :] - centre[1]) ** 2
        blob = jnp.exp(-0.5 * squared / width**2)
        return low + (high - low) * blob[..., None] * colour

    return jax.vmap(one)(index)


def _swiss_roll(settings: DataConfig, image_range: tuple[float, float]) -> Splits:
    """The roll's points by their number; the first ones, held out, keep theirs."""
    low, high = image_range
    size = settings.num_images

    def images(index):
        points = swiss_roll.points(swiss_roll.coordinates_from_index(index))
        return (low + (high - low) * 0.5 * (points + 1.0)).reshape(-1, *swiss_roll.POINT_SHAPE)

    digest = digest_of("swiss_roll", size)
    everything = Dataset("swiss_roll", size, swiss_roll.POINT_SHAPE, images, traceable=True, digest=digest)
    indices = np.arange(size, dtype=np.int32)
    held_out = round(_SWISS_ROLL_VALIDATION_SHARE * size)
    return Splits(train=subset(everything, indices[held_out:]), validation=subset(everything, indices[:held_out]))
