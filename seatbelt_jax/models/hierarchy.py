"""The hierarchical VAE: one module for VAE, DLGM and Seatbelt-VAE networks of any depth."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from seatbelt_jax import gaussian
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.models.networks import GaussianHead
from seatbelt_jax.vae import Encoding, Latents


class HierarchicalVAE(nn.Module):
    """q(z^1|x) prod q(z^{i+1}|z^i, x) and p(x|z) prod p(z^i|z^{i+1}) p(z^L).

    Willetts et al. 2021, Eq. 3 and 4. One layer gives the networks of a VAE, beta-VAE and beta-TCVAE.

    Attributes:
      latent_sizes: width of each layer, layer 1 (nearest the data) first.
      encoder: images to features; every q reads them.
      decoder: latents to the likelihood's parameters.
      hidden_sizes: hidden_sizes[i] is the width of the MLPs between layers i + 1 and i + 2.
      decoder_reads: "all" latents, concatenated (Seatbelt-VAE, Eq. 3), or the "bottom" layer alone
        (DLGM, beta-TCDLGM).
      batch_norm: whether the MLPs normalise their hidden layers.
      dtype: of the MLPs' hidden layers.
      posterior_std, posterior_std_offset: of every q, see `GaussianHead`.
    """

    latent_sizes: Sequence[int]
    encoder: nn.Module
    decoder: nn.Module
    hidden_sizes: Sequence[int]
    decoder_reads: str
    batch_norm: bool
    dtype: DTypeLike = jnp.float32
    posterior_std: float = 0.0
    posterior_std_offset: float = 0.0

    @property
    def largest_kl(self) -> tuple[float, ...]:
        """Nats: Gaussian latents have no limit."""
        return (math.inf,) * len(self.latent_sizes)

    def setup(self):
        transitions = list(zip(self.latent_sizes[:-1], self.latent_sizes[1:], self.hidden_sizes, strict=False))
        std: dict[str, Any] = {"std": self.posterior_std, "std_offset": self.posterior_std_offset}
        mlp: dict[str, Any] = {"hidden_layers": 2, "batch_norm": self.batch_norm, "dtype": self.dtype}
        self.bottom_posterior = GaussianHead(self.latent_sizes[0], **std)
        self.upper_posteriors = [GaussianHead(upper, hidden, **mlp, **std) for _, upper, hidden in transitions]
        self.conditionals = [GaussianHead(lower, hidden, **mlp) for lower, _, hidden in transitions]

    def features(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch feature"]:
        return self.encoder(images, train=train)

    def posterior(
        self, features: Float[Array, "batch feature"], below: Latents, *, train: bool = False
    ) -> DiagonalGaussian:
        """q(z^i|z^{i-1}, x), i = len(below) + 1, from the features of x."""
        if not below:
            return self.bottom_posterior(features, train=train)
        inputs = jnp.concatenate([below[-1], features], axis=-1)
        return self.upper_posteriors[len(below) - 1](inputs, train=train)

    def encode(
        self, images: Float[Array, "batch height width channels"], noise: Latents, *, train: bool = False
    ) -> Encoding:
        features = self.features(images, train=train)
        posteriors: tuple[DiagonalGaussian, ...] = ()
        latents: Latents = ()
        for layer_noise in noise:
            posteriors = (*posteriors, self.posterior(features, latents, train=train))
            latents = (*latents, gaussian.sample(posteriors[-1], layer_noise))
        return Encoding(posteriors, latents)

    def prior(self, latents: Latents, *, train: bool = False) -> tuple[DiagonalGaussian, ...]:
        conditionals = [head(above, train=train) for head, above in zip(self.conditionals, latents[1:], strict=True)]
        return (*conditionals, gaussian.standard_normal(latents[-1]))

    def decode(self, latents: Latents, *, train: bool = False) -> Float[Array, "batch height width channels"]:
        read = jnp.concatenate(latents, axis=-1) if self.decoder_reads == "all" else latents[0]
        return self.decoder(read, train=train)
