"""Images in MATLAB files up to version 7: SVHN's cropped digits (Netzer et al. 2011), and others by their names."""

import pathlib

import numpy as np
from jaxtyping import Shaped

from seatbelt_jax.data import array_layouts
from seatbelt_jax.data.dataset import Splits
from seatbelt_jax.data.fitting import Fitting
from seatbelt_jax.data.local_path import existing, printable
from seatbelt_jax.data.mat_file import MatFile

# SVHN's files, beside each other in one folder.
_SVHN_TRAIN, _SVHN_TEST = "train_32x32.mat", "test_32x32.mat"
# SVHN writes the digit 0 as class 10.
_SVHN_ZERO = 10


def load(path: str, fitting: Fitting, held_out: float) -> Splits:
    """Opens a .mat file, or a folder with SVHN's train_32x32.mat and test_32x32.mat, read whole into memory.

    SVHN's layout is X [height, width, channels, size] and y [size, 1] with 10 for the digit 0, which becomes 0 here;
    names of other files are those of `array_layouts.splits`. Labels and factors may be stored as double.

    Raises:
      FileNotFoundError: where there is no such file, or the folder lacks one of the two.
      ValueError: for a file that is not of MATLAB, or of version 7.3, and as `array_layouts.splits`.
      TypeError: as `array_layouts.splits`.
    """
    file = existing(path, "MATLAB file", "mat")
    if not file.is_dir():
        return _splits(file, f"mat:{printable(path)}", fitting, held_out)
    for part in (_SVHN_TRAIN, _SVHN_TEST):
        if not (file / part).is_file():
            raise FileNotFoundError(f"{printable(path)} holds no {part}; give SVHN's two files, or one .mat file")
    arrays: dict[str, np.ndarray] = {}
    for part, short in ((_SVHN_TRAIN, "train"), (_SVHN_TEST, "test")):
        images, labels = _svhn(file / part, MatFile(file / part))
        arrays |= {f"x_{short}": images, f"y_{short}": labels}
    return array_layouts.splits(f"mat:{printable(path)}", list(arrays), arrays.pop, fitting, held_out)


def _splits(file: pathlib.Path, name: str, fitting: Fitting, held_out: float) -> Splits:
    opened = MatFile(file)
    if "X" in opened.names:
        images, labels = _svhn(file, opened)
        arrays = {"images": images, "labels": labels}
        return array_layouts.splits(name, list(arrays), arrays.pop, fitting, held_out)
    return array_layouts.splits(name, opened.names, lambda array: _read(opened, array), fitting, held_out)


def _svhn(
    file: pathlib.Path, opened: MatFile
) -> tuple[Shaped[np.ndarray, "size height width channels"], Shaped[np.ndarray, " size"]]:
    if missing := {"X", "y"} - set(opened.names):
        raise ValueError(
            f"{printable(file)} holds no {' and no '.join(sorted(missing))}, as SVHN's files do; is it cut off?"
        )
    images, labels = opened["X"], _read(opened, "y").reshape(-1)
    if images.ndim != 4:
        raise ValueError(f"{printable(file)}: X has shape {images.shape}; SVHN's is [height, width, channels, size]")
    return np.ascontiguousarray(np.moveaxis(images, -1, 0)), np.where(labels == _SVHN_ZERO, 0, labels)


def _read(opened: MatFile, name: str) -> Shaped[np.ndarray, "..."]:
    array = opened[name]
    # MATLAB's numbers are double where nobody says otherwise, labels and factors too; images have more axes.
    if array.ndim <= 2 and array.dtype.kind == "f" and np.all((np.abs(array) < 2**53) & (array == np.rint(array))):
        return array.astype(np.int64)
    return array
