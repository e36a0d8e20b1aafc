"""Arithmetic of solvers: the type their loops carry, and scales that keep products in its range whatever the unit."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from seatbelt_jax.arithmetic import common_type


def working_type(fun: Callable[..., Any], params: PyTree, *others: Any, has_aux: bool = False) -> jnp.dtype:
    """The common float type of params, of what bounds them, and of the objective's value; float32 at least.

    A solver's loop carries everything in this type.

    Args:
      fun: params -> the value, or the value and auxiliary output.
      params: a pytree of floating-point arrays.
      *others: pytrees of arrays or numbers that params are combined with.
      has_aux: whether the objective has auxiliary output.
    """
    found = common_type(params, others)
    value = jax.eval_shape(fun, cast(params, found))
    value = value[0] if has_aux else value
    return jnp.promote_types(found, value.dtype)


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """Every leaf as an array of this type."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def power_of_two(values: Float[Array, "..."]) -> Float[Array, ""]:
    """The largest power of two that is no larger than the largest magnitude; 1 where that is 0 or not finite.

    Divided by it no square overflows, and the division is exact: results are those without it, to the last bit.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(values), initial=0.0))
    number = jnp.finfo(largest.dtype)
    kind = jnp.dtype(f"uint{number.bits}")
    mantissa = jnp.asarray((1 << number.nmant) - 1, kind)
    power = jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(largest, kind) & ~mantissa, largest.dtype)
    return jnp.where(jnp.isfinite(largest) & (largest >= number.tiny), power, 1.0).astype(largest.dtype)


def l2_norm(values: Float[Array, "..."]) -> Float[Array, ""]:
    """||values||_2 over all axes, without overflow."""
    unit = power_of_two(values)
    return unit * jnp.sqrt(jnp.sum(jnp.square(values / unit)))
