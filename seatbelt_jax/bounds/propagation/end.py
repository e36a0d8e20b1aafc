"""The last linear map of a function: norms of outputs as norms of a shorter vector, before any radius and any draw."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.propagation.graph import Node, Operation
from seatbelt_jax.bounds.propagation.reading import Graph, Ground, read
from seatbelt_jax.bounds.propagation.start import linear_part, reads_noise
from seatbelt_jax.program import Code


class End(NamedTuple):
    """The linear map W = Q R from the `last` node of a graph to its output, with orthonormal columns of Q.

    Attributes:
      basis: Q.
      factor: R.
    """

    basis: Float[Array | ndarray, "output k"]
    factor: Float[Array | ndarray, "k k"]


@functools.lru_cache(maxsize=64)
def last(graph: Graph) -> tuple[Node, tuple[Operation, ...]]:
    """The shortest node that the output reads x through alone, linearly and without noise, and what comes after it.

    The output itself where none is shorter.
    """
    node, place = graph.output, len(graph.nodes) - 1
    for number in range(len(graph.nodes) - 1, 0, -1):
        other = graph.nodes[number]
        if other in graph.cuts and math.prod(other.shape) < math.prod(node.shape):
            node, place = other, number
        if not isinstance(other, Operation) or any(reads_noise(graph, operand) for operand in other.operands):
            break
    return node, tuple(step for step in graph.nodes[place + 1 :] if isinstance(step, Operation))


def finish(code: Code, arrays: Sequence[Array]) -> End | None:
    """The last linear map; None where the output is as short as any node that it could start from."""
    if not last(read(code))[1]:
        return None
    # On the host: see `start`.
    return End(*map(np.asarray, np.linalg.qr(np.asarray(_matrix(code, arrays)))))


@functools.partial(jax.jit, static_argnums=0)
def _matrix(code: Code, arrays: Sequence[Array]) -> Float[Array, "output k"]:
    graph = read(code)
    node, steps = last(graph)
    moved = linear_part(graph, Ground(graph.arguments[: len(arrays)], arrays), node, steps)
    size = math.prod(node.shape)
    return jax.vmap(moved)(jnp.eye(size).reshape(size, *node.shape)).reshape(size, -1).T
