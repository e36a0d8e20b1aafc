"""Networks and the models made of them: the only room that imports flax."""

from seatbelt_jax.models.build import ModelConfig, build, make_likelihood
from seatbelt_jax.models.discriminator import Discriminator
from seatbelt_jax.models.model import Model

__all__ = ["Discriminator", "Model", "ModelConfig", "build", "make_likelihood"]
