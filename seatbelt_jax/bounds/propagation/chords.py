"""Deviations of a function's values over a ball, by telescoped chord intervals.

Anchored at x, a value v moves by v(x + d) - v(x) = sum_g M_g^T q_g + e: group 0 is d, each activation f adds one of its
own, and e is what was rounded off since then. The chord slopes of f lie in [c - r, c + r], so
f(a) - f(a_0) = c (a - a_0) + w q with |w_i q_i| <= r_i |a_i - a_0i| + (|c_i| + r_i) e_i, for any weights w. So ||q||_2
is at most the norm of diag(r / w) (a - a_0), which the groups before bound, and each |q_i| is bounded by the box of a.
Linear operations act on the columns M_g alone.

Rounding. The values v(x + d) are those of an evaluation in float32; v(x) is taken in float64. A sum of n products, in
any order, fused or not, is within gamma_n sum |w| |v| of its value in real arithmetic, gamma_n = n u / (1 - n u), u =
2^-24 (Higham 2002, Sec. 3.1). An activation is granted 8 u of its value, or of 1 plus its value (`unary`); maxima round
nothing. These errors are part of e, and so of the next activation's unknowns, and reach the output through the same
columns. This assumes that products are computed without fast algorithms (Winograd) and in float32 throughout. The
bounds themselves are computed in float64: their roundings are those sums with 2^-53 for u, applied to no more than
`reach`, so that 2^-20 of the float32 slack, by which it is raised, covers them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax.bounds.propagation.composed import function_of
from seatbelt_jax.bounds.propagation.end import End, last
from seatbelt_jax.bounds.propagation.graph import (
    Activated,
    Composed,
    Level,
    LogSumExp,
    Node,
    Operation,
    Piecewise,
    Product,
)
from seatbelt_jax.bounds.propagation.linear import Mode, apply, roundings
from seatbelt_jax.bounds.propagation.reading import Graph, Ground
from seatbelt_jax.bounds.propagation.spectral import factor, farthest, farthest_of, joined, norm_above
from seatbelt_jax.bounds.propagation.start import Start, first
from seatbelt_jax.bounds.propagation.unary import Range, Unary

Group = int
Values = Float[Array, "*shape"]
Number = Float[Array, ""]

_HALF_ULP = 2.0**-24 * (1.0 + 2.0**-20)
# Roundings of float64 in what costs float32 none, relative to `reach`.
SLACK = 1e-13
# Roundings granted to constants that the program computes from parameters, such as a normalisation's scale.
_COMPUTED = 16
_RESHAPING = ("reshape", "copy", "squeeze", "expand_dims")

# A longer value's unknowns are kept as intervals alone: columns would take too much memory.
_MOST_COLUMNS = 2048
# The longest value whose columns are replaced by a triangular factor: each row of it takes a step of a loop.
_FACTORED = 256


class Form(NamedTuple):
    """A value over the ball.

    Attributes:
      value: at x, in float64.
      low, high: its range over the ball, as float32 evaluates it.
      columns: of each group, the map to the deviation; None before the start, where intervals are all.
      error: how far the deviation is from what the columns make of their unknowns, at most.
      reach: a bound of its magnitude, no less than |value| plus what the columns and the error add up to.
    """

    value: Values
    low: Values
    high: Values
    columns: dict[Group, Float[Array, "n *shape"]] | None
    error: Values
    reach: Values


class Ball(NamedTuple):
    """Where a group's unknowns lie: ||q||_2 <= radius and, where it is known, |q_i| <= box_i."""

    radius: Number
    box: Float[Array, "n"] | None


class Deviations:
    """The forms of all nodes of a graph, for one ball and one draw."""

    def __init__(self, graph: Graph, ground: Ground, start: Start, x: Values, radius: Number):
        self._graph = graph
        self._ground = ground
        self._start = start
        self._forms: dict[Node, Form] = {}
        self._balls: dict[Group, Ball] = {0: Ball(radius, None)}
        at_x = Form(x, x - radius, x + radius, None, jnp.zeros_like(x), jnp.abs(x) + radius)
        self._slacks: dict[Node, Values] = {}
        for node in graph.nodes:
            self._forms[node] = self._kept(node, at_x if node is graph.x else self._step(node))

    def _kept(self, node: Node, form: Form) -> Form:
        """The form as later nodes read it."""
        if node is first(self._graph)[0]:
            radius = self._balls[0].radius
            width = radius * self._start.reach * (1.0 + SLACK) + form.error
            columns = {0: jnp.asarray(self._start.columns)}
            return self._bounded(form, columns, form.value - width, form.value + width)
        if node in self._graph.cuts and form.columns is not None:
            return self._compressed(form)
        return form

    def farthest(self, centre: Values, end: End | None) -> Number:
        """An upper bound of ||output - centre||_2 over the ball, of outputs as float32 evaluates them.

        Args:
          centre: of the output's shape.
          end: the last linear map, where the output has one from a shorter node.
        """
        node = self._graph.output
        while isinstance(node, Operation) and node.name in _RESHAPING:
            node = node.operands[0]
        out = self._forms[self._graph.output]
        offset = (out.value - centre).reshape(-1)
        if isinstance(node, Activated | Composed | Piecewise):
            found = self._activated(node, offset)
        else:
            form, rest = out, jnp.zeros(())
            matrices, radii = self._groups(form)
            if end is not None:
                # ||b + Q R y||^2 = ||Q^T b + R y||^2 + what of b is orthogonal to Q.
                basis, factor_of = jnp.asarray(end.basis), jnp.asarray(end.factor)
                matrices, radii = self._groups(self._forms[last(self._graph)[0]])
                matrices = [matrix @ factor_of.T for matrix in matrices]
                inner = offset @ basis
                rest = jnp.sum(jnp.square(offset - basis @ inner))
                offset = inner
            squared = farthest_of(offset, joined(matrices, radii), rest)
            found = jnp.sqrt(squared) + jnp.linalg.norm(out.error)
        if end is None:
            by_box = jnp.linalg.norm(jnp.maximum(jnp.abs(out.high - centre), jnp.abs(out.low - centre)))
            found = jnp.minimum(found, by_box)
        return self._proven(found * (1.0 + 1e-9))

    def _proven(self, found: Number) -> Number:
        """The bound; infinite where it is none, or where a value that must be finite may not be."""
        ranges = [value for node in self._graph.assumed for value in (self._forms[node].low, self._forms[node].high)]
        finite = jnp.array([jnp.isfinite(value).all() for value in ranges] or [True]).all()
        return jnp.where(finite & ~jnp.isnan(found), found, jnp.inf)

    def _activated(self, node: Node, offset: Float[Array, "m"]) -> Number:
        """The same where the output is a function of each coordinate of its argument: slopes need no unknowns."""
        form = self._forms[node.operands[0]]
        function = self._function(node)
        middle, half = (v.reshape(-1) for v in _middle(function.chords(form.low, form.high, form.value)))
        steepest = jnp.abs(middle) + half
        rounded = steepest * form.error.reshape(-1) + function.rounding(form.low, form.high).reshape(-1)
        # b . t D over slopes t within half of the middle.
        turned = 2.0 * jnp.sum(jnp.abs(offset) * half * (moved(form) + form.error).reshape(-1))
        squared = farthest(offset, middle, steepest * (1.0 + SLACK), joined(*self._groups(form)), turned)
        return jnp.sqrt(squared) + jnp.linalg.norm(rounded)

    def _step(self, node: Node) -> Form:
        match node:
            case Operation():
                return self._linear(node)
            case Product():
                return self._product(node)
            case LogSumExp():
                return self._logsumexp(node)
        return self._activate(node)

    def _linear(self, node: Operation) -> Form:
        depends = [operand.level is Level.INPUT for operand in node.operands]
        forms = [self._forms[operand] if moves else None for operand, moves in zip(node.operands, depends, strict=True)]

        def push(mode: Mode, pick: Callable[[Form], Array]) -> Array:
            operands = [
                self._ground[operand] if form is None else pick(form)
                for operand, form in zip(node.operands, forms, strict=True)
            ]
            return apply(node, operands, depends, mode)

        value = push("value", lambda form: form.value)
        middle = push("value", lambda form: 0.5 * (form.low + form.high))
        width = push("spread", lambda form: 0.5 * (form.high - form.low))
        magnitude = push("magnitude", lambda form: form.reach)
        # Constants that the program computes are rounded themselves, more than once.
        computed = any(isinstance(operand, Operation) and operand.level is Level.GIVEN for operand in node.operands)
        terms = roundings(node) + (_COMPUTED if computed else 0)
        gamma = terms * _HALF_ULP / (1.0 - terms * _HALF_ULP)
        slack = self._slacks[node] = (gamma + SLACK) * magnitude
        error = push("spread", lambda form: form.error) + slack
        low, high = middle - width - slack, middle + width + slack
        moving = [form for form in forms if form is not None]
        if any(form.columns is None for form in moving):
            return Form(value, low, high, None, error, magnitude)
        columns = {
            group: self._push(node, group, forms)
            for group in sorted({group for form in moving for group in (form.columns or {})})
        }
        return self._bounded(Form(value, low, high, None, error, magnitude), columns, low, high)

    def _push(self, node: Operation, group: Group, forms: Sequence[Form | None]) -> Float[Array, "n *shape"]:
        """One group's columns through an operation."""
        depends = [form is not None for form in forms]
        given = {
            place: form.columns[group]
            for place, form in enumerate(forms)
            if form is not None and form.columns is not None and group in form.columns
        }

        def one(column: Mapping[int, Array]) -> Array:
            operands = []
            for place, (operand, form) in enumerate(zip(node.operands, forms, strict=True)):
                if form is None:
                    operands.append(self._ground[operand])
                else:
                    operands.append(column.get(place, jnp.zeros(operand.shape, operand.dtype)))
            return apply(node, operands, depends, "linear")

        return jax.vmap(one)(given)

    def _bounded(self, form: Form, columns: dict[Group, Array], low: Values, high: Values) -> Form:
        """The form with columns, and its range cut to what they allow."""
        deviation = sum(self._deviation(group, column) for group, column in columns.items()) + form.error
        slack = SLACK * (jnp.abs(form.value) + deviation)
        low = jnp.maximum(jnp.maximum(form.low, low), form.value - deviation - slack)
        high = jnp.minimum(jnp.minimum(form.high, high), form.value + deviation + slack)
        # Rounding may have parted bounds that meet.
        low, high = jnp.minimum(low, form.value), jnp.maximum(high, form.value)
        reach = jnp.maximum(form.reach, jnp.abs(form.value) + deviation)
        return Form(form.value, low, high, columns, form.error, reach)

    def _deviation(self, group: Group, columns: Float[Array, "n *shape"]) -> Values:
        """How far one group moves each coordinate, at most."""
        ball = self._balls[group]
        by_norm = ball.radius * jnp.sqrt(jnp.sum(jnp.square(columns), axis=0))
        if ball.box is None:
            return by_norm
        return jnp.minimum(by_norm, jnp.tensordot(ball.box, jnp.abs(columns), 1))

    def _groups(self, form: Form) -> tuple[list[Array], list[Number]]:
        assert form.columns is not None
        matrices = [columns.reshape(len(columns), -1) for columns in form.columns.values()]
        return matrices, [self._balls[group].radius for group in form.columns]

    def _compressed(self, form: Form) -> Form:
        """The form with no more columns a group than it has coordinates; all that follows reads it alone."""
        columns = {}
        for group, column in (form.columns or {}).items():
            if len(column) > form.value.size <= _FACTORED:
                column = factor(column.reshape(len(column), -1)).reshape(-1, *form.value.shape)
                self._balls[group] = Ball(self._balls[group].radius, None)
            columns[group] = column
        return form._replace(columns=columns)

    def _function(self, node: Node) -> Unary:
        return function_of(node, self._ground.__getitem__)

    def _activate(self, node: Node) -> Form:
        function = self._function(node)
        form = self._forms[node.operands[0]]
        least, most = function.values(form.low, form.high)
        result = _result(function.value(form.value), least, most, function.rounding(form.low, form.high))
        if form.columns is None:
            return result
        return self._unfolded(node, result, [(form, function.chords(form.low, form.high, form.value))])

    def _product(self, node: Product) -> Form:
        """a b - a_0 b_0 = (b + b_0) / 2 (a - a_0) + (a + a_0) / 2 (b - b_0)."""
        first, second = self._forms[node.first], self._forms[node.second]
        corners = [a * b for a in (first.low, first.high) for b in (second.low, second.high)]
        least, most = jnp.min(jnp.stack(corners), axis=0), jnp.max(jnp.stack(corners), axis=0)
        largest = jnp.maximum(jnp.abs(least), jnp.abs(most))
        result = _result(first.value * second.value, least, most, _HALF_ULP * largest)
        if first.columns is None or second.columns is None:
            return result

        def slopes(other: Form) -> Range:
            return Range(0.5 * (other.value + other.low), 0.5 * (other.value + other.high))

        return self._unfolded(node, result, [(first, slopes(second)), (second, slopes(first))])

    def _logsumexp(self, node: LogSumExp) -> Form:
        """Convex, with a gradient in the simplex: its chord is a mean of softmax over the segment.

        As `expand` has it in the place of a softmax's shift and sum, its rounding is theirs: of the exponent, the sum
        and the quotient.
        """
        form = self._forms[node.operand]
        axes, count = node.axes, math.prod(node.operand.shape[axis] for axis in node.axes)

        def total(values: Values) -> Values:
            return jax.nn.logsumexp(values, axis=axes, keepdims=True)

        exponent = jnp.max(jnp.maximum(jnp.abs(form.low), jnp.abs(form.high)), axis=axes, keepdims=True)
        rounding = _HALF_ULP * (4.0 * exponent + count + 24.0)
        result = _result(total(form.value), total(form.low), total(form.high), rounding)
        if form.columns is None:
            return result
        weights = softmax_range(form, axes)
        return self._unfolded(node, result, [(form, weights)], axes)

    def _unfolded(
        self, node: Node, result: Form, moves: Sequence[tuple[Form, Range]], axes: tuple[int, ...] | None = None
    ) -> Form:
        """The form of a value that moves by the sum of t (a - a_0), the slopes t in ranges, summed over axes or not.

        Args:
          node: whose number its unknowns get.
          result: the form of its value, without columns; its error is its rounding.
          moves: the forms of what it reads, of one shape, and the slopes.
        """
        columns: dict[Group, Array] = {}
        box, radius, off = jnp.zeros(()), jnp.zeros(()), jnp.zeros(())
        middles = [(form, *_middle(slopes)) for form, slopes in moves]
        for form, middle, half in middles:
            for group, column in (form.columns or {}).items():
                columns[group] = columns[group] + column * middle if group in columns else column * middle
            off = off + (jnp.abs(middle) + half) * (form.error + SLACK * form.reach)
            box = box + half * moved(form)
        # What is summed rounds once, after the sum.
        off = off + (result.error if axes is None else 0.0)
        box = (box + off).reshape(-1)
        weights = jnp.sqrt(box)
        scale = jnp.where(box > 0.0, 1.0 / jnp.where(box > 0.0, weights, 1.0), 0.0)
        for form, _, half in middles:
            matrices, radii = self._groups(form)
            ratio = half.reshape(-1) * scale
            radius = radius + norm_above([matrix * ratio for matrix in matrices], radii)
        radius = radius + jnp.linalg.norm(off.reshape(-1) * scale)
        shape = moves[0][0].value.shape
        if len(box) > _MOST_COLUMNS:
            boxes = box.reshape(shape)
            error = boxes if axes is None else result.error + jnp.sum(boxes, axis=axes, keepdims=True)
            columns = columns if axes is None else _summed(columns, axes)
            return self._bounded(result._replace(error=error), columns, result.low, result.high)
        # In units of its weights, each unknown is at most sqrt(box).
        radius = jnp.minimum(radius, jnp.linalg.norm(weights)) * (1.0 + 1e-9)
        self._balls[node.order] = Ball(radius, weights * (1.0 + 1e-9))
        columns[node.order] = jnp.diag(weights).reshape(len(weights), *shape)
        error = jnp.zeros_like(result.value)
        if axes is not None:
            columns, error = _summed(columns, axes), result.error
        return self._bounded(result._replace(error=error), columns, result.low, result.high)


def _result(value: Values, least: Values, most: Values, rounding: Values) -> Form:
    """A value of a known range, before its columns; its error is what it rounds off."""
    largest = jnp.maximum(jnp.abs(least), jnp.abs(most))
    rounding = rounding + SLACK * largest
    return Form(value, least - rounding, most + rounding, None, rounding, largest + rounding)


def _summed(columns: Mapping[Group, Array], axes: tuple[int, ...]) -> dict[Group, Array]:
    behind = tuple(axis + 1 for axis in axes)
    return {group: jnp.sum(column, axis=behind, keepdims=True) for group, column in columns.items()}


def softmax_range(form: Form, axes: tuple[int, ...]) -> Range:
    """The range of a value's softmax: it grows with its own coordinate and falls with every other."""
    top = jnp.max(form.high, axis=axes, keepdims=True)
    low, high = jnp.exp(form.low - top), jnp.exp(form.high - top)
    slack = 1e-12 * math.prod(form.value.shape[axis] for axis in axes) * jnp.sum(high, axis=axes, keepdims=True)
    others_low = jnp.maximum(jnp.sum(low, axis=axes, keepdims=True) - low - slack, 0.0)
    others_high = jnp.sum(high, axis=axes, keepdims=True) - high + slack
    return Range(low / (low + others_high), jnp.minimum(high / (high + others_low + 1e-300), 1.0))


def _middle(found: Range) -> tuple[Values, Values]:
    middle = 0.5 * (found.lower + found.upper)
    return middle, jnp.maximum(found.upper - middle, middle - found.lower)


def moved(form: Form) -> Values:
    return jnp.maximum(form.high - form.value, form.value - form.low)
