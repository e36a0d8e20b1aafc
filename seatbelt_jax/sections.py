"""A configuration's sections, checked at the door: every field known, every choice one that exists."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

Section = TypeVar("Section")


def parse(section: type[Section], name: str, values: Mapping[str, Any]) -> Section:
    """Builds the dataclass of a section from a configuration's values.

    Args:
      section: a dataclass; what it checks of its own values it checks.
      name: of the section, for messages.
      values: field -> value.

    Raises:
      ValueError: for a field that does not exist, or one without a default that is not given.
    """
    fields = dataclasses.fields(section)  # type: ignore[arg-type]
    known = {field.name for field in fields}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown {name} fields {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    required = {field.name for field in fields if field.default is dataclasses.MISSING}
    if missing := sorted(required - set(values)):
        raise ValueError(f"the {name} section lacks {', '.join(missing)}")
    return section(**values)


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raises ValueError where a value is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
