"""Networks and the models made of them: the only room that imports flax."""

from seatbelt_jax.models.build import ModelConfig, build, make_likelihood
from seatbelt_jax.models.classifier import Classifier
from seatbelt_jax.models.discriminator import Discriminator
from seatbelt_jax.models.model import Model, encoder_and_decoder

__all__ = ["Classifier", "Discriminator", "Model", "ModelConfig", "build", "encoder_and_decoder", "make_likelihood"]
