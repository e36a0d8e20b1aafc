"""Formulas of a few numbers computed in float64, inside a trace and outside of one.

A margin must not be above its value in float64, and float32 loses it twice: 1 - p of a probability near 1, and the
difference of two quantiles near each other. So the formulas compute in float64 whatever type they are given, under
jax.jit, jax.vmap and jax.grad too, and their result is rounded to the safe side.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from seatbelt_jax.arithmetic import common_type
from seatbelt_jax.bounds.float64_call import float64_call

Rounding = Literal["down", "up", "nearest"]


def is_traced(*values: Any) -> bool:
    """Whether any leaf of the values is an array that is being traced: its numbers are not known yet."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def float64_formula(*, rounding: Rounding, signature: str | None = None, static: Sequence[str] = ()) -> Callable:
    """Makes a function of arrays compute in float64, each element of a batch on its own.

    Outside of a trace its results are NumPy arrays in float64. Inside of one they have the common type of the traced
    arguments, float32 at least, and are rounded. It can be jitted, vmapped and differentiated in both modes.

    Args:
      rounding: "down" for a lower bound, "up" for an upper bound, "nearest" for neither.
      signature: the axes of one element, as for jnp.vectorize, "(n,n),(n)->()"; numbers to a number without it. Further
        axes in front are the batch's.
      static: names of arguments that are no arrays. Other arguments may be None.
    """

    def decorate(function: Callable) -> Callable:
        parameters = inspect.signature(function)

        @functools.partial(jax.jit, static_argnums=(0, 1, 2))
        def run(names: tuple[str, ...], settings: tuple[tuple[str, Any], ...], dtype: Any, *arrays: Array) -> Any:
            def formula(*values: Array) -> Any:
                return function(**dict(zip(names, values, strict=True)), **dict(settings))

            return evaluate(jnp.vectorize(formula, signature=signature), rounding, dtype, *arrays)

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            bound = parameters.bind(*arguments, **named)
            bound.apply_defaults()
            settings = tuple((name, bound.arguments[name]) for name in static)
            given = {key: value for key, value in bound.arguments.items() if key not in static and value is not None}
            names = tuple(given)
            if is_traced(given):
                dtype = common_type([value for value in given.values() if is_traced(value)])
                # Where x64 is what the caller has: a Python number that is traced has no type of its own.
                arrays = [
                    jnp.asarray(v, v.dtype) if is_traced(v) else np.asarray(v, np.float64) for v in given.values()
                ]
                with jax.enable_x64(True):
                    return run(names, settings, dtype, *arrays)
            with jax.enable_x64(True), jax.ensure_compile_time_eval():
                arrays = [np.asarray(value, np.float64) for value in given.values()]
                return jax.tree.map(np.asarray, run(names, settings, jnp.dtype(jnp.float64), *arrays))

        return call

    return decorate


def evaluate(formula: Callable, rounding: Any, dtype: Any, *arrays: Array) -> Any:
    """The formula of arrays of any type, computed in float64.

    Args:
      formula: from arrays in float64 to a pytree of arrays; it closes over no traced array.
      rounding: of all results, or one for each, in their pytree's structure.
      dtype: of the results.
    """
    structure: list[Any] = []

    def body(*wide: Array) -> list[Array]:
        leaves, tree = jax.tree.flatten(formula(*wide))
        structure.append(tree)
        return leaves

    def finish(*results: Array) -> list[Array]:
        towards = [rounding] * len(results) if isinstance(rounding, str) else jax.tree.leaves(rounding)
        return [_rounded(result, dtype, way) for result, way in zip(results, towards, strict=True)]

    results = float64_call(body, finish, *arrays)
    return jax.tree.unflatten(structure[-1], results)


def _rounded(value: Array, dtype: Any, rounding: Rounding) -> Array:
    """A number in a narrower type: at most the number for "down", at least it for "up".

    By 1e-8 of it more: two compilations of one formula differ by less, also where it subtracts what is nearly equal.
    """
    if value.dtype == dtype:
        return value
    slack = 1e-8 * jnp.abs(value)
    if rounding == "down":
        value = value - slack
        near = value.astype(dtype)
        return jnp.where(near.astype(value.dtype) > value, jnp.nextafter(near, jnp.asarray(-jnp.inf, dtype)), near)
    if rounding == "up":
        value = value + slack
        near = value.astype(dtype)
        above = jnp.where(near.astype(value.dtype) < value, jnp.nextafter(near, jnp.asarray(jnp.inf, dtype)), near)
        # Compiled code takes subnormal numbers for 0, which is no upper bound of them.
        return jnp.where(value > 0.0, jnp.maximum(above, jnp.finfo(dtype).tiny), above)
    return value.astype(dtype)
