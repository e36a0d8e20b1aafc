"""Reads files of unknown origin: regular files only, within limits, without running code.

Every refusal is a one-line ValueError that names the file. A file that the machine cannot read raises an OSError.
"""

import csv
import io
import json
import math
import os
import pathlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from typing import Any, BinaryIO

import numpy as np

from seatbelt_jax.errors import one_line

Path = pathlib.Path | str

# Bytes. The largest tables that sweeps write have some ten MB.
LARGEST_TEXT = 256 * 2**20
LARGEST_NPZ = 16 * 2**30
# Bytes of all arrays of an archive that are read whatever their compression, and how far more may be compressed.
_ALWAYS_READ, _LARGEST_RATIO = 256 * 2**20, 100
_MOST_MEMBERS = 1000
_DEEPEST = 32
_LARGEST_WHOLE = 2**64
_LONGEST_HEADER = 10_000
_CHUNK = 16 * 2**20
# Booleans, numbers and text: no Python objects, and no records.
_KINDS = "biufcUS"


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading. A FIFO could block, and a device may be endless, so both are refused.

    Raises:
      ValueError: where it is something else.
      OSError: where there is nothing, or it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is no name of a file ({error})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is not a regular file; remove it, or put the file there")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """The content of a regular file of at most `largest` bytes; raises ValueError where it is another or larger."""
    with open_regular(path) as file:
        # The size that a file system reports may be 0, as in /proc, or grow meanwhile.
        content = b"" if os.fstat(file.fileno()).st_size > largest else file.read(largest + 1)
        if os.fstat(file.fileno()).st_size > largest or len(content) > largest:
            raise ValueError(f"{path} is larger than {largest / 2**20:g} MiB; it is damaged or of another program")
    return content


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    try:
        return read_bytes(path, largest).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 ({error.reason}, byte {error.start}); it is damaged") from None


def read_json(path: Path) -> Any:
    """Raises ValueError naming the file where it is not JSON, or holds what no file of a run does: see `parse_json`."""
    return parse_json(read_text(path), f"{path}")


def parse_json(text: str, where: str) -> Any:
    """A JSON value that is at most 32 deep, whose numbers are finite and fit 64 bits, and whose names differ.

    Raises:
      ValueError: naming `where` it stands.
    """
    try:
        value = json.loads(
            text, parse_int=_whole, parse_float=_real, parse_constant=_constant, object_pairs_hook=_mapping_of
        )
        _check_value(value)
    except RecursionError:
        raise ValueError(f"{where} is not valid JSON: it is more than {_DEEPEST} deep; it is damaged") from None
    except ValueError as error:
        raise ValueError(f"{where} is not valid JSON ({error}); it is damaged or of another program") from None
    return value


def read_json_lines(path: Path) -> list[Any]:
    """What each line holds, none where there is no such file; a last line cut short by a crash is left out.

    Raises:
      ValueError: naming any other line that is not JSON.
    """
    try:
        # A crash may cut a letter in two.
        content = read_bytes(path)
    except FileNotFoundError:
        return []
    lines = content.split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip() and number == len(lines):
            continue
        try:
            rows.append(parse_json(line.decode("utf-8"), f"line {number}"))
        except ValueError as error:
            if number < len(lines):
                raise ValueError(f"line {number} of {path} is not JSON ({error}); repair or remove that line") from None
    return rows


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table, by column.

    Raises:
      ValueError: where a column has no name or two have one, or a row is longer or shorter than the header.
    """
    try:
        lines = [line for line in csv.reader(io.StringIO(read_text(path), newline=""), strict=True) if line]
    except csv.Error as error:
        raise ValueError(f"{path} is no table ({error}); it is damaged or of another program") from None
    header, *rows = lines or [[]]
    if len(set(header)) < len(header) or not all(header):
        raise ValueError(f"{path} is no table: a column has no name, or the name of another; it is damaged")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(
                f"{path} is damaged: row {number} has {len(row)} cells, and the table {len(header)} columns"
            )
        for name, cell in zip(header, row, strict=True):
            if "\0" in cell or _overflows(cell):
                raise ValueError(f"{path} is damaged: row {number} has no sensible value in the column {name[:80]!r}")
    return [dict(zip(header, row, strict=True)) for row in rows]


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz archive: booleans, numbers and text.

    What an array declares is held against what its member has before memory is taken.

    Args:
      names: those to read, as far as the archive has them; None for all.

    Raises:
      ValueError: naming the file, where it is not a plain npz.
    """
    with open_regular(path) as file:
        try:
            return _arrays(file, names)
        except MemoryError as error:
            raise OSError(f"{path} does not fit into memory ({error})") from error
        except (ValueError, OSError, EOFError, KeyError, RuntimeError, NotImplementedError, OverflowError,
                TypeError, SyntaxError, struct.error, zlib.error, zipfile.BadZipFile) as error:  # fmt: skip
            reason = one_line(error)[:200]
            raise ValueError(f"{path} is not a readable npz archive ({reason})") from error


def check(value: Any, schema: Any, where: str) -> None:
    """Holds a JSON value against a schema.

    Args:
      value: of `parse_json`.
      schema: a type, or a tuple of types; a list of one schema, for a list of such values; a mapping from names to
        schemas, in which a name that ends with "?" may be absent, and "*" stands for all other names.
      where: for messages.

    Raises:
      ValueError: naming what is absent or of another type.
    """
    if isinstance(schema, Mapping):
        is_mapping = isinstance(value, Mapping)
        required = [name for name in schema if name != "*" and not name.endswith("?")]
        if missing := [name for name in required if not is_mapping or name not in value]:
            raise ValueError(f"{where} lacks {', '.join(missing)}; it is damaged or of another program")
        if not is_mapping:
            raise ValueError(f"{where} must be a mapping, got {_short(value)}; it is damaged")
        for name, entry in value.items():
            inner = schema.get(name, schema.get(f"{name}?", schema.get("*")))
            if inner is not None:
                check(entry, inner, f"{where}: {name}")
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, got {_short(value)}; it is damaged")
        for entry in value:
            check(entry, schema[0], where)
    else:
        allowed = schema if isinstance(schema, tuple) else (schema,)
        # True is an int for Python, and for nobody else.
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            names = " or ".join(
                {int: "a whole number", float: "a number", str: "text", type(None): "null"}.get(t, t.__name__)
                for t in allowed
            )
            raise ValueError(f"{where} must be {names}, got {_short(value)}; it is damaged")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _whole(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > _LARGEST_WHOLE:
        raise ValueError(f"a whole number of {len(digits)} digits, {digits[:10]}..., does not fit")
    return int(digits)


def _real(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"the number {digits[:10]}... is too large")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _mapping_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:80]!r} stands there twice")
    return found


def _check_value(value: Any) -> None:
    """Raises ValueError for what is too deep, or text that no terminal and no page can show."""
    waiting = [(value, 1)]
    while waiting:
        entry, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError(f"it is more than {_DEEPEST} deep")
        if isinstance(entry, dict):
            waiting += [(name, depth) for name in entry] + [(inner, depth + 1) for inner in entry.values()]
        elif isinstance(entry, list):
            waiting += [(inner, depth + 1) for inner in entry]
        elif isinstance(entry, str) and any(
            "\ud800" <= letter <= "\udfff" or (letter < " " and letter not in "\t\n\r") for letter in entry
        ):
            raise ValueError("a text has characters that cannot be shown")


def _overflows(cell: str) -> bool:
    """Whether digits are a number that no float holds; a cell may say "inf" itself."""
    if len(cell) > 300 and cell.strip().lstrip("+-").isdecimal():
        return True
    if not cell[:1].isdecimal() and cell[:1] not in ("+", "-", "."):
        return False
    try:
        return math.isinf(float(cell)) and "n" not in cell.lower()
    except ValueError:
        return False


def _arrays(file: BinaryIO, names: Collection[str] | None) -> dict[str, np.ndarray]:
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if len(members) > _MOST_MEMBERS or len({member.filename for member in members}) < len(members):
            raise ValueError(f"{len(members)} arrays, more than {_MOST_MEMBERS} or of one name")
        if total > LARGEST_NPZ or total > max(_ALWAYS_READ, _LARGEST_RATIO * size):
            raise ValueError(f"its arrays would take {total / 2**20:.0f} MiB, of a file of {size / 2**20:.1f} MiB")
        for member in members:
            if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{member.filename[:80]!r} is encrypted, or compressed in another way than NumPy does")
        found = {member.filename.removesuffix(".npy"): member for member in members}
        return {name: _array(archive, member) for name, member in found.items() if names is None or name in names}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name = member.filename[:80]
    with archive.open(member) as opened:
        version = np.lib.format.read_magic(opened)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"{name!r} is of version {version} of NumPy's format")
        shape, in_columns, dtype = read_header(opened, max_header_size=_LONGEST_HEADER)
        if dtype.kind not in _KINDS or not dtype.itemsize:
            raise ValueError(f"{name!r} holds {dtype}, no numbers and no text")
        count = math.prod(shape)
        declared = count * dtype.itemsize
        if min(shape, default=0) < 0 or declared != member.file_size - opened.tell():
            raise ValueError(f"{name!r} declares the shape {_short(shape)}, which its data do not have")
        content = bytearray(declared)
        view = memoryview(content)
        for first in range(0, declared, _CHUNK):
            part = view[first : first + _CHUNK]
            read = opened.read(len(part))
            if len(read) != len(part):
                raise ValueError(f"{name!r} ends too early")
            part[:] = read
    array = np.frombuffer(content, dtype) if declared else np.zeros(0, dtype)
    return array.reshape(shape, order="F" if in_columns else "C")
