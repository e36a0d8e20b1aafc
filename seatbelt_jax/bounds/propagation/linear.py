"""Operations that are affine in the operands that depend on x: on values, on deviations and on magnitudes."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array

from seatbelt_jax.bounds.propagation.graph import Operation, bind
from seatbelt_jax.bounds.propagation.patterns import ADDITIVE, MULTIPLICATIVE

# "value": A v + b. "linear": A v. "spread" and "magnitude" are these two with all constants and signs replaced by their
# magnitudes: |A| v and |A| v + |b|.
Mode = Literal["value", "linear", "spread", "magnitude"]


def apply(operation: Operation, operands: Sequence[Any], dependent: Sequence[bool], mode: Mode) -> Array:
    """The operation on its operands, of which those that depend on x are replaced by what the mode says."""
    name = operation.name
    unsigned = mode in ("spread", "magnitude")

    def read(value: Any, depends: bool) -> Any:
        if depends or not jnp.issubdtype(value.dtype, jnp.inexact):
            return value
        if name in ADDITIVE and mode in ("linear", "spread"):
            return jnp.zeros_like(value)
        return jnp.abs(value) if unsigned and (name in ADDITIVE or name in MULTIPLICATIVE) else value

    given = [read(value, depends) for value, depends in zip(operands, dependent, strict=True)]
    if unsigned and name == "sub":
        return given[0] + given[1]
    if unsigned and name == "neg":
        return given[0]
    return bind(operation, given)


def roundings(operation: Operation) -> int:
    """How many roundings a term of the result passes at most, in any order of summation; 0 where values only move."""
    params, shapes = operation.params, [operand.shape for operand in operation.operands]
    match operation.name:
        case "dot_general":
            contracted = params["dimension_numbers"][0][0]
            return math.prod(shapes[0][axis] for axis in contracted) + 1
        case "conv_general_dilated":
            kernel = params["dimension_numbers"].rhs_spec
            return math.prod(size for axis, size in enumerate(shapes[1]) if axis != kernel[0]) + 1
        case "reduce_sum":
            return math.prod(shapes[0][axis] for axis in params["axes"])
        case "cumsum":
            return shapes[0][params["axis"]]
        case "reduce_window_sum":
            return math.prod(params["window_dimensions"])
        # Compilers divide by a constant as they multiply by its reciprocal: two roundings.
        case "div":
            return 3
        case "add" | "add_any" | "sub" | "mul" | "reduce_precision" | "convert_element_type":
            return 1
    return 0
