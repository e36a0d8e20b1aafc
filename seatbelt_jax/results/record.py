"""Records of results: fields by name, which go to an npz that cannot run code and come back checked."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

# Missing fields that a message names.
_NAMED = 5
_KINDS = {str: "U", bool: "b", int: "iu", float: "fiu"}


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """Base of the dataclasses that a file holds.

    Fields are arrays with annotated axes, single texts and numbers, tuples of these, or a dataclass of arrays, each of
    which is stored as FIELD_NAME. None is left out of the file.

    Attributes:
      called: what a record is called in messages.
      split: the part of the data that the images are of; empty where that is not known.
    """

    called: ClassVar[str]
    split: str = dataclasses.field(default="", kw_only=True)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The fields by name, for an npz that loads with allow_pickle=False; texts and numbers are 0-d arrays."""
        arrays: dict[str, Any] = {}
        for name, value in _entries(self):
            if dataclasses.is_dataclass(value):
                arrays |= {f"{name}_{part}": entry for part, entry in _entries(value)}
            elif value is not None:
                arrays[name] = value
        return {name: np.asarray(value) for name, value in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Undoes `to_arrays`. A field with a default may be absent; arrays that are no fields are ignored.

        Raises:
          ValueError: where a field is missing, or of another shape or type.
        """
        values: dict[str, Any] = {}
        missing: list[str] = []
        for field in dataclasses.fields(cls):
            kind = _required_kind(field.type)
            if dataclasses.is_dataclass(kind):
                keys = {part.name: f"{field.name}_{part.name}" for part in dataclasses.fields(kind)}
                if any(key in arrays for key in keys.values()):
                    missing += [key for key in keys.values() if key not in arrays]
                    values[field.name] = {part: arrays.get(key) for part, key in keys.items()}
                else:
                    values[field.name] = None
            elif field.name in arrays:
                values[field.name] = np.asarray(arrays[field.name])
            elif field.default is dataclasses.MISSING:
                missing.append(field.name)
        if missing:
            named = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} others" if missing[_NAMED:] else "")
            raise ValueError(f"this is not {cls.called}: {named} missing; if an earlier version made it, make it anew")
        check_fields(cls, values)
        kinds = {field.name: _required_kind(field.type) for field in dataclasses.fields(cls)}
        return cls(**{name: _value(kinds[name], stored) for name, stored in values.items()})


@dataclasses.dataclass(frozen=True, eq=False)
class RecordOfImages(Record):
    """A record in which every array has a row for each image."""

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """One record of the images of several that were made with the same settings.

        Raises:
          ValueError: no parts, or parts of different settings.
        """
        if not parts:
            raise ValueError(f"there is no part of {cls.called} to concatenate")
        joined: dict[str, Any] = {}
        for name, value in _entries(parts[0]):
            values = [getattr(part, name) for part in parts]
            if isinstance(value, np.ndarray):
                joined[name] = np.concatenate(values)
            elif dataclasses.is_dataclass(value):
                inner = {part: [getattr(one, part) for one in values] for part, _ in _entries(value)}
                kind: Any = type(value)
                joined[name] = kind(**{part: np.concatenate(arrays) for part, arrays in inner.items()})
            elif any(other != value for other in values):
                raise ValueError(f"parts of different {name} do not make one of {cls.called}")
        return dataclasses.replace(parts[0], **joined)


def check_fields(record: type, arrays: Mapping[str, Any]) -> None:
    """Checks every field of a dataclass that is in `arrays`.

    A jaxtyping annotation requires numbers and names the axes. Axes of the same name must have the same length in all
    fields. str, bool, int, float and Literal require arrays without axes, tuples arrays of one axis.

    Raises:
      ValueError: names the first field that does not fit.
    """
    lengths: dict[str, int] = {}
    for field in dataclasses.fields(record):
        kind = _required_kind(field.type)
        if arrays.get(field.name) is None:
            continue
        if dataclasses.is_dataclass(kind):
            check_fields(kind, arrays[field.name])  # type: ignore[arg-type]
            continue
        array = np.asarray(arrays[field.name])
        entries = typing.get_args(kind) if typing.get_origin(kind) is tuple else ()
        one = str if typing.get_origin(kind) is typing.Literal else entries[0] if entries else kind
        if one in _KINDS:
            # A tuple with an ellipsis has any length, also none.
            shape = () if not entries else (array.size,) if Ellipsis in entries else (len(entries),)
            if array.shape != shape or (array.size and array.dtype.kind not in _KINDS[one]):
                words = f"a list of {one.__name__}" if entries else f"one {one.__name__}"
                raise ValueError(f"{field.name} must be {words}, got {array.dtype} of shape {array.shape}")
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


def _entries(record: Any) -> list[tuple[str, Any]]:
    return [(field.name, getattr(record, field.name)) for field in dataclasses.fields(record)]


def _required_kind(kind: Any) -> Any:
    """The annotation without None."""
    is_union = isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union
    return next(one for one in typing.get_args(kind) if one is not type(None)) if is_union else kind


def _value(kind: Any, stored: Any) -> Any:
    """What an array or the arrays of an inner dataclass stand for."""
    if stored is None:
        return None
    if dataclasses.is_dataclass(kind):
        return typing.cast(Any, kind)(**stored)
    if typing.get_origin(kind) is tuple:
        return tuple(stored.tolist())
    return stored.item() if stored.ndim == 0 else stored
