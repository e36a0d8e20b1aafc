"""Checks the sections of a configuration: field names, types, and choices."""

import dataclasses
import difflib
import math
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

Section = TypeVar("Section")

# The sections of a configuration. The discriminator's may be left out.
SECTIONS = ("seed", "data", "model", "objective", "optimizer", "train", "discriminator")
# Numbers become int32 and float32 on the device.
_LARGEST_WHOLE = 2**31 - 1
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_NAMES = {bool: "True or False", int: "a whole number", float: "a finite number", str: "a text", type(None): "None"}
_PLURALS = {int: "whole numbers", float: "finite numbers", str: "texts"}


def check_sections(config: Mapping[str, Any], required: Sequence[str] = SECTIONS[:-1]) -> None:
    """Checks that a configuration has all required sections and no unknown ones.

    Raises:
      ValueError: a section is unknown, missing, or not a mapping of fields to values.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"a configuration must map sections to their fields, got {_shown(config)}")
    if unknown := [name for name in config if name not in SECTIONS]:
        raise ValueError(f"a configuration has no section {_unknown(unknown, SECTIONS)}")
    if missing := [name for name in required if name not in config]:
        raise ValueError(f"the configuration lacks {', '.join(missing)}")
    for name in SECTIONS[1:]:
        _check_mapping(name, config.get(name, {}))


def parse(section: type[Section], name: str, values: Mapping[str, Any]) -> Section:
    """Builds the dataclass of a section from a configuration's values.

    Args:
      section: a dataclass that checks its own values, their types by `check_types`.
      name: of the section, for messages.
      values: field -> value.

    Raises:
      ValueError: a field is unknown, or a field without a default is missing.
    """
    _check_mapping(name, values)
    fields = dataclasses.fields(section)  # type: ignore[arg-type]
    known = sorted(field.name for field in fields)
    if unknown := [field for field in values if field not in known]:
        raise ValueError(f"unknown {name} fields {_unknown(unknown, known)}")
    required = {field.name for field in fields if field.default is dataclasses.MISSING}
    if missing := sorted(required - set(values)):
        raise ValueError(f"the {name} section lacks {', '.join(missing)}")
    return section(**values)


def check_types(name: str, section: Any) -> None:
    """Checks that the fields of a section's dataclass have the types that it declares.

    A whole number is accepted for a float, and a list for a tuple. True and False are not numbers. A float must be
    finite and, unless it is 0, neither overflow nor underflow in float32. `check_choice` checks choices.

    Args:
      name: of the section, for messages.
      section: the dataclass instance; call this from its `__post_init__`.

    Raises:
      ValueError: names the first field of another type.
    """
    for field, hint in get_type_hints(type(section)).items():
        value = getattr(section, field)
        if _is_of(hint, value):
            continue
        raise ValueError(f"{name}.{field} must be {_described(hint)}, got {_shown(value)}{_remedy(value)}")


def check_seed(name: str, value: object) -> None:
    """Raises ValueError unless a seed is a whole number from 0 to 2^32 - 1."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32:
        raise ValueError(f"{name} must be a whole number >= 0 and below 2^32, got {_shown(value)}")


def check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Raises ValueError unless a value is one of those allowed."""
    if not isinstance(value, str) or value not in allowed:
        # An empty choice is quoted, lest a comma seem to stand before nothing.
        choices = ", ".join(choice or "''" for choice in allowed)
        raise ValueError(f"{name} must be one of {choices}; got {_shown(value)}")


def check_limits(name: str, section: Any, least: Mapping[str, float], most: Mapping[str, float] | None = None) -> None:
    """Checks that fields are at least `least` and at most `most`. A field that is None passes.

    Raises:
      ValueError: names the first field outside its limits.
    """
    for field in {**least, **(most or {})}:
        value, low, high = getattr(section, field), least.get(field, -math.inf), (most or {}).get(field, math.inf)
        if value is not None and not low <= value <= high:
            words = f"at least {low:g}" if value < low else f"at most {high:g}"
            raise ValueError(f"{name}.{field} must be {words}, got {value!r}")


def _check_mapping(name: str, values: object) -> None:
    if not isinstance(values, Mapping):
        raise ValueError(f"the {name} section must map fields to their values, got {_shown(values)}")


def _unknown(names: Sequence[object], known: Collection[str]) -> str:
    """Lists the unknown and the known names, and suggests the nearest known name."""
    near = [match for name in names for match in difflib.get_close_matches(str(name), known, n=1)]
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{', '.join(sorted(map(str, names)))}; known are {', '.join(known)}{hint}"


def _is_of(hint: Any, value: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_is_of(one, value) for one in arguments)
    if origin is Literal:
        return True
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        if arguments[1:] == (...,):
            return all(_is_of(arguments[0], item) for item in value)
        return len(value) == len(arguments) and all(map(_is_of, arguments, value))
    if isinstance(value, bool) or hint is bool:
        return hint is bool and isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and abs(value) <= _LARGEST_WHOLE
    if hint is float:
        return isinstance(value, int | float) and bool(value == 0 or _SMALLEST <= abs(value) <= _LARGEST)
    return isinstance(value, hint)


def _described(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_described, arguments))
    if origin is tuple:
        if not arguments:
            return "()"
        count = "" if arguments[1:] == (...,) else f"{len(arguments)} "
        return f"a list of {count}{_PLURALS[arguments[0]]}"
    return _NAMES[hint]


def _remedy(value: object) -> str:
    """A hint at the likely mistake, or ""."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return ""
        return "; write it without quotes"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"; whole numbers go to {_LARGEST_WHOLE}"
    if isinstance(value, float) and math.isfinite(value):
        return f"; in float32 numbers other than 0 go from {_SMALLEST:.2g} to {_LARGEST:.2g}"
    return ""


def _shown(value: object) -> str:
    """The value as text, shortened where it is long."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a whole number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
