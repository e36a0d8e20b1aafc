"""Stored images that live on the device, all of them, so that a training step copies nothing from the host."""

import concurrent.futures
import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np
from tqdm import tqdm

from seatbelt_jax.data.dataset import Dataset, Indices, Pixels
from seatbelt_jax.data.pipeline import READ_THREADS

# Read at once, by one of the threads.
_CHUNK = 256
# Seconds an image. Decoding lets other threads run, the rest does not: two read faces of 218 x 178 1.8 times as fast as
# one, but small pictures, 0.06 ms each, half as fast.
_WORTH_A_THREAD = 2e-4


def place_on_device(dataset: Dataset, budget_mib: float, *, progress: bool = False) -> Dataset:
    """The data set with its pixels on the default device, as bytes, if they fit the budget; else as it is.

    Batches are the same either way: bytes become floats inside the training step.

    Args:
      dataset: one whose images are computed is returned as it is.
      budget_mib: the most that pixels may take, in MiB; 0 keeps all on the host.
      progress: shows a bar over the images when the output is a terminal.
    """
    mebibytes = dataset.size * int(np.prod(dataset.image_shape)) / 2**20
    if dataset.pixels is None or mebibytes > budget_mib:
        return dataset
    return dataclasses.replace(dataset, resident=jax.device_put(_table(dataset, dataset.pixels, progress)))


def _table(dataset: Dataset, pixels: Callable[[Indices], Pixels], progress: bool) -> Pixels:
    """All images, read by several threads where that is quicker."""
    table = np.empty((dataset.size, *dataset.image_shape), np.uint8)

    def read(first: int) -> int:
        indices = np.arange(first, min(first + _CHUNK, dataset.size))
        table[indices] = pixels(indices)
        return len(indices)

    bar = tqdm(total=dataset.size, desc=f"reading {dataset.name}", unit="image", disable=None if progress else True)
    with bar:
        since = time.perf_counter()
        bar.update(number := read(0))
        slow = time.perf_counter() - since > _WORTH_A_THREAD * number
        reader = concurrent.futures.ThreadPoolExecutor(READ_THREADS if slow else 1)
        try:
            for number in reader.map(read, range(_CHUNK, dataset.size, _CHUNK)):
                bar.update(number)
        finally:
            # After an error, or Ctrl-C, what has not begun is not read.
            reader.shutdown(cancel_futures=True)
    return table
