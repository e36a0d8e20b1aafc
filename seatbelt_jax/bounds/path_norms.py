"""Norms of the whitened Jacobians along the draws of a hierarchy, image by image."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm, check_jacobians
from seatbelt_jax.bounds.double import compiled_in_float64
from seatbelt_jax.bounds.functions import Latents
from seatbelt_jax.bounds.jacobian import RowScaledGram, ScaledRows, jacobian_rows, whitened_norms
from seatbelt_jax.bounds.layers import Draw, Layers, noise_of
from seatbelt_jax.bounds.operator_norm import linf_weights
from seatbelt_jax.bounds.paths import (
    Point,
    WeightedPoint,
    bottom_rows,
    feature_point,
    in_local_coordinates,
    mean_path_rows,
    path_gram,
)
from seatbelt_jax.bounds.work import Work

# Share of the weight that is spread evenly over the pixels of a box of perturbations.
_EVEN_SHARE = 0.1


class PathNorms:
    """From images to the norms of their draws' whitened Jacobians; compiled at the first call, for all images.

    Args:
      layers: values; models of the same code share what is compiled.
      key: of the draws of all images.
      norm: of perturbations.
      work: its draw_batch and chunk_size.
    """

    def __init__(self, layers: Layers, key: Array, norm: Norm, work: Work):
        self._layers, self._key, self._norm, self._work = layers, key, norm, work
        self._compiled: tuple[Callable[[Float[ndarray, "*image"]], Point], _Grams] | None = None

    def __call__(
        self, image: Float[ndarray, "*image"], index: int, num_draws: int, parts: Sequence[slice]
    ) -> Float[ndarray, "draw part"]:
        """The norms of one image's first draws; infinite where they are not finite numbers: outside every event.

        On the host there is one block of Gram matrices at a time.

        Args:
          index: of the image in the data set.
          parts: slices of the latent coordinates of all layers, stacked.

        Raises:
          ValueError: a Jacobian along the mean path that is not finite.
        """
        layers, block = self._layers, self._work.draw_batch
        # Matrix products at full float32 precision also on accelerators that would round their factors.
        with jax.default_matmul_precision("highest"):
            clean = _mean_path(layers, image)
            if self._compiled is None:
                locate = _locate(layers, self._norm, self._work.chunk_size, image)
                grams = _Grams(layers, locate(image), clean.latents, image.dtype, self._work)
                self._compiled = locate, grams
            locate, grams = self._compiled
            point = locate(image)
            bottom = grams.bottom(point)
            check_jacobians(np.asarray(grams.one(point, bottom, clean.latents).gram)[None], index, "a level's mean")
            key, norms = jax.random.fold_in(self._key, index), []
            for first in range(0, num_draws, block):
                # Equally long blocks, so that there is one compilation: the last is cut to size afterwards.
                path = _paths(layers, image, key, first + np.arange(block))
                norms.append(_finite_norms(grams.many(point, bottom, path.latents), path, parts))
        return np.concatenate(norms)[:num_draws]


@jax.jit
def _mean_path(layers: Layers, image: Float[Array, "*image"]) -> Draw:
    return layers.mean_path(image)


@jax.jit
def _paths(layers: Layers, image: Float[Array, "*image"], key: Array, draws: Int[Array, "draw"]) -> Draw:
    """The paths of the draws of these numbers."""
    paths = layers.paths(image)
    dtype = jax.eval_shape(layers.mean_path, image).latents[0].dtype
    like = jax.ShapeDtypeStruct((sum(layers.sizes),), dtype)
    return jax.vmap(lambda draw: paths(noise_of(key, draw, like)))(draws)


@functools.partial(jax.jit, static_argnames="chunk_size")
def _mean_path_rows(layers: Layers, image: Float[Array, "*image"], chunk_size: int) -> ScaledRows:
    return mean_path_rows(layers, image, chunk_size)


class _Grams:
    """Gram matrices of the levels' Jacobians along paths, computed in float64 and compiled once.

    Attributes:
      bottom: point -> the Jacobian of layer 1.
      one: (point, bottom, latents) -> the Gram matrix along one path.
      many: the same for latents with an axis of draws.
    """

    def __init__(self, layers: Layers, point: Point, latents: Latents, dtype: Any, work: Work):
        levels, chunk_size = layers.levels, work.chunk_size

        def bottom(point: Point) -> ScaledRows:
            local, x = in_local_coordinates(levels, point)
            return bottom_rows(local[0], x, chunk_size)

        def one(point: Point, bottom: ScaledRows, latents: Latents) -> RowScaledGram:
            local, x = in_local_coordinates(levels, point)
            return path_gram(local, x, bottom, latents, chunk_size)

        point = jax.tree.map(lambda array: jax.ShapeDtypeStruct(np.shape(array), dtype), point)
        rows = jax.eval_shape(bottom, point)
        draws = jax.tree.map(lambda z: jax.ShapeDtypeStruct((work.draw_batch, *z.shape), z.dtype), latents)
        self.bottom = compiled_in_float64(bottom, point)
        self.one = compiled_in_float64(one, point, rows, latents)
        self.many = compiled_in_float64(jax.vmap(one, in_axes=(None, None, 0)), point, rows, draws)


def _locate(
    layers: Layers, norm: Norm, chunk_size: int, example: Float[ndarray, "*image"]
) -> Callable[[Float[ndarray, "*image"]], Point]:
    """From an image to what the levels read, itself or its features, in coordinates whose L2 ball holds the norm's."""
    features, of_features = layers.features, None
    if features is not None:
        of_features = compiled_in_float64(lambda x: (features(x), *jacobian_rows(features, x, chunk_size)), example)

    def locate(image: Float[ndarray, "*image"]) -> Point:
        unit = None
        if norm == "linf":
            # Any weights are valid, so those from float32 are.
            rows, scale = (np.asarray(array, np.float64) for array in _mean_path_rows(layers, image, chunk_size))
            weights = linf_weights(rows * scale[:, None])
            # Off the mean path other pixels matter too: some of the weight is for all alike.
            weights = (1.0 - _EVEN_SHARE) * weights + _EVEN_SHARE / weights.size
            unit = 1.0 / np.sqrt(weights)
        if of_features is not None:
            value, rows, scale = map(np.asarray, of_features(image))
            return feature_point(value, rows if unit is None else rows * unit, scale)
        return image if unit is None else WeightedPoint(image, unit.reshape(image.shape))

    return locate


def _finite_norms(gram: RowScaledGram, paths: Draw, parts: Sequence[slice]) -> Float[ndarray, "draw part"]:
    """The norm of each part of each draw's W(z); infinite where its Jacobian or its sigma is not a proper one."""
    matrices, scale = np.asarray(gram.gram), np.asarray(gram.scale)
    # On the host: a compiled exp need not keep the NaN that it is given.
    with np.errstate(over="ignore"):
        sigma = np.exp(np.concatenate([np.asarray(posterior.log_std) for posterior in paths.posteriors], axis=1))
    proper = np.isfinite(matrices).all(axis=(1, 2)) & (np.isfinite(sigma) & (sigma > 0.0)).all(axis=1)
    norms = np.empty((len(matrices), len(parts)))
    # All draws, so that every block has one shape and compiles once.
    matrices, scale, sigma = (
        np.where(np.expand_dims(proper, tuple(range(1, array.ndim))), array, 1.0) for array in (matrices, scale, sigma)
    )
    for number, part in enumerate(parts):
        block = RowScaledGram(matrices[:, part, part], scale[:, part])
        norms[:, number] = np.where(proper, whitened_norms(block, sigma[:, part])[0], np.inf)
    return norms
