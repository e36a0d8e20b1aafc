"""What training is made of, beside its state: the model, its optimisers and the objective."""

import dataclasses

import optax
from jaxtyping import Array, Float

from seatbelt_jax.models import Model
from seatbelt_jax.training.density_ratio import DensityRatio, make_density_ratio
from seatbelt_jax.training.objective import ObjectiveConfig, check_layers
from seatbelt_jax.training.settings import Settings, make_optimizer


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that a step reads and does not change.

    Attributes:
      model: architecture and likelihood.
      objective: what is maximised.
      optimizer: of the model.
      density_ratio: the discriminator of the estimator "density_ratio", None for the others.
      dataset_size: N of the aggregate posterior.
      max_skipped_in_a_row: after so many steps in a row that were not finite none is applied any more.
      beta: in place of the objective's, where trainings that differ in it share a program; None otherwise.
    """

    model: Model
    objective: ObjectiveConfig
    optimizer: optax.GradientTransformation
    density_ratio: DensityRatio | None
    dataset_size: int
    max_skipped_in_a_row: int
    beta: Float[Array, ""] | None = None


def make_recipe(model: Model, settings: Settings, dataset_size: int) -> Recipe:
    """The recipe that a configuration describes for a model.

    Raises:
      ValueError: where free bits or capacities are listed for another number of layers.
    """
    check_layers(settings.objective, len(model.latent_sizes))
    density_ratio = None
    if settings.objective.estimator == "density_ratio":
        density_ratio = make_density_ratio(settings.discriminator, model.latent_sizes[-1])
    optimizer = make_optimizer(settings.optimizer, settings.train.steps)
    return Recipe(
        model, settings.objective, optimizer, density_ratio, dataset_size, settings.train.max_skipped_in_a_row
    )
