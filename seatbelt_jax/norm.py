"""The Euclidean norm as an attacker needs it: differentiable everywhere."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def safe_sqrt(squared: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """sqrt, with gradient 0 at 0, where it has none."""
    positive = squared > 0.0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def l2_norm(values: Float[Array, "*shape"], axis: int | None = None) -> Float[Array, "*batch"]:
    """||values||_2 over one axis, or over all; with gradient 0 at 0."""
    return safe_sqrt(jnp.sum(jnp.square(values), axis=axis))
