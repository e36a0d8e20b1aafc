"""The Euclidean norm with a finite gradient everywhere, as attacks need it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax.arithmetic import finite, in_common_type


def safe_sqrt(squared: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """sqrt with gradient 0 at 0."""
    zero = squared == 0.0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squared)))


def l2_norm(values: Float[Array, "*shape"], axis: int | None = None) -> Float[Array, "*batch"]:
    """||values||_2 over one axis, or over all axes, with gradient 0 at 0.

    The values are scaled by a power of two near the largest before they are squared. So no square overflows, and the
    largest does not underflow.
    """
    values = finite(in_common_type(values))
    _, exponent = jnp.frexp(jnp.max(jnp.abs(jax.lax.stop_gradient(values)), axis=axis, keepdims=True, initial=0.0))
    unit = jnp.ldexp(jnp.ones((), values.dtype), exponent - 1)
    return jnp.squeeze(unit, axis) * safe_sqrt(jnp.sum(jnp.square(values / unit), axis=axis))
