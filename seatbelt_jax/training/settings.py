"""The `objective`, `optimizer` and `train` sections of a configuration, checked at the door."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

import optax

from seatbelt_jax.elbo import Penalty
from seatbelt_jax.total_correlation import Estimator


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """What is maximised, see `elbo.objective`.

    Attributes:
      beta: weight of the penalty; 1 is the plain ELBO.
      penalty: "total_correlation" (beta-TCVAE, Seatbelt-VAE) or "kl" (beta-VAE).
      estimator: of the aggregate posterior, "mws" or "mss".
      free_bits: nats per latent layer at no cost, one number or one per layer.
    """

    beta: float = 1.0
    penalty: Penalty = "total_correlation"
    estimator: Estimator = "mws"
    free_bits: float | tuple[float, ...] = 0.0

    def __post_init__(self):
        if not (math.isfinite(self.beta) and self.beta >= 0.0):
            raise ValueError(f"objective.beta must be a finite number >= 0, got {self.beta}")
        _check_choice("objective.penalty", self.penalty, get_args(Penalty))
        # "exact" needs the posteriors of the whole data set at every step.
        _check_choice("objective.estimator", self.estimator, tuple(e for e in get_args(Estimator) if e != "exact"))


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam with optax's defaults.

    Attributes:
      learning_rate: at the start.
      schedule: "cosine" (to zero at the last step) or "constant".
      max_gradient_norm: larger gradients are scaled down to it; 0 leaves them alone.
    """

    learning_rate: float = 1e-3
    schedule: str = "cosine"
    max_gradient_norm: float = 0.0

    def __post_init__(self):
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0.0):
            raise ValueError(f"optimizer.learning_rate must be a positive number, got {self.learning_rate}")
        _check_choice("optimizer.schedule", self.schedule, ("cosine", "constant"))


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long and how often.

    Attributes:
      steps: optimiser steps in all.
      batch_size: images a step; total correlation wants hundreds or more.
      log_every, evaluate_every, checkpoint_every: in steps.
      evaluation_images: validation images per evaluation, fewer where there are not as many.
    """

    steps: int
    batch_size: int
    log_every: int = 50
    evaluate_every: int = 1000
    checkpoint_every: int = 1000
    evaluation_images: int = 1024

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"train.{field.name} must be a positive whole number, got {value!r}")


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that training reads of a configuration.

    Attributes:
      seed: of the parameters, the noise and the order of the images.
      objective, optimizer, train: its sections of these names.
    """

    seed: int
    objective: ObjectiveConfig
    optimizer: OptimizerConfig
    train: TrainConfig


def parse_settings(config: Mapping[str, Any]) -> Settings:
    """Checks a configuration's `seed`, `objective`, `optimizer` and `train`.

    Raises:
      ValueError: for a field that does not exist or a value that makes no sense.
    """
    return Settings(
        seed=config["seed"],
        objective=_parse_section(ObjectiveConfig, "objective", config["objective"]),
        optimizer=_parse_section(OptimizerConfig, "optimizer", config["optimizer"]),
        train=_parse_section(TrainConfig, "train", config["train"]),
    )


Section = TypeVar("Section", ObjectiveConfig, OptimizerConfig, TrainConfig)


def _parse_section(section: type[Section], name: str, values: Mapping[str, Any]) -> Section:
    known = {field.name for field in dataclasses.fields(section)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown {name} fields {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return section(**values)


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015) under the configured schedule."""
    schedule: optax.ScalarOrSchedule = config.learning_rate
    if config.schedule == "cosine":
        schedule = optax.cosine_decay_schedule(config.learning_rate, steps)
    clip = optax.clip_by_global_norm(config.max_gradient_norm) if config.max_gradient_norm else optax.identity()
    return optax.chain(clip, optax.adam(schedule))


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
