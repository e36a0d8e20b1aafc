"""One pure function of one image, mapped over a data set in batches of bounded memory."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray
from tqdm import tqdm

# Images by their indices in a data set.
Fetch = Callable[[Int[ndarray, "batch"]], Float[ndarray, "batch *image"]]
# Whether nothing needs to be done for a batch: index of its first image, and its images.
Skip = Callable[[int, Float[ndarray, "batch *image"]], bool]


def default_decode_batch() -> int:
    """Draws decoded at once: small blocks suit a CPU's caches, large ones fill an accelerator."""
    return 64 if jax.default_backend() == "cpu" else 2048


def progress_bar(count: int, progress: bool, description: str) -> tqdm:
    """A bar over `count` images; quiet where not asked for or where the output is not a terminal."""
    return tqdm(total=count, desc=description, unit="image", disable=None if progress else True)


def batch_starts(count: int, batch_size: int) -> range:
    """Where the batches begin; they are made equally long, but for the last."""
    return range(0, count, -(-count // -(-count // batch_size)))


def map_images(
    function: Callable[[Float[Array, "*image"], Int[Array, ""]], Any],
    fetch: Fetch,
    count: int,
    *,
    batch_size: int,
    progress: bool,
    description: str,
    skip: Skip | None = None,
) -> Iterator[tuple[int, Float[ndarray, "batch *image"], Any]]:
    """Yields (index of the first image, images, results on the host) for every batch of images.

    `function(image, index)`, a pytree such as a `jax.tree_util.Partial`, sees one image and its index in the data set.
    Within a batch the images are processed one after the other: the parallel work is the function's own. It compiles
    once for all functions of its structure and shapes: the last batch is filled up with copies of the last image, whose
    results are dropped. Matrix products are at full float32 precision also on accelerators that would round their
    factors. Batches to skip are left out.
    """
    starts = batch_starts(count, batch_size)
    with progress_bar(count, progress, description) as bar:
        for first in starts:
            kept = min(starts.step, count - first)
            images = fetch(np.arange(first, first + kept))
            if skip is None or not skip(first, images):
                index = np.minimum(np.arange(starts.step), kept - 1)
                with jax.default_matmul_precision("highest"):
                    results = _each(function, images[index], first + index)
                yield first, images, jax.tree.map(lambda a, kept=kept: np.asarray(a)[:kept], results)
            bar.update(kept)


@jax.jit
def _each(
    function: Callable[[Float[Array, "*image"], Int[Array, ""]], Any],
    images: Float[Array, "batch *image"],
    indices: Int[Array, "batch"],
) -> Any:
    return jax.lax.map(lambda pair: function(*pair), (images, indices))
