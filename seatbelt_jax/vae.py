"""The VAE as a record of pure functions: all that attacks, bounds and metrics know of a model."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seatbelt_jax import posterior
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.likelihood import Likelihood
from seatbelt_jax.posterior import Posterior

Latents = tuple[Float[Array, "batch latent"], ...]


class Encoding(NamedTuple):
    """What the inference network says of a batch, layer 1 (nearest the data) first.

    posteriors[i] is q(z^{i+1} | z^i, x) evaluated at the sampled latents[i-1]. A JointVAE's two layers, the
    Concrete latents and the Gaussian ones, are independent given x.
    """

    posteriors: tuple[Posterior, ...]
    latents: Latents


def sample_noise(key: PRNGKeyArray, latent_sizes: Sequence[int], batch: int) -> Latents:
    """Independent standard normals [batch, latent], one array per layer."""
    keys = jax.random.split(key, len(latent_sizes))
    return tuple(jax.random.normal(k, (batch, size)) for k, size in zip(keys, latent_sizes, strict=True))


@dataclasses.dataclass(frozen=True)
class VAE:
    """A (hierarchical) variational autoencoder with its parameters bound.

    Attributes:
      encode: (images, noise) -> Encoding; noise holds a standard normal [batch, latent] per layer
        and zeros follow the means.
      decode: latents -> the likelihood's parameters, [batch, height, width, channels].
      prior: latents -> (p(z^1|z^2), .., p(z^L)); entry i reads latents[i + 1] alone and the last is
        N(0, I). Concrete layers have a uniform one.
      likelihood: what the decoder's output means.
      latent_sizes: the width of each layer, layer 1 first.
      image_shape: (height, width, channels).
    """

    encode: Callable[[Float[Array, "batch *image"], Latents], Encoding]
    decode: Callable[[Latents], Float[Array, "batch *image"]]
    prior: Callable[[Latents], tuple[Posterior, ...]]
    likelihood: Likelihood
    latent_sizes: tuple[int, ...]
    image_shape: tuple[int, int, int]

    def mean_path(self, batch: int) -> Latents:
        """Zero noise: every layer takes its posterior mean."""
        return tuple(jnp.zeros((batch, size)) for size in self.latent_sizes)

    def sample_noise(self, key: PRNGKeyArray, batch: int) -> Latents:
        """Independent standard normals for every layer."""
        return sample_noise(key, self.latent_sizes, batch)

    def posterior(self, images: Float[Array, "batch *image"], below: Latents) -> Posterior:
        """q(z^i|z^{i-1}, x) at given latents of the layers below, i = len(below) + 1.

        Layer by layer, the noise is chosen with which `encode` samples the given latents.

        Raises:
          TypeError: where a layer below is Concrete: many noises give the same sample.
        """
        noise = list(self.mean_path(images.shape[0]))
        for layer, latent in enumerate(below):
            here = self.encode(images, tuple(noise)).posteriors[layer]
            if not isinstance(here, DiagonalGaussian):
                kind = type(here).__name__
                raise TypeError(f"layer {layer + 1} is {kind}: many noises give the same sample of it")
            noise[layer] = (latent - here.mean) * jnp.exp(-here.log_std)
        return self.encode(images, tuple(noise)).posteriors[len(below)]

    def reconstruct(
        self, images: Float[Array, "batch *image"], noise: Latents | None = None
    ) -> Float[Array, "batch *image"]:
        """The mean image decoded from the images' latents, along the mean path by default."""
        noise = self.mean_path(images.shape[0]) if noise is None else noise
        return self.likelihood.mean(self.decode(self.encode(images, noise).latents))

    def generate(self, noise: Latents) -> Float[Array, "batch *image"]:
        """The mean image of an ancestral sample z^L ~ N(0, I), z^i ~ p(z^i|z^{i+1})."""
        latents = [jnp.zeros_like(layer) for layer in noise]
        for layer in reversed(range(len(noise))):
            conditional = self.prior(tuple(latents))[layer]
            latents[layer] = posterior.sample(conditional, noise[layer])
        return self.likelihood.mean(self.decode(tuple(latents)))
