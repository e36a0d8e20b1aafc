"""What a run computes, compiled: its first state, chunks of steps, evaluations."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from seatbelt_jax import data
from seatbelt_jax.models import Model
from seatbelt_jax.training import chunks, distributed, divergence, programs
from seatbelt_jax.training.evaluation import Evaluation
from seatbelt_jax.training.parallel import (
    check_divisible,
    data_parallel,
    gather_rows,
    place,
    split_large,
)
from seatbelt_jax.training.recipe import make_recipe
from seatbelt_jax.training.settings import Settings
from seatbelt_jax.training.state import TrainState, create, restore
from seatbelt_jax.training.step import Metrics
from seatbelt_jax.training.streams import EVALUATION, INIT, NOISE, streams


class Trainer:
    """One model on one data set, on all devices; no files.

    Args:
      model: architecture and likelihood.
      splits: training and validation images in the likelihood's range.
      settings: from `parse_settings`.

    Attributes:
      schedule: how many steps, and when something is written.
      image_range: of the images, the likelihood's.

    Raises:
      ValueError: where a batch does not fit the data or the number of devices.
    """

    def __init__(self, model: Model, splits: data.Splits, settings: Settings):
        self._settings, self.schedule = settings, settings.train
        self.image_range = model.likelihood.image_range
        data.check_batch_size(self.schedule.batch_size, splits.train)
        check_divisible(self.schedule.batch_size)
        split, replicated = data_parallel()
        self._replicated = replicated
        self._keys = streams(settings.seed)
        self._recipe = make_recipe(model, settings, splits.train.size)
        images = data.place_on_device(splits.train, self.schedule.resident_mib, progress=True)
        resident = None if images.resident is None else place(images.resident, replicated)
        # What was placed on one device is let go.
        self._images = dataclasses.replace(images, resident=resident)
        on_device = images.traceable or resident is not None
        self._longest = chunks.steps_per_dispatch(self.schedule, on_device=on_device)

        state = jax.eval_shape(functools.partial(create, self._recipe), self._keys[INIT])
        self._where = programs.Placement(split_large(state, replicated, self.schedule.shard_parameters_mib))
        self._batches_split = NamedSharding(split.mesh, PartitionSpec(None, *split.spec))
        self._source: programs.Source | None = None
        self._take = programs.steps(self._recipe, self._where, self._batches_split, replicated)
        # The aggregate posterior of N training images has at most N components in a batch.
        shown = min(self.schedule.evaluation_images, splits.train.size, splits.validation.size)
        validation = splits.validation.images(np.arange(shown, dtype=np.int32))
        self._validation = place(jnp.asarray(validation), replicated if shown % replicated.mesh.size else split)
        self._evaluate = programs.evaluation(model, splits.train.size, replicated)

    def create(self) -> TrainState:
        """The state at step 0; no device ever has more than its part of what is split."""
        return programs.creation(self._recipe, self._where)(self._keys[INIT])

    def restore(self, step: int, variables: Any, training: Any) -> TrainState:
        """The state of a checkpoint, read to where `create` has it."""
        state = restore(step, variables, training)
        return dataclasses.replace(state, step=place(state.step, self._replicated))

    def chunks(self, start: int) -> Iterator[tuple[int, np.ndarray]]:
        """(end, batches) of the chunks that follow step `start`, see `training.chunks`."""
        ends = chunks.chunk_ends(start, self.schedule, self._longest)
        return chunks.chunks(self._batches(start, distributed.shard()), start, ends, self._longest)

    def take(self, state: TrainState, batches: np.ndarray, count: int) -> tuple[TrainState, Metrics]:
        """Takes the `count` steps of a chunk. Uses `state` up; does not wait for the result."""
        return self._take(*self._arguments(state, batches, count))

    def compile(self, state: TrainState, batches: np.ndarray) -> None:
        """Compiles what `take` and `evaluate` need, which can take minutes, ahead of their first call."""
        self._take = self._take.lower(*self._arguments(state, batches, 1)).compile()
        self._evaluate = self._evaluate.lower(*self._looked_at(state)).compile()

    def evaluate(self, state: TrainState) -> Evaluation:
        """Looks at the model on validation images; waits for the result."""
        return jax.device_get(self._evaluate(*self._looked_at(state)))

    def has_diverged(self, metrics: Metrics) -> bool:
        """Whether, at a step with these metrics, too many in a row had not been finite; waits for the step."""
        return int(metrics["skipped_in_a_row"]) >= self.schedule.max_skipped_in_a_row

    def report_divergence(self, state: TrainState, directory: pathlib.Path) -> str:
        """Keeps in `directory` what the newest steps that were not finite started from, and says what it was."""
        state = divergence.before_row(state)
        batch = place(next(self._batches(int(state.step), shard=(0, 1))), self._replicated)
        images = self._images.from_batch(batch, self._images.resident)
        steps = self.schedule.max_skipped_in_a_row
        return divergence.keep_for_reproduction(directory, state, images, self._keys[NOISE], self._recipe, steps=steps)

    def _arguments(self, state: TrainState, batches: np.ndarray, count: int) -> tuple[Any, ...]:
        """Those of `programs.steps`."""
        rows = gather_rows(batches, self._batches_split)
        if self._source is None:
            batch = jax.ShapeDtypeStruct(rows.shape[1:], rows.dtype)
            self._source = programs.Source.of(self._images, batch, lambda arrays: place(arrays, self._replicated))
        return state, rows, np.int32(count), self._source, self._keys[NOISE]

    def _looked_at(self, state: TrainState) -> tuple[Any, ...]:
        """The arguments of `programs.evaluation`."""
        return state.variables, state.step, self._validation, self._keys[EVALUATION]

    def _batches(self, start: int, shard: tuple[int, int]) -> Iterator[np.ndarray]:
        schedule, seed = self.schedule, self._settings.seed
        return data.batches(
            self._images, batch_size=schedule.batch_size, seed=seed, start=start, stop=schedule.steps, shard=shard
        )
