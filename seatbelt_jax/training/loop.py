"""The training loop: steps, logs, evaluations and checkpoints of one run."""

import functools
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from seatbelt_jax import data
from seatbelt_jax.checkpoint import Checkpoints
from seatbelt_jax.models import Model
from seatbelt_jax.training.evaluation import Evaluation, evaluate
from seatbelt_jax.training.parallel import check_divisible, data_parallel
from seatbelt_jax.training.recipe import make_recipe
from seatbelt_jax.training.settings import Settings
from seatbelt_jax.training.state import TrainState, create, restore
from seatbelt_jax.training.step import Metrics, train_step
from seatbelt_jax.training.writers import MetricWriter

# Streams of randomness that a run's seed is split into.
_INIT_STREAM, _NOISE_STREAM, _EVALUATION_STREAM = range(3)


class NonFiniteLossError(ArithmeticError):
    """Training produced NaN or infinity."""


def train(
    model: Model,
    splits: data.Splits,
    settings: Settings,
    directory: pathlib.Path,
    *,
    on_evaluation: Callable[[int, Evaluation], None] | None = None,
) -> TrainState:
    """Trains a model, from its newest checkpoint where there is one, to the configured step.

    Each batch is split over all local devices.

    Args:
      model: architecture and likelihood.
      splits: training and validation images in the likelihood's range.
      settings: from `parse_settings`.
      directory: the run's; checkpoints/, metrics.jsonl and events/ are written there.
      on_evaluation: called with the step and each evaluation, to draw pictures or to print.

    Raises:
      ValueError: where a batch does not fit the data or the number of devices, or a checkpoint not the model.
      NonFiniteLossError: where a metric is no longer finite; the checkpoints stay as they were.
      KeyboardInterrupt: passed on after a checkpoint has been written.
    """
    schedule = settings.train
    data.check_batch_size(schedule.batch_size, splits.train)
    split, replicated = data_parallel()
    check_divisible(schedule.batch_size)
    keys = jax.random.split(jax.random.key(settings.seed), 3)
    recipe = make_recipe(model, settings, splits.train.size)
    state = jax.device_put(create(recipe, keys[_INIT_STREAM]), replicated)
    # The aggregate posterior of N training images has at most N components in a batch.
    validation = _validation_images(splits.validation, min(schedule.evaluation_images, splits.train.size))

    images = data.place_on_device(splits.train, schedule.resident_mib, progress=True)
    resident = None if images.resident is None else jax.device_put(images.resident, replicated)

    @functools.partial(jax.jit, in_shardings=(replicated, split, replicated), out_shardings=replicated)
    def step_from_batch(state: TrainState, batch: Array, resident: Array | None) -> tuple[TrainState, Metrics]:
        return train_step(state, images.from_batch(batch, resident), keys[_NOISE_STREAM], recipe=recipe)

    @jax.jit
    def evaluate_variables(variables: Any, step: Array) -> Evaluation:
        key = jax.random.fold_in(keys[_EVALUATION_STREAM], step)
        return evaluate(model.bind(variables), validation, key, dataset_size=splits.train.size)

    def evaluate_if_due(step: int, state: TrainState, writer: MetricWriter) -> None:
        is_due = step == schedule.steps or (step > 0 and step % schedule.evaluate_every == 0)
        if is_due and not writer.has(step, "validation"):
            found = jax.device_get(evaluate_variables(state.variables, state.step))
            if on_evaluation is not None:
                on_evaluation(step, found)
            # Last: an evaluation interrupted before it is whole is made again.
            writer.write(step, "validation", _to_floats(found.metrics))

    with Checkpoints(directory / "checkpoints") as checkpoints:
        if (latest := checkpoints.latest_step) is not None:
            saved = checkpoints.load(latest, variables=state.variables, training=state.training)
            state = jax.device_put(restore(latest, *saved), replicated)
        start = int(state.step)
        batches = data.batches(
            images, batch_size=schedule.batch_size, seed=settings.seed, start=start, stop=schedule.steps
        )
        with (
            MetricWriter(directory, start=start) as writer,
            tqdm(total=schedule.steps, initial=start, unit="step", disable=None) as bar,
        ):
            evaluate_if_due(start, state, writer)
            logged_at, logged_step = time.perf_counter(), start
            try:
                for step, batch in enumerate(batches, start + 1):
                    state, metrics = step_from_batch(state, batch, resident)
                    bar.update()
                    save_now = step == schedule.steps or step % schedule.checkpoint_every == 0
                    if save_now or step % schedule.log_every == 0:
                        row = _to_floats(metrics)
                        _check_finite(step, row, checkpoints.latest_step)
                        now = time.perf_counter()
                        row["images_per_second"] = (step - logged_step) * schedule.batch_size / (now - logged_at)
                        writer.write(step, "train", row)
                        bar.set_postfix(elbo=f"{row['elbo']:.1f}", refresh=False)
                        logged_at, logged_step = now, step
                    if save_now:
                        checkpoints.save(step, variables=state.variables, training=state.training)
                    evaluating_since = time.perf_counter()
                    evaluate_if_due(step, state, writer)
                    logged_at += time.perf_counter() - evaluating_since
            except KeyboardInterrupt:
                step = int(state.step)
                if step > (checkpoints.latest_step or 0):
                    _check_finite(step, _to_floats(metrics), checkpoints.latest_step)
                    checkpoints.save(step, variables=state.variables, training=state.training)
                raise
    return state


def _validation_images(dataset: data.Dataset, number: int) -> Float[Array, "batch height width channels"]:
    indices = np.arange(min(number, dataset.size), dtype=np.int32)
    return jnp.asarray(dataset.images(indices))


def _to_floats(metrics: Mapping[str, Array]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _check_finite(step: int, row: Mapping[str, float], saved: int | None) -> None:
    for name, value in row.items():
        if not math.isfinite(value):
            kept = f"the checkpoint of step {saved} is intact" if saved else "nothing was saved yet"
            raise NonFiniteLossError(
                f"training diverged: {name} is {value} at step {step}; {kept}; try a lower "
                "optimizer.learning_rate or set optimizer.max_gradient_norm"
            )
