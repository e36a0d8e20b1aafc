"""What an operation on x stands for where whole programs are bounded: more than `patterns`, on which it builds.

Groups of elementwise operations that read one value, such as GELU's, become one function of it, whose bounds forget
nothing of how they hang together.
"""

from collections.abc import Sequence

import numpy as np

from seatbelt_jax.bounds.propagation import patterns
from seatbelt_jax.bounds.propagation.composed import evaluated
from seatbelt_jax.bounds.propagation.graph import (
    Activated,
    Composed,
    Constant,
    IsNaN,
    Level,
    LogSumExp,
    Node,
    Operation,
    Piecewise,
    Product,
    Unsupported,
    fixed_value,
)

_UNARY = frozenset({"atan", "cos", "erf", "erfc", "exp2", "expm1", "log", "rsqrt", "sin", "sqrt"})
# What a composed function may be made of, besides activations.
_ELEMENTWISE = frozenset({"add", "sub", "neg", "mul", "div", "copy", "convert_element_type", "reduce_precision"})
_COMPARISONS = frozenset({"gt", "ge", "lt", "le"})


def recognise(operation: Operation) -> Node:
    """The node that a traced operation stands for."""
    name, operands = operation.name, operation.operands
    if operation.level is not Level.INPUT:
        return operation
    moving = [operand for operand in operands if operand.level is Level.INPUT]
    if name in _UNARY:
        return _activated(operation, name)
    if name == "integer_pow" and operation.params["y"] != 2:
        power = operation.params["y"]
        if power == -1:
            return _activated(operation, "reciprocal")
        return _activated(operation, "integer_pow", _number(operation, power)) if power > 0 else _refused(operation)
    if name == "pow" and moving == [operands[0]]:
        return _activated(operation, "pow", operands[1])
    if name == "logsumexp":
        return LogSumExp(
            shape=operation.shape, dtype=operation.dtype, level=operation.level, operand=operands[0],
            axes=operation.params["axes"],
        )  # fmt: skip
    if name == "ne" and operands[0] is operands[1]:
        return IsNaN(shape=operation.shape, dtype=operation.dtype, level=Level.INPUT, operand=operands[0])
    if any(isinstance(operand, IsNaN) for operand in operands):
        return _where_finite(operation) or _refused(operation)
    found = patterns.recognise(operation)
    if not isinstance(found, Unsupported):
        return found
    if name == "mul" and len(moving) == 2:
        root = _root(operands)
        if root is not None:
            return Composed(
                shape=operation.shape, dtype=operation.dtype, level=operation.level, root=root, body=operation
            )
        return Product(
            shape=operation.shape, dtype=operation.dtype, level=operation.level, first=operands[0], second=operands[1]
        )
    if name == "select_n":
        return _piecewise(operation) or found
    return found


def _activated(operation: Operation, kind: str, *parameters: Node) -> Activated:
    return Activated(
        shape=operation.shape, dtype=operation.dtype, level=Level.INPUT, kind=kind,
        operand=operation.operands[0], parameters=parameters,
    )  # fmt: skip


def _number(operation: Operation, value: float) -> Constant:
    return Constant(
        shape=operation.shape, dtype=operation.dtype, level=Level.FIXED,
        value=np.full(operation.shape, value, operation.dtype),
    )  # fmt: skip


def _refused(operation: Operation) -> Node:
    return patterns.unsupported(operation)


def elementwise(node: Node) -> tuple[Node, ...] | None:
    """The nodes of the same shape that an elementwise node reads and that depend on x; None for another node."""
    match node:
        case Activated():
            found: Sequence[Node] = [node.operand]
        case Composed() | Piecewise():
            found = [node.root]
        case Product():
            found = node.operands
        case Operation() if node.name in _ELEMENTWISE and not isinstance(node, Unsupported):
            found = [operand for operand in node.operands if operand.level is Level.INPUT]
        case _:
            return None
    return tuple(found) if all(operand.shape == node.shape for operand in found) else None


def _root(nodes: Sequence[Node]) -> Node | None:
    """The one node that all of these are elementwise functions of, the last of such; None where there is none."""
    frontier = {node for node in nodes if node.level is Level.INPUT}
    while len(frontier) > 1:
        latest = max(frontier, key=lambda node: node.order)
        read = elementwise(latest)
        if read is None:
            return None
        frontier = (frontier - {latest}) | set(read)
    return frontier.pop() if frontier else None


def _where_finite(operation: Operation) -> Node | None:
    """The case of a selection that is taken where a value is no NaN, which it assumes to be finite."""
    predicate, *cases = operation.operands
    if operation.name != "select_n" or not isinstance(predicate, IsNaN) or cases[0].level is not Level.INPUT:
        return None
    chosen, tested = cases[0], predicate.operand
    if isinstance(tested, Operation) and tested.name in ("add", "sub"):
        # A sum is finite where its terms are.
        chosen.assumed += tuple(operand for operand in tested.operands if operand.level is Level.INPUT)
    else:
        chosen.assumed += (tested,)
    return chosen


def _piecewise(operation: Operation) -> Node | None:
    """A selection by whether v is above a number, of functions of v that meet there."""
    predicate, *cases = operation.operands
    if not isinstance(predicate, Operation) or predicate.name not in _COMPARISONS or len(cases) != 2:
        return None
    v, bound = predicate.operands
    # Case 1 is chosen where the predicate holds.
    above_holds = predicate.name in ("gt", "ge")
    if v.level is not Level.INPUT:
        v, bound, above_holds = bound, v, not above_holds
    threshold = fixed_value(bound)
    if threshold is None or bound.level is Level.INPUT or threshold.size == 0 or (threshold != threshold.flat[0]).any():
        return None
    if v.shape != operation.shape or _root([v, *cases]) is not v:
        return None
    below, above = cases if above_holds else cases[::-1]
    at = float(threshold.flat[0])
    ends = [evaluated(case, v, at) for case in (below, above)]
    if ends[0] is None or ends[1] is None or not np.array_equal(ends[0], ends[1]):
        return None
    return Piecewise(
        shape=operation.shape, dtype=operation.dtype, level=Level.INPUT, root=v, threshold=at, below=below, above=above
    )
