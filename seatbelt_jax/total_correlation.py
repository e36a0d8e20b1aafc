"""The aggregate posterior q(z) = (1/N) sum_n q(z|x_n), its product of marginals, and estimators.

With z_i ~ q(z|x_i) in a minibatch of M and l_ijk = log q(z_ik | x_j), every estimator is a
weighted mixture

    log q(z_i)            ~ logsumexp_j [ log w_ij + sum_k l_ijk ]
    log prod_k q(z_ik)    ~ sum_k logsumexp_j [ log w_ij + l_ijk ]

and they differ in the weights alone:

    mws    w_ij = 1/(N M)               minibatch weighted sampling, Willetts et al. 2021, Eq. 35, 43
    mss    w_ii = 1/N, else (N-1)/(N(M-1))    minibatch stratified sampling, Chen et al. 2018, App. C.2
    exact  w_ij = 1/N                   the components are all N posteriors

Chen et al. give one arbitrary other component the weight (N-M+1)/(N(M-1)) and the rest 1/(M-1);
averaging over which one gives the weights above: the same expectation with less variance.
The total correlation that `mws` gives is (D-1) log N above that of the plain 1/M mixture whatever
the model: right gradients, meaningless as a reported number. Report `exact` or `mss`.

For a hierarchy the same functions serve the top layer, component j being
q(z^L | z_j^{L-1}, x_j) (Willetts et al. 2021, Eq. 43).
"""

import functools
import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax import gaussian
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.sections import check_choice

Estimator = Literal["mws", "mss", "exact"]

# Elements of the [batch, block, latent] array of log densities held at once when no block size is
# given: 16 MiB of float32, which stays in a CPU's cache and is still enough work for a GPU.
_BLOCK_ELEMENTS = 2**22


def log_aggregate_posterior(
    latents: Float[Array, "batch latent"],
    posterior: DiagonalGaussian,
    dataset_size: int,
    *,
    estimator: Estimator = "mws",
    block_size: int | None = None,
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Estimates log q(z_i) and log prod_k q(z_ik) of the aggregate posterior, in nats.

    Args:
      latents: z_i, drawn from component i for `mws` and `mss`; anything for `exact`.
      posterior: the mixture's components, mean and log_std [components, latent]. `mws` and `mss`
        take the minibatch's own (components = batch), `exact` all of the data set's.
      dataset_size: N, the number of training examples.
      estimator: "mws", "mss" or "exact", see the module's docstring.
      block_size: components held at once. The array [batch, components, latent] is never formed;
        the backward pass computes each block again instead of storing it.

    Returns:
      (log_joint, log_product), each [batch]. Total correlation is the mean of their difference.

    Raises:
      ValueError: for an unknown estimator, shapes that do not fit it, or dataset_size < components.
    """
    batch, latent = latents.shape
    components = posterior.mean.shape[0]
    _check(batch, components, dataset_size, estimator)
    if block_size is None:
        block_size = max(1, _BLOCK_ELEMENTS // (batch * latent))
    block_size = min(block_size, components)

    weights = _log_weights(batch, dataset_size, estimator)
    log_joint, log_marginals = _log_mixtures(latents, posterior, weights, block_size)
    return log_joint, jnp.sum(log_marginals, axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _log_mixtures(
    latents: Float[Array, "batch latent"],
    posterior: DiagonalGaussian,
    weights: tuple[float, float],
    block_size: int,
) -> tuple[Float[Array, " batch"], Float[Array, "batch latent"]]:
    """log sum_j w_ij q(z_i|x_j) and, for each coordinate, log sum_j w_ij q(z_ik|x_j).

    A streaming log-sum-exp over blocks of components. Its derivative is written out below because the
    automatic one would keep the running sums of every block.
    """
    batch, latent = latents.shape

    def add_block(carry: Any, block: Any) -> Any:
        joint, marginal = carry
        log_density, log_weight, _ = _block_terms(latents, block, weights)
        here = log_weight + jnp.sum(log_density, axis=-1)
        joint = jnp.logaddexp(joint, jax.nn.logsumexp(here, axis=1))
        marginal = jnp.logaddexp(marginal, jax.nn.logsumexp(log_weight[..., None] + log_density, axis=1))
        return (joint, marginal), None

    # A finite stand-in for log 0: the difference of two infinities is not a number.
    nothing = jnp.finfo(latents.dtype).min
    start = (jnp.full((batch,), nothing), jnp.full((batch, latent), nothing))
    sums, _ = jax.lax.scan(add_block, start, _in_blocks(posterior, block_size))
    return sums


def _log_mixtures_forward(latents: Any, posterior: Any, weights: Any, block_size: int) -> Any:
    sums = _log_mixtures(latents, posterior, weights, block_size)
    return sums, (latents, posterior, sums)


def _log_mixtures_backward(weights: Any, block_size: int, residuals: Any, cotangents: Any) -> Any:
    """The chain rule with responsibilities a_ijk, the components' shares in the two sums.

    With u = (z - mean) / std: d/dz = -sum_j a u / std, d/dmean = sum_i a u / std, d/dlog_std = sum_i a (u^2 - 1).
    """
    latents, posterior, (joint, marginal) = residuals
    joint_cotangent, marginal_cotangent = cotangents

    def add_block(latents_gradient: Any, block: Any) -> Any:
        log_density, log_weight, standardised = _block_terms(latents, block, weights)
        here = log_weight + jnp.sum(log_density, axis=-1)
        of_joint = jnp.exp(here - joint[:, None]) * joint_cotangent[:, None]
        of_marginal = jnp.exp(log_weight[..., None] + log_density - marginal[:, None]) * marginal_cotangent[:, None]
        responsibility = of_joint[..., None] + of_marginal
        pull = responsibility * standardised * jnp.exp(-block[0].log_std)
        gradient = DiagonalGaussian(
            mean=jnp.sum(pull, axis=0),
            # In this order: u^2 may overflow where the responsibility is 0.
            log_std=jnp.sum(responsibility * standardised * standardised - responsibility, axis=0),
        )
        return latents_gradient - jnp.sum(pull, axis=1), gradient

    latents_gradient, gradients = jax.lax.scan(add_block, jnp.zeros_like(latents), _in_blocks(posterior, block_size))
    components, latent = posterior.mean.shape
    return latents_gradient, jax.tree.map(lambda leaf: leaf.reshape(-1, latent)[:components], gradients)


_log_mixtures.defvjp(_log_mixtures_forward, _log_mixtures_backward)


def _in_blocks(posterior: DiagonalGaussian, block_size: int) -> Any:
    """The components as [blocks, block, latent] with their numbers; padding is numbered -1."""
    components, latent = posterior.mean.shape
    num_blocks = -(-components // block_size)
    padding = num_blocks * block_size - components
    # Padded components are standard normals, so that they stay finite; their weight is zero.
    blocks = jax.tree.map(
        lambda leaf: jnp.pad(leaf, ((0, padding), (0, 0))).reshape(num_blocks, block_size, latent), posterior
    )
    numbers = jnp.pad(jnp.arange(components), (0, padding), constant_values=-1)
    return blocks, numbers.reshape(num_blocks, block_size)


def _block_terms(latents: Any, block: Any, weights: tuple[float, float]) -> Any:
    """l_ijk [batch, block, latent], log w_ij [batch, block] and (z - mean) / std of one block."""
    own, other = weights
    components, numbers = block
    components = jax.tree.map(lambda leaf: leaf[None], components)
    standardised = (latents[:, None] - components.mean) * jnp.exp(-components.log_std)
    log_density = gaussian.log_prob_per_coordinate(components, latents[:, None])
    log_weight = jnp.where(numbers == jnp.arange(latents.shape[0])[:, None], own, other)
    return log_density, jnp.where(numbers >= 0, log_weight, -jnp.inf), standardised


def _check(batch: int, components: int, dataset_size: int, estimator: str) -> None:
    check_choice("estimator", estimator, get_args(Estimator))
    if estimator != "exact" and components != batch:
        raise ValueError(
            f"estimator {estimator!r} takes the minibatch's own posteriors: "
            f"got {components} components for {batch} latents"
        )
    if estimator == "exact" and components != dataset_size:
        raise ValueError(f"estimator 'exact' takes all {dataset_size} posteriors of the data set, got {components}")
    if dataset_size < components:
        raise ValueError(
            f"dataset_size {dataset_size} is smaller than the minibatch of {components}; "
            "give the number of training examples"
        )


def _log_weights(batch: int, dataset_size: int, estimator: str) -> tuple[float, float]:
    """log w of a latent's own component and of every other one."""
    # Sums of float logs: N M overflows int32 at the sizes this is used for.
    log_n = math.log(dataset_size)
    if estimator == "mws":
        return (-log_n - math.log(batch),) * 2
    if estimator == "exact":
        return (-log_n,) * 2
    if batch == 1 or dataset_size == 1:
        return -log_n, -math.inf
    return -log_n, math.log(dataset_size - 1) - log_n - math.log(batch - 1)
