"""What training maximises, and how its weights change from step to step."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from seatbelt_jax import sections
from seatbelt_jax.elbo import Penalty
from seatbelt_jax.sections import check_choice

TrainingEstimator = Literal["mws", "mss", "density_ratio"]


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """The `objective` section of a configuration, see `elbo.objective`.

    Attributes:
      beta: weight of the penalty; 1 is the plain ELBO, but for the penalty "capacity", where it is gamma.
      beta_start, beta_annealing_steps: beta goes linearly from the one to `beta` in so many steps; 0 steps
        hold it constant.
      penalty: "total_correlation" (beta-TCVAE, Seatbelt-VAE, FactorVAE), "kl" (beta-VAE) or "capacity" (JointVAE).
      estimator: of the total correlation: "mws" or "mss" of the aggregate posterior, or "density_ratio",
        FactorVAE's discriminator.
      free_bits: nats per latent layer at no cost, one number or, in a configuration's file, one per layer;
        not with "capacity".
      capacity, capacity_annealing_steps: C of the penalty "capacity", in nats, one per layer; they grow
        linearly from 0 in so many steps. 0 steps hold them constant.
    """

    beta: float = 1.0
    beta_start: float = 0.0
    beta_annealing_steps: int = 0
    penalty: Penalty = "total_correlation"
    estimator: TrainingEstimator = "mws"
    free_bits: float | tuple[float, ...] = 0.0
    capacity: tuple[float, ...] = ()
    capacity_annealing_steps: int = 0

    def __post_init__(self):
        sections.check_types("objective", self)
        check_choice("objective.penalty", self.penalty, get_args(Penalty))
        # "exact" needs the posteriors of the whole data set at every step.
        check_choice("objective.estimator", self.estimator, get_args(TrainingEstimator))
        for name in ("beta", "beta_start"):
            value = getattr(self, name)
            if value < 0.0:
                raise ValueError(f"objective.{name} must be a finite number >= 0, got {value}")
        for name in ("free_bits", "capacity"):
            if np.any(np.asarray(getattr(self, name)) < 0.0):
                raise ValueError(f"objective.{name} must be numbers >= 0, got {getattr(self, name)}")
        for name in ("beta_annealing_steps", "capacity_annealing_steps"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"objective.{name} must be a whole number >= 0, got {value!r}")
        if self.penalty == "capacity" and np.any(self.free_bits):
            raise ValueError("objective.free_bits must be 0 with the penalty 'capacity', which has a use for every nat")
        if bool(self.capacity) != (self.penalty == "capacity"):
            raise ValueError(
                f"objective.capacity goes with the penalty 'capacity', one number per layer; got {self.capacity} "
                f"with the penalty {self.penalty!r}"
            )
        if self.penalty != "total_correlation" and self.estimator == "density_ratio":
            raise ValueError(f"the estimator 'density_ratio' is for total correlation; the penalty is {self.penalty!r}")
        smallest = min(self.beta, self.beta_start) if self.beta_annealing_steps else self.beta
        if self.estimator == "density_ratio" and smallest < 1.0:
            # A negative gamma pays the model for whatever the discriminator takes for total correlation.
            raise ValueError(
                f"with the estimator 'density_ratio', gamma = beta - 1 must not be negative: objective.beta and "
                f"beta_start must be at least 1, got {smallest:g}"
            )


def beta_at(
    config: ObjectiveConfig, step: Int[Array, ""], final: float | Float[Array, ""] | None = None
) -> Float[Array, ""]:
    """beta at a step, from 0; on its way to `final` in place of the configured one, where that is given."""
    final = config.beta if final is None else final
    return config.beta_start + (final - config.beta_start) * _progress(step, config.beta_annealing_steps)


def capacity_at(config: ObjectiveConfig, step: Int[Array, ""], largest_kl: Sequence[float]) -> Float[Array, " layers"]:
    """C of each layer at a step, from 0, in nats; never more than the layer can hold."""
    wanted = jnp.asarray(config.capacity, jnp.float32) * _progress(step, config.capacity_annealing_steps)
    return jnp.minimum(wanted, jnp.asarray(largest_kl, jnp.float32))


def check_layers(config: ObjectiveConfig, layers: int) -> None:
    """Raises ValueError where free bits or capacities are listed for another number of layers."""
    for name in ("free_bits", "capacity"):
        values = getattr(config, name)
        if np.size(values) and np.shape(values) not in ((), (layers,)):
            raise ValueError(
                f"objective.{name} lists {np.size(values)} numbers, but the model has {layers} latent layers"
            )


def unreachable_capacities(config: ObjectiveConfig, largest_kl: Sequence[float]) -> list[str]:
    """A sentence for each layer whose capacity is more than its latents can hold."""
    return [
        f"layer {layer}: a capacity of {capacity:g} nats is out of reach; {largest:.4g} nats, the logarithm of the "
        "number of states its Concrete latents have, stands in for it"
        for layer, (capacity, largest) in enumerate(zip(config.capacity, largest_kl, strict=False), 1)
        if capacity > largest
    ]


def _progress(step: Int[Array, ""], steps: int) -> Float[Array, ""]:
    return jnp.minimum(jnp.asarray(step, jnp.float32) / steps, 1.0) if steps else jnp.ones((), jnp.float32)
