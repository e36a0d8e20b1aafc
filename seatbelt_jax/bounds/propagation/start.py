"""The first linear map of a function: what the ball in pixels becomes, before any radius and any draw."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.propagation.graph import Argument, Level, Node, Operation
from seatbelt_jax.bounds.propagation.linear import apply
from seatbelt_jax.bounds.propagation.reading import Graph, Ground, read
from seatbelt_jax.program import Code

# Pixels of no influence get a share of the ball too: it is divided by.
_LEAST_WEIGHT = 1e-6


class Start(NamedTuple):
    """The map from the unit ball of pixels to the value of the `first` node of a graph.

    Attributes:
      columns: M such that M^T q, ||q||_2 <= 1, are all deviations of the node over the unit ball, or more.
      reach: how far each coordinate moves at most over the unit ball.
    """

    columns: Float[Array | ndarray, "n *shape"]
    reach: Float[Array | ndarray, "*shape"]


def begin(code: Code, arrays: Sequence[Array], norm: Norm, *, ellipsoid: bool = True) -> Start:
    """The map to the smallest of the nodes that all reads x through, before any activation and any noise.

    Under "l2" with fewer coordinates than pixels, W = L Q with orthonormal rows of Q: the ball of d is that of Q d,
    whose map L has as many columns as coordinates. Under "linf" the ball |d_i| <= 1 lies in the ellipsoid sum_i w_i
    d_i^2 <= 1 for any weights w of sum 1, here in proportion to the columns' norms; without `ellipsoid`
    the columns are of |q_i| <= 1.
    """
    columns, reach = map(np.asarray, _unit_ball(code, norm, arrays))
    shape = columns.shape[1:]
    flat = columns.reshape(len(columns), -1)
    if norm == "linf":
        if not ellipsoid:
            return Start(columns, reach)
        weights = np.linalg.norm(flat, axis=1)
        weights = weights / max(weights.sum(), np.finfo(np.float64).tiny) + _LEAST_WEIGHT / len(flat)
        flat = flat / np.sqrt(weights / weights.sum())[:, None]
    # On the host: LAPACK's, compiled into a larger program, has been seen to hang.
    if flat.shape[1] < flat.shape[0]:
        flat = np.asarray(np.linalg.qr(flat, mode="r"))
    return Start(flat.reshape(-1, *shape), reach)


@functools.lru_cache(maxsize=64)
def first(graph: Graph) -> tuple[Node, tuple[Operation, ...]]:
    """The node that the propagation starts at, and the operations that lead to it."""
    node, prefix = graph.x, 0
    for place, other in enumerate(graph.nodes[1:], start=1):
        if not isinstance(other, Operation) or any(reads_noise(graph, operand) for operand in other.operands):
            break
        if other in graph.cuts and math.prod(other.shape) <= math.prod(node.shape):
            node, prefix = other, place
    return node, tuple(step for step in graph.nodes[1 : prefix + 1] if isinstance(step, Operation))


def reads_noise(graph: Graph, node: Node) -> bool:
    if isinstance(node, Argument):
        return node.index > graph.arguments.index(graph.x)
    return node.level is Level.GIVEN and any(reads_noise(graph, operand) for operand in node.operands)


def linear_part(
    graph: Graph, ground: Ground, source: Node, steps: Sequence[Operation]
) -> Callable[[Float[Array, "*source"]], Float[Array, "*target"]]:
    """The linear part of operations in order, from a node to the last of them."""

    def moved(value: Array) -> Array:
        values = {source: value}
        for step in steps:
            depends = [operand.level is Level.INPUT for operand in step.operands]
            operands = [
                values[operand] if moves else ground[operand]
                for operand, moves in zip(step.operands, depends, strict=True)
            ]
            values[step] = apply(step, operands, depends, "linear")
        return values[steps[-1]] if steps else value

    return moved


@functools.partial(jax.jit, static_argnums=(0, 1))
def _unit_ball(
    code: Code, norm: Norm, arrays: Sequence[Array]
) -> tuple[Float[Array, "pixels *shape"], Float[Array, "*shape"]]:
    graph = read(code)
    ground = Ground(graph.arguments[: len(arrays)], arrays)
    node, prefix = first(graph)

    moved = linear_part(graph, ground, graph.x, prefix)
    pixels, size = math.prod(graph.x.shape), math.prod(node.shape)
    if size <= pixels:
        _, pull = jax.vjp(moved, jnp.zeros(graph.x.shape))
        rows = jax.vmap(lambda row: pull(row)[0].reshape(-1))(jnp.eye(size).reshape(size, *node.shape)).T
    else:
        rows = jax.vmap(moved)(jnp.eye(pixels).reshape(pixels, *graph.x.shape)).reshape(pixels, size)
    reach = jnp.linalg.norm(rows, ord=2 if norm == "l2" else 1, axis=0)
    return rows.reshape(pixels, *node.shape), reach.reshape(node.shape)
