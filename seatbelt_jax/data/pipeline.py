"""Batches by step number: step t of a seed is the same batch in every run, resumed or not."""

import functools
from collections.abc import Iterator

import grain
import numpy as np
from jaxtyping import Float, Int

from seatbelt_jax.data.dataset import Dataset

_READ_THREADS = 8
_PREFETCHED_BATCHES = 8


def check_batch_size(batch_size: int, dataset: Dataset) -> None:
    """Raises ValueError where a batch cannot be drawn without repetition."""
    if not 1 <= batch_size <= dataset.size:
        raise ValueError(
            f"batch size {batch_size} does not fit the {dataset.size} images of {dataset.name!r}; "
            f"give one between 1 and {dataset.size}"
        )


def batch_indices(step: int, *, size: int, batch_size: int, seed: int) -> Int[np.ndarray, " batch"]:
    """The images of step `step` (from 0): each epoch a new permutation, its last partial batch dropped."""
    epoch, position = divmod(step, size // batch_size)
    order = _permutation(size, seed, epoch)
    return order[position * batch_size : (position + 1) * batch_size]


@functools.lru_cache(maxsize=2)
def _permutation(size: int, seed: int, epoch: int) -> Int[np.ndarray, " size"]:
    return np.random.default_rng((seed, epoch)).permutation(size).astype(np.int32)


class _Batches:
    """Random access to the batches of a host data set, which grain reads ahead."""

    def __init__(self, dataset: Dataset, batch_size: int, seed: int, start: int, stop: int):
        self._dataset, self._batch_size, self._seed = dataset, batch_size, seed
        self._start, self._stop = start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, position: int) -> Float[np.ndarray, "batch height width channels"]:
        step = self._start + position
        indices = batch_indices(step, size=self._dataset.size, batch_size=self._batch_size, seed=self._seed)
        return np.asarray(self._dataset.images(indices))


def batches(dataset: Dataset, *, batch_size: int, seed: int, start: int, stop: int) -> Iterator:
    """The batches of steps start..stop-1.

    A traceable data set gives indices, for the training step to turn into images on the device; a host
    data set gives images, read ahead by threads.
    """
    if dataset.traceable:
        return (batch_indices(step, size=dataset.size, batch_size=batch_size, seed=seed) for step in range(start, stop))
    source = _Batches(dataset, batch_size, seed, start, stop)
    options = grain.ReadOptions(num_threads=_READ_THREADS, prefetch_buffer_size=_PREFETCHED_BATCHES)
    return iter(grain.MapDataset.source(source).to_iter_dataset(options))
