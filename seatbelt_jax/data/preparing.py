"""Data sets of TensorFlow Datasets, prepared once for reading in random order; this alone needs TensorFlow."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from importlib import util
from typing import Any

from seatbelt_jax.data.tfds_source import check_prepared, open_builder
from seatbelt_jax.errors import one_line

_REQUIRED = ("tensorflow", "importlib_resources")
# Names of files that TensorFlow Datasets unpacks first, such as those in gzip.
_EXTRACTED = "extracting_"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set that is ready to be read.

    Attributes:
      path: the folder of its files.
      sizes: the number of images of each split.
      existed: whether it was there already, and nothing was done.
      leftovers: folders of preparations that were killed, or are under way. Nothing ever reads them.
    """

    path: pathlib.Path
    sizes: Mapping[str, int]
    existed: bool
    leftovers: tuple[pathlib.Path, ...]


def prepare_data_set(
    name: str, *, data_dir: str | None = None, manual_dir: str | None = None, progress: bool = False
) -> Prepared:
    """Downloads a data set of TensorFlow Datasets, or takes its original files, and writes it as array_record.

    It is written into a folder of another name, which gets its own when all is written: what is cut short is never
    read. Original files are compared with the checksums that TensorFlow Datasets knows.

    Args:
      name: as TensorFlow Datasets writes it, such as "mnist".
      data_dir: where to; None for the default of TensorFlow Datasets, ~/tensorflow_datasets.
      manual_dir: a folder with original files, under their original names; those that are not there are downloaded.
      progress: shows progress bars.

    Raises:
      ValueError: for a name that does not exist or has no images; for a file with another checksum; and for what is
        prepared already, but in another format.
      FileNotFoundError: where `manual_dir` has none of the files, or files of what is prepared are missing.
      ImportError: where TensorFlow is not installed; says how to install it.
      OSError: where downloading or writing fails, a full disk for example.
    """
    builder = open_builder(name, data_dir)
    path = pathlib.Path(builder.data_path)
    existed = path.exists()
    if existed and not builder.info.splits:
        raise OSError(f"{path} holds no prepared data set, as there is no dataset_info.json; remove that folder")
    if not existed:
        _check_tensorflow(name)
        if manual_dir is not None:
            _check_originals(name, pathlib.Path(manual_dir), builder.url_infos or {})
        _write(name, builder, manual_dir, progress)
        # As it is on the disk.
        builder = open_builder(name, data_dir)
    check_prepared(builder, name, data_dir)
    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    return Prepared(path, sizes, existed, tuple(_leftovers(path, pathlib.Path(builder.data_dir_root))))


def _check_tensorflow(name: str) -> None:
    if missing := [module for module in _REQUIRED if util.find_spec(module) is None]:
        raise ImportError(
            f"to prepare {name}, {' and '.join(missing)} must be installed (reading does without): "
            "pip install -e '.[prepare]'"
        )


def _check_originals(name: str, folder: pathlib.Path, expected: Mapping[str, Any]) -> None:
    """Compares the files of `folder` with the size and checksum that each URL has in `expected`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"manual_dir must be the folder of {name}'s original files; there is none at {folder}")
    files = {info.filename: info for info in expected.values() if info.filename}
    present = [file for file in files if (folder / file).exists()]
    if files and not present:
        raise FileNotFoundError(f"{folder} has none of the original files of {name}: {', '.join(files)}")
    for file in present:
        with (folder / file).open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != files[file].checksum:
            raise ValueError(
                f"{folder / file} is not the original file of {name}: its SHA-256 is {found}, expected is "
                f"{files[file].checksum}; download it anew from its source"
            )


def _write(name: str, builder: Any, manual_dir: str | None, progress: bool) -> None:
    # Else TensorFlow tells at length what it could do with this processor; here it does no more than write PNG.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow_datasets as tfds

    root = pathlib.Path(builder.data_dir_root)
    root.mkdir(parents=True, exist_ok=True)
    (tfds.enable_progress_bar if progress else tfds.disable_progress_bar)()
    # In a folder of its own: extracted files are kept by name alone, and Fashion-MNIST's have the names of MNIST's,
    # so that out of a shared folder one data set would be prepared from the images of the other.
    with _as_expected(name, builder), tempfile.TemporaryDirectory(prefix=_EXTRACTED, dir=root) as extracted:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=manual_dir, extract_dir=extracted),
            file_format="array_record",
        )


@contextlib.contextmanager
def _as_expected(name: str, builder: Any) -> Iterator[None]:
    """Turns what goes wrong while preparing into ValueError or OSError of one line."""
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    try:
        yield
    except NonMatchingChecksumError as error:
        message = " ".join(str(error).split("To debug")[0].split())
        raise ValueError(f"{name} is not prepared: {message}") from error
    except ImportError:
        raise
    # TensorFlow, array_record, the downloads and the extraction each have exceptions of their own for a full disk or
    # a lost connection, without a common base.
    except Exception as error:
        message = one_line(error)
        raise OSError(f"{name} is not prepared, and nothing of it is left in {builder.data_path}: {message}") from error


def _leftovers(path: pathlib.Path, root: pathlib.Path) -> Iterator[pathlib.Path]:
    yield from sorted(path.parent.glob("incomplete.*"))
    yield from sorted(root.glob(f"{_EXTRACTED}*"))
