"""Norms of matrices from above, in float64, in a form that JAX compiles."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy import ndarray

Number = Float[Array, ""]

_SHARE_STEPS = 5
# Matrices of more rows and columns are multiplied in float32.
_SQUARINGS, _SMALL = 6, 64
# Steps of Lanczos's iteration in the S-procedure, and the values of t that are tried: so many, by this ratio.
_LANCZOS = 16
_SHIFTS, _SHIFT = 48, 1.25
# What is added to a unit diagonal, for each row, so that its Cholesky factor exists.
_RAISED = 1e-13
# No group of a joint ball gets a smaller share.
_LEAST_SHARE = 1e-6


def joined(scaled: Float[Array, "N m"], members: Float[ndarray, "group N"]) -> Float[Array, "N m"]:
    """A matrix A of which the unit ball's image A^T p holds every sum of M_g^T q_g with ||q_g||_2 <= 1.

    By the Cauchy-Schwarz inequality, for any shares u > 0 of sum 1 the stack of M_g / sqrt(u_g) is one. Its norm is
    convex in u, and least where ||M_g v|| is in proportion to u, with v its singular vector: power iteration and shares
    take turns.

    Args:
      scaled: the stack of M_g.
      members: 1 where a row is a group's, else 0.
    """
    if len(members) == 1:
        return scaled
    vector, shares = jnp.sum(jnp.abs(scaled), axis=0), jnp.full(len(members), 1.0 / len(members))

    def turn(_: int, state: tuple) -> tuple:
        vector, shares = state
        image = scaled @ _unit(vector)
        sizes = jnp.sqrt(members @ jnp.square(image))
        total = jnp.sum(sizes)
        found = jnp.where(total > 0.0, sizes / jnp.where(total > 0.0, total, 1.0), 1.0)
        # Halfway: the shares that are best for this vector alone would let it turn back and forth.
        shares = 0.5 * (shares + found) + _LEAST_SHARE
        shares = shares / jnp.sum(shares)
        return (image / (shares @ members)) @ scaled, shares

    shares = jax.lax.fori_loop(0, _SHARE_STEPS, turn, (vector, shares))[1]
    return scaled / jnp.sqrt(shares @ members)[:, None]


def _unit(vector: Float[Array, "n"]) -> Float[Array, "n"]:
    size = jnp.linalg.norm(vector)
    return vector / jnp.where(size > 0.0, size, 1.0)


def norm_above(matrix: Float[Array, "n m"]) -> Number:
    """An upper bound of the norm of a matrix; NaN where it is not finite.

    With P_0 the matrix and P_{k+1} = P_k^T P_k, ||P_k||^2 = ||P_{k+1}||, and the last is at most its Frobenius norm,
    which exceeds it by 2^7-th roots of the number of singular values near it by then. Each is divided by its Frobenius
    norm first. Then a product's rounding is a matrix of norm gamma at most, gamma = n u / (1 - n u) for n summands, and
    that of a division 2 u: so ||P_k|| <= sqrt(||P_{k+1}|| + gamma) + 2 u. In float32 where the matrix is large.
    """
    matrix = matrix.T if matrix.shape[0] < matrix.shape[1] else matrix
    rows, size = matrix.shape
    dtype, half_ulp = (jnp.float64, 2.0**-53) if size <= _SMALL else (jnp.float32, 2.0**-24)

    def frobenius(power: Array) -> Number:
        # Fewer than 2^20 rows of float64 round off less.
        return jnp.linalg.norm(power.astype(jnp.float64)) * (1.0 + 1e-9)

    def unit(power: Array, length: Number) -> Array:
        return (power / jnp.where(length > 0.0, length, 1.0)).astype(dtype)

    def square(step: Array, state: tuple) -> tuple:
        power, lengths = state
        power = power.T @ power
        length = frobenius(power)
        return unit(power, length), lengths.at[step].set(length)

    whole = frobenius(matrix)
    first = unit(matrix, whole)
    second = first.T @ first
    length = frobenius(second)
    lengths = jnp.zeros(_SQUARINGS).at[0].set(length)
    _, lengths = jax.lax.fori_loop(1, _SQUARINGS, square, (unit(second, length), lengths))
    found = jnp.ones(())
    for step in reversed(range(_SQUARINGS)):
        terms = (rows if step == 0 else size) + 1
        gamma = terms * half_ulp / (1.0 - terms * half_ulp)
        # What underflows is less than the last summand.
        found = jnp.sqrt(lengths[step] * found + gamma) + 2.0 * half_ulp + 1e-30
    return whole * jnp.minimum(found, 1.0)


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
    X = A diag(s^2) A^T, with g = A (c b).
    """
    scaled = matrix * steepest
    pull = matrix @ (slope * offset)
    squared = jnp.sum(jnp.square(offset))
    top = jnp.square(norm_above(scaled))
    t, inner = _least(
        lambda vector: scaled @ (vector @ scaled), pull, top, jnp.linalg.norm(pull), lambda t, inner: t + inner
    )
    return _either(squared + t + inner + turned, squared, top)


def farthest_of(offset: Float[Array, "m"], matrix: Float[Array, "N m"], rest: Number) -> Number:
    """An upper bound of sup ||b + A^T p||^2 + rest over ||p||_2 <= 1, for b and A.

    As in `farthest`: ||b||^2 + t + g^T (t I - A A^T)^{-1} g with g = A b is t (1 + b^T (t I - A^T A)^{-1} b), which
    cancels less.
    """
    top = jnp.square(norm_above(matrix))
    squared = jnp.sum(jnp.square(offset))
    t, inner = _least(
        lambda vector: (matrix @ vector) @ matrix, offset, top, jnp.linalg.norm(matrix @ offset),
        lambda t, inner: t * (1.0 + inner),
    )  # fmt: skip
    return _either(t * (1.0 + inner), squared, top) + rest * (1.0 + 1e-9)


def _either(bound: Number, squared: Number, top: Number) -> Number:
    """The bound, or (||b|| + ||A||)^2 if less."""
    bound = jnp.where(jnp.isfinite(bound), bound, jnp.inf)
    return jnp.minimum(bound, jnp.square(jnp.sqrt(squared) + jnp.sqrt(top))) * (1.0 + 1e-9)


def _least(
    product: Callable[[Float[Array, "n"]], Float[Array, "n"]],
    g: Float[Array, "n"],
    top: Number,
    farthest: Number,
    worth: Callable[[Array, Array], Array],
) -> tuple[Number, Number]:
    """A t above `top`, and an upper bound of g^T (t I - X)^{-1} g: such that their worth is about the least.

    For any y of residual v = g - (t I - X) y it is at most 2 g . y - y^T (t I - X) y + ||v||^2 / (t - top). Lanczos's
    basis of a few steps has a y for every t that is tried, as the solution of a tridiagonal system.

    Args:
      product: X v.
      top: no eigenvalue of X is larger.
      farthest: at the best t, t - top is at most this.
      worth: of t and the inner product.
    """
    length = jnp.linalg.norm(g)
    basis, diagonal, beside = _lanczos(product, g)

    def pivots(t: Array) -> list[Array]:
        found = [t - diagonal[-1]]
        for place in range(_LANCZOS - 2, -1, -1):
            found.append(t - diagonal[place] - jnp.square(beside[place]) / found[-1])
        return found[::-1]

    least = 1e-9 * top + 1e-20 * jnp.square(length) + 1e-100
    shifts = jnp.maximum(farthest * _SHIFT ** -jnp.arange(_SHIFTS, dtype=g.dtype), least)
    above = shifts[jnp.nanargmin(worth(top + shifts, jnp.square(length) / pivots(top + shifts)[0]))]
    t = top + above
    divisors = pivots(t)
    shares = [length / divisors[0]]
    for place in range(1, _LANCZOS):
        shares.append(beside[place - 1] * shares[-1] / divisors[place])
    solved = jnp.stack(shares) @ basis
    image = t * solved - product(solved)
    inner = 2.0 * g @ solved - solved @ image + jnp.sum(jnp.square(g - image)) / above
    return t, jnp.maximum(inner, 0.0)


def _lanczos(
    product: Callable[[Float[Array, "n"]], Float[Array, "n"]], g: Float[Array, "n"]
) -> tuple[Float[Array, "k n"], Float[Array, "k"], Float[Array, "k"]]:
    """An orthonormal basis of g, X g, X^2 g, .., and the diagonal and the side of X in it."""

    def step(place: Array, state: tuple) -> tuple:
        basis, diagonal, beside, vector = state
        basis = basis.at[place].set(vector)
        image = product(vector)
        diagonal = diagonal.at[place].set(vector @ image)
        for _ in range(2):
            image = image - (basis @ image) @ basis
        length = jnp.linalg.norm(image)
        # Where the space is exhausted what is left is rounding.
        exhausted = length <= 1e-12 * jnp.abs(diagonal[0])
        vector = jnp.where(exhausted, 0.0, image / jnp.where(exhausted, 1.0, length))
        return basis, diagonal, beside.at[place].set(jnp.where(exhausted, 0.0, length)), vector

    zeros = jnp.zeros(_LANCZOS)
    first = (jnp.zeros((_LANCZOS, len(g))), zeros, zeros, _unit(g))
    return jax.lax.fori_loop(0, _LANCZOS, step, first)[:3]


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
