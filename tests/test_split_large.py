"""Which arrays are split over devices, and along which axis."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from seatbelt_jax.training.parallel import split_large

DEVICES_OF_A_MESH = jax.sharding.AbstractMesh((8,), ("data",), axis_types=(AxisType.Auto,))


@pytest.mark.parametrize(
    ("shape", "above_mib", "expected"),
    [
        ((512, 1024), 1.0, (None, "data")),
        ((1024, 512), 1.0, ("data",)),
        ((3, 3, 96, 1000), 1.0, (None, None, None, "data")),
        ((3, 3, 1000, 1001), 1.0, (None, None, "data")),
        ((1023, 1001), 1.0, ()),  # nothing that eight divides
        ((512, 512), 1.0, ()),  # exactly the limit
        ((512, 513), 1.0, ("data",)),
        ((1024, 1024), 0.0, ()),
        ((), 1e-9, ()),
    ],
)
def test_large_arrays_are_split_along_the_longest_axis_that_divides(shape, above_mib, expected):
    replicated = NamedSharding(DEVICES_OF_A_MESH, PartitionSpec())
    tree = {"array": jax.ShapeDtypeStruct(shape, np.float32)}
    assert split_large(tree, replicated, above_mib)["array"].spec == PartitionSpec(*expected)
