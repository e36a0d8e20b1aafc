"""Batches by step number: step t of a seed is the same batch in every run, resumed or not."""

import functools
import os
from collections.abc import Callable, Iterator

import grain
import numpy as np
from jaxtyping import Int, Shaped

from seatbelt_jax.data.dataset import Dataset

# More threads than cores only wait for each other.
READ_THREADS = min(8, os.cpu_count() or 1)
_PREFETCHED_BATCHES = 8
# Limits of batch sizes that are chosen, not given.
_LARGEST_CHOSEN, _BATCHES_AN_EPOCH = 128, 8


def check_batch_size(batch_size: int, dataset: Dataset) -> None:
    """Raises ValueError where a batch cannot be drawn without repetition; says what to give."""
    if not 1 <= batch_size <= dataset.size:
        raise ValueError(
            f"batch size {batch_size} does not fit the {dataset.size} images of {dataset.name!r}; give one between 1 "
            f"and {dataset.size}, such as --config.train.batch_size={fitting_batch_size(dataset.size)}"
        )


def fitting_batch_size(size: int, devices: int = 1) -> int:
    """The batch size for `size` training images where nobody names one.

    It is the largest power of two that is at most 128 and gives at least eight batches an epoch, or the number of
    devices times such a power, because batches are split evenly over devices. It is never more than `size`, unless
    there are more devices than images.
    """
    limit = max(min(_LARGEST_CHOSEN, size // _BATCHES_AN_EPOCH), 2)
    # A total correlation estimated from one image means nothing; two are the least.
    per_device = max(min(limit, size) // devices, 1)
    return devices * 2 ** (per_device.bit_length() - 1)


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

    def __init__(self, dataset: Dataset, indices_of: Callable[[int], Int[np.ndarray, " batch"]], steps: range):
        self._dataset, self._indices_of, self._steps = dataset, indices_of, steps

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, position: int) -> Shaped[np.ndarray, "batch height width channels"]:
        indices = self._indices_of(self._steps[position])
        return np.asarray((self._dataset.pixels or self._dataset.images)(indices))


def batches(
    dataset: Dataset, *, batch_size: int, seed: int, start: int, stop: int, shard: tuple[int, int] = (0, 1)
) -> Iterator:
    """The batches of steps start..stop-1.

    Each is for `Dataset.from_batch`: of a traceable data set, or one that is resident on the device, indices; of one
    on the host bytes, or floats where it has no bytes, read ahead by threads. A batch follows from its step alone, so
    that the step in a checkpoint is all the state that resuming needs.

    Args:
      batch_size: images of a whole batch.
      seed: of the shuffling, over all images and anew in each epoch.
      shard: (number, count) of a process that reads its part of each batch, the number-th of count equal ones that
        follow each other.

    Raises:
      ValueError: where a batch does not split into so many equal parts.
    """
    number, count = shard
    if not 0 <= number < count or batch_size % count:
        raise ValueError(f"a batch of {batch_size} images has no part {number} of {count} equal ones")

    rows = slice(number * batch_size // count, (number + 1) * batch_size // count)

    def indices_of(step: int) -> Int[np.ndarray, " batch"]:
        return batch_indices(step, size=dataset.size, batch_size=batch_size, seed=seed)[rows]

    if dataset.traceable or dataset.resident is not None:
        return map(indices_of, range(start, stop))
    source = _Batches(dataset, indices_of, range(start, stop))
    options = grain.ReadOptions(num_threads=READ_THREADS, prefetch_buffer_size=_PREFETCHED_BATCHES)
    return iter(grain.MapDataset.source(source).to_iter_dataset(options))
