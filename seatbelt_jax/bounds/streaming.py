"""One pure function of one image, mapped over a data set in batches of bounded memory."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray
from tqdm import tqdm

from seatbelt_jax.bounds.checks import check_counts, check_images
from seatbelt_jax.bounds.work import Work

# Images by their indices in a data set.
Fetch = Callable[[Int[ndarray, "batch"]], Float[ndarray, "batch *image"]]
# Whether nothing needs to be done for a batch: index of its first image, and its images.
Skip = Callable[[int, Float[ndarray, "batch *image"]], bool]


@dataclasses.dataclass(frozen=True)
class Source:
    """The images of a data set, and how many there are."""

    fetch: Fetch
    count: int

    @classmethod
    def of(cls, images: Float[Array | ndarray, "n *image"] | Fetch, count: int | None = None) -> "Source":
        """A source of an array, or of a function from indices; raises as `check_images` does for what it gives."""
        if not callable(images):
            array = check_images(images)
            return cls(array.__getitem__, len(array))
        if count is None:
            raise TypeError("images is a function of indices: say with count how many there are")
        check_counts(count=count)
        return cls(lambda indices: check_images(images(indices), first=int(indices[0])), count)


def map_images(
    function: Callable[[Float[Array, "*image"], Int[Array, ""]], Any],
    source: Source,
    work: Work,
    description: str,
    skip: Skip | None = None,
) -> Iterator[tuple[int, Float[ndarray, "batch *image"], Any]]:
    """Yields (index of the first image, images, results on the host) for every batch of images.

    `function(image, index)`, a pytree such as a `jax.tree_util.Partial`, sees one image and its index in the data set.
    Within a batch the images are processed one after the other: the parallel work, thousands of draws of an image, is
    the function's own. (`metrics.batches.map_images` gives its function the whole batch and skips none.) It compiles
    once for all functions of its structure and shapes: the last batch is filled up with copies of the last image,
    whose results are dropped. Matrix products are at full float32 precision also on accelerators that would round
    their factors. Batches to skip are left out.
    """
    # Equally long batches, but for the last.
    starts = range(0, source.count, -(-source.count // -(-source.count // work.batch_size)))
    # Quiet where not asked for or where the output is not a terminal.
    with tqdm(total=source.count, desc=description, unit="image", disable=None if work.progress else True) as bar:
        for first in starts:
            kept = min(starts.step, source.count - first)
            images = source.fetch(np.arange(first, first + kept))
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
