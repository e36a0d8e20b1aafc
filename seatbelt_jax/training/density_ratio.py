"""Total correlation by a density ratio: training FactorVAE's discriminator (Kim and Mnih 2018)."""

import dataclasses
import functools
from typing import Any

import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from seatbelt_jax import sections
from seatbelt_jax.models import Discriminator

# Kim and Mnih 2018, App. A.
_ADAM_B1, _ADAM_B2 = 0.5, 0.9


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """The `discriminator` section of a configuration.

    Attributes:
      width, layers: of its hidden layers.
      learning_rate: of its own Adam.
    """

    width: int = 1000
    layers: int = 6
    learning_rate: float = 1e-4

    def __post_init__(self):
        sections.check_types("discriminator", self)
        for name in ("width", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"discriminator.{name} must be a positive whole number, got {getattr(self, name)!r}")
        if self.learning_rate <= 0.0:
            raise ValueError(f"discriminator.learning_rate must be a positive number, got {self.learning_rate}")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiscriminatorState:
    """The discriminator's parameters and its optimiser's state."""

    parameters: Any
    optimizer: Any


@dataclasses.dataclass(frozen=True)
class DensityRatio:
    """The discriminator with its optimiser."""

    discriminator: Discriminator
    optimizer: optax.GradientTransformation

    def create(self, key: PRNGKeyArray) -> DiscriminatorState:
        """Fresh parameters."""
        parameters = self.discriminator.init(key)
        return DiscriminatorState(parameters, self.optimizer.init(parameters))

    def step(
        self, state: DiscriminatorState, latents: Float[Array, "batch latent"], key: PRNGKeyArray
    ) -> tuple[DiscriminatorState, Float[Array, ""]]:
        """One step of the discriminator on a batch of latents; returns its loss in nats beside its state."""
        loss, gradient = jax.value_and_grad(self.discriminator.loss)(state.parameters, latents, key)
        updates, optimizer = self.optimizer.update(gradient, state.optimizer, state.parameters)
        return DiscriminatorState(optax.apply_updates(state.parameters, updates), optimizer), loss


@functools.cache
def make_density_ratio(config: DiscriminatorConfig, latent_size: int) -> DensityRatio:
    """The discriminator of a configuration for latents of this width: the same one for the same settings."""
    return DensityRatio(
        Discriminator(latent_size, width=config.width, layers=config.layers),
        optax.adam(config.learning_rate, b1=_ADAM_B1, b2=_ADAM_B2),
    )
