"""What a latent layer's distribution may be, and what is done with it whatever it is."""

from jaxtyping import Array, Float

from seatbelt_jax import concrete, gaussian
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.norm import l2_norm

Posterior = DiagonalGaussian | Concrete


def sample(q: Posterior, noise: Float[Array, "*batch latent"]) -> Float[Array, "*batch latent"]:
    """The reparameterised sample made of standard normal noise; noise = 0 gives the mean or the mode."""
    return gaussian.sample(q, noise) if isinstance(q, DiagonalGaussian) else concrete.sample(q, noise)


def location(q: Posterior) -> Float[Array, "*batch latent"]:
    """The mean, or the logits of Concrete variables."""
    return q.mean if isinstance(q, DiagonalGaussian) else q.logits


def kl_divergence(q: Posterior, p: Posterior) -> Float[Array, "*batch"]:
    """KL(q || p) in nats, of the categorical distributions where they are Concrete.

    Raises:
      TypeError: where one is Gaussian and the other Concrete.
    """
    if isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian):
        return gaussian.kl_divergence(q, p)
    if isinstance(q, Concrete) and isinstance(p, Concrete):
        return concrete.kl_divergence(q, p)
    raise _different_kinds(q, p)


def symmetric_kl(q: Posterior, p: Posterior) -> Float[Array, "*batch"]:
    """KL(q || p) + KL(p || q) in nats (Jeffreys), of the categorical distributions where they are Concrete.

    The sum, as Jeffreys has it: twice the mean of the two directions that the code of Kuzina et al. 2022 attacks with.

    Raises:
      TypeError: where one is Gaussian and the other Concrete.
    """
    if isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian):
        return gaussian.symmetric_kl(q, p)
    if isinstance(q, Concrete) and isinstance(p, Concrete):
        return concrete.symmetric_kl(q, p)
    raise _different_kinds(q, p)


def wasserstein2(q: Posterior, p: Posterior) -> Float[Array, "*batch"]:
    """The 2-Wasserstein distance in latent units, of the categorical distributions where they are Concrete.

    Raises:
      TypeError: where one is Gaussian and the other Concrete.
    """
    if isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian):
        return gaussian.wasserstein2(q, p)
    if isinstance(q, Concrete) and isinstance(p, Concrete):
        return concrete.wasserstein2(q, p)
    raise _different_kinds(q, p)


def location_distance(q: Posterior, p: Posterior) -> Float[Array, "*batch"]:
    """||mean - mean'||_2, of the logits where they are Concrete; gradient 0 where it is 0.

    Kos et al. 2018 attack with it. Logits are taken as they stand (Sootla 2018, Eq. 3.1): a constant added to all of
    a variable's leaves its probabilities alone, but not this distance.

    Raises:
      TypeError: where one is Gaussian and the other Concrete.
    """
    if type(q) is not type(p):
        raise _different_kinds(q, p)
    return l2_norm(location(q) - location(p), axis=-1)


def _different_kinds(q: Posterior, p: Posterior) -> TypeError:
    return TypeError(f"no divergence between {type(q).__name__} and {type(p).__name__}")
