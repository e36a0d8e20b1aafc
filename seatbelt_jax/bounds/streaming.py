"""One pure function of one image, mapped over a data set in batches of bounded memory."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray
from tqdm import tqdm


def default_decode_batch() -> int:
    """Draws decoded at once: small blocks suit a CPU's caches, large ones fill an accelerator."""
    return 64 if jax.default_backend() == "cpu" else 2048


def progress_bar(count: int, progress: bool, description: str) -> tqdm:
    """A bar over `count` images; quiet where not asked for or where the output is not a terminal."""
    return tqdm(total=count, desc=description, unit="image", disable=None if progress else True)


def map_images(
    function: Callable[[Float[Array, "*image"], Int[Array, ""]], Any],
    images: Float[ndarray, "n *image"],
    *,
    batch_size: int,
    progress: bool,
    description: str,
) -> Iterator[tuple[int, Any]]:
    """Yields (index of the first image, results on the host) for every batch of images.

    `function(image, index)` sees one image and its index in the data set. Within a batch the images
    are processed one after the other: the parallel work is the function's own. It compiles once:
    the batches are made equally long, and the last one is filled up with copies of the last image,
    whose results are dropped. Matrix products are at full float32 precision also on accelerators
    that would round their factors.
    """
    count = len(images)
    batches = -(-count // batch_size)
    length = -(-count // batches)
    compiled = jax.jit(lambda x, i: jax.lax.map(lambda pair: function(*pair), (x, i)))
    with progress_bar(count, progress, description) as bar:
        for first in range(0, count, length):
            index = np.minimum(np.arange(first, first + length), count - 1)
            with jax.default_matmul_precision("highest"):
                results = compiled(jnp.asarray(images[index]), jnp.asarray(index))
            kept = min(length, count - first)
            yield first, jax.tree.map(lambda a, kept=kept: np.asarray(a)[:kept], results)
            bar.update(kept)
