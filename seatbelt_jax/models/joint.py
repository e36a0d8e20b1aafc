"""JointVAE: Concrete latents beside Gaussian ones (Dupont 2018; Sootla 2018, Sec. 2.3)."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax import concrete, gaussian
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.models.networks import GaussianHead
from seatbelt_jax.posterior import Posterior
from seatbelt_jax.vae import Encoding, Latents


class JointVAE(nn.Module):
    """q(c|x) q(z|x), p(x|c, z) and the priors Uniform(c) N(z; 0, I).

    The two are given as layers: the Concrete latents c are layer 1, the Gaussian z the top layer, whose
    aggregate posterior is looked at. Neither depends on the other.

    Attributes:
      latent_size: width of z.
      discrete_sizes: the number of classes of each Concrete variable in c.
      temperature: of the Concrete variables.
      hard_samples: whether c is one-hot in evaluation; on the mean path it is then the arg max of the logits. c is
        always relaxed in training.
      encoder, decoder: as in `HierarchicalVAE`.
      posterior_std, posterior_std_offset: of q(z|x), see `GaussianHead`.
    """

    latent_size: int
    discrete_sizes: Sequence[int]
    temperature: float
    encoder: nn.Module
    decoder: nn.Module
    hard_samples: bool = False
    posterior_std: float = 0.0
    posterior_std_offset: float = 0.0

    @property
    def latent_sizes(self) -> tuple[int, int]:
        return sum(self.discrete_sizes), self.latent_size

    @property
    def largest_kl(self) -> tuple[float, float]:
        """Nats: sum log K of the Concrete variables; Gaussian latents have no limit."""
        return concrete.largest_kl_to_uniform(self.discrete_sizes), math.inf

    def setup(self):
        self.logits = nn.Dense(sum(self.discrete_sizes), dtype=jnp.float32)
        self.posterior = GaussianHead(self.latent_size, std=self.posterior_std, std_offset=self.posterior_std_offset)

    def encode(
        self, images: Float[Array, "batch height width channels"], noise: Latents, *, train: bool = False
    ) -> Encoding:
        features = self.encoder(images, train=train)
        q_discrete = self._concrete(self.logits(features), train)
        q_continuous = self.posterior(features, train=train)
        latents = concrete.sample(q_discrete, noise[0]), gaussian.sample(q_continuous, noise[1])
        return Encoding((q_discrete, q_continuous), latents)

    def prior(self, latents: Latents, *, train: bool = False) -> tuple[Posterior, ...]:
        return concrete.uniform(self._concrete(latents[0], train)), gaussian.standard_normal(latents[1])

    def decode(self, latents: Latents, *, train: bool = False) -> Float[Array, "batch height width channels"]:
        return self.decoder(jnp.concatenate(latents, axis=-1), train=train)

    def _concrete(self, logits: Float[Array, "batch classes"], train: bool) -> Concrete:
        return Concrete(logits, tuple(self.discrete_sizes), self.temperature, hard=self.hard_samples and not train)
