"""Atomic writing of files, in formats that cannot run code when they are read."""

import contextlib
import csv
import io
import json
import math
import os
import pathlib
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from seatbelt_jax.untrusted import Path, parse_json, read_csv, read_json, read_json_lines, read_npz

__all__ = [
    "Folder", "Path", "check_writable", "naming", "parse_json", "plain", "read_csv", "read_json", "read_json_lines",
    "read_npz", "remove", "write_bytes", "write_csv", "write_json", "write_npz",
]  # fmt: skip

# A group's file, or what a killed `write_bytes` leaves of one: `mkstemp` ends names with eight of these characters.
_GROUP = re.compile(r"[^.].*\.npz|\..+\.npz\.[a-z0-9_]{8}")

# Bytes that a file system which is all but full does not take.
_TRIED = 2**16


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the file name to errors of writing: "No space left on device" does not say which device."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove(path: Path) -> None:
    """Deletes a file, a link or a folder with its content, if it exists."""
    path = pathlib.Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raises OSError where no file can be written in a folder, or in what is above one that is yet to be made.

    A file is tried: permissions say nothing of a file system that is full or read-only.
    """
    folder = pathlib.Path(folder)
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        with naming(folder), tempfile.NamedTemporaryFile(dir=folder, prefix=".writable.") as file:
            file.write(b"0" * _TRIED)
            file.flush()
    except OSError as error:
        reason = error.strerror or f"{error}"
        raise OSError(f"nothing can be written in {folder} ({reason}): make it writable, or work on a copy") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes under a temporary name in the same folder, then renames: readers see old or new, never half."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; results are as readable as anything else the user writes.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def plain(value: Any) -> Any:
    """A value as JSON gives it back: lists for arrays and tuples, null for what is not finite."""
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_npz(path: Path, arrays: Mapping[str, Any], *, compress: bool = True) -> None:
    buffer = io.BytesIO()
    plain: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    (np.savez_compressed if compress else np.savez)(buffer, **plain)
    write_bytes(path, buffer.getvalue())


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row per mapping, columns in the order of the first."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, buffer.getvalue().encode())


class Folder:
    """Groups of arrays by name, each an npz in one folder: what unfinished work leaves for the next attempt."""

    def __init__(self, path: Path):
        self.path = pathlib.Path(path)

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """None where there is no such group, or, with a warning, where it is damaged: it is made again."""
        try:
            return read_npz(self._file(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            warnings.warn(f"{error}; that part of the work is done again", stacklevel=2)
            return None

    def write(self, name: str, arrays: Mapping[str, Any]) -> None:
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            remove(self.path)
        if self._file(name).is_dir():
            remove(self._file(name))
        # It is read once, soon: the time to compress it is better spent on the work.
        write_npz(self._file(name), arrays, compress=False)

    def remove(self) -> None:
        """Deletes the groups, whole or half written, and the folder where nothing else is in it."""
        if not self.path.is_dir() or self.path.is_symlink():
            remove(self.path)
            return
        for file in list(self.path.iterdir()):
            if _GROUP.fullmatch(file.name) and not file.is_dir():
                file.unlink()
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _file(self, name: str) -> pathlib.Path:
        return self.path / f"{name.replace(' ', '_')}.npz"
