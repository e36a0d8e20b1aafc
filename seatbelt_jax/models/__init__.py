"""Networks and the models made of them: the only room that imports flax."""

from seatbelt_jax.models.build import NETWORKS, ModelConfig, build, make_likelihood
from seatbelt_jax.models.classifier import SOOTLA_LEAST_SIDE, Classifier
from seatbelt_jax.models.discriminator import Discriminator
from seatbelt_jax.models.model import Model, Variables, encoder_and_decoder

__all__ = [
    "NETWORKS",
    "SOOTLA_LEAST_SIDE",
    "Classifier",
    "Discriminator",
    "Model",
    "ModelConfig",
    "Variables",
    "build",
    "encoder_and_decoder",
    "make_likelihood",
]
