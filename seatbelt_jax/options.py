"""Options of a command, each declared once: its default, its meaning, its choices and its limits.

Commands make their flags from such a declaration, sweeps read it from a file, and Python builds it directly; all three
are checked alike.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from seatbelt_jax import sections

_KEY = "option"


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What an option says of itself.

    Attributes:
      help: the text of its flag.
      choices: the values that it may have besides its default; empty where it is no choice. A registry gives
        the names that it has when they are read.
      least, most: its limits, where it is a number.
    """

    help: str
    choices: Collection[str] = ()
    least: float | None = None
    most: float | None = None


def option(
    default: Any, help: str, *, choices: Collection[str] = (), least: float | None = None, most: float | None = None
) -> Any:
    """A field of a dataclass of options."""
    return dataclasses.field(default=default, metadata={_KEY: Meaning(help, choices, least, most)})


def meanings(options: Any) -> dict[str, Meaning]:
    """What each option says of itself, by name; `options` is the dataclass or an instance."""
    return {field.name: field.metadata[_KEY] for field in dataclasses.fields(options)}


def check(name: str, options: Any) -> None:
    """Checks types, choices and limits; call it from `__post_init__`.

    Args:
      name: of the options, for messages.
      options: the instance.

    Raises:
      ValueError: names the first option that is not what its declaration allows.
    """
    sections.check_types(name, options)
    declared = meanings(options)
    for field, meaning in declared.items():
        if meaning.choices:
            allowed = dict.fromkeys((*meaning.choices, getattr(type(options), field)))
            sections.check_choice(f"{name}.{field}", getattr(options, field), allowed)
    least = {field: meaning.least for field, meaning in declared.items() if meaning.least is not None}
    most = {field: meaning.most for field, meaning in declared.items() if meaning.most is not None}
    sections.check_limits(name, options, least, most)
