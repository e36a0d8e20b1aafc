"""What training carries from step to step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from seatbelt_jax.training.density_ratio import DiscriminatorState
from seatbelt_jax.training.recipe import Recipe


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that a step changes.

    Attributes:
      step: steps taken.
      variables: Flax's collections, "params" and, with BatchNorm, "batch_stats".
      optimizer: optax's state.
      discriminator: of the estimator "density_ratio", None for the others.
      skipped: steps that were not applied, because they were not finite.
      skipped_in_a_row: of these, the newest ones without a step between them that was applied.
    """

    step: Int[Array, ""]
    variables: Any
    optimizer: Any
    discriminator: DiscriminatorState | None
    skipped: Int[Array, ""]
    skipped_in_a_row: Int[Array, ""]

    @property
    def training(self) -> dict[str, Any]:
        """What training needs to go on, beside the variables."""
        fields = {"optimizer": self.optimizer, "skipped": self.skipped, "skipped_in_a_row": self.skipped_in_a_row}
        if self.discriminator is not None:
            fields["discriminator"] = self.discriminator
        return fields


def create(recipe: Recipe, key: PRNGKeyArray) -> TrainState:
    """Fresh parameters at step 0."""
    variables = recipe.model.init(key)
    discriminator = None
    if recipe.density_ratio is not None:
        discriminator = recipe.density_ratio.create(jax.random.fold_in(key, 1))
    optimizer = recipe.optimizer.init(variables["params"])
    # One array each: a step is given the state's buffers to write into, none of them twice.
    return TrainState(_zero(), variables, optimizer, discriminator, skipped=_zero(), skipped_in_a_row=_zero())


def restore(step: int, variables: Any, training: dict[str, Any]) -> TrainState:
    """The state of a checkpoint: its step, its variables and what `TrainState.training` gave."""
    return TrainState(jnp.asarray(step, jnp.int32), variables, **{"discriminator": None, **training})


def _zero() -> Int[Array, ""]:
    return jnp.zeros((), jnp.int32)
