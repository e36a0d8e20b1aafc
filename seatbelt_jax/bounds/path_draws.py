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
    check_centres,
    check_jacobians,
    check_posteriors,
)
from seatbelt_jax.bounds.jacobian import RowScaledGram, jacobian_rows, whitened_norms
from seatbelt_jax.bounds.paths import (
    BottomLayer,
    Path,
    Point,
    bottom_layer,
    feature_point,
    follow,
    in_local_coordinates,
)


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
    total: int,
    draw_batch: int,
    chunk_size: int,
) -> Iterator[tuple[Float[ndarray, "draw"], Float[ndarray, "draw"]]]:
    """Yields for each image the norms ||W(z)||_2 of its draws and their distances ||g(z) - c||_2.

    Both are infinite where they are not finite numbers: outside every event. Raises ValueError where something
    along the mean path is not finite. `total` counts the latent coordinates of
    all layers. On the host there is one block of Gram matrices at a time.
    """

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

    locate = _locate(features, chunk_size)
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
                norms.append(_finite_norms(gram, log_std))
                distances.append(np.asarray(distance, np.float64))
        distance = np.concatenate(distances)[:num_draws]
        yield np.concatenate(norms)[:num_draws], np.where(np.isfinite(distance), distance, np.inf)


def _locate(features: Features | None, chunk_size: int) -> Callable[[Float[Array, "*image"]], Point]:
    """From an image to what the levels read: itself, or its features."""
    if features is None:
        return lambda image: image
    compiled = jax.jit(lambda x: (features(x), *jacobian_rows(features, x, chunk_size)))
    return lambda image: feature_point(*compiled(image))


def _finite_norms(gram: RowScaledGram, log_std: Float[Array, "draw total"]) -> Float[ndarray, "draw"]:
    """||W(z)||_2 of each draw; infinite where its Jacobian or its sigma is not a proper one."""
    matrices, scale = np.asarray(gram.gram), np.asarray(gram.scale)
    # On the host: a compiled exp need not keep the NaN that it is given.
    with np.errstate(over="ignore"):
        sigma = np.exp(np.asarray(log_std))
    proper = np.isfinite(matrices).all(axis=(1, 2)) & (np.isfinite(sigma) & (sigma > 0.0)).all(axis=1)
    norms = np.full(len(matrices), np.inf)
    norms[proper], _ = whitened_norms(RowScaledGram(matrices[proper], scale[proper]), sigma[proper])
    return norms


def _check_clean(mean_path: Path, centre: Float[Array, "*image"], index: int) -> None:
    """Raises where something along the mean path of the image is not finite."""
    for level, posterior in enumerate(mean_path.posteriors):
        mean, std = np.asarray(posterior.mean)[None], np.asarray(posterior.std)[None]
        check_posteriors(mean, std, index, source=f"levels[{level}]")
    check_jacobians(np.asarray(mean_path.gram.gram)[None], index, source="levels")
    check_centres(np.isfinite(np.asarray(centre)).all()[None], index)
