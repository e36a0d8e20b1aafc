"""The evidence lower bound per example, its decomposition, and the objectives built from it.

The ELBO of a hierarchical VAE with inference q(z^1|x) prod q(z^{i+1}|z^i, x) and generation
p(x|z) prod p(z^i|z^{i+1}) p(z^L) is (Willetts et al. 2021, Def. 1 with beta = 1)

    E_q [ log p(x|z) - sum_{i<L} log q(z^i|z^{i-1}, x) / p(z^i|z^{i+1}) - log q(z^L|z^{L-1}, x) / p(z^L) ].

The paper's proof (its Eq. 22-25) goes on to write the terms i < L as closed-form divergences
KL(q(z^i|..) || p(z^i|z^{i+1})) with z^{i+1} drawn beforehand. That needs z^i and z^{i+1} to be
independent given (z^{i-1}, x), but z^{i+1} is drawn from q(.|z^i, x). It is not the ELBO, nor any bound:
it can exceed log p(x). Here these terms keep z^i and z^{i+1} paired, as Definition 1 has them; only the
entropy of q(z^i|..) and the top layer's divergence, on which nothing else depends, are in closed form.
The terms i < L are called kl for their place in the bound, but they are not divergences. Even their mean can be
negative where the layer above is informative about z^i.

A JointVAE's layers, the Concrete latents c and the Gaussian z, are independent given x, and so are their
priors: both terms are closed forms, and the aggregate posterior is that of z. The divergence is that of the
categorical distributions. The sum is therefore no bound where the decoder reads relaxed samples (Sootla 2018,
Sec. 2.2.3); it is one where the decoder reads hard samples (`concrete.Concrete.hard`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from seatbelt_jax import gaussian, posterior
from seatbelt_jax.arithmetic import check_numbers, finite, in_common_type
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.posterior import Posterior
from seatbelt_jax.sections import check_choice
from seatbelt_jax.total_correlation import Estimator, log_aggregate_posterior
from seatbelt_jax.vae import Encoding

Penalty = Literal["total_correlation", "kl", "capacity"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ElboTerms:
    """The terms of the ELBO per example, in nats.

    Attributes:
      log_likelihood: log p(x|z), [batch].
      kl: [batch, layers]; an estimate of E log q(z^i|z^{i-1}, x) / p(z^i|z^{i+1}), layer 1 first. The
        top layer's is the closed form.
      mutual_information: log q(z^L|z^{L-1}, x) - log q(z^L), [batch]. For L = 1 alone its mean is -S_a of
        Theorem 1, the index-code mutual information.
      total_correlation: log q(z^L) - log prod_j q(z^L_j), [batch].
      dimension_wise_kl: log prod_j q(z^L_j) - log p(z^L), [batch].

    The last three come from one sample and one estimator of the aggregate posterior, so they add up
    to log q(z^L|..) - log p(z^L) exactly; their mean estimates that of kl[:, -1]. For L > 1 each of the three is the
    one-path surrogate, which training uses: it can be off by tens of nats, see `total_correlation`. For reporting,
    `metrics.elbo_decomposition` brackets them.
    """

    log_likelihood: Float[Array, " batch"]
    kl: Float[Array, "batch layers"]
    mutual_information: Float[Array, " batch"]
    total_correlation: Float[Array, " batch"]
    dimension_wise_kl: Float[Array, " batch"]

    @property
    def elbo(self) -> Float[Array, " batch"]:
        """log p(x|z) - sum_i kl_i: the bound without any beta, [batch]."""
        return self.log_likelihood - jnp.sum(self.kl, axis=-1)


def decompose(
    log_likelihood: Float[Array, " batch"],
    encoding: Encoding,
    prior: Sequence[Posterior],
    *,
    dataset_size: int | Int[Array, ""] | Float[Array, ""],
    estimator: Estimator = "mws",
    aggregate: DiagonalGaussian | None = None,
    block_size: int | None = None,
    forward_mode: bool = False,
) -> ElboTerms:
    """Computes every term of the ELBO from a model's outputs on one batch.

    Args:
      log_likelihood: log p(x|z) at the sampled latents, [batch].
      encoding: posteriors and samples of every layer.
      prior: p(z^i|z^{i+1}) at the same samples, layer 1 first.
      dataset_size: N of the aggregate posterior.
      estimator: how the aggregate posterior is estimated, see `total_correlation`.
      aggregate: the aggregate's components, the batch's own top posteriors by default; for the
        estimator "exact", those of all N examples.
      block_size, forward_mode: see `log_aggregate_posterior`.

    Raises:
      ValueError: where `log_aggregate_posterior` does.
      TypeError: the top layer is not Gaussian.
    """
    log_likelihood, encoding, prior, aggregate = in_common_type(log_likelihood, encoding, tuple(prior), aggregate)
    posteriors, latents = encoding
    lower = [_lower_term(q, p, z) for q, p, z in zip(posteriors[:-1], prior[:-1], latents[:-1], strict=True)]
    top, top_prior, top_latent = posteriors[-1], prior[-1], latents[-1]
    if not (isinstance(top, DiagonalGaussian) and isinstance(top_prior, DiagonalGaussian)):
        raise TypeError(f"the top layer must be Gaussian, got {type(top).__name__}; put Concrete layers below it")
    log_joint, log_product = log_aggregate_posterior(
        top_latent,
        top if aggregate is None else aggregate,
        dataset_size,
        estimator=estimator,
        block_size=block_size,
        forward_mode=forward_mode,
    )
    return ElboTerms(
        log_likelihood=log_likelihood,
        kl=jnp.stack([*lower, gaussian.kl_divergence(top, top_prior)], axis=-1),
        mutual_information=gaussian.log_prob(top, top_latent) - log_joint,
        total_correlation=log_joint - log_product,
        dimension_wise_kl=log_product - gaussian.log_prob(top_prior, top_latent),
    )


def _lower_term(q: Posterior, p: Posterior, z: Float[Array, "batch latent"]) -> Float[Array, " batch"]:
    """log q(z^i|..) / p(z^i|..): the entropy in closed form, and the whole KL where p does not depend on z^{i+1}."""
    if isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian):
        return -gaussian.entropy(q) - gaussian.log_prob(p, z)
    return posterior.kl_divergence(q, p)


def objective(
    terms: ElboTerms,
    *,
    beta: float | Float[Array, ""] = 1.0,
    penalty: Penalty = "total_correlation",
    free_bits: float | Sequence[float] | Float[Array, ""] | Float[Array, " layers"] = 0.0,
    capacity: float | Sequence[float] | Float[Array, ""] | Float[Array, " layers"] = 0.0,
    total_correlation: Float[Array, " batch"] | None = None,
) -> Float[Array, " batch"]:
    """The objective to maximise, per example, in nats; the caller averages.

    penalty="total_correlation": ELBO - (beta - 1) TC(z^L), the objective of beta-TCVAE (L = 1),
    beta-TCDLGM and Seatbelt-VAE (Willetts et al. 2021, Eq. 9), and, with a discriminator's estimate as
    `total_correlation`, of FactorVAE (Kim and Mnih 2018, Eq. 2; its gamma is beta - 1).
    penalty="kl": log p(x|z) - beta sum_i KL_i, the objective of beta-VAE (Higgins et al. 2017).
    beta = 1 gives the plain ELBO with either.
    penalty="capacity": log p(x|z) - beta sum_i |mean KL_i - C_i|, the objective of JointVAE (Dupont 2018;
    Sootla 2018, Eq. 2.14) and, for one layer, of Burgess et al. 2017; their gamma is beta.

    Args:
      terms: from `decompose`.
      beta: the penalty's weight, >= 0.
      penalty: the term that beta multiplies.
      free_bits: nats that each layer may use at no cost, one number or one per layer: a layer's
        batch-mean KL below it counts as that constant (Kingma et al. 2016). 0 turns it off. It must be 0 with
        penalty="capacity".
      capacity: C_i in nats, one number or one per layer; used with penalty="capacity" only.
      total_correlation: an estimate of log q(z^L) - log prod_j q(z^L_j), [batch], that replaces the one in
        `terms`.

    Raises:
      TypeError: beta, free bits or capacities are not numbers.
      ValueError: the penalty is unknown, the number of free bits or capacities is not the number of layers, or an
        argument does not go with the penalty.
    """
    check_choice("penalty", penalty, get_args(Penalty))
    check_numbers("beta", beta)
    terms, beta, total_correlation = in_common_type(terms, beta, total_correlation)
    if penalty != "total_correlation" and total_correlation is not None:
        raise ValueError(f"total_correlation is for the penalty of that name, got it with penalty {penalty!r}")
    if penalty == "capacity":
        check_numbers("free_bits", free_bits)
        if isinstance(free_bits, jax.core.Tracer):
            raise TypeError("free_bits must be 0 with penalty 'capacity', and is traced: leave it out")
        if np.any(free_bits):
            raise ValueError("free_bits must be 0 with penalty 'capacity', which has a use for every nat")
        target = _per_layer("capacity", capacity, terms)
        # The sign of the mean, so that the batch's mean is |mean KL - C|.
        side = jax.lax.stop_gradient(jnp.sign(jnp.mean(terms.kl, axis=0) - target))
        return terms.log_likelihood - beta * jnp.sum(side * (terms.kl - target), axis=-1)
    allowance = _per_layer("free_bits", free_bits, terms)
    # Off is off: the mean of a lower layer's term can be negative.
    is_free = (allowance > 0.0) & (jnp.mean(terms.kl, axis=0) < allowance)
    # Held: a penalty that weighs nothing is 0 however large what it weighs.
    kl = finite(jnp.sum(jnp.where(is_free, allowance, terms.kl), axis=-1))
    if penalty == "kl":
        return terms.log_likelihood - beta * kl
    total_correlation = terms.total_correlation if total_correlation is None else total_correlation
    return terms.log_likelihood - kl - (beta - 1.0) * finite(total_correlation)


def _per_layer(
    name: str,
    values: float | Sequence[float] | Float[Array, ""] | Float[Array, " layers"],
    terms: ElboTerms,
) -> Float[Array, " layers"]:
    check_numbers(name, values)
    layers = terms.kl.shape[-1]
    if np.shape(values) not in ((), (layers,)):
        raise ValueError(f"{name} must be one number or {layers}, one per layer; got {np.size(values)}")
    # A list of Python's numbers has no type of its own.
    dtype = jnp.result_type(terms.kl, *jax.tree.leaves(values))
    return jnp.broadcast_to(jnp.asarray(values, dtype), (layers,))
