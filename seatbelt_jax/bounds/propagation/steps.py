"""Operations in order, apart from the arrays that they read: what is compiled for them serves all functions alike."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxtyping import Array

from seatbelt_jax.bounds.propagation.graph import Level, Node, Operation, bind
from seatbelt_jax.program import key_of


class Step(NamedTuple):
    """One operation.

    Attributes:
      operation: without the nodes that it reads.
      operands: numbers of the values that it reads; inputs come first, then the results of the steps before it.
      dependent: for each operand, whether it depends on x.
    """

    operation: Operation
    operands: tuple[int, ...]
    dependent: tuple[bool, ...]


# From a step and the values that it reads to its result.
Apply = Callable[[Step, list[Array]], Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Steps:
    """A straight program of arrays. Two are equal where they take the same steps.

    Attributes:
      steps: in order.
      outputs: numbers of the values that are its results.
      key: what is compared.
    """

    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    key: Any = dataclasses.field(repr=False)

    @classmethod
    def of(cls, operations: Sequence[Operation], inputs: Sequence[Node], outputs: Sequence[Node]) -> "Steps":
        """From operations, each after those that it reads, that read nothing else but the inputs."""
        numbers = {node: number for number, node in enumerate([*inputs, *operations])}
        # Bare of their operands: the arrays behind those would live as long as what is compiled.
        steps = tuple(
            Step(
                dataclasses.replace(operation, arguments=(), source=None),
                tuple(numbers[operand] for operand in operation.operands),
                tuple(operand.level is Level.INPUT for operand in operation.operands),
            )
            for operation in operations
        )
        results = tuple(numbers[node] for node in outputs)
        return cls(steps, results, (len(inputs), tuple(map(_key, steps)), results))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Steps) and self.key == other.key

    def run(self, inputs: Sequence[Any], apply: Apply) -> list[Any]:
        """The results, with each step taken by `apply`."""
        values = list(inputs)
        for step in self.steps:
            values.append(apply(step, [values[number] for number in step.operands]))
        return [values[number] for number in self.outputs]


def take(step: Step, operands: list[Array]) -> Array:
    """The result of a step as the code has it."""
    return bind(step.operation, operands)


def _key(step: Step) -> Any:
    operation = step.operation
    params = tuple((name, key_of(operation.params[name])) for name in sorted(operation.params))
    return (operation.primitive, params, operation.result, step.operands, step.dependent)
