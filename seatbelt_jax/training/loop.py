"""The training loop: steps, logs, evaluations and checkpoints of one run."""

import contextlib
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from tqdm import tqdm

from seatbelt_jax import data
from seatbelt_jax.models import Model
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.runs.lock import locked
from seatbelt_jax.runs.run import Origin
from seatbelt_jax.training import distributed, joining
from seatbelt_jax.training.divergence import DivergenceError
from seatbelt_jax.training.evaluation import Evaluation
from seatbelt_jax.training.profiling import Profile
from seatbelt_jax.training.settings import Settings, TrainConfig
from seatbelt_jax.training.state import TrainState
from seatbelt_jax.training.step import Metrics
from seatbelt_jax.training.stopping import StopRequest
from seatbelt_jax.training.trainer import Trainer
from seatbelt_jax.training.writers import MetricWriter, copy_metrics


def train(
    model: Model,
    splits: data.Splits,
    settings: Settings,
    directory: pathlib.Path,
    *,
    origin: Origin | None = None,
    on_evaluation: Callable[[int, Evaluation], None] | None = None,
    profile: bool = False,
) -> TrainState:
    """Trains a model, from its newest checkpoint where there is one, to the configured step.

    Each batch is split over all devices. However often it is killed and called again, it ends with the same bits as if
    it had never been interrupted, on devices that compute the same bits twice. SIGTERM and Ctrl-C save between two
    steps and are then delivered again; of several processes, all stop with the one that was signalled. What is not
    part of a checkpoint is written by the first of them.

    Args:
      model: architecture and likelihood.
      splits: training and validation images in the likelihood's range.
      settings: from `parse_settings`.
      directory: the run's; checkpoints/, metrics.jsonl and events/ are written there.
      origin: the checkpoint of another run to begin with, where the directory has none; a fork takes the rows of
        metrics up to its step along.
      on_evaluation: called with the step and each evaluation, to draw pictures or to print.
      profile: writes a trace of a few steps to profile/.

    Raises:
      ValueError: where a batch does not fit the data or the number of devices, or a checkpoint not the model.
      DamagedCheckpointError: where there are checkpoints and none of them can be read.
      DivergenceError: where too many steps in a row were not finite; the checkpoints stay as they were.
      OSError: where something cannot be written, the newest checkpoint stays as it was; or where another training is
        at work in the directory.
      KeyboardInterrupt: on Ctrl-C, or where another process was signalled, after a checkpoint has been written.
    """
    trainer = Trainer(model, splits, settings)
    return carry_out(trainer, directory, origin=origin, on_evaluation=on_evaluation, profile=profile)


@runtime_checkable
class Steps(Protocol):
    """What `carry_out` asks of a trainer; `Trainer` says what each does."""

    schedule: TrainConfig
    image_range: tuple[float, float]

    def create(self) -> TrainState: ...
    def restore(self, step: int, variables: Any, training: Any) -> TrainState: ...
    def chunks(self, start: int) -> Iterator[tuple[int, np.ndarray]]: ...
    def compile(self, state: TrainState, batches: np.ndarray) -> None: ...
    def take(self, state: TrainState, batches: np.ndarray, count: int) -> tuple[TrainState, Metrics]: ...
    def evaluate(self, state: TrainState) -> Evaluation: ...
    def has_diverged(self, metrics: Metrics) -> bool: ...
    def report_divergence(self, state: TrainState, directory: pathlib.Path) -> str: ...


def carry_out(
    trainer: Steps,
    directory: pathlib.Path,
    *,
    origin: Origin | None = None,
    on_evaluation: Callable[[int, Evaluation], None] | None = None,
    profile: bool = False,
) -> TrainState:
    """Has a trainer take its steps, and keeps what it computes; see `train`.

    Args:
      trainer: what computes states, metrics and evaluations. The loop reads nothing else of a model or of its data.
      directory, origin, on_evaluation, profile: of `train`.
    """
    schedule = trainer.schedule
    state = trainer.create()
    stop, vote = StopRequest(), distributed.Vote()
    stopped = False
    silent = not distributed.is_first()

    def evaluate_if_due(step: int, state: TrainState) -> None:
        is_due = step == schedule.steps or (step > 0 and step % schedule.evaluate_every == 0)
        if is_due and distributed.any_process(not writer.has(step, "validation")):
            found = trainer.evaluate(state)
            if on_evaluation is not None and distributed.is_first():
                on_evaluation(step, found)
            writer.write_evaluation(step, found, trainer.image_range)

    with (
        contextlib.nullcontext() if silent else locked(directory),
        Checkpoints(directory / "checkpoints", clean=True) as checkpoints,
    ):
        saved = checkpoints.load_newest(variables=state.variables, training=state.training)
        if saved is not None:
            state = trainer.restore(*saved)
        elif origin is not None:
            state = _begin_with(origin, trainer, state, directory)
            # The other run may go on, and remove its older checkpoints.
            checkpoints.save(int(state.step), variables=state.variables, training=state.training)
        start = int(state.step)
        # Each looks for itself, and a folder that is not shared looks different to each.
        distributed.check_same({"step to go on from": str(start)})
        with (
            MetricWriter(directory, start=start, silent=silent) as writer,
            tqdm(total=schedule.steps, initial=start, unit="step", disable=silent or None) as bar,
            Profile(
                directory / "profile" if profile and not silent else None, start=start, stop=schedule.steps
            ) as profiled,
        ):
            evaluate_if_due(start, state)
            chunks = trainer.chunks(start)
            if first := next(chunks, None):
                # While signals still do what they always do: there is nothing to lose yet, and it can take minutes.
                trainer.compile(state, first[1])
                chunks = itertools.chain([first], chunks)
            step = logged_step = start
            logged_at = time.perf_counter()
            metrics = None
            with stop:
                for end, batches in chunks:
                    before = metrics
                    state, metrics = trainer.take(state, batches, end - step)
                    bar.update(end - step)
                    step = end
                    # One chunk is computed while the next is prepared, and no more wait: signals are heeded soon.
                    jax.block_until_ready(before)
                    profiled.after(step, metrics)
                    save_now = step == schedule.steps or step % schedule.checkpoint_every == 0
                    log_now = save_now or step % schedule.log_every == 0
                    stopped = vote(stop.signal is not None)
                    look_now = log_now or stopped or (before is not None and trainer.has_diverged(before))
                    if look_now and trainer.has_diverged(metrics):
                        found = trainer.report_divergence(state, directory / "diverged")
                        latest = checkpoints.latest_step
                        kept = (
                            "nothing was saved yet" if latest is None else f"the checkpoint of step {latest} is intact"
                        )
                        raise DivergenceError(
                            f"{found}; {kept}; try a lower optimizer.learning_rate or set optimizer.max_gradient_norm"
                        )
                    if log_now:
                        now = time.perf_counter()
                        rate = (step - logged_step) * schedule.batch_size / (now - logged_at)
                        row = writer.write(step, "train", {**metrics, "images_per_second": rate})
                        skipped = {"skipped": int(row["skipped_steps"])} if row["skipped_steps"] else {}
                        bar.set_postfix(elbo=f"{row['elbo']:.1f}", **skipped, refresh=False)
                        logged_at, logged_step = now, step
                    aside_since = time.perf_counter()
                    if save_now or stopped:
                        writer.flush()
                        checkpoints.save(step, variables=state.variables, training=state.training)
                    if stopped:
                        break
                    evaluate_if_due(step, state)
                    logged_at += time.perf_counter() - aside_since
    if stopped or stop.signal is not None:
        # Whoever left without a word would be taken for lost.
        joining.leave()
        stop.deliver()
    return state


def _begin_with(origin: Origin, trainer: Steps, fresh: TrainState, directory: pathlib.Path) -> TrainState:
    folder = pathlib.Path(origin.run) / "checkpoints"
    if not (folder / str(origin.step)).is_dir():
        raise FileNotFoundError(
            f"{folder} has no checkpoint of step {origin.step} any more, with which {directory} is to begin; give "
            f"--{origin.kind}={origin.run} once more to begin with the newest that it has, or one of its steps with "
            "--from_step, or another run"
        )
    with Checkpoints(folder) as checkpoints:
        if origin.kind == "warm_start":
            return trainer.restore(0, checkpoints.load_variables(origin.step, fresh.variables), fresh.training)
        saved = checkpoints.load(origin.step, variables=fresh.variables, training=fresh.training)
    if distributed.is_first():
        copy_metrics(pathlib.Path(origin.run), directory)
    return trainer.restore(origin.step, *saved)
