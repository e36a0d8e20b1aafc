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
from numpy import ndarray

from seatbelt_jax.bounds.checks import Latents, Level
from seatbelt_jax.bounds.jacobian import RowScaledGram, ScaledRows, jacobian_rows
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

    features: Float[Array | ndarray, "feature"]
    factor: Float[Array | ndarray, "rank feature"]


class WeightedPoint(NamedTuple):
    """An image with coordinates t = (x' - image) / unit: a box of perturbations is cut to fit a ball of t.

    With unit = w^{-1/2} and weights w that sum to 1, ||t||_2^2 = sum_j w_j d_j^2 <= ||d||_inf^2.

    Attributes:
      image: x.
      unit: [...], of the image's shape.
    """

    image: Float[Array, "*image"]
    unit: Float[Array | ndarray, "*image"]


# What the levels read: an image, or its features.
Point = Float[Array, "*image"] | FeaturePoint | WeightedPoint


def feature_point(
    features: Float[ndarray, "feature"], rows: Float[ndarray, "feature pixels"], scale: Float[ndarray, "feature"]
) -> FeaturePoint:
    """From features and their Jacobian diag(scale) rows; on the host in float64."""
    triangle = np.asarray(np.linalg.qr(np.asarray(rows, np.float64).T, mode="r"))
    return FeaturePoint(np.asarray(features, np.float64), triangle * np.asarray(scale, np.float64))


def in_local_coordinates(levels: Sequence[Level], point: Point) -> tuple[Sequence[Level], Float[Array, "..."]]:
    """Levels and the point at which to follow them: as they are, or in a point's own coordinates t."""
    if isinstance(point, FeaturePoint):
        features, factor = point

        def from_features(level: Level) -> Level:
            return lambda t, below: level(jnp.asarray(features) + t @ factor, below)

        return [from_features(level) for level in levels], jnp.zeros(len(factor), jnp.result_type(factor))
    if isinstance(point, WeightedPoint):
        image, unit = point

        def weighted(level: Level) -> Level:
            return lambda t, below: level(image + t * unit, below)

        return [weighted(level) for level in levels], jnp.zeros_like(image)
    return levels, point


class Path(NamedTuple):
    """One path z^1, .., z^L, of `total` latent coordinates in all.

    Attributes:
      latents: the sample of every layer, layer 1 first.
      posteriors: of every layer given the samples below it.
    """

    latents: Latents
    posteriors: tuple[DiagonalGaussian, ...]


def follow(levels: Sequence[Level], x: Float[Array, "*image"], noise: Float[Array, "total"] | None) -> Path:
    """The path z^i = mu_i(z^{<i}, x) + sigma_i(z^{<i}, x) noise_i; without noise, the mean path."""
    posteriors: list[DiagonalGaussian] = []
    latents: list[Array] = []
    start = 0
    for level in levels:
        posteriors.append(level(x, tuple(latents)))
        latents.append(_sample(posteriors[-1], noise, start))
        start += latents[-1].size
    return Path(tuple(latents), tuple(posteriors))


def path_gram(
    levels: Sequence[Level], x: Float[Array, "*image"], bottom: ScaledRows, latents: Latents, chunk_size: int
) -> RowScaledGram:
    """The Gram matrix of the Jacobians J_1, J_2(z^1), .. along a path, stacked, [total, total], not whitened.

    Under vmap over the latents only what depends on them is computed anew for each path: the block of layer 1, whose
    Jacobian is `bottom`, is shared by all.
    """
    upper = [
        jacobian_rows(_mean_given(level, latents[:index]), x, chunk_size)
        for index, level in enumerate(levels)
        if index > 0
    ]
    gram, scale = (jnp.asarray(array) for array in bottom.gram())
    if upper:
        rows = jnp.concatenate([level_rows for level_rows, _ in upper])
        scale = jnp.concatenate([scale, *(level_scale for _, level_scale in upper)])
        cross = rows @ jnp.asarray(bottom.rows).T
        gram = jnp.block([[gram, cross.T], [cross, rows @ rows.T]])
    return RowScaledGram(gram, scale)


def bottom_rows(level: Level, x: Float[Array, "*image"], chunk_size: int) -> ScaledRows:
    """The Jacobian of layer 1's mean at x, `chunk_size` rows at a time: no latent lies below it."""
    return ScaledRows(*jacobian_rows(_mean_given(level, ()), x, chunk_size))


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
