"""Stored images that live on the device, all of them, so that a training step copies nothing from the host."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from seatbelt_jax.data.dataset import Dataset

# Read and moved at once.
_CHUNK = 1024


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
    table = np.empty((dataset.size, *dataset.image_shape), np.uint8)
    with tqdm(
        total=dataset.size, desc=f"reading {dataset.name}", unit="image", disable=None if progress else True
    ) as bar:
        for first in range(0, dataset.size, _CHUNK):
            indices = np.arange(first, min(first + _CHUNK, dataset.size))
            table[indices] = dataset.pixels(indices)
            bar.update(len(indices))
    return dataclasses.replace(dataset, resident=jax.device_put(jnp.asarray(table)))
