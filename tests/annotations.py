"""Checks of the shapes and types of arrays that annotations promise, for jaxtyping's import hook."""

import collections.abc
import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any, Union, get_args, get_origin

import beartype
import jaxtyping
import numpy as np

# Rooms whose annotations are checked wherever tests call them.
ROOMS = tuple(
    f"seatbelt_jax.{room}"
    for room in (
        "arithmetic",
        "attacks",
        "concrete",
        "elbo",
        "gaussian",
        "likelihood",
        "metrics",
        "norm",
        "per_example",
        "posterior",
        "total_correlation",
        "vae",
    )
)

# As for type checkers, whole numbers are numbers.
_with_whole_numbers = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))


def install() -> None:
    """Has the rooms checked; before they are imported."""
    jaxtyping.install_import_hook(ROOMS, f"{__name__}.check")


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Inside, wrong arguments come as far as the doors that refuse them; also a decorator of tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def check(function: Callable) -> Callable:
    """The function, whose arrays beartype checks at each call: their shapes and kinds of numbers.

    Arrays and numbers of NumPy pass for JAX's. Constructors are left alone: JAX makes pytrees of whatever it puts in
    the place of their arrays, such as shapes, axes and shardings. So are choices and numbers: the type checker has read
    these, and tests of doors give wrong ones.
    """
    if function.__name__ == "__init__":
        return function
    hints = {name: _with_numpy(hint) for name, hint in function.__annotations__.items()}
    function.__annotations__ = {name: hint for name, hint in hints.items() if hint is not None}
    return _with_whole_numbers(function)


def _with_numpy(hint: Any) -> Any:
    """The hint with NumPy's arrays and numbers beside JAX's, None for one without arrays or of functions of arrays."""
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return hint.dtype[hint.array_type | np.ndarray | np.generic, hint.dim_str]
    origin, arguments = get_origin(hint), get_args(hint)
    widened = [_with_numpy(argument) for argument in arguments]
    if origin is collections.abc.Callable or all(found is None for found in widened):
        return None
    inner = tuple(old if new is None else new for old, new in zip(arguments, widened, strict=True))
    return Union[inner] if origin in (Union, types.UnionType) else origin[inner]  # noqa: UP007
