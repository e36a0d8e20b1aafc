"""A module without its parameters, and the VAE record that binds both."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seatbelt_jax.likelihood import Likelihood
from seatbelt_jax.models.hierarchy import HierarchicalVAE
from seatbelt_jax.models.joint import JointVAE
from seatbelt_jax.posterior import Posterior
from seatbelt_jax.vae import VAE, Encoding, Functions, Latents

Variables = Mapping[str, Any]
Module = HierarchicalVAE | JointVAE


class Forward(NamedTuple):
    """The outputs of one pass through the model, from which the ELBO is computed."""

    encoding: Encoding
    prior: tuple[Posterior, ...]
    decoded: Float[Array, "batch height width channels"]


def encoder_and_decoder(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model's parameters in two: those of the inference networks, and those of p(x|z) and every p(z^i|z^{i+1})."""
    generative = {name for name in parameters if name == "decoder" or name.startswith("conditionals_")}
    inference = {name: parameters[name] for name in parameters if name not in generative}
    return inference, {name: parameters[name] for name in parameters if name in generative}


def _forward(module: Module, images: Array, noise: Latents, *, train: bool = False) -> Forward:
    encoding = module.encode(images, noise, train=train)
    prior = module.prior(encoding.latents, train=train)
    return Forward(encoding, prior, module.decode(encoding.latents, train=train))


@dataclasses.dataclass(frozen=True)
class Model:
    """A module with its likelihood and image shape, parameters apart.

    `variables` are Flax's collections: "params" and, with BatchNorm, "batch_stats".
    """

    module: Module
    likelihood: Likelihood
    image_shape: tuple[int, int, int]

    @property
    def latent_sizes(self) -> tuple[int, ...]:
        return tuple(self.module.latent_sizes)

    @property
    def largest_kl(self) -> tuple[float, ...]:
        """The largest KL of each layer to its prior, in nats: infinity, or sum log K for Concrete latents."""
        return self.module.largest_kl

    def init(self, key: PRNGKeyArray) -> Variables:
        """Fresh parameters and running averages."""
        return _init(self, key)

    def forward_train(self, variables: Variables, images: Array, noise: Latents) -> tuple[Forward, Variables]:
        """One pass with batch statistics; returns the updated running averages beside it."""
        forward, updated = self.module.apply(
            variables, images, noise, train=True, mutable=["batch_stats"], method=_forward
        )
        return forward, updated

    def bind(self, variables: Variables) -> VAE:
        """The VAE of the model with these parameters, in evaluation mode."""
        methods = ["encode", "decode", "prior"]
        if isinstance(self.module, HierarchicalVAE):
            methods += ["features", "posterior"]
        functions = Functions(*(_Apply(self.module, method) for method in methods))
        return VAE.of(functions, variables, self.likelihood, self.latent_sizes, self.image_shape)


@functools.partial(jax.jit, static_argnums=0)
def _init(model: Model, key: PRNGKeyArray) -> Variables:
    images = jnp.zeros((1, *model.image_shape))
    noise = tuple(jnp.zeros((1, size)) for size in model.latent_sizes)
    variables: Variables = model.module.init(key, images, noise, method=_forward)
    return variables


@dataclasses.dataclass(frozen=True)
class _Apply:
    """A method of a module as a function of its variables; equal for equal architectures."""

    module: Module
    method: str

    def __call__(self, variables: Variables, *arguments: Any) -> Any:
        return _apply(self, variables, *arguments)


# Flax takes long to run a module: traced once for arguments of the same shapes, whatever calls it.
@functools.partial(jax.jit, static_argnums=0)
def _apply(function: _Apply, variables: Variables, *arguments: Any) -> Any:
    return function.module.apply(variables, *arguments, method=function.method)
