"""Draws of a hierarchy, image by image: the norm of the whitened Jacobians at each, and how far it decodes."""

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import (
    DecodePath,
    Features,
    Level,
    Norm,
    check_centres,
    check_jacobians,
    check_posteriors,
)
from seatbelt_jax.bounds.jacobian import RowScaledGram, jacobian_rows, whitened_norms
from seatbelt_jax.bounds.operator_norm import linf_weights
from seatbelt_jax.bounds.paths import (
    BottomLayer,
    Path,
    Point,
    WeightedPoint,
    bottom_layer,
    feature_point,
    follow,
    in_local_coordinates,
    mean_path_rows,
)

# Of the weight of pixels in a box of perturbations.
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
    along the mean path is not finite. On the host there is one block of Gram matrices at a time.
    """
    total = parts[-1].stop

    @jax.jit
    def clean(point: Point) -> tuple[BottomLayer, Path, Float[Array, "*image"]]:
        local, x = in_local_coordinates(levels, point)
        bottom = bottom_layer(local[0], x, chunk_size)
        path = follow(local, x, bottom, None, chunk_size)
        return bottom, path, decode(path.latents)

    @jax.jit
    def block(
        point: Point, bottom: BottomLayer, centre: Float[Array, "*image"], image_key: Array, draws: Int[Array, "draw"]
    ) -> tuple[RowScaledGram, Float[Array, "draw total"], Float[Array, "draw"]]:
        local, x = in_local_coordinates(levels, point)

        def one(draw: Int[Array, ""]) -> tuple[RowScaledGram, Float[Array, "total"], Float[Array, ""]]:
            noise = jax.random.normal(jax.random.fold_in(image_key, draw), (total,), bottom.posterior.mean.dtype)
            path = follow(local, x, bottom, noise, chunk_size)
            distance = jnp.linalg.norm((decode(path.latents) - centre).reshape(-1))
            return path.gram, path.log_std, distance

        return jax.vmap(one)(draws)

    locate = _locate(levels, features, norm, chunk_size)
    for index, image in enumerate(jnp.asarray(images)):
        # Matrix products at full float32 precision also on accelerators that would round their factors.
        with jax.default_matmul_precision("highest"):
            point = locate(image)
            bottom, mean_path, centre = clean(point)
            _check_clean(mean_path, centre, index)
            image_key = jax.random.fold_in(key, index)
            norms, distances = [], []
            for first in range(0, num_draws, draw_batch):
                # Equally long blocks, so that there is one compilation: the last is cut to size afterwards.
                gram, log_std, distance = block(point, bottom, centre, image_key, first + jnp.arange(draw_batch))
                norms.append(_finite_norms(gram, log_std, parts))
                distances.append(np.asarray(distance, np.float64))
        distance = np.concatenate(distances)[:num_draws]
        yield np.concatenate(norms)[:num_draws], np.where(np.isfinite(distance), distance, np.inf)


def _locate(
    levels: Sequence[Level], features: Features | None, norm: Norm, chunk_size: int
) -> Callable[[Float[Array, "*image"]], Point]:
    """From an image to what the levels read, itself or its features, in coordinates whose L2 ball holds the norm's."""
    of_features = (
        None if features is None else jax.jit(lambda x: (features(x), *jacobian_rows(features, x, chunk_size)))
    )
    read: Callable[[Float[Array, "*image"]], Array] = features or (lambda x: x)
    stacked_rows = jax.jit(lambda x: mean_path_rows(levels, read, x, chunk_size))

    def locate(image: Float[Array, "*image"]) -> Point:
        unit = None
        if norm == "linf":
            weights = linf_weights(np.asarray(stacked_rows(image), np.float64))
            # Off the mean path other pixels matter too: some of the weight is for all alike.
            weights = (1.0 - _EVEN_SHARE) * weights + _EVEN_SHARE / weights.size
            unit = jnp.asarray(1.0 / np.sqrt(weights), image.dtype)
        if of_features is not None:
            value, rows, scale = of_features(image)
            return feature_point(value, rows if unit is None else rows * unit, scale)
        return image if unit is None else WeightedPoint(image, unit.reshape(image.shape))

    return locate


def _finite_norms(
    gram: RowScaledGram, log_std: Float[Array, "draw total"], parts: Sequence[slice]
) -> Float[ndarray, "draw part"]:
    """The norm of each part of each draw's W(z); infinite where its Jacobian or its sigma is not a proper one."""
    matrices, scale = np.asarray(gram.gram), np.asarray(gram.scale)
    # On the host: a compiled exp need not keep the NaN that it is given.
    with np.errstate(over="ignore"):
        sigma = np.exp(np.asarray(log_std))
    proper = np.isfinite(matrices).all(axis=(1, 2)) & (np.isfinite(sigma) & (sigma > 0.0)).all(axis=1)
    norms = np.full((len(matrices), len(parts)), np.inf)
    for number, part in enumerate(parts):
        block = RowScaledGram(matrices[proper][:, part, part], scale[proper][:, part])
        norms[proper, number], _ = whitened_norms(block, sigma[proper][:, part])
    return norms


def _check_clean(mean_path: Path, centre: Float[Array, "*image"], index: int) -> None:
    """Raises where something along the mean path of the image is not finite."""
    for level, posterior in enumerate(mean_path.posteriors):
        mean, std = np.asarray(posterior.mean)[None], np.asarray(posterior.std)[None]
        check_posteriors(mean, std, index, source=f"levels[{level}]")
    check_jacobians(np.asarray(mean_path.gram.gram)[None], index, source="a level's mean")
    check_centres(np.isfinite(np.asarray(centre)).all()[None], index)
