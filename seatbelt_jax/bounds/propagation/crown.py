"""Ranges over a ball by backward linear relaxation (CROWN, Zhang et al. 2018), anchored at x.

Every activation lies between two lines over the range of its argument. A linear function of a value is pushed back
through the graph, at each activation onto the line that bounds it from above, down to d, where the dual norm ends it.
The range of each argument is bounded so, one after the other, from the ranges before it; intervals go along.

What a value rounds off in float32 is bounded as in `chords`, and added where the backward pass meets it.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.propagation.chords import SLACK, Deviations, Form, Number, Values, moved, softmax_range
from seatbelt_jax.bounds.propagation.enclosing import enclosure
from seatbelt_jax.bounds.propagation.end import End
from seatbelt_jax.bounds.propagation.graph import Level, LogSumExp, Node, Operation, Product
from seatbelt_jax.bounds.propagation.linear import apply
from seatbelt_jax.bounds.propagation.reading import Graph, Ground, ranged
from seatbelt_jax.bounds.propagation.start import Start, first
from seatbelt_jax.bounds.propagation.unary import Unary

# Numbers in the rows of one value that are pushed back at once: 256 MiB of float64.
_MOST_NUMBERS = 2**25

Rows = Float[Array, "m *shape"]


class Line(NamedTuple):
    """How a node's movement is bounded by those of what it reads.

    Attributes:
      slopes: for each operand, of the line that bounds the node from above and of the one that bounds it from below.
      above, below: their offsets.
    """

    slopes: tuple[tuple[Values, Values], ...]
    above: Values
    below: Values


class Backward(Deviations):
    """The ranges of all nodes of a graph, for one ball and one draw; the argument of each activation is refined."""

    def __init__(self, graph: Graph, ground: Ground, start: Start, x: Values, radius: Number, norm: Norm):
        self._norm = norm
        self._beginning, _ = first(graph)
        self._lines: dict[Node, Line] = {}
        super().__init__(graph, ground, start, x, radius)

    def _known(self, node: Node, form: Form) -> Form:
        if node is self._beginning:
            width = self._radius * self._start.reach * (1.0 + SLACK) + form.error
            form = form._replace(
                low=jnp.maximum(form.low, form.value - width), high=jnp.minimum(form.high, form.value + width)
            )
        elif node in ranged(self._graph) and self._graph.nodes.index(node) > self._graph.nodes.index(self._beginning):
            form = self._refine(node, form)
        return form

    def farthest(self, centre: Values, end: End | None) -> Number:
        """An upper bound of ||output - centre||_2 over the ball, of outputs as float32 evaluates them."""
        out = self._forms[self._graph.output]
        worst = jnp.maximum(jnp.abs(out.high - centre), jnp.abs(out.low - centre))
        found = jnp.linalg.norm(worst) * (1.0 + 1e-9)
        return self._proven(found)

    def _step(self, node: Node) -> Form:
        form = super()._step(node)
        if not isinstance(node, Operation) and node is not self._graph.x:
            self._lines[node] = self._line(node, form)
        return form

    def _line(self, node: Node, result: Form) -> Line:
        forms = [self._forms[operand] for operand in _read_by(node)]
        rounding = result.error + SLACK * result.reach
        match node:
            case Product():
                return _of_product(forms[0], forms[1], rounding)
            case LogSumExp():
                return _of_logsumexp(forms[0], node.axes, rounding)
        return _of_function(self._function(node), forms[0], rounding)

    def _refine(self, node: Node, form: Form) -> Form:
        size = math.prod(node.shape)
        widest = max(math.prod(other.shape) for other in self._graph.nodes)
        batch = max(1, min(size, _MOST_NUMBERS // (2 * widest)))

        def of_row(place: Array) -> Array:
            row = jnp.zeros(size).at[place].set(1.0).reshape(1, *node.shape)
            return self._above(node, jnp.concatenate([row, -row]))

        if batch == size:
            rows = jnp.eye(size).reshape(size, *node.shape)
            found = self._above(node, jnp.concatenate([rows, -rows])).reshape(2, size)
        else:
            found = jax.lax.map(of_row, jnp.arange(size), batch_size=batch).T
        up, down = (bound.reshape(node.shape) for bound in found)
        low = jnp.minimum(jnp.maximum(form.low, form.value - down), form.value)
        high = jnp.maximum(jnp.minimum(form.high, form.value + up), form.value)
        return form._replace(low=low, high=high)

    def _above(self, target: Node, rows: Rows) -> Float[Array, "m"]:
        """An upper bound of each row applied to the target's movement."""
        pending: dict[Node, Rows] = {target: rows}
        constant = jnp.zeros(len(rows))
        nodes = self._graph.nodes
        for node in reversed(nodes[: nodes.index(target) + 1]):
            if node not in pending:
                continue
            given = pending.pop(node)
            if node is self._beginning:
                constant = constant + self._ended(given)
                break
            if isinstance(node, Operation):
                constant = constant + _sum(jnp.abs(given), self._slacks[node])
                pulled = self._pull(node, given)
            else:
                line = self._lines[node]
                rising, falling = jnp.maximum(given, 0.0), jnp.minimum(given, 0.0)
                constant = constant + _sum(rising, line.above) + _sum(falling, line.below)
                pulled = [
                    (operand, rising * above + falling * below)
                    for operand, (above, below) in zip(_read_by(node), line.slopes, strict=True)
                ]
            for operand, part in pulled:
                pending[operand] = pending[operand] + part if operand in pending else part
        return constant

    def _pull(self, node: Operation, rows: Rows) -> list[tuple[Node, Rows]]:
        """The rows through the transpose of an operation's linear part."""
        depends = [operand.level is Level.INPUT for operand in node.operands]
        moving = _read_by(node)

        def linear(*moved: Array) -> Array:
            rest = iter(moved)
            operands = [
                next(rest) if moves else self._ground[operand]
                for operand, moves in zip(node.operands, depends, strict=True)
            ]
            return apply(node, operands, depends, "linear")

        _, pull = jax.vjp(linear, *[jnp.zeros(operand.shape) for operand in moving])
        return list(zip(moving, jax.vmap(pull)(rows), strict=True))

    def _ended(self, rows: Rows) -> Float[Array, "m"]:
        """The largest that the rows make of the start's movement."""
        flat = rows.reshape(len(rows), -1)
        columns = jnp.asarray(self._start.columns).reshape(-1, flat.shape[1])
        pixels = flat @ columns.T
        dual = jnp.linalg.norm(pixels, ord=2 if self._norm == "l2" else 1, axis=1)
        error = self._forms[self._beginning].error.reshape(-1)
        slack = SLACK * self._radius * (jnp.abs(flat) @ self._start.reach.reshape(-1))
        return self._radius * dual + jnp.abs(flat) @ error + slack


def _read_by(node: Node) -> list[Node]:
    """The operands that depend on x."""
    return [operand for operand in node.operands if operand.level is Level.INPUT]


def _sum(rows: Rows, offsets: Values) -> Float[Array, "m"]:
    return jnp.sum((rows * offsets).reshape(len(rows), -1), axis=1)


def _of_function(function: Unary, form: Form, rounding: Values) -> Line:
    found = enclosure(function, form.low, form.high)
    here = function.value(form.value)
    # Lines through (a, s a + o), as movements from x.
    above = found.above.slope * form.value + found.above.offset - here
    below = found.below.slope * form.value + found.below.offset - here
    size = jnp.abs(here) + jnp.abs(found.above.slope * form.value) + jnp.abs(found.below.slope * form.value)
    slack = rounding + SLACK * size
    return Line(((found.above.slope, found.below.slope),), above + slack, below - slack)


def _of_product(a: Form, b: Form, rounding: Values) -> Line:
    """McCormick's planes: (a - l_a)(b - u_b) <= 0 and (a - l_a)(b - l_b) >= 0."""
    here = a.value * b.value
    above = a.low * b.value + b.high * a.value - a.low * b.high - here
    below = a.low * b.value + b.low * a.value - a.low * b.low - here
    return Line(((b.high, b.low), (a.low, a.low)), above + rounding, below - rounding)


def _of_logsumexp(form: Form, axes: tuple[int, ...], rounding: Values) -> Line:
    """Convex: below, its tangent at x; above, the same slopes and what these may be off by."""
    slope = jax.nn.softmax(form.value, axis=axes)
    weights = softmax_range(form, axes)
    off = jnp.maximum(weights.upper - slope, slope - weights.lower) * moved(form)
    rest = jnp.sum(off, axis=axes, keepdims=True)
    return Line(((slope, slope),), rest + rounding, -rounding)
