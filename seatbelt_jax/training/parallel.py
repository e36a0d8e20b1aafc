"""Data parallelism: one batch over all devices; parameters on each of them, or split where they are large.

Under `jit` a sharded array is still one array, so a training step means the same on any number of devices:
BatchNorm's statistics and the total correlation are those of the whole batch, not of a device's part. Devices may be
those of several processes (see `distributed`); each process then gives its rows of a batch.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

_AXIS = "data"


def data_parallel(devices: Sequence[jax.Device] | None = None) -> tuple[NamedSharding, NamedSharding]:
    """(for batches, split along their first axis; for all else, a copy on each device).

    Args:
      devices: those of all processes by default.
    """
    along = jax.devices() if devices is None else devices
    # A process's devices side by side: its rows of a batch follow each other.
    along = sorted(along, key=lambda device: (device.process_index, device.id))
    mesh = jax.sharding.Mesh(np.asarray(along), (_AXIS,), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec(_AXIS)), NamedSharding(mesh, PartitionSpec())


def split_large(tree: Any, replicated: NamedSharding, above_mib: float) -> Any:
    """A sharding for each array of a tree: where it takes more memory than so much, a part of it on each device.

    A large array is split along its longest axis that the number of devices divides; where there is none, it is
    copied like the small ones. Optimisers keep arrays of the parameters' shapes, which are split alike (Rajbhandari
    et al. 2020, ZeRO stage 3, by a rule instead of by hand).

    Args:
      tree: arrays, or their shapes and dtypes.
      replicated: of `data_parallel`, a copy on each device.
      above_mib: in MiB; 0 copies everything.
    """
    devices = replicated.mesh.size

    def sharding(leaf: Any) -> NamedSharding:
        divisible = [axis for axis, size in enumerate(leaf.shape) if size and size % devices == 0]
        if not above_mib or leaf.size * leaf.dtype.itemsize <= above_mib * 2**20 or not divisible:
            return replicated
        axis = max(divisible, key=lambda axis: leaf.shape[axis])
        return NamedSharding(replicated.mesh, PartitionSpec(*[None] * axis, _AXIS))

    return jax.tree.map(sharding, tree)


def place(tree: Any, shardings: Any) -> Any:
    """Arrays that every process has whole, moved to where they shall live.

    Args:
      tree: arrays on the host or on one device, the same in every process.
      shardings: one for all of them, or a tree of one for each.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)

    # Each process takes from its own copy: `device_put` would send everything once around, to compare.
    def moved(leaf: Any, sharding: NamedSharding) -> Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    if isinstance(shardings, NamedSharding):
        return jax.tree.map(lambda leaf: moved(leaf, shardings), tree)
    return jax.tree.map(moved, tree, shardings)


def gather_rows(rows: Shaped[np.ndarray, "rows *rest"], split: NamedSharding) -> Any:
    """The batch [batch, ...] of which every process has its own rows, each row on the device that works on it.

    One process's rows are all of them; `jit` moves these.
    """
    if jax.process_count() == 1:
        return rows
    return jax.make_array_from_process_local_data(split, rows)


def check_divisible(batch_size: int) -> None:
    """Raises ValueError where a batch cannot be split evenly over the devices of all processes."""
    devices = jax.device_count()
    if batch_size % devices:
        raise ValueError(
            f"train.batch_size {batch_size} cannot be split evenly over {devices} devices; give a multiple of {devices}"
        )
