"""Elementwise functions made of several operations, as one function of one variable.

Values and slopes over an interval are bounded together by interval arithmetic, forward: what every operation makes of
the range of its operands and of the ranges of their derivatives. Over the cells of `unary.celled_chords` little is
lost.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from seatbelt_jax.bounds.propagation.graph import (
    Activated,
    Composed,
    Level,
    Node,
    Operation,
    Piecewise,
    Product,
    bind,
    fixed_value,
)
from seatbelt_jax.bounds.propagation.unary import HALF_ULP, Range, Unary, Values, celled_chords, pieces, resolve

Lookup = Callable[[Node], Any]


def function_of(node: Node, ground: Lookup) -> Unary:
    """The function that an elementwise node is of the one node that it reads.

    Args:
      node: an activation, a composed or a piecewise function.
      ground: the values of nodes that do not depend on x.
    """
    match node:
        case Activated():
            return resolve(node.kind, [ground(parameter) for parameter in node.parameters])
        case Composed():
            return Composition(node.body, node.root, ground)
        case Piecewise():
            below, above = (_branch(case, node.root, ground) for case in (node.below, node.above))
            return Pieces(node.threshold, below, above)
    raise TypeError(f"{type(node).__name__} is no elementwise function of one node")


def _branch(node: Node, root: Node, ground: Lookup) -> Unary:
    return Composition(node, root, ground)


class _Enclosed(NamedTuple):
    """A value over an interval of the root: its range, its derivative's, and its rounding error in float32."""

    values: Range
    slopes: Range
    error: Values


@dataclasses.dataclass(frozen=True)
class Composition:
    """What the nodes between a root and a body compute."""

    body: Node
    root: Node
    ground: Lookup

    def value(self, v: Values) -> Values:
        known: dict[Node, Any] = {self.root: v}

        def of(node: Node) -> Any:
            if node not in known:
                known[node] = self._evaluate(node, of)
            return known[node]

        return jnp.broadcast_to(of(self.body), jnp.shape(v))

    def _evaluate(self, node: Node, of: Callable[[Node], Any]) -> Any:
        if node.level is not Level.INPUT:
            return self.ground(node)
        if isinstance(node, Operation):
            return bind(node, _alike([of(operand) for operand in node.operands]))
        if isinstance(node, Product):
            return of(node.first) * of(node.second)
        return function_of(node, self.ground).value(of(node.operands[0]))

    def values(self, lower: Values, upper: Values) -> Range:
        # Enclosed piece by piece, and by the slopes from one end of it.
        starts, ends = pieces(lower, upper)
        found = self._enclose(starts, ends)
        here, width = self.value(starts), ends - starts
        slack = 2.0**-46 * jnp.abs(here)
        low = jnp.maximum(found.values.lower, here - slack + width * jnp.minimum(found.slopes.lower, 0.0))
        high = jnp.minimum(found.values.upper, here + slack + width * jnp.maximum(found.slopes.upper, 0.0))
        return Range(jnp.min(low, axis=0), jnp.max(high, axis=0))

    def slopes(self, lower: Values, upper: Values) -> Range:
        return self._enclose(lower, upper).slopes

    def chords(self, lower: Values, upper: Values, anchor: Values) -> Range:
        return celled_chords(self, lower, upper, anchor)

    def rounding(self, lower: Values, upper: Values) -> Values:
        return jnp.max(self._enclose(*pieces(lower, upper)).error, axis=0)

    def _enclose(self, lower: Values, upper: Values) -> _Enclosed:
        one, zero = jnp.ones_like(lower), jnp.zeros_like(lower)
        known: dict[Node, _Enclosed] = {self.root: _Enclosed(Range(lower, upper), Range(one, one), zero)}

        def of(node: Node) -> _Enclosed:
            if node not in known:
                if node.level is Level.INPUT:
                    known[node] = self._step(node, of)
                else:
                    value = jnp.asarray(self.ground(node))
                    known[node] = _Enclosed(Range(value, value), Range(zero, zero), zero)
            return known[node]

        found = of(self.body)
        shape = jnp.shape(lower)
        return jax.tree.map(lambda array: jnp.broadcast_to(array, shape), found)

    def _step(self, node: Node, of: Callable[[Node], _Enclosed]) -> _Enclosed:
        if isinstance(node, Product):
            return _product(of(node.first), of(node.second))
        if not isinstance(node, Operation):
            return _through(function_of(node, self.ground), of(node.operands[0]))
        operands = [of(operand) for operand in node.operands]
        match node.name:
            case "add":
                return _rounded(_sum(*operands))
            case "sub":
                return _rounded(_sum(operands[0], _negative(operands[1])))
            case "neg":
                return _negative(operands[0])
            case "mul":
                return _product(*operands)
            case "div":
                inverse = jax.tree.map(lambda value: 1.0 / value, operands[1].values)
                return _rounded(_product(operands[0], operands[1]._replace(values=inverse)))
        return operands[0]


@dataclasses.dataclass(frozen=True)
class Pieces:
    """`below` where v < threshold, else `above`: they meet there."""

    threshold: float
    below: Unary
    above: Unary

    def value(self, v: Values) -> Values:
        below, above = (
            self.below.value(jnp.minimum(v, self.threshold)),
            self.above.value(jnp.maximum(v, self.threshold)),
        )
        return jnp.where(v < self.threshold, below, above)

    def values(self, lower: Values, upper: Values) -> Range:
        return self._joined(lower, upper, lambda piece, low, high: piece.values(low, high))

    def slopes(self, lower: Values, upper: Values) -> Range:
        return self._joined(lower, upper, lambda piece, low, high: piece.slopes(low, high))

    def chords(self, lower: Values, upper: Values, anchor: Values) -> Range:
        return celled_chords(self, lower, upper, anchor)

    def rounding(self, lower: Values, upper: Values) -> Values:
        both = self._joined(lower, upper, lambda piece, low, high: Range(low, piece.rounding(low, high)))
        return both.upper

    def _joined(self, lower: Values, upper: Values, of: Callable[[Unary, Values, Values], Range]) -> Range:
        """The hull over the parts of the interval below and above the threshold."""
        at = self.threshold
        below = of(self.below, jnp.minimum(lower, at), jnp.minimum(upper, at))
        above = of(self.above, jnp.maximum(lower, at), jnp.maximum(upper, at))
        only_below, only_above = upper < at, lower > at
        low = jnp.where(
            only_below, below.lower, jnp.where(only_above, above.lower, jnp.minimum(below.lower, above.lower))
        )
        high = jnp.where(
            only_below, below.upper, jnp.where(only_above, above.upper, jnp.maximum(below.upper, above.upper))
        )
        return Range(low, high)


def _alike(operands: list[Any]) -> list[Any]:
    """Operands of an elementwise operation in one shape: cells put an axis in front of what depends on the root."""
    shape = np.broadcast_shapes(*(np.shape(operand) for operand in operands))
    return [jnp.broadcast_to(jnp.asarray(operand), shape) for operand in operands]


def _times(a: Range, b: Range) -> Range:
    corners = [x * y for x in a for y in b]
    low, high = corners[0], corners[0]
    for corner in corners[1:]:
        low, high = jnp.minimum(low, corner), jnp.maximum(high, corner)
    return Range(low, high)


def _plus(a: Range, b: Range) -> Range:
    return Range(a.lower + b.lower, a.upper + b.upper)


def _largest(a: Range) -> Values:
    return jnp.maximum(jnp.abs(a.lower), jnp.abs(a.upper))


def _sum(a: _Enclosed, b: _Enclosed) -> _Enclosed:
    return _Enclosed(_plus(a.values, b.values), _plus(a.slopes, b.slopes), a.error + b.error)


def _negative(a: _Enclosed) -> _Enclosed:
    values, slopes = (Range(-found.upper, -found.lower) for found in (a.values, a.slopes))
    return _Enclosed(values, slopes, a.error)


def _product(a: _Enclosed, b: _Enclosed) -> _Enclosed:
    slopes = _plus(_times(a.values, b.slopes), _times(a.slopes, b.values))
    error = (_largest(a.values) + a.error) * b.error + _largest(b.values) * a.error
    return _rounded(_Enclosed(_times(a.values, b.values), slopes, error))


def _rounded(a: _Enclosed) -> _Enclosed:
    return a._replace(error=a.error + HALF_ULP * (_largest(a.values) + a.error))


def _through(function: Unary, a: _Enclosed) -> _Enclosed:
    """A function of one variable applied."""
    low, high = a.values.lower - a.error, a.values.upper + a.error
    slopes = function.slopes(*a.values)
    error = _largest(function.slopes(low, high)) * a.error + function.rounding(low, high)
    return _Enclosed(function.values(*a.values), _times(slopes, a.slopes), error)


def evaluated(node: Node, root: Node, value: float) -> Float[np.ndarray, "..."] | None:
    """A function of the root at a number, in float64; None where it computes with what is not known."""

    def known(constant: Node) -> Any:
        found = fixed_value(constant)
        if found is None:
            raise LookupError
        return found

    try:
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            return np.asarray(Composition(node, root, known).value(jnp.full(root.shape, value)))
    except LookupError:
        return None
