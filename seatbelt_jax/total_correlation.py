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

import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax import gaussian
from seatbelt_jax.gaussian import DiagonalGaussian

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

    own, other = _log_weights(batch, dataset_size, estimator)
    num_blocks = -(-components // block_size)
    padding = num_blocks * block_size - components
    # Padded components are standard normals of weight zero, so that they stay finite.
    blocks = jax.tree.map(
        lambda leaf: jnp.pad(leaf, ((0, padding), (0, 0))).reshape(num_blocks, block_size, latent),
        posterior,
    )
    indices = jnp.arange(num_blocks * block_size).reshape(num_blocks, block_size)
    rows = jnp.arange(batch)[:, None]

    def add_block(carry, block):
        components_of_block, index = block
        log_density = gaussian.log_prob_per_coordinate(
            jax.tree.map(lambda leaf: leaf[None], components_of_block), latents[:, None]
        )
        log_weight = jnp.where(index == rows, own, other)
        log_weight = jnp.where(index < components, log_weight, -jnp.inf)
        joint, marginal = carry
        joint = jnp.logaddexp(joint, jax.nn.logsumexp(log_weight + jnp.sum(log_density, axis=-1), axis=1))
        marginal = jnp.logaddexp(marginal, jax.nn.logsumexp(log_weight[..., None] + log_density, axis=1))
        return (joint, marginal), None

    # A finite stand-in for log 0: logaddexp of two -inf has no gradient.
    nothing = jnp.finfo(latents.dtype).min
    start = (jnp.full((batch,), nothing), jnp.full((batch, latent), nothing))
    (log_joint, log_marginals), _ = jax.lax.scan(jax.checkpoint(add_block), start, (blocks, indices))
    return log_joint, jnp.sum(log_marginals, axis=-1)


def _check(batch: int, components: int, dataset_size: int, estimator: str) -> None:
    if estimator not in get_args(Estimator):
        raise ValueError(
            f"unknown total-correlation estimator {estimator!r}; choose one of {', '.join(get_args(Estimator))}"
        )
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
