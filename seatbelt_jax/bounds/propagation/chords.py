"""Deviations of a function's values over a ball, by telescoped chord intervals.

Anchored at x, a value v moves by v(x + d) - v(x) = sum_g M_g^T q_g + e: group 0 is d, each activation f adds one of its
own, and e is what was rounded off since then. The chord slopes of f lie in [c - r, c + r], so
f(a) - f(a_0) = c (a - a_0) + w q with |w_i q_i| <= r_i |a_i - a_0i| + (|c_i| + r_i) e_i, for any weights w. So ||q||_2
is at most the norm of diag(r / w) (a - a_0), which the groups before bound, and each |q_i| is bounded by the box of a.
Linear operations act on the columns M_g alone (`groups`). Where only some coordinates become unknowns, the boxes of the
others are part of e.

Rounding. The values v(x + d) are those of an evaluation in float32; v(x) is taken in float64. A sum of n products, in
any order, fused or not, is within gamma_n sum |w| |v| of its value in real arithmetic, gamma_n = n u / (1 - n u), u =
2^-24 (Higham 2002, Sec. 3.1). An activation is granted 8 u of its value, or of 1 plus its value (`unary`); maxima round
nothing. These errors are part of e, and so of the next activation's unknowns, and reach the output through the same
columns. This assumes that products are computed without fast algorithms (Winograd) and in float32 throughout. The
bounds themselves are computed in float64: their roundings are those sums with 2^-53 for u, applied to no more than
`reach`, so that 2^-20 of the float32 slack, by which it is raised, covers them.
"""

import functools
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
from seatbelt_jax.bounds.propagation.groups import (
    Columns,
    Group,
    added,
    compressed,
    deviation,
    matrix,
    pushed,
    settled,
    weighted,
)
from seatbelt_jax.bounds.propagation.linear import Mode, apply, roundings
from seatbelt_jax.bounds.propagation.reading import Graph, Ground, ranged
from seatbelt_jax.bounds.propagation.spectral import farthest, farthest_of, norm_above
from seatbelt_jax.bounds.propagation.start import Start, first
from seatbelt_jax.bounds.propagation.unary import Range, Unary

Values = Float[Array, "*shape"]
Number = Float[Array, ""]

_HALF_ULP = 2.0**-24 * (1.0 + 2.0**-20)
# Roundings of float64 in what costs float32 none, relative to `reach`.
SLACK = 1e-13
# Roundings granted to constants that the program computes from parameters, such as a normalisation's scale.
_COMPUTED = 16
_RESHAPING = ("reshape", "copy", "squeeze", "expand_dims")

# The longest value whose columns are replaced by a triangular factor: each row of it takes a step of a loop.
_FACTORED = 256


class Form(NamedTuple):
    """A value over the ball.

    Attributes:
      value: at x, in float64.
      low, high: its range over the ball, as float32 evaluates it.
      columns: the maps from groups' unknowns to the deviation; None before the start, where intervals are all.
      error: how far the deviation is from what the columns make of their unknowns, at most.
      reach: a bound of its magnitude, no less than |value| plus what the columns and the error add up to.
    """

    value: Values
    low: Values
    high: Values
    columns: Columns | None
    error: Values
    reach: Values


class Deviations:
    """The forms of all nodes of a graph, for one ball and one draw."""

    def __init__(self, graph: Graph, ground: Ground, start: Start, x: Values, radius: Number):
        self._graph = graph
        self._ground = ground
        self._start = start
        self._radius = radius
        self._forms: dict[Node, Form] = {}
        at_x = Form(x, x - radius, x + radius, None, jnp.zeros_like(x), jnp.abs(x) + radius)
        self._slacks: dict[Node, Values] = {}
        for node in graph.nodes:
            self._forms[node] = self._known(node, at_x if node is graph.x else self._step(node))

    def _known(self, node: Node, form: Form) -> Form:
        """The form as later nodes read it."""
        if node is first(self._graph)[0]:
            width = self._radius * self._start.reach * (1.0 + SLACK) + form.error
            rows = jnp.asarray(self._start.columns)
            columns = Columns([Group(jnp.full(len(rows), self._radius), None)], rows, 1, {})
            form = form._replace(columns=columns)
            return _bounded(form, form.value - width, form.value + width)
        if form.columns is None:
            return form
        if node in self._graph.cuts and form.value.size <= _FACTORED:
            columns, error = compressed(form.columns, moved(form))
            form = form._replace(columns=columns, error=form.error + error)
        # Only the norm is asked for where the output lies behind the last linear map.
        asked = node in ranged(self._graph) and not (node is self._graph.output and last(self._graph)[1])
        return _bounded(_settled(form)) if asked else form

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
            rest, columns = jnp.zeros(()), out.columns
            assert columns is not None
            if end is not None:
                # ||b + Q R y||^2 = ||Q^T b + R y||^2 + what of b is orthogonal to Q.
                basis, factor_of = jnp.asarray(end.basis), jnp.asarray(end.factor)
                form = self._forms[last(self._graph)[0]]
                columns, _ = pushed([form.columns], lambda moved: factor_of @ moved[0].reshape(-1))
                inner = offset @ basis
                rest = jnp.sum(jnp.square(offset - basis @ inner))
                offset = inner
            columns, dropped = settled(columns)
            squared = farthest_of(offset, matrix(columns), rest)
            found = jnp.sqrt(squared) + jnp.linalg.norm(out.error) + jnp.linalg.norm(dropped)
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
        assert form.columns is not None
        function = self._function(node)
        middle, half = (v.reshape(-1) for v in _middle(function.chords(form.low, form.high, form.value)))
        steepest = jnp.abs(middle) + half
        rounded = steepest * form.error.reshape(-1) + function.rounding(form.low, form.high).reshape(-1)
        # b . t D over slopes t within half of the middle.
        turned = 2.0 * jnp.sum(jnp.abs(offset) * half * (moved(form) + form.error).reshape(-1))
        squared = farthest(offset, middle, steepest * (1.0 + SLACK), matrix(form.columns), turned)
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

        moving = [form for form in forms if form is not None]
        columns = None
        if all(form.columns is not None for form in moving):
            columns, errors = pushed(
                [None if form is None else form.columns for form in forms],
                lambda moves: self._applied(node, depends, moves, "linear"),
            )
            forms = [
                form if form is None or error is None else form._replace(error=form.error + error)
                for form, error in zip(forms, errors, strict=True)
            ]

        def push(mode: Mode, pick: Callable[[Form], Sequence[Values]]) -> Array:
            stacks = {place: jnp.stack(pick(form)) for place, form in enumerate(forms) if form is not None}
            return jax.vmap(lambda values: self._applied(node, depends, values, mode))(stacks)

        value, middle = push("value", lambda form: (form.value, 0.5 * (form.low + form.high)))
        width, error = push("spread", lambda form: (0.5 * (form.high - form.low), form.error))
        (magnitude,) = push("magnitude", lambda form: (form.reach,))
        # Constants that the program computes are rounded themselves, more than once.
        computed = any(isinstance(operand, Operation) and operand.level is Level.GIVEN for operand in node.operands)
        terms = roundings(node) + (_COMPUTED if computed else 0)
        gamma = terms * _HALF_ULP / (1.0 - terms * _HALF_ULP)
        slack = self._slacks[node] = (gamma + SLACK) * magnitude
        return Form(value, middle - width - slack, middle + width + slack, columns, error + slack, magnitude)

    def _applied(self, node: Operation, depends: Sequence[bool], values: Mapping[int, Array], mode: Mode) -> Array:
        """An operation on values in place of some of the operands that depend on x, and 0 in place of the others."""
        operands = [
            values.get(place, jnp.zeros(operand.shape, operand.dtype)) if moving else self._ground[operand]
            for place, (operand, moving) in enumerate(zip(node.operands, depends, strict=True))
        ]
        return apply(node, operands, depends, mode)

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
          result: the form of its value, without columns; its error is its rounding.
          moves: the forms of what it reads, of one shape, and the slopes.
        """
        middles = [(form, *_middle(slopes)) for form, slopes in moves]
        # What is summed rounds once, after the sum.
        box = off = sum(
            ((jnp.abs(middle) + half) * (form.error + SLACK * form.reach) for form, middle, half in middles),
            result.error if axes is None else jnp.zeros(()),
        )
        box = off + sum(half * moved(form) for form, _, half in middles)
        # In units of its weights, each unknown is at most sqrt(box).
        weights = jnp.sqrt(box)
        scale = jnp.where(box > 0.0, 1.0 / jnp.where(box > 0.0, weights, 1.0), 0.0).reshape(-1)

        read = [form.columns for form, _, _ in middles if form.columns is not None]

        def radius(chosen: Array | slice) -> Number:
            found = jnp.linalg.norm((off.reshape(-1) * scale)[chosen])
            for columns, (_, _, half) in zip(read, middles, strict=True):
                ratio = (half.reshape(-1) * scale)[chosen]
                found = found + norm_above(weighted(columns, functools.partial(_turned, chosen, ratio)))
            return jnp.minimum(found, jnp.linalg.norm(weights.reshape(-1)[chosen])) * (1.0 + 1e-9)

        def linear(moves: Mapping[int, Array]) -> Array:
            return sum((move * middles[place][1] for place, move in moves.items()), jnp.zeros(box.shape))

        columns, _ = pushed(read, linear)
        columns, error = added(columns, weights, box * (1.0 + 1e-9), radius)
        if axes is not None:
            columns, error = _summed(columns, axes), result.error + jnp.sum(error, axis=axes, keepdims=True)
        return result._replace(columns=columns, error=error)


def _turned(chosen: Array | slice, ratio: Array, rows: Array) -> Array:
    return rows[:, chosen] * ratio


def _settled(form: Form) -> Form:
    assert form.columns is not None
    columns, error = settled(form.columns)
    return form._replace(columns=columns, error=form.error + error)


def _bounded(form: Form, low: Values | None = None, high: Values | None = None) -> Form:
    """The form with its range cut to what its columns allow, and to a range given."""
    assert form.columns is not None
    low, high = form.low if low is None else low, form.high if high is None else high
    away = deviation(form.columns) + form.error
    slack = SLACK * (jnp.abs(form.value) + away)
    low = jnp.maximum(jnp.maximum(form.low, low), form.value - away - slack)
    high = jnp.minimum(jnp.minimum(form.high, high), form.value + away + slack)
    # Rounding may have parted bounds that meet.
    low, high = jnp.minimum(low, form.value), jnp.maximum(high, form.value)
    return form._replace(low=low, high=high, reach=jnp.maximum(form.reach, jnp.abs(form.value) + away))


def _result(value: Values, least: Values, most: Values, rounding: Values) -> Form:
    """A value of a known range, before its columns; its error is what it rounds off."""
    largest = jnp.maximum(jnp.abs(least), jnp.abs(most))
    rounding = rounding + SLACK * largest
    return Form(value, least - rounding, most + rounding, None, rounding, largest + rounding)


def _summed(columns: Columns, axes: tuple[int, ...]) -> Columns:
    behind = tuple(axis + 1 for axis in axes)
    fresh = {place: jnp.sum(rows, axis=behind, keepdims=True) for place, rows in columns.fresh.items()}
    return columns._replace(kept=jnp.sum(columns.kept, axis=behind, keepdims=True), fresh=fresh)


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
