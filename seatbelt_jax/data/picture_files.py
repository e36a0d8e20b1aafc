"""Pictures in PNG, JPEG, WebP, BMP, TIFF and GIF files: looked at when a data set is opened, decoded when asked for."""

import dataclasses
import pathlib
import struct
import warnings
import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from tqdm import tqdm

from seatbelt_jax.data.dataset import Dataset
from seatbelt_jax.data.digest import digest_of
from seatbelt_jax.data.fitting import Fitting
from seatbelt_jax.data.local_path import printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")

OnCorrupt = Literal["refuse", "skip"]

# What a file holds decides, not what it is called; other formats' readers, some of which start programs, stay out.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
# Exif's tag for the side of a picture that is up, its value where that is the first row, and what undoes the others.
_ORIENTATION, _UPRIGHT = 0x0112, 1
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow raises on damaged files, beside OSError.
_DAMAGES = (SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was found out about picture files without decoding them.

    Attributes:
      kept: which files hold pictures, by their places in the list that was given.
      channels: that all pictures are to have, 1 or 3.
      orientations: the note on which side is up of each one kept, as Exif counts: 1 is upright.
    """

    kept: Int[np.ndarray, " kept"]
    channels: int
    orientations: Int[np.ndarray, " kept"]


def survey(
    paths: Sequence[pathlib.Path],
    fitting: Fitting,
    *,
    channels: int | None = None,
    on_corrupt: OnCorrupt = "refuse",
) -> Survey:
    """Looks at every file, so that what can go wrong does before training.

    It warns with the number of pictures that have several frames, the first of which is read.

    Args:
      paths: of the files.
      fitting: that sizes must suit.
      channels: 1 turns colours into grey, 3 repeats grey; None takes the pictures' own, which must be one kind.
      on_corrupt: "refuse" reads the files' headers, and damage further on is an error when the picture is read;
        "skip" decodes all pictures, and leaves those that are damaged out, with a warning that names some.

    Raises:
      ValueError: for a file that is no picture or a damaged one, with "refuse"; where none is left; for grey pictures
        beside coloured ones where `channels` does not say which; or a size that cannot be prepared.
    """
    kept: list[int] = []
    orientations: list[int] = []
    animated: list[pathlib.Path] = []
    damaged: list[str] = []
    first_of_channels: dict[int, pathlib.Path] = {}
    first_of_size: dict[tuple[int, int], pathlib.Path] = {}
    for place, path in enumerate(tqdm(paths, desc="looking at pictures", unit="file", leave=False, disable=None)):
        try:
            look = _look(path, decode=on_corrupt == "skip")
        except CorruptPicture as error:
            if on_corrupt == "refuse":
                raise ValueError(f"{error}; remove it, or leave such files out with data.on_corrupt=skip") from None
            damaged.append(str(error))
            continue
        kept.append(place)
        orientations.append(look.orientation)
        animated += [path] if look.is_animated else []
        first_of_channels.setdefault(look.channels, path)
        first_of_size.setdefault(look.size, path)
    if damaged:
        more = f"; and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
        warnings.warn(
            f"left out {len(damaged)} of {len(paths)} files: {'; '.join(damaged[:_NAMED])}{more}", stacklevel=2
        )
    if animated:
        warnings.warn(
            f"{len(animated)} of {len(paths)} pictures have several frames, {printable(animated[0])} for example; "
            "the first frame of each is read",
            stacklevel=2,
        )
    if not kept:
        raise ValueError(f"none of {len(paths)} files is a picture")
    if channels is None:
        if len(first_of_channels) > 1:
            raise ValueError(
                f"{printable(first_of_channels[1])} is grey and {printable(first_of_channels[3])} is coloured; "
                "say with data.channels=1 or data.channels=3 what all shall be"
            )
        (channels,) = first_of_channels
    for (height, width), path in first_of_size.items():
        fitting.check(height, width, printable(path))
    return Survey(np.array(kept), channels, np.array(orientations, np.int32))


class CorruptPicture(ValueError):
    """A file that is no picture, or a damaged one; the message names it."""


def read(path: pathlib.Path, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    """Decodes a picture.

    What is transparent shows white behind it, 16 bits are rounded to 8, and grey of colours is their luma (ITU-R
    601). A camera's note on which side is up (Exif's orientation) is followed.

    Raises CorruptPicture for a file that is no picture, a damaged one, or one beyond Pillow's limit of pixels.
    """
    try:
        with path.open("rb") as opened, Image.open(opened, formats=_FORMATS) as picture:
            _check_levels(path, picture)
            return _bytes(_upright(picture), channels)
    except (OSError, *_DAMAGES, *_BOMBS) as error:
        raise _corrupt(path, error) from None


def dataset(
    name: str,
    root: pathlib.Path,
    paths: Sequence[pathlib.Path],
    fitting: Fitting,
    *,
    channels: int,
    labels: Int[np.ndarray, " size"] | None = None,
    factors: Int[np.ndarray, "size factor"] | None = None,
    orientations: Int[np.ndarray, " size"] | None = None,
) -> Dataset:
    """A host data set of picture files below `root`, each decoded and prepared whenever it is asked for.

    Its digest is of the names and sizes of the files, and of the `orientations` where one is not upright; not of what
    else is in them.
    """
    # Upright pictures have the digest that they had before orientations were followed.
    turned = () if orientations is None or np.all(orientations == _UPRIGHT) else (orientations,)
    listed = (part for path in paths for part in (path.relative_to(root).as_posix(), path.stat().st_size))

    def pixels(indices):
        return np.stack([fitting(read(paths[int(index)], channels)) for index in indices])

    return Dataset.from_pixels(
        name,
        len(paths),
        (fitting.image_size, fitting.image_size, channels),
        pixels,
        fitting.image_range,
        labels=None if labels is None else lambda indices: labels[np.asarray(indices)],
        factors=None if factors is None else lambda indices: factors[np.asarray(indices)],
        digest=digest_of(*listed, labels, factors, *turned),
    )


@dataclasses.dataclass(frozen=True)
class _Look:
    """What a picture's header says: (height, width) when it is upright, 1 channel for grey or 3 for colours."""

    size: tuple[int, int]
    channels: int
    orientation: int
    is_animated: bool


def _look(path: pathlib.Path, *, decode: bool) -> _Look:
    try:
        # Pillow warns of so many pixels, and refuses twice as many.
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            path.open("rb") as opened,
            Image.open(opened, formats=_FORMATS) as picture,
        ):
            _check_levels(path, picture)
            channels = 1 if _is_grey(picture) else 3
            # A PNG file may have it behind the pixels, which are not read here.
            told = picture.format != "PNG" or "exif" in picture.info
            orientation = _orientation(picture) if told else _UPRIGHT
            is_animated = bool(getattr(picture, "is_animated", False))
            # Pillow gives some TIFF files the size of the upright picture itself.
            size = picture.height, picture.width
            if orientation >= 5 and picture.format != "TIFF":
                size = size[::-1]
            if decode:
                _upright(picture).load()
            return _Look(size, channels, orientation, is_animated)
    except (OSError, *_DAMAGES, *_BOMBS) as error:
        raise _corrupt(path, error) from None


def _corrupt(path: pathlib.Path, error: Exception) -> Exception:
    if isinstance(error, CorruptPicture):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return error  # the file may be whole: it cannot be reached, and the error names it
    if isinstance(error, _BOMBS):
        return CorruptPicture(
            f"{printable(path)} has more than the {Image.MAX_IMAGE_PIXELS} pixels that a picture may have"
        )
    if isinstance(error, Image.UnidentifiedImageError):
        return CorruptPicture(f"{printable(path)} is no {', '.join(_FORMATS)} file that can be read, whatever its name")
    return CorruptPicture(f"{printable(path)} is damaged ({error})")


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode in ("P", "PA") and picture.palette is not None:
        # Three bytes a colour or, in BMP, four; the first three are red, green and blue, or the reverse.
        kind, colours = picture.palette.getdata()
        bands = len(kind.split(";")[0])
        levels = np.frombuffer(colours[: len(colours) // bands * bands], np.uint8).reshape(-1, bands)
        return not np.ptp(levels[:, :3], axis=1).any()
    return picture.mode in ("1", "L", "LA") or _has_16_bits(picture)


def _check_levels(path: pathlib.Path, picture: Image.Image) -> None:
    """Refuses pixels whose white is not known: floats, and whole numbers of more than 16 bits, which TIFF may hold."""
    if picture.mode == "F" or (picture.mode == "I" and picture.format == "TIFF"):
        raise CorruptPicture(
            f"{printable(path)} holds floats or numbers of 32 bits, whose white is not known; convert it to 8 or "
            "16 bits"
        )


def _orientation(picture: Image.Image) -> int:
    """Exif's orientation, 1 to 8."""
    try:
        found = picture.getexif().get(_ORIENTATION, _UPRIGHT)
    except (OSError, *_DAMAGES):
        return _UPRIGHT  # the note is damaged, the pixels need not be
    return found if found in _TURNS else _UPRIGHT


def _upright(picture: Image.Image) -> Image.Image:
    # Pillow turns TIFF files by itself, rightly where it has an open file and not a path, which it maps into memory. It
    # reads a note behind the pixels of a PNG file.
    picture.load()
    turn = _TURNS.get(_orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _has_16_bits(picture: Image.Image) -> bool:
    # Only grey PNG files have these modes: Pillow turns colours of 16 bits into 8 by itself. The mode's name depends on
    # Pillow's version.
    return picture.mode.startswith("I")


def _bytes(picture: Image.Image, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    if _has_16_bits(picture):
        picture = Image.fromarray(np.rint(np.asarray(picture, np.float32) / 257.0).astype(np.uint8))
    elif "A" in picture.getbands() or "transparency" in picture.info:
        background = Image.new("RGBA", picture.size, "white")
        background.alpha_composite(picture.convert("RGBA"))
        picture = background
    picture = picture.convert("L" if channels == 1 else "RGB")
    return np.asarray(picture).reshape(picture.height, picture.width, channels)
