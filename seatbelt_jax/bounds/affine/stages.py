"""One affine map between activations, as functions that compile.

Source 0 is x, source k the result of the k-th activation; a stage maps the sources that it reads to the input of an
activation or to an output.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.affine.graph import Level, Node, Operation, bind
from seatbelt_jax.bounds.affine.patterns import ADDITIVE, MULTIPLICATIVE
from seatbelt_jax.bounds.checks import Norm

Source = int
INPUT: Source = 0


class Columns(NamedTuple):
    """Columns of a linear map into one value, and two norms of each of its rows.

    Attributes:
      columns: [n, *shape], one column each.
      absolute: [*shape], the sum of the magnitudes.
      euclidean: [*shape], the root of the sum of squares.
    """

    columns: Float[Array, "n *shape"]
    absolute: Float[Array, "*shape"]
    euclidean: Float[Array, "*shape"]

    def dual_norms(self, norm: Norm) -> Float[ndarray, "*shape"]:
        """How far each row moves at most with the columns' unknowns in the unit ball of a norm, in float64."""
        return np.asarray(self.euclidean if norm == "l2" else self.absolute, np.float64)


class Box(NamedTuple):
    """What a stage does to points and to intervals.

    Attributes:
      value: at the given points.
      middle: at the middles of the intervals.
      spread: how far an output is from `middle` at most, each input being within its own spread.
      magnitude: the sum of the magnitudes of all terms, which rounding errors are proportional to.
    """

    value: Float[Array, "*shape"]
    middle: Float[Array, "*shape"]
    spread: Float[Array, "*shape"]
    magnitude: Float[Array, "*shape"]


class Stage:
    """One affine map, from the values of its sources to the value of one node."""

    def __init__(self, target: Node, numbers: Mapping[Node, Source]):
        self.target = target
        nodes, sources, constants = _between(target, numbers)
        self._nodes = nodes
        self._sources = {numbers[node]: node for node in sources}
        self._constants = constants
        self.fixed = all(node.level is Level.FIXED for node in constants)
        self.shape = target.shape
        self.size = math.prod(target.shape)
        self.box = jax.jit(self._box)
        self.push = jax.jit(self._push)
        self.rows = jax.jit(self._rows, static_argnums=1)
        self.absolute_sums = jax.jit(self._absolute_sums, static_argnums=1)

    @property
    def sources(self) -> list[Source]:
        return sorted(self._sources)

    @property
    def constants(self) -> list[Node]:
        return self._constants

    def shape_of(self, source: Source) -> tuple[int, ...]:
        return self._sources[source].shape

    def dtype_of(self, source: Source) -> Any:
        return self._sources[source].dtype

    def _box(
        self,
        constants: Sequence[Array],
        points: Mapping[Source, Array],
        middles: Mapping[Source, Array],
        spreads: Mapping[Source, Array],
        magnitudes: Mapping[Source, Array],
    ) -> Box:
        with jax.default_matmul_precision("highest"):
            return Box(
                self._evaluate(constants, points, "value"),
                self._evaluate(constants, middles, "value"),
                self._evaluate(constants, spreads, "spread"),
                self._evaluate(constants, magnitudes, "magnitude"),
            )

    def _push(
        self, constants: Sequence[Array], columns: Mapping[Source, Array], scales: Mapping[Source, Array]
    ) -> Columns:
        """The linear part of the stage on columns, each first scaled elementwise; absent sources are zero."""

        def one(given: Mapping[Source, Array]) -> Array:
            zeros = {s: jnp.zeros(node.shape, node.dtype) for s, node in self._sources.items() if s not in given}
            return self._evaluate(constants, {**zeros, **given}, "linear")

        with jax.default_matmul_precision("highest"):
            scaled = {source: array * scales[source] for source, array in columns.items()}
            pushed = jax.vmap(one)(scaled)
        # The largest entry is taken out of each row, so that no square vanishes or overflows.
        largest = jnp.max(jnp.abs(pushed), axis=0, initial=0.0)
        scale = jnp.where(largest > 0.0, largest, 1.0)
        euclidean = scale * jnp.sqrt(jnp.sum(jnp.square(pushed / scale), axis=0))
        return Columns(pushed, jnp.sum(jnp.abs(pushed), axis=0), euclidean)

    def _rows(self, constants: Sequence[Array], source: Source) -> Float[Array, "rows columns"]:
        """The linear map from one source as a matrix, by reverse mode."""
        with jax.default_matmul_precision("highest"):
            _, pull = self._alone(constants, source, "linear")
            basis = jnp.eye(self.size, dtype=self.target.dtype).reshape(self.size, *self.shape)
            return jax.vmap(lambda row: pull(row)[0].reshape(-1))(basis)

    def _absolute_sums(
        self, constants: Sequence[Array], source: Source
    ) -> tuple[Float[Array, "rows"], Float[Array, "columns"]]:
        """The sums of magnitudes of the rows and of the columns of the linear map from one source."""
        with jax.default_matmul_precision("highest"):
            by_rows, pull = self._alone(constants, source, "spread")
            (by_columns,) = pull(jnp.ones_like(by_rows))
            return by_rows.reshape(-1), by_columns.reshape(-1)

    def _alone(self, constants: Sequence[Array], source: Source, mode: str) -> tuple[Array, Callable]:
        zeros = {s: jnp.zeros(node.shape, node.dtype) for s, node in self._sources.items()}
        ones = jnp.ones(self.shape_of(source), zeros[source].dtype)
        return jax.vjp(lambda value: self._evaluate(constants, {**zeros, source: value}, mode), ones)

    def _evaluate(self, constants: Sequence[Array], values: Mapping[Source, Array], mode: str) -> Array:
        """The stage on arrays.

        "value" is the stage itself and "linear" it without what is added. "spread" and "magnitude" are these two
        with all constants and all signs replaced by their magnitudes: |A| v and |A| v + |b| for A v + b.
        """
        known = dict(zip(self._constants, constants, strict=True))
        known |= {node: values[source] for source, node in self._sources.items()}
        unsigned = mode in ("spread", "magnitude")

        def read(operation: Operation, operand: Node) -> Array:
            value = known[operand]
            if operand.level is Level.INPUT or not jnp.issubdtype(operand.dtype, jnp.inexact):
                return value
            if operation.name in ADDITIVE and mode in ("linear", "spread"):
                return jnp.zeros_like(value)
            signless = operation.name in ADDITIVE or operation.name in MULTIPLICATIVE
            return jnp.abs(value) if unsigned and signless else value

        for node in self._nodes:
            operands = [read(node, operand) for operand in node.operands]
            if unsigned and node.name == "sub":
                known[node] = operands[0] + operands[1]
            elif unsigned and node.name == "neg":
                (known[node],) = operands
            else:
                known[node] = bind(node, operands)
        return known[self.target]


def _between(target: Node, numbers: Mapping[Node, Source]) -> tuple[list[Operation], list[Node], list[Node]]:
    """The operations from sources to the target in order, the sources, and the constants among their operands."""
    operations: dict[int, Operation] = {}
    sources: dict[Node, None] = {}
    constants: dict[Node, None] = {}
    stack = [target]
    while stack:
        node = stack.pop()
        if node in numbers:
            sources[node] = None
        elif node.level is not Level.INPUT:
            constants[node] = None
        elif node.order not in operations:
            assert isinstance(node, Operation)
            operations[node.order] = node
            stack += node.operands
    return [operations[order] for order in sorted(operations)], list(sources), list(constants)
