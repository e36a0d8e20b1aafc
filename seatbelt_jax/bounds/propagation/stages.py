"""One affine map between activations, as functions that compile.

Source 0 is x, source k the result of the k-th activation; a stage maps the sources that it reads to the input of an
activation or to an output.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.propagation.graph import Level, Node, Operation
from seatbelt_jax.bounds.propagation.patterns import ADDITIVE, MULTIPLICATIVE
from seatbelt_jax.bounds.propagation.steps import Step, Steps, take

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
    """One affine map, from the values of its sources to the value of one node.

    Attributes:
      code: the map apart from its constants.
      constants: the nodes that are added or multiplied.
      fixed: whether no further argument enters.
    """

    def __init__(self, target: Node, numbers: Mapping[Node, Source]):
        operations, nodes, self.constants = _between(target, numbers)
        self.code = Code(
            Steps.of(operations, [*self.constants, *nodes], [target]),
            tuple((numbers[node], node.shape, node.dtype) for node in nodes),
            target.shape,
            target.dtype,
        )
        self.fixed = all(node.level is Level.FIXED for node in self.constants)
        self.shape, self.dtype, self.size = target.shape, target.dtype, math.prod(target.shape)

    @property
    def sources(self) -> list[Source]:
        return sorted(source for source, _, _ in self.code.sources)

    def shape_of(self, source: Source) -> tuple[int, ...]:
        return next(shape for number, shape, _ in self.code.sources if number == source)

    def dtype_of(self, source: Source) -> Any:
        return next(dtype for number, _, dtype in self.code.sources if number == source)


@dataclasses.dataclass(frozen=True)
class Code:
    """A stage as functions of its constants, each compiled once for all stages of the same steps and shapes.

    Attributes:
      steps: from the constants and then the sources to the stage's value.
      sources: number, shape and type of each.
      shape, dtype: of the value.
    """

    steps: Steps
    sources: tuple[tuple[Source, tuple[int, ...], Any], ...]
    shape: tuple[int, ...]
    dtype: Any

    @functools.partial(jax.jit, static_argnums=0)
    def box(
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

    @functools.partial(jax.jit, static_argnums=0)
    def push(
        self, constants: Sequence[Array], columns: Mapping[Source, Array], scales: Mapping[Source, Array]
    ) -> Columns:
        """The linear part of the stage on columns, each first scaled elementwise; absent sources are zero."""

        def one(given: Mapping[Source, Array]) -> Array:
            zeros = {s: zeros for s, zeros in self._zeros().items() if s not in given}
            return self._evaluate(constants, {**zeros, **given}, "linear")

        with jax.default_matmul_precision("highest"):
            scaled = {source: array * scales[source] for source, array in columns.items()}
            pushed = jax.vmap(one)(scaled)
        # The largest entry is taken out of each row, so that no square vanishes or overflows.
        largest = jnp.max(jnp.abs(pushed), axis=0, initial=0.0)
        scale = jnp.where(largest > 0.0, largest, 1.0)
        euclidean = scale * jnp.sqrt(jnp.sum(jnp.square(pushed / scale), axis=0))
        return Columns(pushed, jnp.sum(jnp.abs(pushed), axis=0), euclidean)

    @functools.partial(jax.jit, static_argnums=(0, 2))
    def rows(self, constants: Sequence[Array], source: Source) -> Float[Array, "rows columns"]:
        """The linear map from one source as a matrix, by reverse mode."""
        with jax.default_matmul_precision("highest"):
            _, pull = self._alone(constants, source, "linear")
            size = math.prod(self.shape)
            basis = jnp.eye(size, dtype=self.dtype).reshape(size, *self.shape)
            return jax.vmap(lambda row: pull(row)[0].reshape(-1))(basis)

    @functools.partial(jax.jit, static_argnums=(0, 2))
    def absolute_sums(
        self, constants: Sequence[Array], source: Source
    ) -> tuple[Float[Array, "rows"], Float[Array, "columns"]]:
        """The sums of magnitudes of the rows and of the columns of the linear map from one source."""
        with jax.default_matmul_precision("highest"):
            by_rows, pull = self._alone(constants, source, "spread")
            (by_columns,) = pull(jnp.ones_like(by_rows))
            return by_rows.reshape(-1), by_columns.reshape(-1)

    def _alone(self, constants: Sequence[Array], source: Source, mode: str) -> tuple[Array, Callable]:
        zeros = self._zeros()
        ones = jnp.ones_like(zeros[source])
        return jax.vjp(lambda value: self._evaluate(constants, {**zeros, source: value}, mode), ones)

    def _zeros(self) -> dict[Source, Array]:
        return {source: jnp.zeros(shape, dtype) for source, shape, dtype in self.sources}

    def _evaluate(self, constants: Sequence[Array], values: Mapping[Source, Array], mode: str) -> Array:
        """The stage on arrays.

        "value" is the stage itself and "linear" it without what is added. "spread" and "magnitude" are these two
        with all constants and all signs replaced by their magnitudes: |A| v and |A| v + |b| for A v + b.
        """
        unsigned = mode in ("spread", "magnitude")

        def read(name: str, value: Array, dependent: bool) -> Array:
            if dependent or not jnp.issubdtype(value.dtype, jnp.inexact):
                return value
            if name in ADDITIVE and mode in ("linear", "spread"):
                return jnp.zeros_like(value)
            signless = name in ADDITIVE or name in MULTIPLICATIVE
            return jnp.abs(value) if unsigned and signless else value

        def apply(step: Step, given: list[Array]) -> Array:
            name = step.operation.name
            operands = [read(name, *operand) for operand in zip(given, step.dependent, strict=True)]
            if unsigned and name == "sub":
                return operands[0] + operands[1]
            if unsigned and name == "neg":
                return operands[0]
            return take(step, operands)

        (result,) = self.steps.run([*constants, *(values[source] for source, _, _ in self.sources)], apply)
        return result


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
