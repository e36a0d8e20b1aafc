"""The nodes of a traced function: affine operations between activations (see `trace`)."""

import dataclasses
import enum
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from numpy import ndarray


class Level(enum.IntEnum):
    """What a node depends on: nothing, the further arguments, or x."""

    FIXED = 0
    GIVEN = 1
    INPUT = 2


_created = itertools.count()


@dataclasses.dataclass(eq=False, kw_only=True)
class Node:
    """One array of the graph; `order` grows from operands to results.

    Attributes:
      assumed: nodes that must be finite all over the ball for this node to be what the code computes.
    """

    shape: tuple[int, ...]
    dtype: Any
    level: Level
    assumed: tuple["Node", ...] = ()
    order: int = dataclasses.field(default_factory=lambda: next(_created), init=False)

    @property
    def operands(self) -> tuple["Node", ...]:
        return ()


@dataclasses.dataclass(eq=False, kw_only=True)
class Constant(Node):
    """A parameter or a literal."""

    value: Any


@dataclasses.dataclass(eq=False, kw_only=True)
class Argument(Node):
    """x, of index 0 and level INPUT, or one of the further arguments."""

    index: int


@dataclasses.dataclass(eq=False, kw_only=True)
class Operation(Node):
    """Result number `result` of a primitive; `source` says where the code has it."""

    primitive: Primitive
    params: dict[str, Any]
    arguments: tuple[Node, ...]
    result: int = 0
    source: Any = None

    @property
    def operands(self) -> tuple[Node, ...]:
        return self.arguments

    @property
    def name(self) -> str:
        return self.primitive.name


@dataclasses.dataclass(eq=False, kw_only=True)
class Unsupported(Operation):
    """An operation on x that is neither affine nor a known activation: an error where an output needs it."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Activated(Node):
    """An activation of a kind that `activations.resolve` knows, with constants for its parameters."""

    kind: str
    operand: Node
    parameters: tuple[Node, ...] = ()

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self.operand, *self.parameters)


@dataclasses.dataclass(eq=False, kw_only=True)
class Composed(Node):
    """An elementwise function of one node, `root`: what the nodes between it and `body` compute."""

    root: Node
    body: Node

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self.root,)


@dataclasses.dataclass(eq=False, kw_only=True)
class Piecewise(Node):
    """A continuous elementwise function of one node: `below` where it is less than the threshold, else `above`."""

    root: Node
    threshold: float
    below: Node
    above: Node

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self.root,)


@dataclasses.dataclass(eq=False, kw_only=True)
class Product(Node):
    """The elementwise product of two nodes that both depend on x."""

    first: Node
    second: Node

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self.first, self.second)


@dataclasses.dataclass(eq=False, kw_only=True)
class IsNaN(Node):
    """Whether a value is NaN, as jnp.logaddexp asks: a selection by it takes the other case, and assumes it finite."""

    operand: Node

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclasses.dataclass(eq=False, kw_only=True)
class LogSumExp(Node):
    """log sum exp over axes, which are kept with size 1."""

    operand: Node
    axes: tuple[int, ...]

    @property
    def operands(self) -> tuple[Node, ...]:
        return (self.operand,)


def bind(operation: Operation, values: Sequence[Any]) -> Any:
    """The operation's result on arrays."""
    results = operation.primitive.bind(*values, **operation.params)
    return results[operation.result] if operation.primitive.multiple_results else results


def fixed_value(node: Node) -> ndarray | None:
    """The value of a node that depends on nothing, no random key either; None of any other node."""
    if jnp.issubdtype(node.dtype, jax.dtypes.prng_key):
        return None
    if isinstance(node, Constant):
        return np.asarray(node.value)
    if node.level is Level.FIXED and isinstance(node, Operation):
        values = [fixed_value(operand) for operand in node.operands]
        # A mask drawn with a fixed key is fixed, but the key is no array of numbers.
        return None if any(value is None for value in values) else np.asarray(bind(node, values))
    return None


def needed(outputs: Sequence[Node]) -> list[Node]:
    """The nodes that depend on x and that an output needs, operands before results."""
    found: dict[int, Node] = {}
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node.level is Level.INPUT and node.order not in found:
            found[node.order] = node
            stack += node.operands
    return [found[order] for order in sorted(found)]
