"""What training carries from step to step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray

from seatbelt_jax.models import Model


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that a step changes.

    Attributes:
      step: steps taken.
      variables: Flax's collections, "params" and, with BatchNorm, "batch_stats".
      optimizer: optax's state.
    """

    step: Int[Array, ""]
    variables: Any
    optimizer: Any


def create(model: Model, optimizer: optax.GradientTransformation, key: PRNGKeyArray) -> TrainState:
    """Fresh parameters at step 0."""
    variables = model.init(key)
    return TrainState(jnp.zeros((), jnp.int32), variables, optimizer.init(variables["params"]))
