"""The largest eigenvalue of positive semidefinite matrices, from above, in a form that JAX can compile and derive."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Width of the bracket, relative, at which it is narrow enough.
_NARROW = 5e-6
# Added to the diagonal of a matrix of trace 1, for each row: more than the rounding that could make it indefinite.
_ROUNDING = 1e-15


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


@jax.custom_jvp
def largest_product_eigenvalue(a: Float[Array, "n n"], b: Float[Array, "n n"]) -> Float[Array, ""]:
    """The largest eigenvalue of A B, from above: ||F G||_2^2 for A = F^T F and B = G G^T.

    It is that of C^T A C, C the Cholesky factor of B, raised by its rounding. First derivatives only, as for
    `largest_eigenvalue`: with V the leading projection there, they are P = C V C^T in A and A P A / lambda in B, which
    divides by no small pivot of C.

    Args:
      a, b: symmetric, positive semidefinite but for rounding, in float64.
    """
    return _product_power(a, b)[0]


@largest_product_eigenvalue.defjvp
def _largest_product_eigenvalue_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    value, by_a = _product_power(*primals)
    by_b = primals[0] @ by_a @ primals[0] / jnp.where(value == 0.0, 1.0, value)
    return value, jnp.sum(by_a * tangents[0]) + jnp.sum(by_b * tangents[1])


def _product_power(a: Float[Array, "n n"], b: Float[Array, "n n"]) -> tuple[Float[Array, ""], Float[Array, "n n"]]:
    trace = jnp.trace(b)
    scale = jnp.where(trace == 0.0, 1.0, trace)
    size = len(b)
    factor = jnp.linalg.cholesky(b / scale + _ROUNDING * size * jnp.eye(size))
    value, weights = _power(factor.T @ a @ factor)
    return scale * value, scale * factor @ weights @ factor.T


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
