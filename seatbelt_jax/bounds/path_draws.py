"""Draws of a hierarchy, image by image: the norm of the whitened Jacobians at each, and how far it decodes."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import (
    DecodePath,
    Features,
    Latents,
    Level,
    Norm,
    check_centres,
    check_jacobians,
    check_posteriors,
)
from seatbelt_jax.bounds.double import compiled_in_float64
from seatbelt_jax.bounds.jacobian import RowScaledGram, ScaledRows, jacobian_rows, whitened_norms
from seatbelt_jax.bounds.operator_norm import linf_weights
from seatbelt_jax.bounds.paths import (
    Path,
    Point,
    WeightedPoint,
    bottom_rows,
    feature_point,
    follow,
    in_local_coordinates,
    mean_path_rows,
    path_gram,
)

# Share of the weight that is spread evenly over the pixels of a box of perturbations.
_EVEN_SHARE = 0.1


def default_draw_batch() -> int:
    """Small blocks suit a CPU's caches; on an accelerator a block holds `chunk_size` backward passes per draw."""
    return 64 if jax.default_backend() == "cpu" else 256


def path_draws(
    levels: Sequence[Level],
    decode: DecodePath,
    features: Features | None,
    images: Float[ndarray, "n *image"],
    key: Array,
    *,
    num_draws: int,
    parts: Sequence[slice],
    norm: Norm,
    draw_batch: int,
    chunk_size: int,
) -> Iterator[tuple[Float[ndarray, "draw part"], Float[ndarray, "draw"]]]:
    """Yields for each image the norms of its draws' whitened Jacobians and their distances ||g(z) - c||_2.

    A part is a slice of the latent coordinates of all layers, stacked; the last ends where they end. Norms and
    distances are infinite where they are not finite numbers: outside every event. Raises ValueError where something
    along the mean path is not finite. On the host there is one block of Gram matrices at a time. The functions are
    values (`functions.hierarchy`): models of the same code share what is compiled.
    """
    locate = _locate(levels, features, norm, chunk_size, images[0])
    grams = None
    for index, image in enumerate(images):
        # Matrix products at full float32 precision also on accelerators that would round their factors.
        with jax.default_matmul_precision("highest"):
            mean_path, centre = _clean(levels, decode, features, image)
            _check_posteriors(mean_path, index)
            point = locate(image)
            if grams is None:
                grams = _Grams(levels, point, mean_path.latents, image.dtype, chunk_size)
            bottom = grams.bottom(point)
            check_jacobians(np.asarray(grams.one(point, bottom, mean_path.latents).gram)[None], index, "a level's mean")
            check_centres(np.isfinite(np.asarray(centre)).all()[None], index)
            image_key = jax.random.fold_in(key, index)
            norms, distances = [], []
            for first in range(0, num_draws, draw_batch):
                # Equally long blocks, so that there is one compilation: the last is cut to size afterwards.
                draws = first + np.arange(draw_batch)
                path, distance = _block(levels, decode, features, image, centre, image_key, draws, parts[-1].stop)
                norms.append(_finite_norms(grams.many(point, bottom, path.latents), path, parts))
                distances.append(np.asarray(distance, np.float64))
        distance = np.concatenate(distances)[:num_draws]
        yield np.concatenate(norms)[:num_draws], np.where(np.isfinite(distance), distance, np.inf)


@jax.jit
def _clean(
    levels: Sequence[Level], decode: DecodePath, features: Features | None, image: Float[Array, "*image"]
) -> tuple[Path, Float[Array, "*image"]]:
    """The mean path, and what it decodes to."""
    path = follow(levels, _read(features, image), None)
    return path, decode(path.latents)


@functools.partial(jax.jit, static_argnames="total")
def _block(
    levels: Sequence[Level],
    decode: DecodePath,
    features: Features | None,
    image: Float[Array, "*image"],
    centre: Float[Array, "*image"],
    image_key: Array,
    draws: Int[Array, "draw"],
    total: int,
) -> tuple[Path, Float[Array, "draw"]]:
    """The paths of the draws of these numbers, and how far they decode from the centre."""
    seen = _read(features, image)
    dtype = jax.eval_shape(levels[0], seen, ()).mean.dtype

    def one(draw: Int[Array, ""]) -> tuple[Path, Float[Array, ""]]:
        noise = jax.random.normal(jax.random.fold_in(image_key, draw), (total,), dtype)
        path = follow(levels, seen, noise)
        return path, jnp.linalg.norm((decode(path.latents) - centre).reshape(-1))

    return jax.vmap(one)(draws)


@functools.partial(jax.jit, static_argnames="chunk_size")
def _stacked_rows(
    levels: Sequence[Level], features: Features | None, image: Float[Array, "*image"], chunk_size: int
) -> Float[Array, "total pixels"]:
    return mean_path_rows(levels, functools.partial(_read, features), image, chunk_size)


def _read(features: Features | None, image: Float[Array, "*image"]) -> Array:
    """What the levels read."""
    return image if features is None else features(image)


class _Grams:
    """Gram matrices of the levels' Jacobians along paths, computed in float64 and compiled once.

    Attributes:
      bottom: point -> the Jacobian of layer 1.
      one: (point, bottom, latents) -> the Gram matrix along one path.
      many: the same for latents with an axis of draws.
    """

    def __init__(self, levels: Sequence[Level], point: Point, latents: Latents, dtype: Any, chunk_size: int):
        def bottom(point: Point) -> ScaledRows:
            local, x = in_local_coordinates(levels, point)
            return bottom_rows(local[0], x, chunk_size)

        def one(point: Point, bottom: ScaledRows, latents: Latents) -> RowScaledGram:
            local, x = in_local_coordinates(levels, point)
            return path_gram(local, x, bottom, latents, chunk_size)

        point = jax.tree.map(lambda array: jax.ShapeDtypeStruct(np.shape(array), dtype), point)
        rows = jax.eval_shape(bottom, point)
        self.bottom = compiled_in_float64(bottom, point)
        self.one = compiled_in_float64(one, point, rows, latents)
        self.many = _over_draws(one, point, rows)


def _over_draws(one: Callable[..., RowScaledGram], point: Any, rows: Any) -> Callable[..., RowScaledGram]:
    """The function of (point, rows, latents), vmapped over draws of the latents; compiled at the first call."""
    compiled: list[Callable[..., RowScaledGram]] = []

    def many(given: Point, bottom: ScaledRows, latents: Latents) -> RowScaledGram:
        if not compiled:
            compiled.append(compiled_in_float64(jax.vmap(one, in_axes=(None, None, 0)), point, rows, latents))
        return compiled[0](given, bottom, latents)

    return many


def _locate(
    levels: Sequence[Level],
    features: Features | None,
    norm: Norm,
    chunk_size: int,
    example: Float[ndarray, "*image"],
) -> Callable[[Float[Array, "*image"]], Point]:
    """From an image to what the levels read, itself or its features, in coordinates whose L2 ball holds the norm's."""
    of_features = None
    if features is not None:
        of_features = compiled_in_float64(lambda x: (features(x), *jacobian_rows(features, x, chunk_size)), example)

    def locate(image: Float[Array, "*image"]) -> Point:
        unit = None
        if norm == "linf":
            # Any weights are valid, so those from float32 are.
            weights = linf_weights(np.asarray(_stacked_rows(levels, features, image, chunk_size), np.float64))
            # Off the mean path other pixels matter too: some of the weight is for all alike.
            weights = (1.0 - _EVEN_SHARE) * weights + _EVEN_SHARE / weights.size
            unit = 1.0 / np.sqrt(weights)
        if of_features is not None:
            value, rows, scale = map(np.asarray, of_features(image))
            return feature_point(value, rows if unit is None else rows * unit, scale)
        return image if unit is None else WeightedPoint(image, unit.reshape(image.shape))

    return locate


def _finite_norms(gram: RowScaledGram, paths: Path, parts: Sequence[slice]) -> Float[ndarray, "draw part"]:
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


def _check_posteriors(mean_path: Path, index: int) -> None:
    """Raises where a mean or a standard deviation along the mean path of the image is not a proper one."""
    for level, posterior in enumerate(mean_path.posteriors):
        mean, std = np.asarray(posterior.mean)[None], np.asarray(posterior.std)[None]
        check_posteriors(mean, std, index, source=f"levels[{level}]")
