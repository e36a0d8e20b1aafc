"""FactorVAE's discriminator between samples of q(z) and of prod_j q(z_j) (Kim and Mnih 2018)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

_LEAKY_RELU_SLOPE = 0.2


class _Classifier(nn.Module):
    width: int
    layers: int

    @nn.compact
    def __call__(self, latents: Float[Array, "batch latent"]) -> Float[Array, " batch"]:
        hidden = latents
        for _ in range(self.layers):
            hidden = nn.leaky_relu(nn.Dense(self.width)(hidden), _LEAKY_RELU_SLOPE)
        return nn.Dense(1)(hidden)[:, 0]


@dataclasses.dataclass(frozen=True)
class Discriminator:
    """A dense LeakyReLU network whose output estimates log q(z) - log prod_j q(z_j).

    Kim and Mnih 2018, Eq. 3 and App. A: six layers of 1,000 units. Only the difference of their two logits matters,
    so this network has one output.

    Attributes:
      latent_size: width of z.
      width, layers: of the hidden layers.
    """

    latent_size: int
    width: int = 1000
    layers: int = 6

    def init(self, key: PRNGKeyArray) -> Any:
        """Fresh parameters."""
        return _Classifier(self.width, self.layers).init(key, jnp.zeros((1, self.latent_size)))

    def log_ratio(self, parameters: Any, latents: Float[Array, "batch latent"]) -> Float[Array, " batch"]:
        """The discriminator's estimate of log q(z) - log prod_j q(z_j), in nats."""
        estimate: Any = _Classifier(self.width, self.layers).apply(parameters, latents)
        return estimate

    def loss(self, parameters: Any, latents: Float[Array, "batch latent"], key: PRNGKeyArray) -> Float[Array, ""]:
        """Cross-entropy of telling latents from permuted latents, in nats; log 2 for an uninformative discriminator.

        Each coordinate is permuted over the batch by itself, which turns samples of q(z) into samples of
        prod_j q(z_j). Kim and Mnih permute a second batch; the same one serves, as a discriminator sees
        one latent at a time.
        """
        shuffled = jax.random.permutation(key, latents, axis=0, independent=True)
        of_latents, of_shuffled = self.log_ratio(parameters, latents), self.log_ratio(parameters, shuffled)
        return 0.5 * jnp.mean(jax.nn.softplus(-of_latents) + jax.nn.softplus(of_shuffled))
