"""Arithmetic that stays defined: a common float type for all operands, and protection against overflow."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree


def common_type(*trees: PyTree) -> jnp.dtype:
    """The common type of all floating-point arrays, float32 at least. Python numbers are ignored."""
    kinds = [jnp.result_type(leaf) for leaf in jax.tree.leaves(trees) if hasattr(leaf, "dtype")]
    return jnp.result_type(jnp.float32, *[kind for kind in kinds if jnp.issubdtype(kind, jnp.floating)])


def in_common_type(*operands: Any) -> Any:
    """Converts trees of arrays to the common float type of all their arrays, float32 at least.

    Python numbers are converted too, but do not influence the type. A gradient has the type of the original operand.

    Returns:
      A tuple of the converted operands; for a single operand, the operand itself.
    """
    dtype = common_type(operands)
    converted = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), operands)
    return converted if len(operands) > 1 else converted[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def held(values: Float[Array, "*shape"], limit: float) -> Float[Array, "*shape"]:
    """Clips values to +-limit, with derivative 1 everywhere (straight-through).

    A value that overflows its type becomes the type's largest number, whose product with 0 is 0 instead of NaN. The
    derivative still points in the direction of the unclipped value. NaN stays NaN.
    """
    return jnp.clip(values, -limit, limit)


@held.defjvp
def _held_jvp(limit: float, primals: Any, tangents: Any) -> Any:
    return held(primals[0], limit), tangents[0]


def finite(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Replaces infinite values by the type's largest number of the same sign."""
    return held(values, float(jnp.finfo(values.dtype).max))


def bounded_exp(exponents: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """exp, limited to about the type's largest number. Its derivative equals its value."""
    return jnp.exp(held(exponents, largest_exponent(exponents.dtype)))


def largest_exponent(dtype: Any) -> float:
    """The largest x, to a relative 1e-6, for which exp(x) and exp(-x) are both finite and not 0."""
    return math.log(float(jnp.finfo(dtype).max)) * (1.0 - 1e-6)


def check_numbers(name: str, values: object) -> None:
    """Raises TypeError unless `values` is a number, or an array or sequence of numbers."""
    dtype = values.dtype if isinstance(values, jax.Array | np.ndarray) else np.asarray(values).dtype
    if not jnp.issubdtype(dtype, jnp.number):
        raise TypeError(f"{name} must be a number, or an array or a sequence of numbers; got {values!r}")
