"""A function cut into stages at its activations, and what is known of it before any radius.

The linear maps of stages from x and the norms of all stages depend on no radius, and where no further argument enters
on no image: they are computed when first asked for and kept.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.double import wide
from seatbelt_jax.bounds.operator_norm import INFLATION, LARGEST_GRAM, operator_norm
from seatbelt_jax.bounds.propagation.activations import resolve
from seatbelt_jax.bounds.propagation.graph import Activated, Argument, Constant, Node, Operation, needed
from seatbelt_jax.bounds.propagation.stages import INPUT, Columns, Source, Stage
from seatbelt_jax.bounds.propagation.steps import Steps, take
from seatbelt_jax.bounds.propagation.trace import trace

_Key = tuple[Any, ...]


class Program:
    """A function of x and of constants, cut into stages.

    Attributes:
      activations: the k-th activation makes source k, counted from 1.
      stages: for each activation, the stage that gives its input.
      outputs: the stage of each output leaf; None where x does not enter.
      structure: of the function's output.
    """

    def __init__(self, function: Callable, x: Any, constants: Sequence[Any]):
        array = _check_point(x)
        self._image = jax.ShapeDtypeStruct(array.shape, array.dtype)
        self._structure, self._shapes = _described(constants)
        leaves, self.structure = trace(function, self._image, constants)
        with jax.enable_x64(True):
            self._cut(leaves)

    def _cut(self, leaves: Sequence[Node]) -> None:
        nodes = needed(leaves)
        self.activations = [node for node in nodes if isinstance(node, Activated)]
        numbers: dict[Node, Source] = {node: INPUT for node in nodes if isinstance(node, Argument)}
        numbers |= {node: index for index, node in enumerate(self.activations, start=1)}
        self.stages = [Stage(node.operand, numbers) for node in self.activations]
        self.outputs = [Stage(leaf, numbers) if leaf in nodes else None for leaf in leaves]
        self.all_stages = [*self.stages, *(stage for stage in self.outputs if stage is not None)]
        parameters = [parameter for node in self.activations for parameter in node.parameters]
        self._constants = [*(node for stage in self.all_stages for node in stage.constants), *parameters]
        last = {source: stage for stage in self.all_stages for source in stage.sources}
        self._last_read: dict[Stage, list[Source]] = {}
        for source, stage in last.items():
            self._last_read.setdefault(stage, []).append(source)
        self._inputs, operations = _behind(self._constants)
        self._steps = Steps.of(operations, self._inputs, self._constants)
        self._kept: dict[_Key, Any] = {}

    def last_read_by(self, stage: Stage) -> list[Source]:
        """The sources that no later stage reads."""
        return self._last_read.get(stage, [])

    def point(self, x: Any) -> Float[ndarray, "*image"]:
        """x on the host; raises unless it is finite, of the shape and precision that the function was read with."""
        array = _check_point(x)
        if (array.shape, array.dtype) != (self._image.shape, self._image.dtype):
            raise ValueError(
                f"the function was read for x of shape {self._image.shape} and {self._image.dtype}, got shape "
                f"{array.shape} and {array.dtype}"
            )
        return array

    def with_constants(self, constants: Sequence[Any]) -> "Instance":
        """The program with its further arguments at given values.

        Raises:
          ValueError: these differ in structure or shapes from those that the function was read with.
        """
        structure, shapes = _described(constants)
        if (structure, shapes) != (self._structure, self._shapes):
            raise ValueError(
                f"the function was read with further arguments of shapes {self._shapes} in {self._structure}, "
                f"got shapes {shapes} in {structure}"
            )
        # The first argument, x, is none of the constants.
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            arguments = [None, *map(_in_float64, jax.tree.leaves(tuple(constants)))]
            inputs = [arguments[node.index] if isinstance(node, Argument) else node.value for node in self._inputs]
            values = _evaluate(self._steps, inputs)
            return Instance(self, dict(zip(self._constants, values, strict=True)), self._kept)


class Instance:
    """A program whose constants are all known."""

    def __init__(self, program: Program, values: Mapping[Node, Array], shared: dict[_Key, Any]):
        self.program = program
        self.activations = [
            resolve(node.kind, [np.asarray(values[parameter]) for parameter in node.parameters])
            for node in program.activations
        ]
        self._values = values
        self._shared = shared
        self._own: dict[_Key, Any] = {}

    def constants(self, stage: Stage) -> list[Array]:
        return [self._values[node] for node in stage.constants]

    def from_input(self, stage: Stage) -> Columns:
        """The linear map of a stage from x alone, one column for each pixel."""
        return self._keep(stage, "columns", lambda: self._columns(stage, INPUT))

    def lipschitz(self, stage: Stage, norm: Norm) -> float:
        """A Lipschitz constant of a stage's value as a function of x, everywhere: the product of the layers' norms.

        Each value is as Lipschitz as the stage's norm times the constant of what it reads. The terms of several sources
        add. Where it is less, as for values that are concatenated, the norm of the joint map counts, times the root of
        the sum of squares.
        """
        key = ("lipschitz", stage, norm)
        if key not in self._own:
            of_sources = {source: self._of_source(source, norm) for source in stage.sources}
            self._own[key] = self._combined(stage, of_sources, norm)
        return self._own[key]

    def _of_source(self, source: Source, norm: Norm) -> float:
        if source == INPUT:
            return 1.0
        stage = self.program.stages[source - 1]
        everywhere = np.full(stage.shape, np.inf)
        steepest = np.max(np.abs(self.activations[source - 1].slopes(-everywhere, everywhere)), initial=0.0)
        return times(float(steepest), self.lipschitz(stage, norm))

    def _combined(self, stage: Stage, of_sources: Mapping[Source, float], norm: Norm) -> float:
        norms = {source: self._norm(stage, (source,), norm if source == INPUT else "l2") for source in of_sources}
        total = math.fsum(times(norms[source], of_sources[source]) for source in of_sources)
        # Sums of squares are of values in L2; under another norm x stays apart.
        joint = tuple(source for source in of_sources if source != INPUT or norm == "l2")
        if len(joint) < 2 or not all(math.isfinite(of_sources[source]) for source in joint):
            return total
        apart = math.fsum(times(norms[source], of_sources[source]) for source in of_sources if source not in joint)
        together = math.hypot(*(of_sources[source] for source in joint))
        return min(total, apart + self._norm(stage, joint, "l2") * together)

    def _norm(self, stage: Stage, sources: tuple[Source, ...], norm: Norm) -> float:
        """An upper bound of the norm, from `norm` to L2, of the linear map from these sources."""

        def compute() -> float:
            sizes = [math.prod(stage.shape_of(source)) for source in sources]
            if min(stage.size, sum(sizes)) <= LARGEST_GRAM:
                matrix = np.concatenate([self._matrix(stage, source) for source in sources], axis=1)
                return operator_norm(matrix, norm)
            sums = [stage.code.absolute_sums(self.constants(stage), source) for source in sources]
            by_rows = np.sum([np.asarray(rows, np.float64) for rows, _ in sums], axis=0)
            largest_column = max(float(np.max(columns)) for _, columns in sums)
            bound = math.sqrt(by_rows.max() * largest_column) if norm == "l2" else float(np.linalg.norm(by_rows))
            return bound * (1.0 + INFLATION)

        return self._keep(stage, (sources, norm), compute)

    def _matrix(self, stage: Stage, source: Source) -> Float[ndarray, "rows columns"]:
        size = math.prod(stage.shape_of(source))
        if stage.size <= size:
            return np.asarray(stage.code.rows(self.constants(stage), source))
        columns = self.from_input(stage) if source == INPUT else self._columns(stage, source)
        return np.asarray(columns.columns).reshape(size, stage.size).T

    def _columns(self, stage: Stage, source: Source) -> Columns:
        shape = stage.shape_of(source)
        basis = jnp.eye(math.prod(shape), dtype=stage.dtype_of(source)).reshape(-1, *shape)
        return stage.code.push(self.constants(stage), {source: basis}, {source: jnp.ones(shape, basis.dtype)})

    def _keep(self, stage: Stage, what: Any, compute: Callable[[], Any]) -> Any:
        """The result of `compute`, shared by all instances where no further argument enters the stage."""
        kept = self._shared if stage.fixed else self._own
        key = (stage, what)
        if key not in kept:
            kept[key] = compute()
        return kept[key]


def _check_point(x: Any) -> Float[ndarray, "*image"]:
    array = np.asarray(x)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"x must be floating point, got dtype {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError("x holds NaN or infinite entries")
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)


def _in_float64(constant: Any) -> Array:
    array = jnp.asarray(constant)
    return array.astype(wide(array.dtype, False))


def _described(constants: Sequence[Any]) -> tuple[Any, list[tuple[int, ...]]]:
    leaves, structure = jax.tree.flatten(tuple(constants))
    return structure, [np.shape(leaf) for leaf in leaves]


def times(slope: float, constant: float) -> float:
    """The product of two bounds of which either may be infinite: what is multiplied by 0 is 0."""
    return slope * constant if slope and constant else 0.0


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(steps: Steps, inputs: Sequence[Array]) -> list[Array]:
    return steps.run(inputs, take)


def _behind(nodes: Sequence[Node]) -> tuple[list[Constant | Argument], list[Operation]]:
    """What nodes that do not depend on x are made of: numbers and further arguments, and operations in order."""
    found: dict[int, Node] = {}
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node.order not in found:
            found[node.order] = node
            stack += node.operands
    ordered = [found[order] for order in sorted(found)]
    inputs = [node for node in ordered if isinstance(node, Constant | Argument)]
    return inputs, [node for node in ordered if isinstance(node, Operation)]
