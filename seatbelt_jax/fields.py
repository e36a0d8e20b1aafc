"""Checks arrays from a file against the annotated shapes and types of a record's fields."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

_KINDS = {str: "U", bool: "b", int: "iu", float: "fiu"}


def check_fields(record: type, arrays: Mapping[str, np.ndarray]) -> None:
    """Checks every field of a record that is in `arrays`.

    A jaxtyping annotation requires numbers and names the axes. Axes of the same name must have the same length in all
    fields. str, bool, int and float require arrays without axes.

    Raises:
      ValueError: names the first field that does not fit.
    """
    lengths: dict[str, int] = {}
    for field in dataclasses.fields(record):
        if field.name not in arrays:
            continue
        array = np.asarray(arrays[field.name])
        kind: Any = field.type
        if kind in _KINDS:
            if array.shape or array.dtype.kind not in _KINDS[kind]:
                raise ValueError(f"{field.name} must be one {kind.__name__}, got {array.dtype} of shape {array.shape}")
        elif hasattr(kind, "dim_str"):
            if array.dtype.kind not in "biuf":
                raise ValueError(f"{field.name} holds {array.dtype}, no numbers")
            _check_axes(field.name, array.shape, kind.dim_str.split(), lengths)


def _check_axes(name: str, shape: tuple[int, ...], axes: list[str], lengths: dict[str, int]) -> None:
    is_open = bool(axes) and axes[-1].startswith(("*", "..."))
    axes = axes[:-1] if is_open else axes
    if len(shape) < len(axes) or (len(shape) > len(axes) and not is_open):
        raise ValueError(f"{name} has the shape {shape}, and must have the axes {', '.join(axes) or 'none'}")
    for axis, length in zip(axes, shape, strict=False):
        if lengths.setdefault(axis, length) != length:
            raise ValueError(f"{name} has {length} along {axis}, where others have {lengths[axis]}")
