"""A traced function of an image as the nodes that depend on it, read once for each architecture."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array

from seatbelt_jax.bounds.double import in_float64, wide
from seatbelt_jax.bounds.propagation.expand import expanded
from seatbelt_jax.bounds.propagation.graph import (
    Argument,
    Composed,
    Constant,
    Level,
    Node,
    Operation,
    Piecewise,
    bind,
    needed,
)
from seatbelt_jax.bounds.propagation.recognising import recognise
from seatbelt_jax.bounds.propagation.trace import nodes_of
from seatbelt_jax.program import Code


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A function of x and of further arguments.

    Attributes:
      arguments: the inputs, in the order of the code's.
      nodes: what depends on x, operands before results; x is the first.
      output: what the function returns.
      cuts: nodes that everything behind them reads x through alone.
      assumed: nodes that must be finite all over the ball, else the graph is not what the code computes.
    """

    arguments: tuple[Argument, ...]
    nodes: tuple[Node, ...]
    output: Node
    cuts: frozenset[Node]
    assumed: frozenset[Node]

    @property
    def x(self) -> Node:
        return self.nodes[0]


@functools.lru_cache(maxsize=64)
def read(code: Code) -> Graph:
    """The graph of code whose inputs are arrays, then x, then further arguments.

    Raises:
      TypeError: the function does not return one array of float32 or float64.
      ValueError: it does not depend on x, or by an operation that is not supported.
    """
    declared: Sequence[Any] = [var.aval for var in code.jaxpr.outvars]
    if len(declared) != 1 or not jnp.issubdtype(declared[0].dtype, jnp.floating):
        raise TypeError(f"the function must return one array of floating point, got {[str(aval) for aval in declared]}")
    if jnp.finfo(declared[0].dtype).bits < 32:
        raise TypeError(f"the function must return an array of float32 or float64, got one of {declared[0].dtype}")
    given: Sequence[Any] = [var.aval for var in code.jaxpr.invars]
    place = len(given) - len(code.arguments[1])
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        wider = [jax.ShapeDtypeStruct(aval.shape, wide(aval.dtype, False)) for aval in given]
        closed = jax.make_jaxpr(in_float64(ClosedJaxpr(code.jaxpr, ()), half=False))(*wider)
        arguments, (output,) = nodes_of(expanded(closed, place), place, recognise)
    nodes, assumed = tuple(needed([output])), frozenset[Node]()
    while missing := {other for node in _with_inner(nodes) for other in node.assumed} - assumed:
        assumed |= missing
        nodes = tuple(needed([output, *assumed]))
    if output.level is not Level.INPUT:
        raise ValueError("the function does not depend on x")
    return Graph(tuple(arguments), nodes, output, _cuts(nodes), assumed)


def _with_inner(nodes: Sequence[Node]) -> list[Node]:
    """The nodes, and those that composed functions among them are made of."""
    bodies: list[Node] = []
    for node in nodes:
        if isinstance(node, Composed):
            bodies.append(node.body)
        elif isinstance(node, Piecewise):
            bodies += [node.below, node.above]
    return [*nodes, *(needed(bodies) if bodies else [])]


def _cuts(nodes: Sequence[Node]) -> frozenset[Node]:
    """The nodes that no edge goes around: all that comes before them is read no later than by them."""
    last = {node: node.order for node in nodes}
    for node in nodes:
        for operand in node.operands:
            if operand in last:
                last[operand] = max(last[operand], node.order)
    found, latest = [], -1
    for node in nodes:
        if latest <= node.order:
            found.append(node)
        latest = max(latest, last[node])
    return frozenset(found)


@functools.lru_cache(maxsize=64)
def ranged(graph: Graph) -> frozenset[Node]:
    """The nodes whose ranges are asked for: the arguments of activations, and what must be finite."""
    read = {node for other in graph.nodes if not isinstance(other, Operation) for node in other.operands}
    return frozenset({node for node in read if node.level is Level.INPUT} | graph.assumed | {graph.output})


class Ground:
    """The values of nodes that do not depend on x, computed when first asked for."""

    def __init__(self, arguments: Sequence[Argument], values: Sequence[Any]):
        self._values: dict[Node, Any] = dict(zip(arguments, values, strict=True))

    def __getitem__(self, node: Node) -> Array:
        if node not in self._values:
            if isinstance(node, Constant):
                self._values[node] = node.value
            else:
                assert isinstance(node, Operation)
                self._values[node] = bind(node, [self[operand] for operand in node.operands])
        return self._values[node]
