"""The evidence lower bound per example, its decomposition, and the objectives built from it.

The ELBO of a hierarchical VAE with inference q(z^1|x) prod q(z^{i+1}|z^i, x) and generation
p(x|z) prod p(z^i|z^{i+1}) p(z^L) is (Willetts et al. 2021, Def. 1 with beta = 1)

    E_q [ log p(x|z) - sum_{i<L} log q(z^i|z^{i-1}, x) / p(z^i|z^{i+1}) - log q(z^L|z^{L-1}, x) / p(z^L) ].

The paper's proof (its Eq. 22-25) goes on to write the terms i < L as closed-form divergences
KL(q(z^i|..) || p(z^i|z^{i+1})) with z^{i+1} drawn beforehand. That needs z^i and z^{i+1} to be
independent given (z^{i-1}, x), but z^{i+1} is drawn from q(.|z^i, x). It is not the ELBO, nor any bound:
it can exceed log p(x). Here these terms keep z^i and z^{i+1} paired, as Definition 1 has them; only the
entropy of q(z^i|..) and the top layer's divergence, on which nothing else depends, are in closed form.
Called kl for their place in the bound, the terms i < L are therefore not divergences, and where the layer
above tells much about z^i even their mean can be negative.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax import gaussian
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.sections import check_choice
from seatbelt_jax.total_correlation import Estimator, log_aggregate_posterior
from seatbelt_jax.vae import Encoding

Penalty = Literal["total_correlation", "kl"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ElboTerms:
    """The terms of the ELBO per example, in nats.

    Attributes:
      log_likelihood: log p(x|z), [batch].
      kl: [batch, layers]; an estimate of E log q(z^i|z^{i-1}, x) / p(z^i|z^{i+1}), layer 1 first. The
        top layer's is the closed form.
      mutual_information: log q(z^L|z^{L-1}, x) - log q(z^L), whose mean is -S_a of Theorem 1 for
        L = 1 (index-code mutual information), [batch].
      total_correlation: log q(z^L) - log prod_j q(z^L_j), [batch].
      dimension_wise_kl: log prod_j q(z^L_j) - log p(z^L), whose mean is -S_b of Theorem 1, [batch].

    The last three come from one sample and one estimator of the aggregate posterior, so they add up
    to log q(z^L|..) - log p(z^L) exactly; their mean estimates that of kl[:, -1].
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
    prior: Sequence[DiagonalGaussian],
    *,
    dataset_size: int,
    estimator: Estimator = "mws",
    aggregate: DiagonalGaussian | None = None,
    block_size: int | None = None,
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
      block_size: see `log_aggregate_posterior`.

    Raises:
      ValueError: where `log_aggregate_posterior` does.
    """
    posteriors, latents = encoding
    lower = [
        -gaussian.entropy(q) - gaussian.log_prob(p, z)
        for q, p, z in zip(posteriors[:-1], prior[:-1], latents[:-1], strict=True)
    ]
    top, top_latent = posteriors[-1], latents[-1]
    log_joint, log_product = log_aggregate_posterior(
        top_latent,
        top if aggregate is None else aggregate,
        dataset_size,
        estimator=estimator,
        block_size=block_size,
    )
    return ElboTerms(
        log_likelihood=log_likelihood,
        kl=jnp.stack([*lower, gaussian.kl_divergence(top, prior[-1])], axis=-1),
        mutual_information=gaussian.log_prob(top, top_latent) - log_joint,
        total_correlation=log_joint - log_product,
        dimension_wise_kl=log_product - gaussian.log_prob(prior[-1], top_latent),
    )


def objective(
    terms: ElboTerms,
    *,
    beta: float | Float[Array, ""] = 1.0,
    penalty: Penalty = "total_correlation",
    free_bits: float | Sequence[float] = 0.0,
) -> Float[Array, " batch"]:
    """The objective to maximise, per example, in nats; the caller averages.

    penalty="total_correlation": ELBO - (beta - 1) TC(z^L), the objective of beta-TCVAE (L = 1),
    beta-TCDLGM and Seatbelt-VAE (Willetts et al. 2021, Eq. 9).
    penalty="kl": log p(x|z) - beta sum_i KL_i, the objective of beta-VAE (Higgins et al. 2017).
    beta = 1 gives the plain ELBO with either.

    Args:
      terms: from `decompose`.
      beta: the penalty's weight, >= 0.
      penalty: what beta multiplies.
      free_bits: nats that each layer may use at no cost, one number or one per layer: a layer's
        batch-mean KL below it counts as that constant (Kingma et al. 2016). 0 turns it off.

    Raises:
      ValueError: for an unknown penalty, or free bits for another number of layers.
    """
    check_choice("penalty", penalty, get_args(Penalty))
    layers = terms.kl.shape[-1]
    if np.shape(free_bits) not in ((), (layers,)):
        raise ValueError(f"free_bits must be one number or {layers}, one per layer; got {np.size(free_bits)}")
    allowance = jnp.broadcast_to(jnp.asarray(free_bits, terms.kl.dtype), (layers,))
    # Off is off: the mean of a lower layer's term can be negative.
    is_free = (allowance > 0.0) & (jnp.mean(terms.kl, axis=0) < allowance)
    kl = jnp.sum(jnp.where(is_free, allowance, terms.kl), axis=-1)
    if penalty == "kl":
        return terms.log_likelihood - beta * kl
    return terms.log_likelihood - kl - (beta - 1.0) * terms.total_correlation
