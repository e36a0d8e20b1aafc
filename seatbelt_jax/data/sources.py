"""From a configuration's `data` section to training and validation images."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from seatbelt_jax import sections
from seatbelt_jax.data import (
    all_sprites,
    chairs,
    digits,
    folder,
    large_sprites,
    mat,
    mock,
    npz,
    sprites,
    swiss_roll,
    tfds_source,
)
from seatbelt_jax.data.dataset import Splits
from seatbelt_jax.data.fitting import Fitting
from seatbelt_jax.registry import Registry

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


class Request(NamedTuple):
    """What a source is asked for.

    Attributes:
      settings: the configuration's `data` section.
      path: what follows the name after a colon.
      image_range: what black and white shall be.
    """

    settings: DataConfig
    path: str
    image_range: tuple[float, float]

    @property
    def fitting(self) -> Fitting:
        """From stored images to those asked for."""
        return Fitting(self.settings.image_size, self.settings.crop or None, self.settings.fit, self.image_range)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where images come from.

    Attributes:
      load: from a request to training and validation images.
      takes_path: whether it is named with a path, as in "folder:PATH".
      is_computed: whether images are computed at the size asked for, without cropping or fitting.
    """

    load: Callable[[Request], Splits]
    takes_path: bool = False
    is_computed: bool = False


SOURCES: Registry[Source] = Registry("a data set")


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
    name, colon, path = settings.name.partition(":")
    source = SOURCES.get(name)
    if source is None or (colon and not source.takes_path):
        source = Source(_of_tfds)
        if colon and not _TFDS_VERSION.fullmatch(path):
            raise ValueError(_unknown_kind(settings.name, name, path))
    if source.is_computed and (settings.crop or settings.fit != "resize"):
        raise ValueError(
            f"data.crop and data.fit are for stored images, and {settings.name} are computed at the size asked for; "
            f"leave both out, got crop={settings.crop!r} and fit={settings.fit!r}"
        )
    return source.load(Request(settings, path, image_range))


def _unknown_kind(given: str, kind: str, path: str) -> str:
    kinds = [name for name, source in SOURCES.items() if source.takes_path]
    near = difflib.get_close_matches(kind, kinds, n=1)
    listed = ", ".join(f"{name}:PATH" for name in kinds)
    return f"unknown kind of data {kind!r} in {given!r}; " + (
        f"did you mean {near[0]}:{path}?" if near else f"there are {listed}"
    )


def _of_tfds(asked: Request) -> Splits:
    settings = asked.settings
    return tfds_source.load(
        settings.name,
        image_size=settings.image_size,
        crop=settings.crop or None,
        fit=settings.fit,
        held_out=settings.held_out,
        data_dir=settings.data_dir or None,
        image_range=asked.image_range,
    )


def _of_pictures(load_pictures: Callable[..., Splits]) -> Callable[[Request], Splits]:
    return lambda asked: load_pictures(
        asked.path,
        asked.fitting,
        asked.settings.held_out,
        channels=asked.settings.channels or None,
        on_corrupt=asked.settings.on_corrupt,
    )


def _of_arrays(load_arrays: Callable[..., Splits]) -> Callable[[Request], Splits]:
    return lambda asked: load_arrays(asked.path, asked.fitting, asked.settings.held_out)


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
    held_out = all_sprites.training_and_validation()[1]
    places = sprites.one_factor_pairs(factor, number, seed=seed, sources=held_out, size=size)
    sources, targets = (np.asarray(all_sprites.images_at(place, size, image_range)) for place in places)
    return sources, targets, *places


def _of_size(load_computed: Callable[[int, tuple[float, float]], Splits]) -> Source:
    return Source(lambda asked: load_computed(asked.settings.image_size, asked.image_range), is_computed=True)


def _swiss_roll(asked: Request) -> Splits:
    return swiss_roll.load(asked.settings.num_images, asked.image_range)


def _mock(asked: Request) -> Splits:
    settings = asked.settings
    return mock.load(settings.image_size, settings.channels or 1, settings.num_images, asked.image_range)


SOURCES.register("sprites", _of_size(all_sprites.load))
SOURCES.register("large_sprites", _of_size(large_sprites.load))
SOURCES.register("mock", Source(_mock, is_computed=True))
SOURCES.register("swiss_roll", Source(_swiss_roll, is_computed=True))
SOURCES.register("digits", Source(lambda asked: digits.load(asked.fitting, asked.settings.held_out)))
SOURCES.register("folder", Source(_of_pictures(folder.load), takes_path=True))
SOURCES.register("chairs", Source(_of_pictures(chairs.load), takes_path=True))
SOURCES.register("npz", Source(_of_arrays(npz.load), takes_path=True))
SOURCES.register("mat", Source(_of_arrays(mat.load), takes_path=True))
