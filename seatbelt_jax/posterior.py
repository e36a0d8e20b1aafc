"""What a latent layer's distribution may be, and what is done with it whatever it is."""

from jaxtyping import Array, Float

from seatbelt_jax import concrete, gaussian
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian

Posterior = DiagonalGaussian | Concrete


def sample(q: Posterior, noise: Float[Array, "*batch latent"]) -> Float[Array, "*batch latent"]:
    """The reparameterised sample made of standard normal noise; noise = 0 gives the mean or the mode."""
    return gaussian.sample(q, noise) if isinstance(q, DiagonalGaussian) else concrete.sample(q, noise)


def kl_divergence(q: Posterior, p: Posterior) -> Float[Array, "*batch"]:
    """KL(q || p) in nats, of the categorical distributions where they are Concrete.

    Raises:
      TypeError: where one is Gaussian and the other Concrete.
    """
    if isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian):
        return gaussian.kl_divergence(q, p)
    if isinstance(q, Concrete) and isinstance(p, Concrete):
        return concrete.kl_divergence(q, p)
    raise TypeError(f"no divergence between {type(q).__name__} and {type(p).__name__}")
