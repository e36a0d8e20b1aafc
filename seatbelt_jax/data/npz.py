"""Images in a NumPy archive. It runs no code: arrays of Python objects, which are pickles, are never read."""

import pathlib
import zipfile
import zlib

import numpy as np
from jaxtyping import Shaped

from seatbelt_jax.data import array_layouts
from seatbelt_jax.data.dataset import Splits
from seatbelt_jax.data.fitting import Fitting
from seatbelt_jax.data.local_path import existing


def load(path: str, fitting: Fitting, held_out: float) -> Splits:
    """Opens an archive whose arrays have names that `array_layouts.splits` knows.

    Images are read whole into memory, once, because most archives are compressed: official dSprites takes 3 GB there.
    Arrays that are not needed are not touched.

    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: for a file that is no archive or a damaged one, arrays of Python objects, and as
        `array_layouts.splits`.
      TypeError: as `array_layouts.splits`.
    """
    file = existing(path, "npz archive", "npz")
    if not (file.is_file() and zipfile.is_zipfile(file)):
        raise ValueError(f"{path} is no npz archive; numpy.savez writes them")
    try:
        archive = np.load(file, allow_pickle=False)
    except zipfile.BadZipFile as error:
        raise _damaged(file, error) from None
    with archive:
        return array_layouts.splits(
            f"npz:{path}", archive.files, lambda name: _read(archive, name, file), fitting, held_out
        )


def _read(archive: np.lib.npyio.NpzFile, name: str, file: pathlib.Path) -> Shaped[np.ndarray, "..."]:
    try:
        array = archive[name]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise _damaged(file, error, name) from None
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{file}: the array {name!r} holds Python objects, which can run code when they are read; store numbers"
            ) from None
        raise _damaged(file, error, name) from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{file}: {name!r} is no array")
    return array


def _damaged(file: pathlib.Path, error: Exception, name: str = "") -> ValueError:
    where = f"the array {name!r} of {file}" if name else f"{file}"
    return ValueError(f"{where} is damaged ({error}); copy the file anew")
