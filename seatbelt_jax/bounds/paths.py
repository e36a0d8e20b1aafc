"""Paths through a hierarchy of latent layers: samples, and the Jacobians of all layers' means along them.

Pure functions of one image and one path, which jit and vmap. J_i(z^{<i}) = d mu_i(z^{<i}, x) / dx holds the layers
below fixed at the path: what a perturbation of the image does to layer i beyond what it did to those.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax.bounds.checks import Latents, Level
from seatbelt_jax.bounds.jacobian import RowScaledGram, jacobian_rows
from seatbelt_jax.gaussian import DiagonalGaussian, sample


class FeaturePoint(NamedTuple):
    """The features of an image, with coordinates t in which the levels' Jacobians have the norms of those in x.

    J_f, the Jacobian of the features, is factor^T Q^T with Q of orthonormal columns. A level of Jacobian A in the
    features has A J_f = (A factor^T) Q^T in x: the Jacobian of t -> level(features + factor^T t), but for a rotation
    that no norm and no Gram matrix sees.

    Attributes:
      features: f(x).
      factor: [rank, feature], rank the smaller of the numbers of features and of pixels.
    """

    features: Float[Array, "feature"]
    factor: Float[Array, "rank feature"]


class WeightedPoint(NamedTuple):
    """An image with coordinates t = (x' - image) / unit: a box of perturbations is cut to fit a ball of t.

    With unit = w^{-1/2} and weights w that sum to 1, ||t||_2^2 = sum_j w_j d_j^2 <= ||d||_inf^2.

    Attributes:
      image: x.
      unit: [...], of the image's shape.
    """

    image: Float[Array, "*image"]
    unit: Float[Array, "*image"]


# What the levels read: an image, or its features.
Point = Float[Array, "*image"] | FeaturePoint | WeightedPoint


def feature_point(
    features: Float[Array, "feature"], rows: Float[Array, "feature pixels"], scale: Float[Array, "feature"]
) -> FeaturePoint:
    """From features and their Jacobian diag(scale) rows; on the host in float64, so that nothing is lost."""
    triangle = np.asarray(np.linalg.qr(np.asarray(rows, np.float64).T, mode="r"))
    return FeaturePoint(features, jnp.asarray(triangle * np.asarray(scale, np.float64), features.dtype))


def in_local_coordinates(levels: Sequence[Level], point: Point) -> tuple[Sequence[Level], Float[Array, "..."]]:
    """Levels and the point at which to follow them: as they are, or in a point's own coordinates t."""
    if isinstance(point, FeaturePoint):
        features, factor = point

        def from_features(level: Level) -> Level:
            return lambda t, below: level(features + t @ factor, below)

        return [from_features(level) for level in levels], jnp.zeros(len(factor), factor.dtype)
    if isinstance(point, WeightedPoint):
        image, unit = point

        def weighted(level: Level) -> Level:
            return lambda t, below: level(image + t * unit, below)

        return [weighted(level) for level in levels], jnp.zeros_like(image)
    return levels, point


class BottomLayer(NamedTuple):
    """Layer 1 at an image: what all paths share, since no latent lies below it.

    Attributes:
      posterior: q(z^1 | x).
      rows, scale: the Jacobian of its mean, as `jacobian_rows` gives it.
      gram: rows rows^T.
    """

    posterior: DiagonalGaussian
    rows: Float[Array, "latent pixels"]
    scale: Float[Array, "latent"]
    gram: Float[Array, "latent latent"]


class Path(NamedTuple):
    """One path z^1, .., z^L, of `total` latent coordinates in all.

    Attributes:
      latents: the sample of every layer, layer 1 first.
      posteriors: of every layer given the samples below it.
      gram: of the Jacobians J_1, J_2(z^1), .. stacked, [total, total], not whitened.
    """

    latents: Latents
    posteriors: tuple[DiagonalGaussian, ...]
    gram: RowScaledGram

    @property
    def log_std(self) -> Float[Array, "total"]:
        """The log standard deviations of all layers, in the order of the Gram matrix."""
        return jnp.concatenate([posterior.log_std for posterior in self.posteriors])


def bottom_layer(level: Level, x: Float[Array, "*image"], chunk_size: int) -> BottomLayer:
    """Layer 1's posterior and Jacobian at x, `chunk_size` rows at a time."""
    rows, scale = jacobian_rows(_mean_given(level, ()), x, chunk_size)
    return BottomLayer(level(x, ()), rows, scale, rows @ rows.T)


def follow(
    levels: Sequence[Level],
    x: Float[Array, "*image"],
    bottom: BottomLayer,
    noise: Float[Array, "total"] | None,
    chunk_size: int,
) -> Path:
    """The path z^i = mu_i(z^{<i}, x) + sigma_i(z^{<i}, x) noise_i; without noise, the mean path.

    Under vmap over the noise only what depends on the samples is computed anew for each path: the Gram matrix of
    layer 1 is a block that all share.
    """
    posteriors = [bottom.posterior]
    latents = [_sample(bottom.posterior, noise, 0)]
    upper = []
    start = latents[0].size
    for level in levels[1:]:
        below = tuple(latents)
        posteriors.append(level(x, below))
        upper.append(jacobian_rows(_mean_given(level, below), x, chunk_size))
        latents.append(_sample(posteriors[-1], noise, start))
        start += latents[-1].size
    gram, scale = bottom.gram, bottom.scale
    if upper:
        rows = jnp.concatenate([level_rows for level_rows, _ in upper])
        scale = jnp.concatenate([scale, *(level_scale for _, level_scale in upper)])
        cross = rows @ bottom.rows.T
        gram = jnp.block([[gram, cross.T], [cross, rows @ rows.T]])
    return Path(tuple(latents), tuple(posteriors), RowScaledGram(gram, scale))


def mean_path_rows(
    levels: Sequence[Level], read: Callable[[Float[Array, "*image"]], Array], x: Float[Array, "*image"], chunk_size: int
) -> Float[Array, "total pixels"]:
    """The whitened Jacobians of all layers along the mean path, stacked; `read` gives the levels what they read."""
    latents: Latents = ()
    rows = []
    for level in levels:
        posterior = level(read(x), latents)
        of_level, scale = jacobian_rows(_mean_read(level, read, latents), x, chunk_size)
        rows.append(of_level * (scale * jnp.exp(-posterior.log_std))[:, None])
        latents = (*latents, posterior.mean)
    return jnp.concatenate(rows)


def _mean_given(level: Level, below: Latents) -> Callable[[Float[Array, "*image"]], Float[Array, "latent"]]:
    return _mean_read(level, lambda image: image, below)


def _mean_read(
    level: Level, read: Callable[[Float[Array, "*image"]], Array], below: Latents
) -> Callable[[Float[Array, "*image"]], Float[Array, "latent"]]:
    return lambda image: level(read(image), below).mean


def _sample(posterior: DiagonalGaussian, noise: Float[Array, "total"] | None, start: int) -> Float[Array, "latent"]:
    if noise is None:
        return posterior.mean
    return sample(posterior, jax.lax.dynamic_slice_in_dim(noise, start, posterior.mean.size))
