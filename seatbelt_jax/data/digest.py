"""A short text that tells data apart: the same on every machine, another one where the data are others."""

import hashlib

import numpy as np
from jaxtyping import Int, Shaped

# Rows of an array that count, at equal distances, so that gigabytes take no longer than megabytes.
_ROWS = 4096


def digest_of(*parts: str | bytes | int | Shaped[np.ndarray, "..."] | None) -> str:
    """Hash names, numbers and arrays, in this order, to 32 hexadecimal digits (BLAKE2b).

    Arrays count with their shape, kind and values; of more than 4,096 rows, those at 4,096 even steps from the first
    to the last, so that a change elsewhere alone is not seen.
    """
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            rows = part[sample(len(part), _ROWS)]
            # What is stored in another order of bytes or of axes is the same array.
            kind = rows.dtype.newbyteorder("<")
            found.update(f"{part.shape} {kind.str} ".encode())
            found.update(np.ascontiguousarray(rows, kind).tobytes())
        else:
            # With the length, so that no two lists of texts read the same.
            text = part if isinstance(part, bytes) else f"{part}".encode("utf-8", "surrogateescape")
            found.update(f"{len(text)} ".encode() + text)
    return found.hexdigest()


def sample(size: int, number: int) -> Int[np.ndarray, " sample"]:
    """At most so many of 0 .. size - 1, at even steps, the first and the last among them."""
    count = min(number, size)
    return np.arange(count) * (size - 1) // max(count - 1, 1)
