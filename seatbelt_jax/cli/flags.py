"""The flags of a command, made from the dataclass of its options.

A flag has its option's name, so that `--penalties=20` is short to type; `ml_collections.config_flags` would make
`--options.penalties=20` of it.
"""

import os
import sys
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from absl import flags

from seatbelt_jax.options import meanings

Options = TypeVar("Options")


def define(
    kind: type, presets: Mapping[str, tuple[str, ...]] | None = None, more: Mapping[str, str] | None = None
) -> None:
    """Defines one flag for each option.

    Args:
      kind: a dataclass of options (`seatbelt_jax.options`).
      presets: further values that a choice has on the command line alone, by the option's name.
      more: sentences to add to the help of options, by name.
    """
    hints = typing.get_type_hints(kind)
    for name, meaning in meanings(kind).items():
        text = " ".join(filter(None, (meaning.help, (more or {}).get(name))))
        default, types = getattr(kind, name), {hints[name], *typing.get_args(hints[name])}
        if meaning.choices:
            choices = list(dict.fromkeys([*meaning.choices, *(presets or {}).get(name, ()), default]))
            flags.DEFINE_enum(name, default, choices, text)
        elif bool in types:
            flags.DEFINE_bool(name, default, text)
        elif tuple in {typing.get_origin(hints[name])}:
            flags.DEFINE_list(name, list(default), text)
        elif int in types:
            # Limits are whole numbers too.
            low, high = (None if limit is None else int(limit) for limit in (meaning.least, meaning.most))
            flags.DEFINE_integer(name, default, text, lower_bound=low, upper_bound=high)
        elif float in types:
            flags.DEFINE_float(name, default, text, lower_bound=meaning.least, upper_bound=meaning.most)
        else:
            flags.DEFINE_string(name, default, text)


def define_allow() -> None:
    """Defines --allow."""
    flags.DEFINE_multi_string(
        "allow",
        [],
        "Function that a run of your own model names (runs.save), as module:function. It is imported, which runs the "
        "code of its module.",
    )


def allowed() -> list[str]:
    """What --allow names; where it names something, modules are found in the working directory too."""
    if flags.FLAGS.allow:
        # Last: no file that lies there by chance stands in for an installed module.
        sys.path.append(os.getcwd())
    return flags.FLAGS.allow


def given(kind: type) -> dict[str, Any]:
    """The options that the command line gives, as their types want them.

    Raises:
      ValueError: where a list of numbers holds something else.
    """
    hints = typing.get_type_hints(kind)
    found: dict[str, Any] = {name: flags.FLAGS[name].value for name in meanings(kind) if flags.FLAGS[name].present}
    for name, value in found.items():
        if typing.get_origin(hints[name]) is tuple:
            found[name] = _items(name, value, typing.get_args(hints[name])[0])
    return found


def _items(name: str, texts: list[str], kind: type) -> tuple[Any, ...]:
    try:
        return tuple(map(kind, texts))
    except ValueError as error:
        raise ValueError(f"--{name} must be numbers with commas between them, got {','.join(texts)}") from error
