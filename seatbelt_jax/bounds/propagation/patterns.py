"""Which operations on x are affine, and which groups of operations are activations."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive

from seatbelt_jax.bounds.propagation.graph import (
    Activated,
    Constant,
    Level,
    Node,
    Operation,
    Unsupported,
    fixed_value,
    needed,
)

# Affine in all operands together; those that do not depend on x are added ...
ADDITIVE = frozenset({"add", "add_any", "sub", "concatenate", "pad", "select_n", "stack"})
# ... or multiplied: one operand alone may depend on x (of "div" the numerator).
MULTIPLICATIVE = frozenset({"mul", "div", "dot_general", "conv_general_dilated"})
# Affine in the first operand; any others are indices.
STRUCTURAL = frozenset(
    {
        "broadcast_in_dim",
        "convert_element_type",
        "copy",
        "cumsum",
        "dynamic_slice",
        "expand_dims",
        "gather",
        "neg",
        "reduce_precision",
        "reduce_sum",
        "reduce_window_sum",
        "reshape",
        "rev",
        "slice",
        "split",
        "squeeze",
        "tile",
        "transpose",
        "unstack",
    }
)
_UNARY = frozenset({"abs", "exp", "log1p", "logistic", "square", "tanh"})


def recognise(operation: Operation) -> Node:
    """The node that a traced operation stands for: itself, an activation, or what they make together."""
    if operation.level is not Level.INPUT:
        return operation
    name, operands = operation.name, operation.operands
    dependent = [operand for operand in operands if operand.level is Level.INPUT]
    if name == "stop_gradient":
        # The function is what is bounded, not what its derivatives are said to be.
        return operands[0]
    if name in _UNARY:
        return _activated(operation, name, operands[0])
    if name == "integer_pow" and operation.params["y"] == 2:
        return _activated(operation, "square", operands[0])
    if name in ("max", "min") and len(dependent) == 1 and dependent[0].shape == operation.shape:
        kink = operands[0] if operands[1] is dependent[0] else operands[1]
        return _activated(operation, name, dependent[0], kink)
    if name == "ne" and operands[0] is operands[1] and _is_number(operands[0]):
        # The test for NaN in jnp.logaddexp.
        return _constant(operation, False)
    if name == "mul" and len(dependent) == 2:
        return _product(operation)
    if name == "add":
        return _softplus(operation) or operation
    if name == "select_n" and operands[0].level is not Level.GIVEN:
        return _selection(operation)
    if (
        (name in ADDITIVE and jnp.issubdtype(operation.dtype, jnp.floating))
        or (name in MULTIPLICATIVE and len(dependent) == 1 and (name != "div" or dependent[0] is operands[0]))
        or (name in STRUCTURAL and dependent == [operands[0]] and not _loses(operation))
    ):
        return operation
    return unsupported(operation)


def _product(operation: Operation) -> Node:
    """v * v and v * logistic(v)."""
    first, second = operation.operands
    if first is second:
        return _activated(operation, "square", first)
    for v, gate in ((first, second), (second, first)):
        if _operand(gate, "logistic") is v:
            return _activated(operation, "silu", v)
    return unsupported(operation)


def _softplus(operation: Operation) -> Node | None:
    """max(v, c) + log1p(exp(-|v - c|)), as jnp.logaddexp(v, c) has it, is softplus(v - c) + c."""
    for largest, rest in (operation.operands, operation.operands[::-1]):
        negated = _operand(_operand(rest, "log1p"), "exp")
        if not (isinstance(negated, Operation) and negated.name == "neg"):
            continue
        difference = _operand(negated.operands[0], "abs")
        v = _operand(largest, "max")
        if v is None or not (isinstance(difference, Operation) and difference.name == "sub"):
            continue
        (kink,) = largest.operands[1:]
        if set(difference.operands) == {v, kink}:
            shifted = _elementwise(operation, lax.sub_p, v, kink)
            return _elementwise(operation, lax.add_p, _activated(operation, "softplus", shifted), kink)
    return None


def _selection(operation: Operation) -> Node:
    """A choice by a fixed mask, or by the sign of v between multiples of v, as jax.nn.leaky_relu has it."""
    predicate, *cases = operation.operands
    mask = fixed_value(predicate)
    if mask is not None:
        first = int(mask.flat[0])
        return cases[first] if (mask == first).all() else operation
    if not isinstance(predicate, Operation) or len(cases) != 2:
        return unsupported(operation)
    if len(predicate.operands) != 2 or predicate.name not in ("gt", "ge", "lt", "le"):
        return unsupported(operation)
    v, zero = predicate.operands
    positive = {"gt": True, "ge": True, "lt": False, "le": False}.get(predicate.name)
    if v.level is not Level.INPUT:
        v, zero, positive = zero, v, None if positive is None else not positive
    threshold = fixed_value(zero)
    below, above = (_multiple(case, v) for case in (cases if positive else cases[::-1]))
    if positive is None or threshold is None or threshold.any() or v.shape != operation.shape:
        return unsupported(operation)
    if below is None or above is None:
        return unsupported(operation)
    return _activated(operation, "leaky", v, below, above)


def _multiple(case: Node, v: Node) -> Node | None:
    """a where the case is a * v, else None."""
    if case is v:
        return _constant(v, 1.0)
    value = fixed_value(case)
    if value is not None:
        return None if value.any() else _constant(v, 0.0)
    if isinstance(case, Operation) and v in case.operands:
        if case.name == "neg":
            return _constant(v, -1.0)
        if case.name == "mul" and not isinstance(case, Unsupported):
            return case.operands[0] if case.operands[1] is v else case.operands[1]
    return None


def _operand(node: Node | None, kind: str) -> Node | None:
    return node.operand if isinstance(node, Activated) and node.kind == kind else None


def _activated(result: Node, kind: str, operand: Node, *parameters: Node) -> Activated:
    return Activated(
        shape=result.shape, dtype=result.dtype, level=Level.INPUT, kind=kind, operand=operand, parameters=parameters
    )


def _elementwise(result: Node, primitive: Primitive, *operands: Node) -> Operation:
    return Operation(
        shape=result.shape, dtype=result.dtype, level=Level.INPUT, primitive=primitive, params={}, arguments=operands
    )


def _constant(like: Node, value: float) -> Constant:
    return Constant(shape=like.shape, dtype=like.dtype, level=Level.FIXED, value=np.full(like.shape, value, like.dtype))


def unsupported(operation: Operation) -> Unsupported:
    return Unsupported(
        shape=operation.shape,
        dtype=operation.dtype,
        level=operation.level,
        primitive=operation.primitive,
        params=operation.params,
        arguments=operation.arguments,
        result=operation.result,
        source=operation.source,
    )


def _is_number(node: Node) -> bool:
    """Whether a value is finite wherever x is: no operation on the way has a limited domain."""
    return not any(
        isinstance(above, Unsupported) or (isinstance(above, Activated) and above.kind in ("exp", "log1p"))
        for above in needed([node])
    )


def _loses(operation: Operation) -> bool:
    """Whether a structural operation rounds coarsely, or puts another value in places that it does not find."""
    source = operation.operands[0].dtype
    if operation.name == "gather":
        return bool(operation.params.get("fill_value"))
    if operation.name == "reduce_precision":
        return operation.params["mantissa_bits"] < 23 or operation.params["exponent_bits"] < 8
    return operation.name == "convert_element_type" and not (
        jnp.issubdtype(operation.dtype, jnp.floating)
        and jnp.issubdtype(source, jnp.floating)
        and min(jnp.finfo(operation.dtype).bits, jnp.finfo(source).bits) >= 32
    )
