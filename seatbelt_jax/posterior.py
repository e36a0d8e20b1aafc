"""The distributions of a latent layer, Gaussian or Concrete, and the functions that accept either."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax import concrete, gaussian
from seatbelt_jax.arithmetic import in_common_type
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.norm import l2_norm

Posterior = DiagonalGaussian | Concrete


def sample(q: Posterior, noise: Float[Array, "*batch latent"]) -> Float[Array, "*batch latent"]:
    """The reparameterised sample from standard normal noise.

    noise = 0 gives the mean of Gaussian latents. For Concrete ones it gives softmax(logits / temperature), or, where
    `q.hard`, the one-hot vector of the arg max of the logits.
    """
    return gaussian.sample(q, noise) if isinstance(q, DiagonalGaussian) else concrete.sample(q, noise)


def location(q: Posterior) -> Float[Array, "*batch latent"]:
    """The mean, or the logits of Concrete variables."""
    return q.mean if isinstance(q, DiagonalGaussian) else q.logits


def kl_divergence(q: Posterior, p: Posterior) -> Float[Array, "*batch"]:
    """KL(q || p) in nats, of the categorical distributions where they are Concrete.

    Raises:
      TypeError: where one is Gaussian and the other Concrete.
    """
    return _of_one_kind(gaussian.kl_divergence, concrete.kl_divergence, q, p)


def symmetric_kl(q: Posterior, p: Posterior) -> Float[Array, "*batch"]:
    """KL(q || p) + KL(p || q) in nats (Jeffreys), of the categorical distributions where they are Concrete.

    This is Jeffreys' sum. It is twice the mean of the two directions, which the code of Kuzina et al. 2022 uses.

    Raises:
      TypeError: where one is Gaussian and the other Concrete.
    """
    return _of_one_kind(gaussian.symmetric_kl, concrete.symmetric_kl, q, p)


def wasserstein2(q: Posterior, p: Posterior) -> Float[Array, "*batch"]:
    """The 2-Wasserstein distance in latent units, of the categorical distributions where they are Concrete.

    Raises:
      TypeError: where one is Gaussian and the other Concrete.
    """
    return _of_one_kind(gaussian.wasserstein2, concrete.wasserstein2, q, p)


def location_distance(q: Posterior, p: Posterior) -> Float[Array, "*batch"]:
    """||mean - mean'||_2, of the logits where they are Concrete; gradient 0 where it is 0.

    Kos et al. 2018 attack with it. Logits are not normalised (Sootla 2018, Eq. 3.1): adding a constant to all logits of
    a variable changes this distance, but not the probabilities.

    Raises:
      TypeError: where one is Gaussian and the other Concrete.
    """
    return _of_one_kind(_between_locations, _between_locations, q, p)


def _between_locations(q: Posterior, p: Posterior) -> Float[Array, "*batch"]:
    of_q, of_p = in_common_type(location(q), location(p))
    # Impossible in both is no distance apart.
    both = jnp.isinf(of_q) & (of_q == of_p)
    return l2_norm(jnp.where(both, 0.0, jnp.where(both, 0.0, of_q) - jnp.where(both, 0.0, of_p)), axis=-1)


def _of_one_kind(
    of_gaussians: Callable[[DiagonalGaussian, DiagonalGaussian], Array],
    of_concretes: Callable[[Concrete, Concrete], Array],
    q: Posterior,
    p: Posterior,
) -> Array:
    if isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian):
        return of_gaussians(q, p)
    if isinstance(q, Concrete) and isinstance(p, Concrete):
        return of_concretes(q, p)
    raise TypeError(f"no divergence between {type(q).__name__} and {type(p).__name__}")
