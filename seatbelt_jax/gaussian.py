"""Diagonal Gaussians and their closed forms, in nats, summed over the last axis.

Operands of several float types are converted to their common type, float32 at least. Values and gradients are never
NaN at a finite log_std, even where the standard deviation overflows or underflows. They are infinite only where the
exact result exceeds the type's largest number.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax.arithmetic import bounded_exp, finite, held, in_common_type, largest_exponent
from seatbelt_jax.norm import l2_norm

_LOG_2PI = math.log(2.0 * math.pi)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiagonalGaussian:
    """N(mean, diag(exp(log_std))^2), batched over every axis but the last.

    Attributes:
      mean: [..., latent].
      log_std: [..., latent], the logarithm of the standard deviation (not of the variance).
    """

    mean: Float[Array, "*batch latent"]
    log_std: Float[Array, "*batch latent"]

    @property
    def std(self) -> Float[Array, "*batch latent"]:
        return jnp.exp(self.log_std)


def standard_normal(like: Float[Array, "*batch latent"]) -> DiagonalGaussian:
    """N(0, I) with the shape of `like`: the prior of the top layer."""
    return DiagonalGaussian(jnp.zeros_like(like), jnp.zeros_like(like))


def sample(q: DiagonalGaussian, noise: Float[Array, "*batch latent"]) -> Float[Array, "*batch latent"]:
    """The reparameterised sample mean + std * noise; noise = 0 gives the mean."""
    q, noise = in_common_type(q, noise)
    return finite(q.mean + bounded_exp(q.log_std) * noise)


def log_prob_per_coordinate(q: DiagonalGaussian, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch latent"]:
    """log q(z_k) for each coordinate k, in nats."""
    q, z = in_common_type(q, z)
    return -0.5 * (jnp.square(standardised(z - q.mean, q.log_std)) + _LOG_2PI) - q.log_std


def log_prob(q: DiagonalGaussian, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch"]:
    """log q(z), in nats."""
    return jnp.sum(log_prob_per_coordinate(q, z), axis=-1)


def entropy(q: DiagonalGaussian) -> Float[Array, "*batch"]:
    """-E_q log q(z), in nats."""
    return jnp.sum(in_common_type(q).log_std + 0.5 * (_LOG_2PI + 1.0), axis=-1)


def kl_divergence(q: DiagonalGaussian, p: DiagonalGaussian) -> Float[Array, "*batch"]:
    """KL(q || p), in nats.

    Written as (r^2 - 1)/2 - log r + ..., r the ratio of the standard deviations, with expm1 so that it
    does not cancel to a negative number when q and p nearly agree.
    """
    q, p = in_common_type(q, p)
    log_ratio = q.log_std - p.log_std
    shift = standardised(q.mean - p.mean, p.log_std)
    square_ratio_less_one = jnp.expm1(held(2.0 * log_ratio, largest_exponent(log_ratio.dtype)))
    return jnp.sum(0.5 * (square_ratio_less_one + jnp.square(shift)) - log_ratio, axis=-1)


def symmetric_kl(q: DiagonalGaussian, p: DiagonalGaussian) -> Float[Array, "*batch"]:
    """KL(q || p) + KL(p || q), in nats; the logarithms cancel and every term left is a square."""
    q, p = in_common_type(q, p)
    difference, log_ratio = q.mean - p.mean, q.log_std - p.log_std
    shift = jnp.square(standardised(difference, q.log_std)) + jnp.square(standardised(difference, p.log_std))
    sinh = jnp.sinh(held(log_ratio, 0.5 * largest_exponent(log_ratio.dtype)))
    return jnp.sum(2.0 * jnp.square(sinh) + 0.5 * shift, axis=-1)


def wasserstein2(q: DiagonalGaussian, p: DiagonalGaussian) -> Float[Array, "*batch"]:
    """The 2-Wasserstein distance sqrt(||mean - mean'||^2 + ||std - std'||^2), gradient 0 where it is 0."""
    q, p = in_common_type(q, p)
    of_std = bounded_exp(q.log_std) - bounded_exp(p.log_std)
    return l2_norm(jnp.concatenate([q.mean - p.mean, of_std], axis=-1), axis=-1)


def standardised(
    difference: Float[Array, "*#batch latent"], log_std: Float[Array, "*#batch latent"]
) -> Float[Array, "*#batch latent"]:
    """difference / exp(log_std), limited so that its square does not overflow.

    Divides twice by the square root of the standard deviation, which is finite over twice the range of log_std.
    """
    root = bounded_exp(-0.5 * log_std)
    return held(finite(difference) * root * root, 0.5 * math.sqrt(float(jnp.finfo(root.dtype).max)))
