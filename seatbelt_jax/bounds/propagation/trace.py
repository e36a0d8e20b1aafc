"""From a JAX function to the graph of its operations."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.extend.source_info_util import summarize

from seatbelt_jax.bounds.double import CALLS, in_float64, wide
from seatbelt_jax.bounds.propagation.graph import (
    Argument,
    Constant,
    Level,
    Node,
    Operation,
    Unsupported,
    needed,
)
from seatbelt_jax.bounds.propagation.patterns import recognise


def trace(function: Callable, x: Any, constants: Sequence[Any]) -> tuple[list[Node], Any]:
    """The nodes of the leaves of function(x, *constants), and the structure of that output.

    Calls are inlined (a custom derivative does not matter: the function itself is what is bounded), operations named as
    affine or joined to activations by `patterns`. Only shapes and dtypes of x and of the constants matter. The nodes
    are those of the code in float64, to be evaluated under jax.enable_x64(True).

    Raises:
      TypeError: an output is no array of float32 or float64.
      ValueError: an output depends on x by an operation that is not supported.
    """
    # Products keep the precision that they are traced with.
    with jax.default_matmul_precision("highest"):
        closed, shape = jax.make_jaxpr(function, return_shape=True)(x, *constants)
    declared: Any
    for declared in closed.out_avals:
        if not jnp.issubdtype(declared.dtype, jnp.floating) or jnp.finfo(declared.dtype).bits < 32:
            raise TypeError(f"the function must return arrays of float32 or float64, got one of {declared.dtype}")
    given: Sequence[Any] = closed.in_avals
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        wider = [jax.ShapeDtypeStruct(aval.shape, wide(aval.dtype, False)) for aval in given]
        closed = jax.make_jaxpr(in_float64(closed, half=False))(*wider)
        return nodes_of(closed, 0)[1], jax.tree.structure(shape)


def nodes_of(
    closed: ClosedJaxpr, x: int, recognise: Callable[[Operation], Node] = recognise
) -> tuple[list[Argument], list[Node]]:
    """The nodes of a program's inputs, of which number x is the one to be bounded over, and of its outputs.

    `recognise` says what an operation stands for.

    Raises:
      ValueError: an output depends on x by an operation that is not supported.
    """
    inputs: Sequence[Any] = closed.in_avals
    levels = (Level.INPUT if index == x else Level.GIVEN for index in range(len(inputs)))
    arguments = [
        Argument(shape=aval.shape, dtype=aval.dtype, level=level, index=index)
        for index, (aval, level) in enumerate(zip(inputs, levels, strict=True))
    ]
    outputs = _read(closed.jaxpr, closed.consts, arguments, recognise)
    unsupported = [node for node in needed(outputs) if isinstance(node, Unsupported)]
    if unsupported:
        # A comparison is named only where it is more than the condition of a selection.
        floating = (node for node in unsupported if jnp.issubdtype(node.dtype, jnp.floating))
        raise ValueError(_reason(next(floating, unsupported[0])))
    return arguments, outputs


def _read(
    jaxpr: Jaxpr, consts: Iterable[Any], inputs: Sequence[Node], recognise: Callable[[Operation], Node]
) -> list[Node]:
    nodes: dict[Any, Node] = dict(zip(jaxpr.constvars, map(_constant, consts), strict=True))
    nodes |= dict(zip(jaxpr.invars, inputs, strict=True))

    # One node for a number, however often it is written: patterns ask whether two operands are the same.
    literals: dict[Any, Node] = {}

    def node_of(atom: Any) -> Node:
        if not isinstance(atom, Literal):
            return nodes[atom]
        aval: Any = atom.aval
        value = np.asarray(atom.val, aval.dtype)
        return literals.setdefault((value.dtype, value.shape, value.tobytes()), _constant(value, aval.dtype))

    equation: Any
    for equation in jaxpr.eqns:
        operands = tuple(node_of(atom) for atom in equation.invars)
        name = equation.primitive.name
        if name in CALLS:
            called = equation.params[CALLS[name]]
            results = (
                _read(called.jaxpr, called.consts, operands, recognise)
                if isinstance(called, ClosedJaxpr)
                else _read(called, (), operands, recognise)
            )
        else:
            level = max((operand.level for operand in operands), default=Level.FIXED)
            results = [
                recognise(
                    Operation(
                        shape=var.aval.shape,
                        dtype=var.aval.dtype,
                        level=level,
                        primitive=equation.primitive,
                        params=equation.params,
                        arguments=operands,
                        result=index,
                        source=equation.source_info,
                    )
                )
                for index, var in enumerate(equation.outvars)
            ]
        nodes |= dict(zip(equation.outvars, results, strict=True))
    return [node_of(atom) for atom in jaxpr.outvars]


def _constant(value: Any, dtype: Any = None) -> Constant:
    array = jnp.asarray(value, dtype)
    return Constant(shape=array.shape, dtype=array.dtype, level=Level.FIXED, value=array)


def _reason(node: Unsupported) -> str:
    where = "" if node.source is None else f" (at {summarize(node.source)})"
    if node.name in ("convert_element_type", "reduce_precision"):
        return (
            f"the function converts a value that depends on x to {node.dtype}{where}: bounds need float32 or float64 "
            "throughout (for a model, compute_dtype='float32')"
        )
    dependent = sum(operand.level is Level.INPUT for operand in node.operands)
    return (
        f"no bounds for '{node.name}' of {'values that depend' if dependent > 1 else 'a value that depends'} on x"
        f"{where}; supported are affine operations (products and convolutions with constants, sums, reshapes, slices, "
        "concatenation, padding, selection by a constant mask) and the activations maximum or minimum with a "
        "constant, ReLU, leaky ReLU, abs, tanh, sigmoid, exp, log1p, square, SiLU, softplus and logaddexp with a "
        "constant"
    )
