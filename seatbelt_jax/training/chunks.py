"""Several optimiser steps in one dispatch: the host hands over a chunk of batches and is free until they are done."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seatbelt_jax.training.settings import TrainConfig
from seatbelt_jax.training.state import TrainState
from seatbelt_jax.training.step import Metrics

# An accelerator takes a step of a small model in less time than the host needs to ask for the next one. A CPU gains
# nothing, and XLA runs a loop's body several times slower there than the same program without a loop.
_ON_ACCELERATORS = 32


def steps_per_dispatch(schedule: TrainConfig, *, on_device: bool) -> int:
    """The longest chunk: as configured, else by the device and by whether the images are on it."""
    if schedule.steps_per_dispatch:
        return schedule.steps_per_dispatch
    return _ON_ACCELERATORS if on_device and jax.default_backend() != "cpu" else 1


def chunk_ends(start: int, schedule: TrainConfig, longest: int) -> Iterator[int]:
    """The steps at which chunks end, after `start`, up to the last one.

    They are those after which something is written, and between them every `longest`-th. They do not depend on `start`,
    where that is one of them, so that a run that goes on has the chunks, and so the bits, of one that never stopped.
    """
    every = (longest, schedule.log_every, schedule.evaluate_every, schedule.checkpoint_every)
    while start < schedule.steps:
        start = min(schedule.steps, *(start - start % interval + interval for interval in every))
        yield start


def chunks(
    batches: Iterator[np.ndarray], start: int, ends: Iterable[int], longest: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(end, its batches [longest, batch, ..]) of each chunk; a shorter chunk is filled up with its last batch."""
    for end in ends:
        taken = [next(batches) for _ in range(end - start)]
        yield end, np.stack(taken + [taken[-1]] * (longest - len(taken)))
        start = end


def take_chunk(
    step: Callable[[TrainState, Any], tuple[TrainState, Metrics]], state: TrainState, batches: Any, count: Any
) -> tuple[TrainState, Metrics]:
    """Takes `count` steps; pure. Returns the state after them and the last one's metrics.

    Args:
      step: (state, batch) -> (state, metrics).
      state: before the steps.
      batches: [longest, batch, ..].
      count: how many of them to take; may be traced, so that chunks of all lengths share a program.
    """
    if len(batches) == 1:
        return step(state, batches[0])
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(step, state, batches[0])[1])
    return jax.lax.fori_loop(0, count, lambda number, carry: step(carry[0], batches[number]), (state, nothing))
