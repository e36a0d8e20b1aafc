"""The checks of annotations that the tests run under."""

import importlib
import inspect
import pkgutil

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int, jaxtyped

from seatbelt_jax import elbo, gaussian
from tests import annotations


def test_a_wrong_shape_or_type_is_found():
    with pytest.raises(TypeError, match="log_std"):
        gaussian.standardised(jnp.zeros((2, 3)), jnp.zeros((2, 4)))
    with pytest.raises(TypeError, match="log_likelihood"):
        elbo.decompose(jnp.zeros((2, 1)), None, (), dataset_size=2)


@pytest.mark.parametrize("room", annotations.ROOMS)
def test_every_function_of_a_checked_room_is_wrapped(room):
    package = importlib.import_module(room)
    parts = [part.name for part in pkgutil.iter_modules(getattr(package, "__path__", []), f"{room}.")]
    functions = [
        value
        for name in (room, *parts)
        for value in vars(importlib.import_module(name)).values()
        if inspect.isfunction(value) and value.__module__ == name
    ]
    assert functions and all(hasattr(function, "__wrapped__") for function in functions)


@jaxtyped(typechecker=annotations.check)
def weighted(
    pair: tuple[Float[Array, "n"], Int[Array, "n"]], weight: Float[Array, ""] | None = None, kind: int = 0
) -> Float[Array, "n"]:
    return pair[0] if weight is None else pair[0] * pair[1] * weight


def test_arrays_are_checked_within_tuples_and_unions_and_other_arguments_are_not():
    floats, numbers = jnp.ones(3), jnp.arange(3)
    assert weighted((floats, numbers), jnp.ones(()), kind="a choice").shape == (3,)
    assert weighted((np.ones(3, np.float32), np.arange(3)), np.float32(2.0)).shape == (3,)
    for wrong in ((floats, floats), (floats, numbers[:2]), (numbers, numbers)):
        with pytest.raises(TypeError, match="pair"):
            weighted(wrong)
    with pytest.raises(TypeError, match="weight"):
        weighted((floats, numbers), floats)
