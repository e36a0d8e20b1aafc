"""Files that are written whole or not at all, in formats whose reading runs no code."""

import contextlib
import csv
import io
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Path = pathlib.Path | str

# A group's file, or what a killed `write_bytes` leaves of one: `mkstemp` ends names with eight of these characters.
_GROUP = re.compile(r"[^.].*\.npz|\..+\.npz\.[a-z0-9_]{8}")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives errors of writing the file they lack: "No space left on device" does not say which device."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


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


def read_json(path: Path) -> Any:
    """Raises ValueError naming the file where it is not JSON."""
    try:
        return json.loads(pathlib.Path(path).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); it is damaged or of another program") from error


def read_json_lines(path: Path) -> list[Any]:
    """What each line holds, none where there is no such file; a last line cut short by a crash is left out.

    Raises:
      ValueError: naming any other line that is not JSON.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"line {number} of {path} is not JSON; repair or remove that line") from error
    return rows


def write_npz(path: Path, arrays: Mapping[str, Any], *, compress: bool = True) -> None:
    buffer = io.BytesIO()
    plain: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    (np.savez_compressed if compress else np.savez)(buffer, **plain)
    write_bytes(path, buffer.getvalue())


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Raises ValueError naming the file where it is not a plain npz."""
    # Opened here, and not by NumPy, which leaves a damaged file open.
    with pathlib.Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds for a damaged archive
            raise ValueError(f"{path} is not a readable npz archive ({error})") from error


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row per mapping, columns in the order of the first."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, buffer.getvalue().encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table, by column."""
    with pathlib.Path(path).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


class Folder:
    """Groups of arrays by name, each an npz in one folder: what unfinished work leaves for the next attempt."""

    def __init__(self, path: Path):
        self.path = pathlib.Path(path)

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """None where there is no such group; raises ValueError where it is damaged."""
        file = self._file(name)
        return read_npz(file) if file.exists() else None

    def write(self, name: str, arrays: Mapping[str, Any]) -> None:
        # It is read once, soon: the time to compress it is better spent on the work.
        write_npz(self._file(name), arrays, compress=False)

    def remove(self) -> None:
        """Deletes the groups, whole or half written, and the folder where nothing else is in it."""
        if not self.path.is_dir():
            return
        for file in list(self.path.iterdir()):
            if _GROUP.fullmatch(file.name) and file.is_file():
                file.unlink()
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _file(self, name: str) -> pathlib.Path:
        return self.path / f"{name.replace(' ', '_')}.npz"
