"""The mutual information gap (Chen, Li, Grosse and Duvenaud 2018, Sec. 4.1): does one latent know each factor?

    MIG = (1/K) sum_k (1/H(v_k)) ( I(z_j(k); v_k) - max_{j != j(k)} I(z_j; v_k) ),   j(k) = argmax_j I(z_j; v_k)

For each factor the two *latents* that know most of it are compared, not for each latent two factors. On a full grid of
factors every quantity is that of the grid: q(z_j) mixes the posteriors of all images, q(z_j|v_k) those of the images
with that level, and only the expectation over z is a sample's.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seatbelt_jax.gaussian import DiagonalGaussian, sample
from seatbelt_jax.metrics.batches import check_count
from seatbelt_jax.total_correlation import log_aggregate_posterior


@dataclasses.dataclass(frozen=True)
class MutualInformationGap:
    """What single latents know of single factors.

    Attributes:
      mutual_information: estimates of I(z_j; v_k), in nats, [factor, latent].
      standard_error: of these, from the variance over samples.
      factor_entropy: H(v_k), in nats: the logarithm of the number of levels.
    """

    mutual_information: Float[np.ndarray, "factor latent"]
    standard_error: Float[np.ndarray, "factor latent"]
    factor_entropy: Float[np.ndarray, " factor"]

    @property
    def gaps(self) -> Float[np.ndarray, " factor"]:
        """The gap of each factor between the two latents that know most of it, in units of its entropy.

        NaN for a factor of one level, whose entropy is 0.
        """
        second, first = np.sort(self.mutual_information, axis=1)[:, -2:].T
        entropy = np.where(self.factor_entropy > 0.0, self.factor_entropy, np.nan)
        return (first - second) / entropy

    @property
    def mig(self) -> float:
        """The mean gap of the factors that have several levels."""
        gaps = self.gaps
        return float(np.mean(gaps[~np.isnan(gaps)]))


def mutual_information_gap(
    posterior: DiagonalGaussian,
    factors: Int[np.ndarray, "image factor"],
    key: PRNGKeyArray,
    *,
    num_samples: int = 10_000,
) -> MutualInformationGap:
    """I(z_j; v_k) = E[log q(z_j|v_k) - log q(z_j)] for all latents and factors of a full grid, and so MIG.

    Time grows as num_samples x N x latents, memory as (num_samples + N) x latents. Chen et al., too, take 10,000
    samples against all N. For dSprites they leave the shape out of the mean, as in `gaps[1:].mean()`; the images of
    all shapes stay in the mixtures.

    Args:
      posterior: q(z|x) of every image of the grid, mean and log_std [image, latent]; of a hierarchy, of the layer
        in question along the mean path, or of all layers side by side.
      factors: the levels that each image was generated from, every combination of levels once, in any order.
      key: of the samples.
      num_samples: of z: one of each image of a random choice among the N, or more where there are fewer images.

    Raises:
      ValueError: for factors that are no full grid, other shapes, fewer than 2 latents, no factor with 2 levels, or a
        posterior that is not finite.
      TypeError: for a posterior that is not Gaussian or factors that are not whole numbers.
    """
    levels = _check(posterior, factors)
    check_count("num_samples", num_samples, least=2)
    posterior = jax.tree.map(np.asarray, posterior)
    numbers, latents = map(np.asarray, _sample(posterior, key, num_samples))
    marginal = np.asarray(_log_marginals(latents, posterior), np.float64)
    ratios = [_log_conditionals(latents, posterior, level[numbers], level) - marginal for level in levels.T]
    return MutualInformationGap(
        mutual_information=np.stack([np.mean(ratio, axis=0) for ratio in ratios]),
        standard_error=np.stack([np.std(ratio, axis=0, ddof=1) / math.sqrt(num_samples) for ratio in ratios]),
        factor_entropy=np.log(1.0 + levels.max(axis=0)),
    )


@functools.partial(jax.jit, static_argnums=2)
def _sample(
    posterior: DiagonalGaussian, key: PRNGKeyArray, num_samples: int
) -> tuple[Int[Array, " sample"], Float[Array, "sample latent"]]:
    """The images that samples are of, each image once before any is repeated, and the samples."""
    size = len(posterior.mean)
    order_key, noise_key = jax.random.split(key)
    keys = jax.random.split(order_key, -(-num_samples // size))
    numbers = jax.lax.map(lambda one: jax.random.permutation(one, size), keys).ravel()[:num_samples]
    own = jax.tree.map(lambda leaf: leaf[numbers], posterior)
    return numbers, sample(own, jax.random.normal(noise_key, own.mean.shape, jnp.float32))


@jax.jit
def _log_marginals(
    latents: Float[Array, "sample latent"], posterior: DiagonalGaussian
) -> Float[Array, "sample latent"]:
    """log (1/N) sum_n q(z_j|x_n) of each coordinate by itself."""

    def of_coordinate(
        z: Float[Array, " sample"], mean: Float[Array, " image"], log_std: Float[Array, " image"]
    ) -> Float[Array, " sample"]:
        q = DiagonalGaussian(mean[:, None], log_std[:, None])
        return log_aggregate_posterior(z[:, None], q, len(mean), estimator="exact")[0]

    return jax.vmap(of_coordinate, in_axes=1, out_axes=1)(latents, posterior.mean, posterior.log_std)


def _log_conditionals(
    latents: Float[np.ndarray, "sample latent"],
    posterior: DiagonalGaussian,
    sample_levels: Int[np.ndarray, " sample"],
    image_levels: Int[np.ndarray, " image"],
) -> Float[np.ndarray, "sample latent"]:
    """log q(z_j|v) of each sample, v being the level of the image that it is of."""
    count = 1 + int(image_levels.max())
    # On a full grid every level has as many images. Samples' groups are filled up to the largest: one program for all.
    images = np.argsort(image_levels, kind="stable").reshape(count, -1)
    groups = [np.flatnonzero(sample_levels == level) for level in range(count)]
    longest = max(map(len, groups))
    found = np.empty(latents.shape)
    for group, members in zip(groups, images, strict=True):
        if len(group):
            filled = np.concatenate([group, np.full(longest - len(group), group[0])])
            mixture = jax.tree.map(lambda leaf, members=members: leaf[members], posterior)
            found[group] = np.asarray(_log_marginals(latents[filled], mixture))[: len(group)]
    return found


def _check(posterior: DiagonalGaussian, factors: Sequence | np.ndarray) -> Int[np.ndarray, "image factor"]:
    """The factors' levels from 0, or what is wrong with them."""
    if not isinstance(posterior, DiagonalGaussian):
        raise TypeError(f"posterior must be a DiagonalGaussian, got {type(posterior).__name__}")
    given = np.asarray(factors)
    if not np.issubdtype(given.dtype, np.integer):
        raise TypeError(f"factors must be whole numbers, got {given.dtype}")
    shapes = np.shape(posterior.mean), np.shape(posterior.log_std)
    if given.ndim != 2 or len(shapes[0]) != 2 or shapes[0] != shapes[1] or len(given) != shapes[0][0]:
        raise ValueError(
            "the posterior's mean and log_std [image, latent] and factors [image, factor] do not fit: got "
            f"{shapes[0]}, {shapes[1]} and {given.shape}"
        )
    if shapes[0][1] < 2:
        raise ValueError("a gap between two latents needs at least 2 of them, got 1")
    if not all(np.all(np.isfinite(leaf)) for leaf in (posterior.mean, posterior.log_std)):
        raise ValueError("the posterior has values that are not finite")
    levels = np.stack([np.unique(column, return_inverse=True)[1] for column in given.T], axis=1)
    counts = 1 + levels.max(axis=0)
    if math.prod(counts.tolist()) != len(levels) or len(np.unique(levels, axis=0)) != len(levels):
        raise ValueError(
            f"factors must be a full grid, every combination of the {' x '.join(map(str, counts))} levels once; got "
            f"{len(levels)} images"
        )
    if counts.max() < 2:
        raise ValueError("every factor has one level only, so its entropy is 0")
    return levels
