"""Arithmetic that stays defined: one float type for all operands, and numbers that do not overflow."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree


def common_type(*trees: PyTree) -> jnp.dtype:
    """The common type of all arrays of floats, float32 at least; Python's numbers take no part."""
    kinds = [jnp.result_type(leaf) for leaf in jax.tree.leaves(trees) if hasattr(leaf, "dtype")]
    return jnp.result_type(jnp.float32, *[kind for kind in kinds if jnp.issubdtype(kind, jnp.floating)])


def in_common_type(*operands: Any) -> Any:
    """The operands, trees of arrays, in the common float type of all their arrays, float32 at least.

    Python's numbers take this type and have no say in it. A gradient has the type that the operand came in.

    Returns:
      A tuple, or the operand itself where there is one alone.
    """
    dtype = common_type(operands)
    converted = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), operands)
    return converted if len(operands) > 1 else converted[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def held(values: Float[Array, "*shape"], limit: float) -> Float[Array, "*shape"]:
    """The values, none of them beyond +-limit, with the derivative of the values as they were: 1 everywhere.

    What is too large for its type so becomes its largest number, whose products with 0 are 0 and not NaN; the
    derivative still says where it would go. NaN stays NaN.
    """
    return jnp.clip(values, -limit, limit)


@held.defjvp
def _held_jvp(limit: float, primals: Any, tangents: Any) -> Any:
    return held(primals[0], limit), tangents[0]


def finite(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The values, with the type's largest numbers for the infinite ones."""
    return held(values, float(jnp.finfo(values.dtype).max))


def bounded_exp(exponents: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """exp, and about the type's largest number where that would be infinite; its derivative is itself."""
    return jnp.exp(held(exponents, largest_exponent(exponents.dtype)))


def largest_exponent(dtype: Any) -> float:
    """A number whose exponential, and that of its negative, are finite and not 0, and nearly the largest such."""
    return math.log(float(jnp.finfo(dtype).max)) * (1.0 - 1e-6)


def check_numbers(name: str, values: object) -> None:
    """Raises TypeError where a value is no number and no array or sequence of numbers."""
    dtype = values.dtype if isinstance(values, jax.Array | np.ndarray) else np.asarray(values).dtype
    if not jnp.issubdtype(dtype, jnp.number):
        raise TypeError(f"{name} must be a number, or an array or a sequence of numbers; got {values!r}")
