"""The Euclidean norm as an attacker needs it: differentiable everywhere."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax.arithmetic import finite, in_common_type


def safe_sqrt(squared: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """sqrt, with gradient 0 at 0, where it has none."""
    zero = squared == 0.0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squared)))


def l2_norm(values: Float[Array, "*shape"], axis: int | None = None) -> Float[Array, "*batch"]:
    """||values||_2 over one axis, or over all; with gradient 0 at 0.

    Squared are the values in units of a power of two near the largest: no square overflows, and the largest does not
    vanish.
    """
    values = finite(in_common_type(values))
    _, exponent = jnp.frexp(jnp.max(jnp.abs(jax.lax.stop_gradient(values)), axis=axis, keepdims=True, initial=0.0))
    unit = jnp.ldexp(jnp.ones((), values.dtype), exponent - 1)
    return jnp.squeeze(unit, axis) * safe_sqrt(jnp.sum(jnp.square(values / unit), axis=axis))
