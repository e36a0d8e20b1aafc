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
    """

    step: Int[Array, ""]
    variables: Any
    optimizer: Any
    discriminator: DiscriminatorState | None

    @property
    def training(self) -> dict[str, Any]:
        """What training needs to go on, beside the variables."""
        if self.discriminator is None:
            return {"optimizer": self.optimizer}
        return {"optimizer": self.optimizer, "discriminator": self.discriminator}


def create(recipe: Recipe, key: PRNGKeyArray) -> TrainState:
    """Fresh parameters at step 0."""
    variables = recipe.model.init(key)
    discriminator = None
    if recipe.density_ratio is not None:
        discriminator = recipe.density_ratio.create(jax.random.fold_in(key, 1))
    return TrainState(jnp.zeros((), jnp.int32), variables, recipe.optimizer.init(variables["params"]), discriminator)


def restore(step: int, variables: Any, training: dict[str, Any]) -> TrainState:
    """The state of a checkpoint: its step, its variables and what `TrainState.training` gave."""
    return TrainState(jnp.asarray(step, jnp.int32), variables, training["optimizer"], training.get("discriminator"))
