"""Data parallelism: one batch over all local devices, everything else on each of them.

Under `jit` a sharded array is still one array, so a training step means the same on any number of devices:
BatchNorm's statistics and the total correlation are those of the whole batch, not of a device's part.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def data_parallel(devices: Sequence[jax.Device] | None = None) -> tuple[NamedSharding, NamedSharding]:
    """(for batches, split along their first axis; for all else, a copy on each device).

    Args:
      devices: all local ones by default.
    """
    along = np.asarray(jax.local_devices() if devices is None else devices)
    mesh = jax.sharding.Mesh(along, ("data",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())


def check_divisible(batch_size: int) -> None:
    """Raises ValueError where a batch cannot be split evenly over the local devices."""
    devices = jax.local_device_count()
    if batch_size % devices:
        raise ValueError(
            f"train.batch_size {batch_size} cannot be split evenly over {devices} devices; give a multiple of {devices}"
        )
