"""Arrays of numbers in MATLAB files of versions 5 to 7, read by checked steps of NumPy alone.

SciPy's reader is compiled code that trusts what a file says of itself: one wrong byte can end the interpreter. Here a
file's claims are compared with its size before anything is made of them. Layout: MathWorks, "MAT-File Format".
"""

import os
import pathlib
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Shaped

from seatbelt_jax import untrusted
from seatbelt_jax.data.local_path import printable
from seatbelt_jax.data.memory import check_memory

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
# The part of a compressed array that flags, dimensions and name can take.
_BEGINNING = 4096
# What deflate can make of a byte, at most.
_LARGEST_RATIO = 1032
# How numbers are stored; MATLAB stores whole numbers in fewer bytes than their class has.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
# Classes of full arrays of numbers: double, single and whole numbers. Others are cells, structs, text and the like.
_NUMBERS = range(6, 16)
_LOGICAL, _COMPLEX = 0x0200, 0x0800
# MATLAB and NumPy allow more axes than any data set of images has.
_LARGEST_RANK = 32


class _Element(NamedTuple):
    """An array of numbers in a file: where it begins, and what its header says."""

    start: int
    size: int
    is_compressed: bool
    shape: tuple[int, ...]
    is_logical: bool


class MatFile:
    """A MATLAB file's arrays of numbers by their names; each is read when it is asked for.

    Cells, structs, text, sparse and complex arrays are not among them.

    Attributes:
      names: of the arrays, in the order of the file. The last may be cut off: that is seen when it is read.

    Raises:
      ValueError: for a file that is not of MATLAB, of version 4 or 7.3, or damaged; names the file.
    """

    def __init__(self, file: pathlib.Path):
        self._file = file
        with untrusted.open_regular(file) as opened:
            self._length = os.fstat(opened.fileno()).st_size
            self._order = self._byte_order(opened.read(_HEADER))
            self._elements = dict(self._found(opened))
        self.names = tuple(self._elements)

    def __getitem__(self, name: str) -> Shaped[np.ndarray, "..."]:
        """The array of this name, in the type it is stored in; raises ValueError where it is damaged."""
        element = self._elements[name]
        if element.start + element.size > self._length:
            raise self._damaged(f"the array {name!r} is cut off")
        with self._file.open("rb") as opened:
            opened.seek(element.start)
            content = opened.read(element.size)
        if element.is_compressed:
            content = self._decompressed(content, name)
        place = self._header(content)[1]
        kind, start, size, _ = self._tag(content, place)
        if kind not in _STORED:
            raise self._damaged(f"the array {name!r} is of an unknown kind of numbers, {kind}")
        stored = np.dtype(self._order + _STORED[kind])
        count = int(np.prod(element.shape, dtype=object))
        if count * stored.itemsize != size or start + size > len(content):
            raise self._damaged(f"the array {name!r} has not as many numbers as its shape {element.shape} says")
        numbers = np.frombuffer(content, stored, count, start).reshape(element.shape, order="F")
        numbers = numbers.astype(stored.newbyteorder("="), copy=False)
        return numbers != 0 if element.is_logical else numbers

    def _byte_order(self, header: bytes) -> str:
        if header.startswith((b"MATLAB 7.3", b"\x89HDF")):
            raise ValueError(
                f"{printable(self._file)} is of MATLAB's version 7.3, an HDF5 file; write it anew with "
                "save(..., '-v7'), or as npz"
            )
        order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
        if order is None or struct.unpack(f"{order}H", header[124:126])[0] != 0x0100:
            raise ValueError(
                f"{printable(self._file)} is no MATLAB file of versions 5 to 7, or a damaged one (its header is "
                "another); write it with save(..., '-v7'), or as npz"
            )
        return order

    def _found(self, opened: BinaryIO) -> Iterator[tuple[str, _Element]]:
        place = _HEADER
        while place < self._length:
            opened.seek(place)
            tag = opened.read(8)
            if len(tag) < 8:
                raise self._damaged("its end is missing")
            kind, size = struct.unpack(f"{self._order}2I", tag)
            if kind not in (_MATRIX, _COMPRESSED):
                raise self._damaged(f"at byte {place} there is no array")
            content = opened.read(min(size, _BEGINNING))
            if kind == _COMPRESSED:
                try:
                    content = zlib.decompressobj().decompress(content, _BEGINNING)
                except zlib.error as error:
                    raise self._damaged(f"{error}") from None
                inner, _, declared, _ = self._tag(content, 0)
                if inner != _MATRIX or declared > _LARGEST_RATIO * size:
                    raise self._damaged(f"at byte {place} there is no array, or one of an impossible size")
                content = content[8:]
            element, _ = self._header(content, place + 8, size, kind == _COMPRESSED)
            if element is not None:
                yield element
            place += 8 + size

    def _header(
        self, content: bytes, start: int = 0, size: int = 0, is_compressed: bool = False
    ) -> tuple[tuple[str, _Element] | None, int]:
        """Name and header of an array, None where it is none of real numbers; and where its numbers begin."""
        kind, place, length, following = self._tag(content, 0)
        if kind != 6 or length != 8 or len(content) < place + 8:
            raise self._damaged("an array has no flags")
        (flags,) = struct.unpack_from(f"{self._order}I", content, place)
        kind, place, length, following = self._tag(content, following)
        if kind != 5 or length % 4 or not 8 <= length <= 4 * _LARGEST_RANK or len(content) < place + length:
            # Objects of some MATLAB classes have no dimensions.
            if flags & 0xFF not in _NUMBERS:
                return None, following
            raise self._damaged("an array has no dimensions")
        shape = struct.unpack_from(f"{self._order}{length // 4}i", content, place)
        kind, place, length, following = self._tag(content, following)
        if kind not in (1, 2, 16) or len(content) < place + length or min(shape) < 0:
            raise self._damaged("an array has no name, or an impossible shape")
        name = content[place : place + length].decode("ascii", "backslashreplace")
        if flags & 0xFF not in _NUMBERS or flags & _COMPLEX:
            return None, following
        return (name, _Element(start, size, is_compressed, shape, bool(flags & _LOGICAL))), following

    def _tag(self, content: bytes, place: int) -> tuple[int, int, int, int]:
        """Kind, beginning and size of the element at a place, and where the next one begins."""
        if len(content) < place + 8:
            raise self._damaged("an array is cut off")
        kind, size = struct.unpack_from(f"{self._order}2I", content, place)
        if kind >> 16:  # up to four bytes stand in the tag itself
            return kind & 0xFFFF, place + 4, kind >> 16, place + 8
        return kind, place + 8, size, place + 8 + -(-size // 8) * 8

    def _decompressed(self, content: bytes, name: str) -> bytes:
        reader = zlib.decompressobj()
        try:
            beginning = reader.decompress(content, 8)
            size = self._tag(beginning, 0)[2]
            check_memory(size, f"the array {name!r} of {printable(self._file)}")
            # One byte more than it says tells a stream that is too long.
            found = reader.decompress(reader.unconsumed_tail, size + 1)
        except zlib.error as error:
            raise self._damaged(f"{error}") from None
        if len(found) != size or not (reader.eof or self._ends(reader)):
            raise self._damaged(f"the array {name!r} is cut off")
        return found

    def _ends(self, reader: "zlib._Decompress") -> bool:
        """Whether nothing follows but the stream's checksum, which is compared."""
        return not reader.decompress(reader.unconsumed_tail, 1) and reader.eof

    def _damaged(self, reason: str) -> ValueError:
        return ValueError(f"{printable(self._file)} is no MATLAB file, or a damaged one ({reason})")
