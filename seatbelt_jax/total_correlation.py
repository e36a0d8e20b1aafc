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
the model: right gradients, meaningless as a reported number. Report `exact` or `mss`, of one layer.

For a hierarchy the same functions serve the top layer in training, component j being q(z^L | z_j^{L-1}, x_j)
(Willetts et al. 2021, Eq. 43): the one-path surrogate. No such estimator is unbiased for L > 1, `exact` included:
image i's share of q(z^L) is an average over its paths z^1 .. z^{L-1}, but the component that drew z_i stands for it.
The error can be tens of nats. `aggregate_bracket` bounds log q(z^L) from both sides for reporting.
"""

import functools
import math
import numbers
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from seatbelt_jax.arithmetic import finite, in_common_type, largest_exponent
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.sections import check_choice

Estimator = Literal["mws", "mss", "exact"]

# Components, or latents, that one step of a loop handles. Their terms are written out one by one, as one elementwise
# kernel: a reduction over them is many times slower on a CPU. A step of few components handles fewer, which compile
# sooner.
_BLOCK, _LEAST_BLOCK = 16, 4

# Stands for log 0: differences of it are still numbers, and so are its sums over coordinates.
_LOWEST = -1e32


def log_aggregate_posterior(
    latents: Float[Array, "batch latent"],
    posterior: DiagonalGaussian,
    dataset_size: int | Int[Array, ""] | Float[Array, ""],
    *,
    estimator: Estimator = "mws",
    block_size: int | None = None,
    forward_mode: bool = False,
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Estimates log q(z_i) and log prod_k q(z_ik) of the aggregate posterior, in nats.

    Time grows as batch x components x latent, memory as (batch + components) x latent: neither the array
    [batch, components, latent] nor [batch, components] is ever formed, forward or backward.

    Args:
      latents: z_i, drawn from component i for `mws` and `mss`; anything for `exact`.
      posterior: the mixture's components, mean and log_std [components, latent]. `mws` and `mss`
        take the minibatch's own (components = batch), `exact` all of the data set's. For the top layer of a
        hierarchy every estimator is the one-path surrogate, see the module's docstring.
      dataset_size: N, the number of training examples. It may be traced where the estimator is "mws" or "mss".
      estimator: "mws", "mss" or "exact", see the module's docstring.
      block_size: components handled in one step of the loop over them; 4 to 16 if not given. Results agree to
        rounding; compilation takes longer the larger it is.
      forward_mode: whether `jax.jvp` and `jax.jacfwd` can be applied. Reverse mode then stores what each step of the
        loop computes, batch x components x latent numbers.

    Returns:
      (log_joint, log_product), each [batch]. Total correlation is the mean of their difference.

    It can be jitted, vmapped and differentiated, in dataset_size too. JAX knows no rule for both modes of a loop like
    this one: without `forward_mode` it raises a TypeError in forward mode that names custom_vjp.

    Raises:
      TypeError: where dataset_size is no number, or traced for the estimator "exact".
      ValueError: for an unknown estimator, shapes that do not fit it, dataset_size < components, or block_size < 1.
    """
    if isinstance(dataset_size, jax.Array) and not dataset_size.ndim and not isinstance(dataset_size, jax.core.Tracer):
        dataset_size = dataset_size.item()
    _check(latents, posterior, dataset_size, estimator, block_size)
    (batch, latent), components = latents.shape, len(posterior.mean)
    latents, posterior = _ready(latents, posterior)
    log_weight, own = _weights(batch, dataset_size, estimator, latents.dtype)
    mixtures = _plain_log_mixtures if forward_mode else _log_mixtures
    log_joint, log_product = mixtures(latents, posterior, own, _block(block_size, components))
    return log_joint + log_weight, log_product + latent * log_weight


class AggregateDensity(NamedTuple):
    """The density of a mixture at latents z_i, and those of its coordinates, in nats.

    Attributes:
      joint: log q(z_i), [batch].
      marginals: log q(z_ik), [batch, latent].
    """

    joint: Float[Array, " batch"]
    marginals: Float[Array, "batch latent"]

    @property
    def product(self) -> Float[Array, " batch"]:
        """log prod_k q(z_ik), [batch]."""
        return jnp.sum(self.marginals, axis=-1)


def log_mixture(
    latents: Float[Array, "batch latent"], components: DiagonalGaussian, *, block_size: int | None = None
) -> AggregateDensity:
    """Evaluates the mixture of Gaussian components of equal weights at latents, by the same streaming loop.

    Args:
      latents: z_i, from wherever.
      components: mean and log_std [components, latent].
      block_size: see `log_aggregate_posterior`.

    Raises:
      ValueError: where `log_aggregate_posterior` does.
    """
    count = len(components.mean)
    _check(latents, components, count, "exact", block_size)
    latents, components = _ready(latents, components)
    log_joint, log_marginals = _stream(latents, components, None, _block(block_size, count))
    return AggregateDensity(log_joint - math.log(count), log_marginals.T - math.log(count))


def add_mixture(pooled: AggregateDensity, other: AggregateDensity, count: int | Int[Array, ""]) -> AggregateDensity:
    """Pools `count` mixtures of equal size, pooled before, with one more."""
    share = jnp.log(jnp.asarray(count, jnp.float32))

    def pool(log_mean: Array, log_density: Array) -> Array:
        return jnp.logaddexp(log_mean + share, log_density) - jnp.log1p(jnp.asarray(count, jnp.float32))

    return jax.tree.map(pool, pooled, other)


def aggregate_bracket(
    fresh: AggregateDensity, own: AggregateDensity, paths: int | Int[Array, ""]
) -> tuple[AggregateDensity, AggregateDensity]:
    """Bounds log q(z^L) of a hierarchy, and its marginals, from below and from above in expectation.

    Let every image have K fresh paths, which drew none of the latents, and one path that drew its latent. The mean of
    q(z|path) over the fresh paths is unbiased for q(z), so its logarithm is below log q(z) (Jensen). The mean over all
    K + 1 is above: with the image and the path that drew z unknown, that mean is the density of z given the paths, and
    E log of it exceeds E log q(z) by a KL divergence (as Yin and Zhou 2018; Sobolev and Vetrov 2019). Both hold
    for latents of images drawn uniformly, not for every image. They meet as K grows, at once where a path
    tells nothing of z^L beyond x.

    Args:
      fresh: the mixture over K paths of every image.
      own: the mixture over the paths that drew the latents, one of every image: the one-path surrogate.
      paths: K.

    Returns:
      (lower, upper).
    """
    return fresh, add_mixture(fresh, own, paths)


def _plain_log_mixtures(
    latents: Float[Array, "batch latent"], posterior: DiagonalGaussian, own: Float[Array, ""] | None, block_size: int
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """log sum_j v_ij q(z_i|x_j) and sum_k log sum_j v_ij q(z_ik|x_j), v_ij = `own` if i = j, else 1; None for 1."""
    return _log_mixtures_forward(latents, posterior, own, block_size)[0]


def _log_mixtures_forward(latents: Any, posterior: Any, own: Any, block_size: int) -> Any:
    log_joint, log_marginals = _stream(latents, posterior, own, block_size)
    return (log_joint, jnp.sum(log_marginals, axis=0)), (latents, posterior, own, log_joint, log_marginals)


class _Components(NamedTuple):
    """Components' densities without what does not depend on the latent: log q = -u^2/2 - offset, u = (z - mean) / std.

    In halves, whose difference cannot overflow: u = (z/2 - half_mean) inverse_half_std. However small the standard
    deviation is, its inverse is a number, whose product with 0 is 0.
    """

    half_mean: Float[Array, "*axes"]
    inverse_half_std: Float[Array, "*axes"]
    offset: Float[Array, "*axes"]


@functools.partial(jax.jit, static_argnames=("block_size",))
def _stream(
    latents: Any, posterior: DiagonalGaussian, own: Any, block_size: int
) -> tuple[Float[Array, " batch"], Float[Array, "latent batch"]]:
    """A streaming log-sum-exp over blocks of components.

    Arrays are [latent, batch], the long axis last: every step is elementwise along it, which suits vector
    units whatever the latent size, and leaves nothing to communicate where it is divided over devices.
    """
    points = 0.5 * latents.T

    def add_block(sums: Any, block: Any) -> Any:
        components, numbers = block
        weights = _weights_of(numbers, own, points[0])
        joint = jnp.sum(_log_density(points, components)[0], axis=1)
        marginal = [_log_density(points, _row(components, row))[0] for row in range(block_size)]
        return (_add_terms(sums[0], list(joint), weights), _add_terms(sums[1], marginal, weights)), None

    # As if a component of density exp(_LOWEST) had been added: no logarithm is of 0.
    nothing = [(jnp.full_like(like, _LOWEST), jnp.ones_like(like)) for like in (points[0], points)]
    sums, _ = jax.lax.scan(add_block, tuple(nothing), _component_blocks(posterior, block_size))
    log_joint, log_marginals = (highest + jnp.log(total) for highest, total in sums)
    return log_joint, log_marginals


@functools.partial(jax.jit, static_argnums=(0,))
def _log_mixtures_backward(block_size: int, residuals: Any, cotangents: Any) -> Any:
    """The chain rule with responsibilities a_ijk, the components' shares in the two sums.

    With u = (z - mean) / std: d/dz = -sum_j a u / std, d/dmean = sum_i a u / std, d/dlog_std = sum_i a (u^2 - 1).
    The first runs in a loop over components, the others in a loop over latents, as the real and the imaginary part of
    one sum: all elementwise again. Two real sums, or one loop for all three, would make XLA store the responsibilities
    of a block and read them back, which takes longer than to compute their exponentials a second time.
    """
    latents, posterior, own, log_joint, log_marginals = residuals
    joint_cotangent, product_cotangent = cotangents
    points, everything = 0.5 * latents.T, _components(jax.tree.map(jnp.transpose, posterior))

    def add_components(gradient: Any, block: Any) -> Any:
        components, numbers = block
        weights = _weights_of(numbers, own, points[0])
        of_joint = jnp.exp(jnp.sum(_log_density(points, components)[0], axis=1) - log_joint) * joint_cotangent
        for row in range(block_size):
            log_density, standardised = _log_density(points, _row(components, row))
            of_marginal = jnp.exp(log_density - log_marginals) * product_cotangent
            share = weights[row] * (of_joint[row] + of_marginal)
            gradient -= share * _squarable(standardised) * components.inverse_half_std[row]
        return gradient, None

    def add_latents(gradients: Any, block: Any) -> Any:
        points, numbers, log_joint, log_marginals, joint_cotangent, product_cotangent = block
        weights = _weights_of(numbers, own, everything.half_mean[0])
        of_joint = jnp.exp(jnp.sum(_log_density(points, everything)[0], axis=1) - log_joint) * joint_cotangent
        for row in range(block_size):
            log_density, standardised = _log_density(points[row], everything)
            of_marginal = jnp.exp(log_density - log_marginals[row]) * product_cotangent[row]
            share = weights[row] * (of_joint[row] + of_marginal)
            standardised = _squarable(standardised)
            gradients += jax.lax.complex(share * standardised, share * jnp.square(standardised) - share)
        return gradients, None

    of_latents, _ = jax.lax.scan(add_components, jnp.zeros_like(points), _component_blocks(posterior, block_size))
    nothing = jnp.zeros_like(everything.half_mean)
    gradients, _ = jax.lax.scan(
        add_latents,
        jax.lax.complex(nothing, nothing),
        (
            _blocks(0.5 * latents, block_size)[..., None],
            _blocks(jnp.arange(len(latents)), block_size),
            # A latent that only fills up the last block has a share of 0 in everything.
            _blocks(log_joint, block_size, -_LOWEST)[..., None],
            _blocks(log_marginals.T, block_size, -_LOWEST)[..., None],
            _blocks(joint_cotangent, block_size)[..., None],
            _blocks(product_cotangent, block_size),
        ),
    )
    of_means = 0.5 * gradients.real * everything.inverse_half_std
    of_own = None
    if own is not None:
        log_density = _log_density(points, everything)[0]
        of_joint = jnp.exp(jnp.sum(log_density, axis=0) - log_joint) * joint_cotangent
        of_own = jnp.sum(of_joint) + jnp.sum(jnp.exp(log_density - log_marginals) * product_cotangent)
    return 0.5 * of_latents.T, DiagonalGaussian(mean=of_means.T, log_std=gradients.imag.T), of_own


_log_mixtures = jax.custom_vjp(_plain_log_mixtures, nondiff_argnums=(3,))
_log_mixtures.defvjp(_log_mixtures_forward, _log_mixtures_backward)


def _components(posterior: DiagonalGaussian) -> _Components:
    offset = posterior.log_std + 0.5 * math.log(2.0 * math.pi)
    largest = largest_exponent(offset.dtype) - math.log(2.0)
    inverse_half_std = 2.0 * jnp.exp(jnp.clip(-posterior.log_std, -largest, largest))
    return _Components(0.5 * posterior.mean, inverse_half_std, offset)


def _component_blocks(posterior: DiagonalGaussian, block_size: int) -> tuple[_Components, Int[Array, "blocks block"]]:
    """The components as [blocks, block, latent, 1], and their numbers. Those that fill up the last have density 0."""
    components = _components(posterior)
    blocks = _Components(
        _blocks(components.half_mean, block_size)[..., None],
        _blocks(components.inverse_half_std, block_size)[..., None],
        _blocks(components.offset, block_size, -_LOWEST)[..., None],
    )
    return blocks, _blocks(jnp.arange(len(posterior.mean)), block_size)


def _block(block_size: int | None, components: int) -> int:
    return min(block_size or max(_LEAST_BLOCK, min(_BLOCK, components // 8)), components)


def _blocks(rows: Any, block_size: int, fill: float = 0.0) -> Any:
    """[rows, ...] as [blocks, block, ...], the last block filled up."""
    padding = -len(rows) % block_size
    padded = jnp.pad(rows, ((0, padding), *[(0, 0)] * (rows.ndim - 1)), constant_values=fill)
    return padded.reshape(-1, block_size, *rows.shape[1:])


def _row(components: _Components, row: int) -> _Components:
    return _Components(*(leaf[row] for leaf in components))


def _log_density(points: Any, components: _Components) -> Any:
    """l_ijk, and u = (z - mean) / std, for shapes that broadcast."""
    standardised = (points - components.half_mean) * components.inverse_half_std
    return -0.5 * jnp.square(standardised) - components.offset, standardised


def _squarable(standardised: Any) -> Any:
    """u, held where its square is still a number: where it is larger, its share is 0, and so must be their product."""
    limit = 0.5 * math.sqrt(float(jnp.finfo(standardised.dtype).max))
    return jnp.clip(standardised, -limit, limit)


def _add_terms(sums: Any, terms: list[Any], weights: Any) -> Any:
    """(m, s) with m + log s the logarithm of the sum so far, after adding weight * exp(term) for each term."""
    highest, total = sums
    new = functools.reduce(jnp.maximum, terms, highest)
    total *= jnp.exp(highest - new)
    for term, weight in zip(terms, weights, strict=True):
        total += weight * jnp.exp(term - new)
    return new, total


def _weights_of(numbers: Any, own: Any, like: Any) -> Any:
    """v_ij for a block of numbers i or j, [block, size]: 1 but `own` in the column of the same number."""
    if own is None:
        return jnp.ones((len(numbers), *like.shape), like.dtype)
    # Windows of one vector: comparing numbers with an iota would keep the kernels of the loops from being vectorised.
    size = len(like)
    vector = jnp.ones(2 * size, like.dtype).at[size].set(own)
    return jnp.stack([jax.lax.dynamic_slice(vector, (size - number,), (size,)) for number in numbers])


def _ready(latents: Any, posterior: DiagonalGaussian) -> tuple[Any, DiagonalGaussian]:
    """Both in one type, which is then that of what the loops carry and of what they add; infinite numbers held."""
    latents, posterior = in_common_type(latents, posterior)
    return finite(latents), DiagonalGaussian(finite(posterior.mean), posterior.log_std)


def _check(latents: Any, posterior: Any, dataset_size: Any, estimator: str, block_size: int | None) -> None:
    check_choice("estimator", estimator, get_args(Estimator))
    shapes = latents.shape, posterior.mean.shape, posterior.log_std.shape
    if any(len(shape) != 2 for shape in shapes) or shapes[1] != shapes[2] or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            "latents [batch, latent] and the posterior's mean and log_std [components, latent] do not fit: "
            f"got {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    traced = isinstance(dataset_size, jax.core.Tracer)
    if traced and dataset_size.ndim:
        raise TypeError(f"dataset_size must be one number, got an array of shape {dataset_size.shape}")
    if not traced and (isinstance(dataset_size, bool) or not isinstance(dataset_size, numbers.Real)):
        raise TypeError(f"dataset_size must be the number of training examples, got {dataset_size!r}")
    if block_size is not None and (not isinstance(block_size, int) or block_size < 1):
        raise ValueError(f"block_size must be a whole number of at least 1, or None for the default; got {block_size}")
    batch, components = len(latents), len(posterior.mean)
    if not (batch and components):
        raise ValueError(f"got {batch} latents and {components} components; give at least one of each")
    if estimator != "exact" and components != batch:
        raise ValueError(
            f"estimator {estimator!r} takes the minibatch's own posteriors: "
            f"got {components} components for {batch} latents"
        )
    if traced and estimator == "exact":
        raise TypeError("dataset_size is the number of components with estimator 'exact': give it as a number")
    if estimator == "exact" and components != dataset_size:
        raise ValueError(f"estimator 'exact' takes all {dataset_size} posteriors of the data set, got {components}")
    # The value of a traced number is not known here: one below the minibatch gives NaN.
    if not traced and not components <= dataset_size < math.inf:
        raise ValueError(
            f"dataset_size {dataset_size} is not the number of training examples: it is smaller than the minibatch of "
            f"{components}, or not a finite number"
        )


def _weights(batch: int, dataset_size: Any, estimator: str, dtype: Any) -> tuple[Any, Float[Array, ""] | None]:
    """log w of every component but a latent's own, and the own one's weight relative to it, None for 1."""
    # Sums of float logs: N M overflows int32 at the sizes this is used for.
    traced = isinstance(dataset_size, jax.core.Tracer)
    size = dataset_size.astype(dtype) if traced else dataset_size
    log = jnp.log if traced else math.log
    if estimator == "mws":
        return -log(size) - math.log(batch), None
    if estimator == "exact" or batch == 1:
        return -log(size), None
    return log(size - 1) - log(size) - math.log(batch - 1), jnp.asarray((batch - 1) / (size - 1), dtype)
