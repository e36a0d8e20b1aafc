"""What a training computes, compiled once for all trainings of one recipe: their keys and images are arguments."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seatbelt_jax.data import Dataset
from seatbelt_jax.models import Model
from seatbelt_jax.program import Program, trace
from seatbelt_jax.training import chunks
from seatbelt_jax.training.evaluation import Evaluation, evaluate
from seatbelt_jax.training.recipe import Recipe
from seatbelt_jax.training.state import TrainState, create
from seatbelt_jax.training.step import Metrics, train_step


class Placement:
    """Where each array of a state lives, hashable.

    Args:
      tree: a sharding for each array.
    """

    def __init__(self, tree: Any):
        leaves, self._structure = jax.tree.flatten(tree)
        self._leaves: tuple[NamedSharding, ...] = tuple(leaves)

    @property
    def tree(self) -> Any:
        return jax.tree.unflatten(self._structure, self._leaves)

    def __hash__(self) -> int:
        return hash((self._leaves, self._structure))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Placement) and (self._leaves, self._structure) == (other._leaves, other._structure)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Source:
    """Turns a batch, as the host gives it, into images; a pytree.

    Attributes:
      read: (batch, resident) -> images; traced, so that it is equal for equal data sets.
      resident: all pixels, on the device; None where they stay on the host.
    """

    read: Program
    resident: Array | None

    def __call__(self, batch: Array) -> Float[Array, "batch height width channels"]:
        images: Float[Array, "batch height width channels"] = self.read(batch, self.resident)
        return images

    @classmethod
    def of(cls, images: Dataset, batch: Any, place: Callable[[Any], Any] = lambda arrays: arrays) -> "Source":
        """The source of a data set's batches.

        Args:
          images: whose pixels, where they are resident, live where they shall.
          batch: one of `data.batches`, or its `jax.ShapeDtypeStruct`.
          place: moves what the data set's function closes over to where it shall live; by default it stays.
        """
        read = trace(images.from_batch, batch, images.resident)
        return cls(Program(read.code, place(read.arrays)), images.resident)


@functools.cache
def creation(recipe: Recipe, where: Placement) -> Any:
    """key -> the state at step 0."""
    return jax.jit(functools.partial(create, recipe), out_shardings=where.tree)


@functools.cache
def steps(recipe: Recipe, where: Placement, batches: NamedSharding, replicated: NamedSharding) -> Any:
    """(state, batches, count, source, key) -> the state after so many steps, and the last one's metrics.

    Uses the state up: its memory becomes that of the next one.
    """
    return jax.jit(
        functools.partial(_take, recipe),
        donate_argnums=0,
        in_shardings=(where.tree, batches, None, None, None),
        out_shardings=(where.tree, replicated),
    )


@functools.cache
def evaluation(model: Model, dataset_size: int, replicated: NamedSharding | None = None) -> Any:
    """(variables, step, images, key) -> an `Evaluation`."""
    look = functools.partial(_look, model, dataset_size)
    return jax.jit(look) if replicated is None else jax.jit(look, out_shardings=replicated)


def _take(
    recipe: Recipe, state: TrainState, batches: Array, count: Int[Array, ""], source: Source, key: PRNGKeyArray
) -> tuple[TrainState, Metrics]:
    def step(state: TrainState, batch: Array) -> tuple[TrainState, Metrics]:
        return train_step(state, source(batch), key, recipe=recipe)

    return chunks.take_chunk(step, state, batches, count)


def _look(
    model: Model,
    dataset_size: int,
    variables: Any,
    step: Int[Array, ""],
    images: Float[Array, "batch height width channels"],
    key: PRNGKeyArray,
) -> Evaluation:
    return evaluate(model.bind(variables), images, jax.random.fold_in(key, step), dataset_size=dataset_size)
