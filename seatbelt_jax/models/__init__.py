"""Networks and hierarchies: the only room that imports flax."""

from seatbelt_jax.models.build import Model, ModelConfig, build, make_likelihood

__all__ = ["Model", "ModelConfig", "build", "make_likelihood"]
