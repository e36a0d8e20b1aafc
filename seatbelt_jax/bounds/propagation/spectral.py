"""Norms of matrices from above, in float64, in a form that JAX compiles."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Number = Float[Array, ""]

_SHARE_STEPS = 4
# G is raised to the power 2^7, or 2^5 where it has more rows than _SMALL.
_SQUARINGS, _FEW_SQUARINGS, _SMALL = 7, 5, 256
# Steps of conjugate gradients, and values of t, in the S-procedure.
_GRADIENTS = 24
_SHIFTS = 5
# More than float64's rounding of a matrix product, for each row, relative.
_ROUNDING = 1e-14
# What is added to a unit diagonal, for each row, so that its Cholesky factor exists.
_RAISED = 1e-13
# No group of a joint ball gets a smaller share.
_LEAST_SHARE = 1e-6


def joined(matrices: Sequence[Float[Array, "n m"]], radii: Sequence[Number]) -> Float[Array, "N m"]:
    """A matrix A of which the unit ball's image A^T p holds every sum of M_g^T q_g with ||q_g||_2 <= radius_g.

    By the Cauchy-Schwarz inequality, for any shares u > 0 of sum 1 the stack of M_g radius_g / sqrt(u_g) is one. The
    shares are in proportion to the norms, as power iteration finds them: then ||A|| is near the sum of the norms, or
    below it where these are attained in different directions.
    """
    scaled = [matrix * radius for matrix, radius in zip(matrices, radii, strict=True)]
    if len(scaled) == 1:
        return scaled[0]
    sizes = jnp.stack([_estimate(matrix) for matrix in scaled])
    total = jnp.sum(sizes)
    shares = jnp.where(total > 0.0, sizes / jnp.where(total > 0.0, total, 1.0), 1.0) + _LEAST_SHARE
    shares = shares / jnp.sum(shares)
    return jnp.concatenate([matrix / jnp.sqrt(share) for matrix, share in zip(scaled, shares, strict=True)])


def _estimate(matrix: Float[Array, "n m"]) -> Number:
    """The norm of a matrix, from below."""
    vector = jnp.sum(jnp.abs(matrix), axis=0)
    for _ in range(_SHARE_STEPS):
        vector = matrix.T @ (matrix @ _unit(vector))
    return jnp.sqrt(jnp.linalg.norm(vector))


def _unit(vector: Float[Array, "n"]) -> Float[Array, "n"]:
    size = jnp.linalg.norm(vector)
    return vector / jnp.where(size > 0.0, size, 1.0)


def gram_of(matrix: Float[Array, "n m"]) -> Float[Array, "k k"]:
    """The Gram matrix of the shorter side."""
    return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix


def largest_eigenvalue(gram: Float[Array, "k k"]) -> Number:
    """An upper bound of the largest eigenvalue of a positive semidefinite matrix; NaN where it is not finite.

    (tr G^k)^{1/k} is never below it, and above it by k-th roots of the number of eigenvalues near it.
    """
    trace = jnp.trace(gram)

    def square(step: Array, state: tuple) -> tuple:
        power, bound = state
        power = power @ power
        size = jnp.trace(power)
        bound = bound * size ** (0.5 ** (step + 1.0))
        return power / jnp.where(size > 0.0, size, 1.0), bound

    first = (gram / jnp.where(trace > 0.0, trace, 1.0), trace)
    squarings = _SQUARINGS if len(gram) <= _SMALL else _FEW_SQUARINGS
    return (1.0 + _ROUNDING * len(gram)) * jax.lax.fori_loop(0, squarings, square, first)[1]


def norm_above(matrices: Sequence[Float[Array, "n m"]], radii: Sequence[Number]) -> Number:
    """An upper bound of ||sum_g M_g^T q_g||_2 over all ||q_g||_2 <= radius_g."""
    return jnp.sqrt(largest_eigenvalue(gram_of(joined(matrices, radii))))


def farthest(
    offset: Float[Array, "m"],
    slope: Float[Array, "m"],
    steepest: Float[Array, "m"],
    matrix: Float[Array, "N m"],
    turned: Number,
) -> Number:
    """An upper bound of sup ||b + t A^T p||^2 over ||p||_2 <= 1 and diagonal t, for b and A.

    With |t| <= s, 2 b . t A^T p at most 2 b . c A^T p more than `turned`, that is
    sup_{||p|| <= 1} ||b||^2 + 2 b . diag(c) A^T p + ||diag(s) A^T p||^2 + turned, or (||b|| + ||diag(s) A^T||)^2 if
    less.

    By the S-procedure it is at most ||b||^2 + t + g^T (t I - X)^{-1} g for all t above the largest eigenvalue of
    X = A diag(s^2) A^T, with g = A (c b). For any y of residual v = g - (t I - X) y the last term is at most
    2 g . y - y^T (t I - X) y + ||v||^2 / (t - top): conjugate gradients find a y, which need not be exact. The best t,
    where the norm of (t I - X)^{-1} g is 1, is looked for by bisection.
    """
    scaled = matrix * steepest
    pull = matrix @ (slope * offset)
    squared = jnp.sum(jnp.square(offset))
    top = largest_eigenvalue(gram_of(scaled))
    far = jnp.linalg.norm(pull)

    def at(above: Number) -> tuple[Number, Number]:
        """The bound at t = top + above, and the norm of y there."""
        t = top + above

        def shifted(vector: Float[Array, "N"]) -> Float[Array, "N"]:
            return t * vector - scaled @ (vector @ scaled)

        solved = _conjugate_gradients(shifted, pull)
        image = shifted(solved)
        residual = jnp.sum(jnp.square(pull - image)) / above
        value = squared + t + jnp.maximum(2.0 * pull @ solved - solved @ image, 0.0) + residual
        return value, jnp.linalg.norm(solved)

    def halve(_: int, state: tuple) -> tuple:
        low, high, best = state
        middle = jnp.sqrt(jnp.maximum(low, 1e-3 * high) * high)
        value, length = at(jnp.where(middle > 0.0, middle, 1.0))
        # Without a pull the term vanishes, and t may be as small as top.
        best = jnp.minimum(best, jnp.where(middle > 0.0, value, squared + top))
        return jnp.where(length > 1.0, middle, low), jnp.where(length > 1.0, high, middle), best

    # (t I - X)^{-1} g is no longer than ||g|| / (t - top): from there down.
    first = (jnp.zeros(()), far, jnp.asarray(jnp.inf))
    best = jax.lax.fori_loop(0, _SHIFTS, halve, first)[2] + turned
    return jnp.minimum(best, jnp.square(jnp.sqrt(squared) + jnp.sqrt(top))) * (1.0 + 1e-9)


def farthest_of(offset: Float[Array, "m"], matrix: Float[Array, "N m"], rest: Number) -> Number:
    """An upper bound of sup ||b + A^T p||^2 + rest over ||p||_2 <= 1, for b and A.

    As in `farthest`: ||b||^2 + t + g^T (t I - A A^T)^{-1} g with g = A b is t (1 + b^T (t I - A^T A)^{-1} b), in which
    the inner product is bounded by conjugate gradients too, on the shorter side.
    """
    gram = matrix.T @ matrix
    top = largest_eigenvalue(gram_of(matrix))
    squared = jnp.sum(jnp.square(offset))
    far = jnp.linalg.norm(matrix @ offset)

    def halve(_: int, state: tuple) -> tuple:
        low, high, best = state
        above = jnp.sqrt(jnp.maximum(low, 1e-3 * high) * high)
        above = jnp.maximum(above, 1e-9 * top + 1e-20 * squared + 1e-100)
        t = top + above
        solved = _conjugate_gradients(lambda vector: t * vector - gram @ vector, offset)
        image = t * solved - gram @ solved
        inner = 2.0 * offset @ solved - solved @ image + jnp.sum(jnp.square(offset - image)) / above
        value = t * (1.0 + jnp.maximum(inner, 0.0))
        best = jnp.where(jnp.isfinite(value), jnp.minimum(best, value), best)
        # ||(t I - A A^T)^{-1} g||^2.
        long = t * jnp.sum(jnp.square(solved)) - solved @ image > 1.0
        return jnp.where(long, above, low), jnp.where(long, high, above), best

    first = (jnp.zeros(()), far, jnp.asarray(jnp.inf))
    best = jax.lax.fori_loop(0, _SHIFTS, halve, first)[2]
    return (jnp.minimum(best, jnp.square(jnp.sqrt(squared) + jnp.sqrt(top))) + rest) * (1.0 + 1e-9)


def _conjugate_gradients(
    product: Callable[[Float[Array, "N"]], Float[Array, "N"]], target: Float[Array, "N"]
) -> Float[Array, "N"]:
    def step(_: int, state: tuple) -> tuple:
        solved, residual, direction, length = state
        image = product(direction)
        curve = direction @ image
        share = jnp.where(curve > 0.0, length / jnp.where(curve > 0.0, curve, 1.0), 0.0)
        solved, residual = solved + share * direction, residual - share * image
        after = residual @ residual
        turned = jnp.where(length > 0.0, after / jnp.where(length > 0.0, length, 1.0), 0.0)
        return solved, residual, residual + turned * direction, after

    first = (jnp.zeros_like(target), target, target, target @ target)
    return jax.lax.fori_loop(0, _GRADIENTS, step, first)[0]


def factor(matrix: Float[Array, "n m"]) -> Float[Array, "m m"]:
    """A square matrix that takes the unit ball to no less than M^T does: L^T, with L L^T >= M^T M.

    By Cholesky's algorithm, on M^T M with a unit diagonal that is raised by more than rounding: each coordinate's reach
    grows by less than 1e-5 of itself. (LAPACK's, batched and compiled, has been seen to hang on a CPU of two cores.)
    """
    lengths = jnp.sqrt(jnp.sum(jnp.square(matrix), axis=0))
    scale = jnp.where(lengths > 0.0, lengths, 1.0)
    size = matrix.shape[1]
    unit = matrix / scale
    gram = unit.T @ unit + _RAISED * size * jnp.eye(size)
    places = jnp.arange(size)

    def step(place: int, state: tuple) -> tuple:
        left, rows = state
        pivot = jnp.sqrt(jnp.maximum(left[place, place], _RAISED))
        row = jnp.where(places >= place, left[place] / pivot, 0.0)
        return left - row[:, None] * row, rows.at[place].set(row)

    rows = jax.lax.fori_loop(0, size, step, (gram, jnp.zeros_like(gram)))[1]
    return rows * scale
