"""Runs that one page or one figure shows together."""

import pathlib
from collections.abc import Sequence

from seatbelt_jax import runs


def check_comparable(opened: Sequence[runs.Run]) -> None:
    """Raises ValueError for the same run twice, or images of different shapes."""
    seen: dict[pathlib.Path, runs.Run] = {}
    for one in opened:
        if one.path.resolve() in seen:
            raise ValueError(f"--run={one.path} is given twice; give every run once")
        seen[one.path.resolve()] = one
    first = opened[0]
    for other in opened[1:]:
        if other.image_shape != first.image_shape:
            sizes = [" x ".join(map(str, one.image_shape)) for one in (first, other)]
            raise ValueError(
                f"{first.path} has images of {sizes[0]} and {other.path} of {sizes[1]}; distances in pixel units "
                "cannot be compared between them; make one report for each"
            )


def names_of(paths: Sequence[pathlib.Path]) -> list[str]:
    """As much of the ends of the paths as tells them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names
