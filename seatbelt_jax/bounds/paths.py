"""The Jacobians of all layers' means along paths through a hierarchy of latent layers.

Pure functions of one image and one path, which jit and vmap. J_i(z^{<i}) = d mu_i(z^{<i}, x) / dx holds the layers
below fixed at the path: what a perturbation of the image does to layer i beyond what it did to those.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.functions import Latents, Level
from seatbelt_jax.bounds.jacobian import RowScaledGram, ScaledRows, jacobian_rows
from seatbelt_jax.bounds.layers import Layers


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

    image: Float[Array | ndarray, "*image"]
    unit: Float[Array | ndarray, "*image"]


# What the levels read: an image, or its features.
Point = Float[Array | ndarray, "*image"] | FeaturePoint | WeightedPoint


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
            return lambda t, below: level(jnp.asarray(image) + t * unit, below)

        return [weighted(level) for level in levels], jnp.zeros_like(jnp.asarray(image))
    return levels, jnp.asarray(point)


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


def mean_path_rows(layers: Layers, x: Float[Array, "*image"], chunk_size: int) -> ScaledRows:
    """The whitened Jacobians of all layers at x along the mean path, stacked."""
    path = layers.mean_path(x)

    def whitened_means(image: Float[Array, "*image"]) -> Float[Array, "total"]:
        seen = layers.read(image)
        return jnp.concatenate(
            [
                level(seen, path.latents[:index]).mean / posterior.std
                for index, (level, posterior) in enumerate(zip(layers.levels, path.posteriors, strict=True))
            ]
        )

    return ScaledRows(*jacobian_rows(whitened_means, x, chunk_size))


def _mean_given(level: Level, below: Latents) -> Callable[[Float[Array, "*image"]], Float[Array, "latent"]]:
    return lambda image: level(image, below).mean
