"""Formulas of a few numbers computed in float64, inside a trace and outside of one.

A margin must not be above its value in float64, and float32 loses it twice: 1 - p of a probability near 1, and the
difference of two quantiles near each other. So the formulas compute in float64 whatever type they are given, under
jax.jit, jax.vmap and jax.grad too, and their result is rounded to the safe side.

float64 exists where jax.enable_x64 is on, and a derivative may be transposed where it is off again. So a derivative
leaves a formula as numbers: the slopes of each result in each argument, found by reverse mode where float64 exists.
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

            element = functools.partial(evaluate, formula, rounding, dtype)
            return jnp.vectorize(element, signature=signature)(*arrays)

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            bound = parameters.bind(*arguments, **named)
            bound.apply_defaults()
            settings = tuple((name, bound.arguments[name]) for name in static)
            given = {key: value for key, value in bound.arguments.items() if key not in static and value is not None}
            names = tuple(given)
            if is_traced(given):
                # Asked where x64 is what the caller has: Python's numbers, traced, are else taken for float64.
                dtype = common_type([value for value in given.values() if is_traced(value)])
                with jax.enable_x64(True):
                    return run(names, settings, dtype, *map(_in_full, given.values()))
            with jax.enable_x64(True), jax.ensure_compile_time_eval():
                results = run(names, settings, jnp.dtype(jnp.float64), *map(_in_full, given.values()))
                return jax.tree.map(np.asarray, results)

        return call

    return decorate


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def evaluate(formula: Callable, rounding: Any, dtype: Any, *arrays: Array) -> Any:
    """The formula of arrays of any type, computed in float64; first derivatives in both modes.

    Args:
      formula: from arrays in float64 to numbers: a pytree of arrays without axes.
      rounding: of all results, or one for each, in their pytree's structure.
      dtype: of the results.
      arrays: those that are not floating point are passed on as they are.
    """
    with jax.enable_x64(True):
        results = formula(*map(_wide, arrays))
        if isinstance(rounding, str):
            return jax.tree.map(lambda result: _rounded(result, dtype, rounding), results)
        return jax.tree.map(lambda result, towards: _rounded(result, dtype, towards), results, rounding)


@evaluate.defjvp
def _evaluate_jvp(formula: Callable, rounding: Any, dtype: Any, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    moved = [index for index, array in enumerate(primals) if jnp.issubdtype(array.dtype, jnp.floating)]

    def of_moved(*values: Array) -> list[Array]:
        arrays = list(primals)
        for index, value in zip(moved, values, strict=True):
            arrays[index] = value
        return jax.tree.leaves(formula(*map(_wide, arrays)))

    with jax.enable_x64(True):
        results = evaluate(formula, rounding, dtype, *primals)
        values, pull = jax.vjp(of_moved, *[_wide(primals[index]) for index in moved])
        slopes = [
            pull([jnp.asarray(row == column, jnp.float64) for column in range(len(values))])
            for row in range(len(values))
        ]
        # In float64 only where what is given has it: no derivative needs x64 afterwards.
        narrow = [[slope.astype(dtype) for slope in row] for row in slopes]
    sums = [
        sum(jnp.sum(slope * tangents[index].astype(dtype)) for slope, index in zip(row, moved, strict=True))
        for row in narrow
    ]
    return results, jax.tree.unflatten(jax.tree.structure(results), sums)


def _rounded(value: Array, dtype: Any, rounding: Rounding) -> Array:
    """A number in a narrower type: at most the number for "down", at least it for "up".

    By 1e-12 of it more, which is more than two compilations of one formula differ by.
    """
    if value.dtype == dtype:
        return value
    slack = 1e-12 * jnp.abs(value)
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


def _in_full(value: Any) -> Array:
    """What is known, in float64; what is traced, as it is."""
    return value if is_traced(value) else jnp.asarray(value, jnp.float64)


def _wide(array: Array) -> Array:
    return array.astype(jnp.float64) if jnp.issubdtype(array.dtype, jnp.number) else array
