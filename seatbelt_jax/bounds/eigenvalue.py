"""The largest eigenvalue of positive semidefinite matrices, from above, in a form that JAX can compile and derive."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Width of the bracket, relative, at which it is narrow enough.
_NARROW = 5e-6


@jax.custom_jvp
def largest_eigenvalue(gram: Float[Array, "*batch n n"]) -> Float[Array, "*batch"]:
    """The largest eigenvalue lambda of each matrix, at most 5e-6 of itself too large and never too small.

    For eigenvalues that are not negative, (tr G^k)^{1/k} falls to lambda as k grows, and (tr G^{2k} / tr G^k)^{1/k} is
    never above it. G is squared until the two meet: some 8 times where one eigenvalue leads, log2(log(n) / 5e-6) times
    where all are alike. Only matrix products are needed, none of which starts from a guess that might miss the leading
    eigenvector, as power and Lanczos iterations do.

    The derivative is V, the projection onto the leading eigenvectors over their number. First derivatives only: the
    number of squarings depends on the matrices.

    Args:
      gram: [..., n, n] symmetric, positive semidefinite but for rounding, in float64.

    Returns:
      [...]; 0 for a matrix of zeros, NaN for one that is not finite.
    """
    return _power(gram)[0]


@largest_eigenvalue.defjvp
def _largest_eigenvalue_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    value, weights = _power(primals[0])
    return value, jnp.sum(weights * tangents[0], axis=(-2, -1))


def _power(gram: Float[Array, "*batch n n"]) -> tuple[Float[Array, "*batch"], Float[Array, "*batch n n"]]:
    """The eigenvalue from above, and G^k / tr G^k for the last k."""
    trace = jnp.trace(gram, axis1=-2, axis2=-1)
    scale = jnp.where(trace == 0.0, 1.0, trace)
    log_bound = jnp.zeros_like(trace)

    def gap_of(power: Array, exponent: Array) -> Array:
        """log of (tr G^k)^{1/k} / (tr G^{2k})^{1/2k}: as much again lies between the latter and the lower bound."""
        squares = jnp.sum(jnp.square(power), axis=(-2, -1))
        return -jnp.log(jnp.where(trace == 0.0, 1.0, squares)) / (2.0 * exponent)

    def unfinished(state: tuple) -> Array:
        return jnp.any(state[-1] > _NARROW)

    def squared(state: tuple) -> tuple:
        log_bound, power, exponent, gap = state
        power = power @ power
        power = 0.5 * (power + jnp.swapaxes(power, -1, -2))
        size = jnp.trace(power, axis1=-2, axis2=-1)
        power = power / jnp.where(size == 0.0, 1.0, size)[..., None, None]
        return log_bound - gap, power, 2.0 * exponent, gap_of(power, 2.0 * exponent)

    first = gram / scale[..., None, None]
    one = jnp.ones((), gram.dtype)
    log_bound, power, _, gap = jax.lax.while_loop(unfinished, squared, (log_bound, first, one, gap_of(first, one)))
    return trace * jnp.exp(log_bound - gap), power
