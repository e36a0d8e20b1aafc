"""Images in a NumPy archive. It runs no code: arrays of Python objects, which are pickles, are never read."""

import pathlib
import zipfile

import numpy as np
from jaxtyping import Shaped

from seatbelt_jax.data import array_layouts
from seatbelt_jax.data.dataset import Splits
from seatbelt_jax.data.fitting import Fitting
from seatbelt_jax.data.local_path import existing, printable
from seatbelt_jax.data.memory import check_memory


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
        if file.is_file() and _begins_like_an_archive(file):
            raise _damaged(file, "its end is missing")
        raise ValueError(f"{printable(path)} is no npz archive; numpy.savez writes them")
    try:
        archive = np.load(file, allow_pickle=False)
    # The readers of archives and of their arrays raise what their parts raise.
    except Exception as error:
        raise _damaged(file, error) from None
    with archive:
        return array_layouts.splits(
            f"npz:{printable(path)}", archive.files, lambda name: _read(archive, name, file), fitting, held_out
        )


def _read(archive: np.lib.npyio.NpzFile, name: str, file: pathlib.Path) -> Shaped[np.ndarray, "..."]:
    members = archive.zip.infolist() if archive.zip else []
    size = max((info.file_size for info in members if info.filename.removesuffix(".npy") == name), default=0)
    check_memory(size, f"the array {name!r} of {printable(file)}")
    try:
        array = archive[name]
    except PermissionError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and "allow_pickle" in str(error):
            raise ValueError(
                f"{printable(file)}: the array {name!r} holds Python objects, which can run code when they are "
                "read; store numbers"
            ) from None
        raise _damaged(file, error, name) from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{printable(file)}: {name!r} is no array")
    return array


def _begins_like_an_archive(file: pathlib.Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"PK\x03\x04"


def _damaged(file: pathlib.Path, error: Exception | str, name: str = "") -> ValueError:
    where = f"the array {name!r} of {printable(file)}" if name else printable(file)
    reason = " ".join(f"{error}".split()) or type(error).__name__
    return ValueError(f"{where} is damaged ({reason}); copy the file anew")
