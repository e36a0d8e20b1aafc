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

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax.bounds.propagation.graph import Activated, Level, Node, Operation
from seatbelt_jax.bounds.propagation.linear import Mode, apply, roundings
from seatbelt_jax.bounds.propagation.reading import Graph, Ground
from seatbelt_jax.bounds.propagation.spectral import factor, farthest, joined, norm_above
from seatbelt_jax.bounds.propagation.start import Start, first
from seatbelt_jax.bounds.propagation.unary import Range, Unary, resolve

Group = int
Values = Float[Array, "*shape"]
Number = Float[Array, ""]

_HALF_ULP = 2.0**-24 * (1.0 + 2.0**-20)
# Roundings of float64 in what costs float32 none, relative to `reach`.
_SLACK = 1e-13
_RESHAPING = ("reshape", "copy", "squeeze", "expand_dims")

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
        self._forms: dict[Node, Form] = {}
        self._balls: dict[Group, Ball] = {0: Ball(radius, None)}
        at_x = Form(x, x - radius, x + radius, None, jnp.zeros_like(x), jnp.abs(x) + radius)
        beginning, _ = first(graph)
        for node in graph.nodes:
            form = at_x if node is graph.x else self._step(node)
            if node is beginning:
                width = radius * start.reach * (1.0 + _SLACK)
                form = self._bounded(form, {0: jnp.asarray(start.columns)}, form.value - width, form.value + width)
            elif node in graph.cuts and form.columns is not None:
                form = self._compressed(form)
            self._forms[node] = form

    def farthest(self, centre: Values) -> Number:
        """An upper bound of ||output - centre||_2 over the ball, of outputs as float32 evaluates them."""
        node = self._graph.output
        while isinstance(node, Operation) and node.name in _RESHAPING:
            node = node.operands[0]
        out = self._forms[self._graph.output]
        offset = (out.value - centre).reshape(-1)
        if isinstance(node, Activated):
            # The last activation scales each coordinate: its slopes need no unknowns.
            form = self._forms[node.operand]
            function = self._function(node)
            slopes = function.chords(form.low, form.high, form.value)
            middle, half = (value.reshape(-1) for value in _middle(slopes))
            steepest = jnp.abs(middle) + half
            rounded = steepest * form.error.reshape(-1) + function.rounding(form.low, form.high).reshape(-1)
        else:
            form, middle, half, steepest = out, jnp.ones_like(offset), jnp.zeros_like(offset), jnp.ones_like(offset)
            rounded = form.error.reshape(-1)
        matrix = joined(*self._groups(form))
        # b . t D over slopes t within half of the middle.
        turned = 2.0 * jnp.sum(jnp.abs(offset) * half * (_moved(form) + form.error).reshape(-1))
        squared = farthest(offset, middle, steepest * (1.0 + _SLACK), matrix, turned)
        by_columns = jnp.sqrt(squared) + jnp.linalg.norm(rounded)
        by_box = jnp.linalg.norm(jnp.maximum(jnp.abs(out.high - centre), jnp.abs(out.low - centre)))
        found = jnp.minimum(by_columns, by_box) * (1.0 + 1e-9)
        return jnp.where(jnp.isnan(found), jnp.inf, found)

    def _step(self, node: Node) -> Form:
        if isinstance(node, Activated):
            return self._activate(node)
        assert isinstance(node, Operation)
        return self._linear(node)

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
        terms = roundings(node)
        gamma = terms * _HALF_ULP / (1.0 - terms * _HALF_ULP)
        slack = (gamma + _SLACK) * magnitude
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
        slack = _SLACK * (jnp.abs(form.value) + deviation)
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

    def _function(self, node: Activated) -> Unary:
        return resolve(node.kind, [self._ground[parameter] for parameter in node.parameters])

    def _activate(self, node: Activated) -> Form:
        function = self._function(node)
        form = self._forms[node.operand]
        value = function.value(form.value)
        least, most = function.values(form.low, form.high)
        magnitude = jnp.maximum(jnp.abs(least), jnp.abs(most))
        slack = function.rounding(form.low, form.high) + _SLACK * magnitude
        low, high = least - slack, most + slack
        magnitude = magnitude + slack
        if form.columns is None:
            return Form(value, low, high, None, high - low, magnitude)
        middle, half = _middle(function.chords(form.low, form.high, form.value))
        columns = {group: columns * middle for group, columns in form.columns.items()}
        off = (jnp.abs(middle) + half) * (form.error + _SLACK * form.reach) + slack
        columns |= self._unknown(node, form, half, off)
        return self._bounded(Form(value, low, high, None, jnp.zeros_like(value), magnitude), columns, low, high)

    def _unknown(self, node: Node, form: Form, half: Values, off: Values) -> dict[Group, Array]:
        """The group of |w q| <= half |a - a_0| + off, for the columns' share of a - a_0."""
        box = (half * _moved(form) + off).reshape(-1)
        weights = jnp.sqrt(box)
        scale = jnp.where(box > 0.0, 1.0 / jnp.where(box > 0.0, weights, 1.0), 0.0)
        matrices, radii = self._groups(form)
        ratio = half.reshape(-1) * scale
        radius = norm_above([matrix * ratio for matrix in matrices], radii)
        radius = radius + jnp.linalg.norm(off.reshape(-1) * scale)
        # In units of its weights, each unknown is at most sqrt(box).
        radius = jnp.minimum(radius, jnp.linalg.norm(weights)) * (1.0 + 1e-9)
        self._balls[node.order] = Ball(radius, weights * (1.0 + 1e-9))
        return {node.order: jnp.diag(weights).reshape(len(weights), *form.value.shape)}


def _middle(found: Range) -> tuple[Values, Values]:
    middle = 0.5 * (found.lower + found.upper)
    return middle, jnp.maximum(found.upper - middle, middle - found.lower)


def _moved(form: Form) -> Values:
    return jnp.maximum(form.high - form.value, form.value - form.low)
