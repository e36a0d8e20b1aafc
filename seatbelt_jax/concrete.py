"""Concrete (Gumbel-softmax) distributions: relaxed categorical latents (Maddison et al. 2017; Jang et al. 2017)."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from seatbelt_jax.arithmetic import in_common_type
from seatbelt_jax.norm import safe_sqrt

# Stands for the logarithm of 0: its product with 0 is 0, and differences of it are numbers.
_LOWEST = -1e30


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Concrete:
    """Independent Concrete variables side by side, batched over every axis but the last.

    Attributes:
      logits: [..., classes], unnormalised log probabilities of all variables, one after the other.
      sizes: the number of classes of each variable; they add up to `classes`.
      temperature: of the relaxation; samples tend to one-hot vectors as it goes to 0.
      hard: whether samples are one-hot vectors (Gumbel-max) instead of relaxed ones (Gumbel-softmax).
    """

    logits: Float[Array, "*batch classes"]
    sizes: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    temperature: float = dataclasses.field(metadata={"static": True})
    hard: bool = dataclasses.field(default=False, metadata={"static": True})


def uniform(like: Concrete) -> Concrete:
    """The uniform distribution with the shape of `like`: JointVAE's prior."""
    return dataclasses.replace(like, logits=jnp.zeros_like(like.logits))


def sample(q: Concrete, noise: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """The reparameterised sample of each variable, relaxed or, where `q.hard`, one-hot.

    Relaxed: softmax((logits + gumbel) / temperature). Hard: the one-hot vector of arg max (logits + gumbel), the first
    class where several are largest; it is distributed as the categorical variable (Maddison et al. 2017, Sec. 3.2).

    `noise` is standard normal, as it is for Gaussian latents; it becomes Gumbel noise through the two
    distribution functions, -log(-log Phi(noise)). So noise = 0, the same for all classes, gives
    softmax(logits / temperature), or the one-hot vector of arg max logits: the mean path follows the mode. The two
    vectors differ widely where the two largest logits differ by less than the temperature.

    The derivatives of a hard sample are those of the relaxed one: the straight-through estimator (Jang et al. 2017,
    Sec. 2.2). The function itself is constant between its jumps.
    """
    q, noise = in_common_type(q, noise)
    # Beyond 12 standard deviations, which no sampler reaches, Phi rounds to 1 and its logarithm to 0.
    gumbel = -jnp.log(-jax.scipy.special.log_ndtr(jnp.clip(noise, -12.0, 12.0)))
    parts = _split(q.logits + gumbel, q.sizes)
    samples = [jax.nn.softmax(_below_largest(part) / q.temperature, axis=-1) for part in parts]
    if q.hard:
        samples = [_one_hot(part, relaxed) for part, relaxed in zip(parts, samples, strict=True)]
    return jnp.concatenate(samples, axis=-1)


def kl_divergence(q: Concrete, p: Concrete) -> Float[Array, "*batch"]:
    """KL between the categorical distributions behind q and p, in nats, summed over variables.

    A class with logit -inf in q contributes 0. A class with logit -inf in p alone makes the divergence infinite.

    This is not the KL between the relaxed densities. JointVAE's objective uses this closed form (Dupont 2018;
    Sootla 2018, Eq. 2.10).
    """
    q, p = in_common_type(q, p)
    log_q, log_p = log_probabilities(q), log_probabilities(p)
    probability = jnp.exp(log_q)
    terms = probability * (jnp.maximum(log_q, _LOWEST) - jnp.maximum(log_p, _LOWEST))
    return jnp.sum(terms + _infinite((probability > 0.0) & jnp.isneginf(log_p), terms), axis=-1)


def symmetric_kl(q: Concrete, p: Concrete) -> Float[Array, "*batch"]:
    """KL(q || p) + KL(p || q) of the categorical distributions, in nats, summed over variables.

    sum_k (q_k - p_k) (log q_k - log p_k); no term is negative.
    """
    q, p = in_common_type(q, p)
    log_q, log_p = log_probabilities(q), log_probabilities(p)
    of_q, of_p = jnp.exp(log_q), jnp.exp(log_p)
    terms = (of_q - of_p) * (jnp.maximum(log_q, _LOWEST) - jnp.maximum(log_p, _LOWEST))
    one_alone = ((of_q > 0.0) & jnp.isneginf(log_p)) | ((of_p > 0.0) & jnp.isneginf(log_q))
    return jnp.sum(terms + _infinite(one_alone, terms), axis=-1)


def wasserstein2(q: Concrete, p: Concrete) -> Float[Array, "*batch"]:
    """The 2-Wasserstein distance between the categorical distributions over one-hot vectors, gradient 0 where it is 0.

    The squared distance of two one-hot vectors is 2, and the mass to move for variable v is the total variation
    ||q_v - p_v||_1 / 2. The squares of independent variables add up, which gives sqrt(sum_v ||q_v - p_v||_1). The
    distance grows as the square root of a small change, so its slope is unbounded near 0.
    """
    q, p = in_common_type(q, p)
    moved = jnp.abs(jnp.exp(log_probabilities(q)) - jnp.exp(log_probabilities(p)))
    return safe_sqrt(jnp.sum(moved, axis=-1))


def largest_kl_to_uniform(sizes: Sequence[int]) -> float:
    """sum log K: the largest KL to the uniform prior, in nats, of variables with K classes each."""
    return sum(math.log(size) for size in sizes)


def log_probabilities(q: Concrete) -> Float[Array, "*batch classes"]:
    """Log probabilities of the classes of each variable; -inf for a logit of -inf."""
    parts = _split(in_common_type(q.logits), q.sizes)
    return jnp.concatenate([jax.nn.log_softmax(part, axis=-1) for part in parts], axis=-1)


def _below_largest(logits: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
    """The logits minus the largest, so that division by a small temperature does not overflow upwards."""
    return logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))


def _one_hot(logits: Float[Array, "*batch size"], relaxed: Float[Array, "*batch size"]) -> Float[Array, "*batch size"]:
    """The one-hot vector of the largest logit, with the derivatives of `relaxed`; NaN stays NaN."""
    one_hot = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=relaxed.dtype)
    # Exactly 0 or 1: the sum undoes the rounding of the difference.
    return relaxed + jax.lax.stop_gradient(one_hot - relaxed)


def _infinite(where: Bool[Array, "*shape"], like: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Infinity where `where`, 0 elsewhere. It changes the value of what it is added to, not the gradient."""
    return jnp.where(where, jnp.inf, 0.0).astype(like.dtype)


def _split(values: Float[Array, "*batch classes"], sizes: Sequence[int]) -> list[Float[Array, "*batch size"]]:
    return jnp.split(values, list(itertools.accumulate(sizes))[:-1], axis=-1)
