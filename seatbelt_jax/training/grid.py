"""Trainings that differ in seed and beta alone, all at once: one compiled program, vmapped over them.

A small model leaves most of a device idle, and compiling it can take longer than training it; the trainings of a grid
share both. Each is a run of its own on disk, as if it had been trained alone.
"""

import contextlib
import dataclasses
import functools
import itertools
import pathlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from tqdm import tqdm

from seatbelt_jax import data
from seatbelt_jax.models import Model
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.runs.damage import DamagedCheckpointError
from seatbelt_jax.runs.lock import locked
from seatbelt_jax.training import chunks, programs
from seatbelt_jax.training.divergence import DivergenceError
from seatbelt_jax.training.evaluation import Evaluation
from seatbelt_jax.training.recipe import Recipe, make_recipe
from seatbelt_jax.training.settings import Settings
from seatbelt_jax.training.state import TrainState, create, restore
from seatbelt_jax.training.step import Metrics, train_step
from seatbelt_jax.training.stopping import StopRequest
from seatbelt_jax.training.streams import EVALUATION, INIT, NOISE, streams
from seatbelt_jax.training.writers import MetricWriter

# The states of all trainings, stacked on a leading axis.
States = TrainState


def train_grid(
    model: Model,
    splits: data.Splits,
    settings: Sequence[Settings],
    directories: Sequence[pathlib.Path],
    *,
    on_evaluation: Callable[[int, int, Evaluation], None] | None = None,
) -> list[TrainState]:
    """Trains one model under several seeds and betas, from their newest common checkpoint to the configured step.

    On one device. What `train` promises of interruptions holds here too. A training that diverges stays where it is,
    and the others go on: its `skipped_in_a_row` says so. Where all do, it ends.

    Args:
      model: architecture and likelihood.
      splits: training and validation images in the likelihood's range.
      settings: of each training; they may differ in `seed` and `objective.beta`.
      directories: of each training's run.
      on_evaluation: called with the training's number, the step and each evaluation.

    Returns:
      The last state of each.

    Raises:
      ValueError: where the settings differ in more, a directory is named twice, a batch does not fit the data, or the
        trainings have been trained alone to where they have no step in common.
      DamagedCheckpointError: where there are checkpoints of a training and none of them can be read.
      DivergenceError: where too many steps in a row were not finite, in each of the trainings.
      OSError: where something cannot be written, the newest checkpoints stay as they were; or where another training
        is at work in one of the directories.
      KeyboardInterrupt: on Ctrl-C, after checkpoints have been written.
    """
    _check_grid(settings, directories)
    schedule = settings[0].train
    programs = _Programs(model, splits, settings)
    fresh = programs.create()
    stop = StopRequest()

    with contextlib.ExitStack() as stack:
        for path in directories:
            stack.enter_context(locked(path))
        saved = [stack.enter_context(Checkpoints(path / "checkpoints", clean=True)) for path in directories]
        start, states = _restore(saved, fresh)
        writers = [stack.enter_context(MetricWriter(path, start=start)) for path in directories]
        bar = stack.enter_context(tqdm(total=schedule.steps, initial=start, unit="step", disable=None))

        def evaluate_if_due(step: int, states: States) -> None:
            if step and (step == schedule.steps or step % schedule.evaluate_every == 0):
                for number, writer in enumerate(writers):
                    if not writer.has(step, "validation"):
                        found = programs.evaluate(states, number)
                        if on_evaluation is not None:
                            on_evaluation(number, step, found)
                        writer.write_evaluation(step, found, model.likelihood.image_range)

        evaluate_if_due(start, states)
        steps = programs.chunks(start)
        if first := next(steps, None):
            # While signals still do what they always do, see `train`.
            programs.compile(states, first[1])
            steps = itertools.chain([first], steps)
        step = logged_step = start
        logged_at = time.perf_counter()
        metrics = None
        with stop:
            for end, batches in steps:
                before = metrics
                states, metrics = programs.take(states, batches, end - step)
                bar.update(end - step)
                step = end
                jax.block_until_ready(before)
                save_now = step == schedule.steps or step % schedule.checkpoint_every == 0
                stop_now = stop.signal is not None
                if save_now or step % schedule.log_every == 0:
                    rows = jax.device_get(metrics)
                    now = time.perf_counter()
                    rate = (step - logged_step) * schedule.batch_size / (now - logged_at)
                    for number, writer in enumerate(writers):
                        # The rate of all together is this, times their number.
                        writer.write(step, "train", {**_pick(rows, number), "images_per_second": rate})
                    logged_at, logged_step = now, step
                    if np.all(rows["skipped_in_a_row"] >= schedule.max_skipped_in_a_row):
                        raise DivergenceError(
                            f"all {len(settings)} trainings diverged by step {step}; train one of them alone to see "
                            "why, or try a lower optimizer.learning_rate or set optimizer.max_gradient_norm"
                        )
                aside_since = time.perf_counter()
                if save_now or stop_now:
                    for writer in writers:
                        writer.flush()
                    _save(saved, step, states)
                if stop_now:
                    break
                evaluate_if_due(step, states)
                logged_at += time.perf_counter() - aside_since
    if stop.signal is not None:
        stop.deliver()
    return [_pick(states, number) for number in range(len(settings))]


class _Programs:
    """What a grid computes, compiled."""

    def __init__(self, model: Model, splits: data.Splits, settings: Sequence[Settings]):
        self._schedule = settings[0].train
        data.check_batch_size(self._schedule.batch_size, splits.train)
        self._seeds = [each.seed for each in settings]
        self._keys = jnp.stack([streams(seed) for seed in self._seeds])
        self._betas = jnp.asarray([each.objective.beta for each in settings])
        self._recipe = make_recipe(model, settings[0], splits.train.size)
        self._images = data.place_on_device(splits.train, self._schedule.resident_mib, progress=True)
        on_device = self._images.traceable or self._images.resident is not None
        self._longest = chunks.steps_per_dispatch(self._schedule, on_device=on_device)
        shown = min(self._schedule.evaluation_images, splits.train.size, splits.validation.size)
        self._validation = jnp.asarray(splits.validation.images(np.arange(shown, dtype=np.int32)))
        self._source: programs.Source | None = None
        self._take: Any = functools.partial(_take, self._recipe)
        self._look = programs.evaluation(model, splits.train.size)

    def create(self) -> States:
        return _create(self._recipe, self._keys[:, INIT])

    def chunks(self, start: int) -> Iterator[tuple[int, np.ndarray]]:
        """(end, batches [longest, training, batch, ..])."""
        schedule = self._schedule
        of_each = [
            data.batches(self._images, batch_size=schedule.batch_size, seed=seed, start=start, stop=schedule.steps)
            for seed in self._seeds
        ]
        ends = chunks.chunk_ends(start, schedule, self._longest)
        return chunks.chunks(map(np.stack, zip(*of_each, strict=True)), start, ends, self._longest)

    def take(self, states: States, batches: np.ndarray, count: int) -> tuple[States, Metrics]:
        """Uses `states` up; does not wait for the result."""
        return self._take(*self._arguments(states, batches, count))

    def compile(self, states: States, batches: np.ndarray) -> None:
        """Compiles what `take` and `evaluate` need ahead of their first call."""
        self._take = _take.lower(self._recipe, *self._arguments(states, batches, 1)).compile()
        self._look = self._look.lower(*self._looked_at(states, 0)).compile()

    def evaluate(self, states: States, number: int) -> Evaluation:
        return jax.device_get(self._look(*self._looked_at(states, number)))

    def _arguments(self, states: States, batches: np.ndarray, count: int) -> tuple[Any, ...]:
        """Those of `_take` after the recipe."""
        if self._source is None:
            batch = jax.ShapeDtypeStruct(batches.shape[2:], batches.dtype)
            self._source = programs.Source.of(self._images, batch)
        return states, batches, np.int32(count), self._source, self._keys[:, NOISE], self._betas

    def _looked_at(self, states: States, number: int) -> tuple[Any, ...]:
        """The arguments of `programs.evaluation` for one training."""
        state = _pick(states, number)
        return state.variables, state.step, self._validation, self._keys[number, EVALUATION]


@functools.partial(jax.jit, static_argnums=0)
def _create(recipe: Recipe, keys: PRNGKeyArray) -> States:
    return jax.vmap(functools.partial(create, recipe))(keys)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _take(
    recipe: Recipe,
    states: States,
    batches: Array,
    count: Int[Array, ""],
    source: programs.Source,
    keys: PRNGKeyArray,
    betas: Float[Array, " training"],
) -> tuple[States, Metrics]:
    def one(state: TrainState, batch: Array, key: PRNGKeyArray, beta: Float[Array, ""]) -> Any:
        return train_step(state, source(batch), key, recipe=dataclasses.replace(recipe, beta=beta))

    def step(states: States, batch: Array) -> tuple[States, Metrics]:
        return jax.vmap(one)(states, batch, keys, betas)

    return chunks.take_chunk(step, states, batches, count)


def _check_grid(settings: Sequence[Settings], directories: Sequence[pathlib.Path]) -> None:
    if (
        not settings
        or len(settings) != len(directories)
        or len({path.resolve() for path in directories}) < len(settings)
    ):
        raise ValueError(f"every training needs a directory of its own; got {len(settings)} settings and {directories}")
    first = settings[0]
    for number, each in enumerate(settings):
        objective = dataclasses.replace(each.objective, beta=first.objective.beta)
        if dataclasses.replace(each, seed=first.seed, objective=objective) != first:
            raise ValueError(f"trainings of a grid differ in seed and objective.beta alone; number {number} in more")


def _restore(saved: Sequence[Checkpoints], fresh: States) -> tuple[int, States]:
    """The newest step that all have, and their states there: a kill between two saves leaves some a step behind.

    Damaged checkpoints are set aside, which leaves the others without their step.

    Raises:
      ValueError: where all have checkpoints, and none of one step.
    """
    ones = [_pick(fresh, number) for number in range(len(saved))]
    for checkpoints, one in zip(saved, ones, strict=True):
        checkpoints.load_newest(variables=one.variables, training=one.training)
    while common := set.intersection(*(checkpoints.steps for checkpoints in saved)):
        start, loaded = max(common), []
        for checkpoints, one in zip(saved, ones, strict=True):
            try:
                saved_state = checkpoints.load(start, variables=one.variables, training=one.training)
            except DamagedCheckpointError as error:
                warnings.warn(f"{error}; it is now {checkpoints.set_aside(start)}", stacklevel=2)
                break
            loaded.append(restore(start, *saved_state))
        else:
            return start, jax.tree.map(lambda *leaves: jnp.stack(leaves), *loaded)
    if all(checkpoints.steps for checkpoints in saved):
        steps = "; ".join(", ".join(map(str, sorted(checkpoints.steps))) for checkpoints in saved)
        raise ValueError(f"these trainings have no checkpoint of one step, but of {steps}: train them one by one")
    return 0, fresh


def _save(saved: Sequence[Checkpoints], step: int, states: States) -> None:
    for number, checkpoints in enumerate(saved):
        # Before a kill it may have come so far already, to the same bits.
        if step not in checkpoints.steps:
            one = _pick(states, number)
            checkpoints.save(step, variables=one.variables, training=one.training)


def _pick(tree: Any, number: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[number], tree)
