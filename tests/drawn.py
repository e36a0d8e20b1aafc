"""Parameters for models in tests: drawn by NumPy, since programs that draw them take long to compile."""

import math
from typing import Any

import jax
import numpy as np

from seatbelt_jax.models import Model


def variables(model: Model, seed: int = 0) -> Any:
    """Collections as `model.init` gives them: kernels by their inputs, all else near what it is in fresh ones.

    No posterior's standard deviation is the same for all images, as it is in fresh ones.
    """
    rng = np.random.default_rng(seed)

    def leaf(path: Any, shape: Any) -> Any:
        name = path[-1].key
        if name == "kernel":
            values = rng.normal(size=shape.shape) / math.sqrt(math.prod(shape.shape[:-1]))
        else:
            values = float(name in ("scale", "var")) + 0.1 * rng.uniform(size=shape.shape)
        return values.astype(shape.dtype)

    return jax.tree_util.tree_map_with_path(leaf, jax.eval_shape(model.init, jax.random.key(0)))
