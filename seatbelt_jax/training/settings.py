"""All that training reads of a configuration, checked at the door."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import optax

from seatbelt_jax import sections
from seatbelt_jax.sections import check_choice
from seatbelt_jax.training.density_ratio import DiscriminatorConfig
from seatbelt_jax.training.objective import ObjectiveConfig


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam with optax's defaults.

    Attributes:
      learning_rate: at the start.
      schedule: "cosine" (to zero at the last step) or "constant".
      max_gradient_norm: gradients of a larger L2 norm are scaled down to it, against exploding gradients; 0 leaves them
        alone.
      weight_decay: its product with the parameters is added to the gradient, the derivative of an L2 penalty
        (Sootla 2018: 0.5). Adam scales it with the rest; AdamW's decay would be another thing.
    """

    learning_rate: float = 1e-3
    schedule: str = "cosine"
    max_gradient_norm: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self):
        sections.check_types("optimizer", self)
        if self.learning_rate <= 0.0:
            raise ValueError(f"optimizer.learning_rate must be a positive number, got {self.learning_rate}")
        for name in ("max_gradient_norm", "weight_decay"):
            if getattr(self, name) < 0.0:
                raise ValueError(f"optimizer.{name} must be a finite number >= 0, got {getattr(self, name)}")
        check_choice("optimizer.schedule", self.schedule, ("cosine", "constant"))


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long and how often.

    Attributes:
      steps: optimiser steps in all.
      batch_size: images a step; total correlation wants hundreds or more. 0 leaves it to
        `seatbelt train`, which chooses one that fits the data (`data.fitting_batch_size`) and writes it to config.json.
      log_every, evaluate_every, checkpoint_every: in steps.
      evaluation_images: validation images per evaluation, fewer where there are not as many.
      resident_mib: the most, in MiB, that stored images may take on the device to live there; 0 for none.
      shard_parameters_mib: arrays of the parameters and of the optimiser that take more, in MiB, are split over the
        devices instead of copied to each; 0 splits none.
      steps_per_dispatch: so many steps are handed to the device at once, fewer where something is to be written; 0
        leaves it to the device.
      max_skipped_in_a_row: training stops after so many steps in a row that were not finite, and not applied.
    """

    steps: int
    batch_size: int
    log_every: int = 50
    evaluate_every: int = 1000
    checkpoint_every: int = 1000
    evaluation_images: int = 1024
    resident_mib: int = 2048
    shard_parameters_mib: float = 0.0
    steps_per_dispatch: int = 0
    max_skipped_in_a_row: int = 10

    def __post_init__(self):
        sections.check_types("train", self)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("batch_size", "resident_mib", "steps_per_dispatch") else 1
            if field.name == "shard_parameters_mib":
                if value < 0.0:
                    raise ValueError(f"train.{field.name} must be a finite number >= 0, got {value!r}")
            elif value < least:
                raise ValueError(f"train.{field.name} must be a whole number of at least {least}, got {value!r}")


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that training reads of a configuration.

    Attributes:
      seed: of the parameters, the noise and the order of the images.
      objective, optimizer, train, discriminator: its sections of these names; the last may be left out.
    """

    seed: int
    objective: ObjectiveConfig
    optimizer: OptimizerConfig
    train: TrainConfig
    discriminator: DiscriminatorConfig


def parse_settings(config: Mapping[str, Any]) -> Settings:
    """Checks a configuration's `seed`, `objective`, `optimizer`, `train` and `discriminator`.

    Raises:
      ValueError: for a section or field that does not exist or a value that makes no sense.
    """
    sections.check_sections(config, ("seed", "objective", "optimizer", "train"))
    sections.check_seed("seed", config["seed"])
    return Settings(
        seed=config["seed"],
        objective=sections.parse(ObjectiveConfig, "objective", config["objective"]),
        optimizer=sections.parse(OptimizerConfig, "optimizer", config["optimizer"]),
        train=sections.parse(TrainConfig, "train", config["train"]),
        discriminator=sections.parse(DiscriminatorConfig, "discriminator", config.get("discriminator", {})),
    )


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015) under the configured schedule: the same object for the same settings."""
    return _optimizer(config, steps if config.schedule == "cosine" else None)


@functools.cache
def _optimizer(config: OptimizerConfig, decay_steps: int | None) -> optax.GradientTransformation:
    schedule: optax.ScalarOrSchedule = config.learning_rate
    if decay_steps is not None:
        schedule = optax.cosine_decay_schedule(config.learning_rate, decay_steps)
    clip = optax.clip_by_global_norm(config.max_gradient_norm) if config.max_gradient_norm else optax.identity()
    decay = optax.add_decayed_weights(config.weight_decay) if config.weight_decay else optax.identity()
    return optax.chain(clip, decay, optax.adam(schedule))
