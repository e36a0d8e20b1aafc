"""The limited-memory BFGS matrix in its compact form (Byrd, Nocedal and Schnabel 1994).

From the last m pairs s_i = x_{i+1} - x_i, y_i = g_{i+1} - g_i (Byrd, Lu, Nocedal and Zhu 1995, Eqs. 3.1-3.4),

    B = theta I - [theta S, Y] M [theta S, Y]^T,   M^{-1} = [[theta S^T S, L], [L^T, -D]],

with L_ij = s_i^T y_j where pair i is newer than pair j, else 0, and D the diagonal of the s_i^T y_i. Here each s_i is
multiplied by sqrt(theta / s_i^T y_i) and each y_i by 1 / sqrt(theta s_i^T y_i): B stays the same, D becomes I and all
entries dimensionless, which is what keeps float32 usable. With W = [S, Y] of the scaled pairs,

    B = theta (I - W M W^T),   M^{-1} = [[S^T S, L], [L^T, -I]].

Pairs live in a ring: a new pair overwrites the oldest, and L is masked by the pairs' ages, so no pair is ever moved.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float, Int

from seatbelt_jax.attacks.arithmetic import power_of_two


class Memory(NamedTuple):
    """The last pairs (s, y) in a ring, and their inner products.

    Attributes:
      pairs: [2, history, n], the s and then the y, each over the power of two near sqrt(s^T y), which keeps their
        inner products in range whatever the objective's unit; slot `num_updates % history` is written next.
      gram: the inner products of all s, then all y, with each other.
      theta: scalar, the curvature assumed outside the span of the pairs.
      num_updates: how many pairs have been stored since the memory was last empty.
    """

    pairs: Float[Array, "2 history n"]
    gram: Float[Array, "two_history two_history"]
    theta: Float[Array, ""]
    num_updates: Int[Array, ""]

    @property
    def basis(self) -> Float[Array, "two_history n"]:
        return self.pairs.reshape(-1, self.pairs.shape[-1])


class CompactHessian(NamedTuple):
    """B without its pairs: the scale of each, the scaled inner products, and a factorisation; see `factorise`."""

    scale: Float[Array, "two_history"]
    gram: Float[Array, "two_history two_history"]
    newer: Bool[Array, "history history"]
    unused: Float[Array, "history history"]
    cholesky: Float[Array, "history history"]
    theta: Float[Array, ""]


def empty(history_size: int, theta: Float[Array, ""], size: int) -> Memory:
    """A memory without pairs: B = theta I."""
    pairs = jnp.zeros((2, history_size, size), theta.dtype)
    gram = jnp.zeros((2 * history_size, 2 * history_size), theta.dtype)
    return Memory(pairs, gram, theta, jnp.zeros((), jnp.int32))


def forget(memory: Memory, theta: Float[Array, ""], condition: Bool[Array, ""]) -> Memory:
    """The memory, emptied where `condition` holds. Stale pairs stay in their slots, unused."""
    return memory._replace(
        theta=jnp.where(condition, theta, memory.theta),
        num_updates=jnp.where(condition, 0, memory.num_updates),
    )


def push(memory: Memory, s: Float[Array, "n"], y: Float[Array, "n"], condition: Bool[Array, ""]) -> Memory:
    """The memory with the pair (s, y) in place of the oldest, where `condition` holds; theta is left alone."""
    history = memory.pairs.shape[1]
    slot = memory.num_updates % history
    unit_s, unit_y = power_of_two(s), power_of_two(y)
    product = (s / unit_s) @ (y / unit_y)
    root = power_of_two(jnp.sqrt(jnp.maximum(product, 0.0)) * jnp.sqrt(unit_s) * jnp.sqrt(unit_y))
    s, y = s / root, y / root
    # Only one row is written (not a select over all pairs): in a compiled loop this happens in place.
    row = jnp.where(condition, jnp.stack([s, y]), memory.pairs[:, slot])
    pushed = memory._replace(
        pairs=memory.pairs.at[:, slot].set(row),
        num_updates=memory.num_updates + condition.astype(memory.num_updates.dtype),
    )
    gram = memory.gram
    for position, vector in ((slot, s), (history + slot, y)):
        products = pushed.basis @ vector
        here = (jnp.arange(2 * history) == position) & condition
        gram = jnp.where(here, products[:, None], jnp.where(here[:, None], products, gram))
    return pushed._replace(gram=gram)


def factorise(memory: Memory) -> CompactHessian:
    """Scales the inner products and factorises S^T S + L L^T, the Schur complement in M^{-1}."""
    history = memory.pairs.shape[1]
    slots = jnp.arange(history)
    used = slots < memory.num_updates
    age_order = (slots - memory.num_updates) % history  # 0 for the oldest pair of a full ring
    newer = age_order[:, None] > age_order
    curvature = jnp.where(used, jnp.diagonal(memory.gram, offset=history), 1.0)
    normalise = jnp.where(used, 1.0 / jnp.sqrt(curvature), 0.0)
    root = jnp.sqrt(memory.theta)
    scale = jnp.concatenate([normalise * root, normalise / root])
    gram = scale[:, None] * memory.gram * scale
    # Slots without a pair get a 1 on the diagonal: invertible, and multiplied by zeros afterwards.
    unused = jnp.diag(jnp.where(used, 0.0, 1.0).astype(scale.dtype))
    newer_s_y = jnp.where(newer, gram[:history, history:], 0.0)
    schur = gram[:history, :history] + newer_s_y @ newer_s_y.T + unused
    return CompactHessian(scale, gram, newer, unused, jnp.linalg.cholesky(schur), memory.theta)


def _middle(hessian: CompactHessian, c: Float[Array, "two_history points"]) -> Float[Array, "two_history points"]:
    """M c, by elimination of the y-block of M^{-1}."""
    history = hessian.newer.shape[0]
    newer_s_y = jnp.where(hessian.newer, hessian.gram[:history, history:], 0.0)
    s_part, y_part = c[:history], c[history:]
    a = cho_solve((hessian.cholesky, True), s_part + newer_s_y @ y_part)
    return jnp.concatenate([a, newer_s_y.T @ a - y_part])


def quadratic_form(hessian: CompactHessian, memory: Memory, z: Float[Array, "points n"]) -> Float[Array, "points"]:
    """z^T B z for each row z."""
    c = hessian.scale[:, None] * (memory.basis @ z.T)
    correction = jnp.sum(c * _middle(hessian, c), axis=0)
    return hessian.theta * (jnp.sum(jnp.square(z), axis=-1) - correction)


def multiply(hessian: CompactHessian, memory: Memory, z: Float[Array, "n"]) -> Float[Array, "n"]:
    """B z."""
    c = hessian.scale * (memory.basis @ z)
    weights = hessian.scale * _middle(hessian, c[:, None])[:, 0]
    return hessian.theta * (z - weights @ memory.basis)


def _products(a: Float[Array, "rows n"], b: Float[Array, "columns n"]) -> Float[Array, "rows columns"]:
    """a b^T, eight columns at a time: XLA's CPU backend multiplies so a third faster than by twenty."""
    return jnp.concatenate([a @ b[first : first + 8].T for first in range(0, b.shape[0], 8)], axis=1)


def solve_subspace(
    hessian: CompactHessian, memory: Memory, r: Float[Array, "n"], free: Bool[Array, "n"]
) -> Float[Array, "n"]:
    """B_FF^{-1} r_F on the free variables F, zero on the others.

    By Sherman, Morrison and Woodbury, B_FF^{-1} = (I + W_F K^{-1} W_F^T) / theta with K = M^{-1} - W_F^T W_F. Let A be
    the variables that are not free. Then K = [[S_A^T S_A, C], [C^T, -G]] with C = S_A^T Y_A - (S^T Y - L), of which the
    bracket is the pairs' upper triangle, and G = I + Y^T Y - Y_A^T Y_A. Both G and S_A^T S_A + C G^{-1} C^T are
    positive definite, and where no variable is active nothing cancels.
    """
    history = hessian.newer.shape[0]
    on_free = free.astype(r.dtype)
    active = _products(memory.basis, memory.basis * (1.0 - on_free))
    active = hessian.scale[:, None] * active * hessian.scale
    s, y = slice(None, history), slice(history, None)
    c = active[s, y] - jnp.where(hessian.newer, 0.0, hessian.gram[s, y])
    g = jnp.eye(history, dtype=r.dtype) + hessian.gram[y, y] - active[y, y]

    r = r * on_free
    projections = hessian.scale * (memory.basis @ r)
    right_hand_sides = jnp.concatenate([c.T, projections[y, None]], axis=1)
    solved = cho_solve((jnp.linalg.cholesky(g), True), right_hand_sides)
    g_c, g_y = solved[:, :-1], solved[:, -1]
    schur = active[s, s] + c @ g_c + hessian.unused
    a = cho_solve((jnp.linalg.cholesky(schur), True), projections[s] + c @ g_y)
    correction = (hessian.scale * jnp.concatenate([a, g_c @ a - g_y])) @ memory.basis
    return (r + correction * on_free) / hessian.theta
