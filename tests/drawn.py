"""Parameters for models in tests: drawn by NumPy, since programs that draw them take long to compile."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seatbelt_jax.models import Model
from seatbelt_jax.training.recipe import Recipe
from seatbelt_jax.training.state import TrainState, create


def variables(model: Model, seed: int = 0) -> Any:
    """Collections as `model.init` gives them: kernels by their inputs, all else near what it is in fresh ones.

    No posterior's standard deviation is the same for all images, as it is in fresh ones.
    """
    return _filled(jax.eval_shape(model.init, jax.random.key(0)), seed)


def state(recipe: Recipe, seed: int = 0) -> TrainState:
    """A training's first step, the parameters drawn in the same way."""
    shapes = jax.eval_shape(lambda: create(recipe, jax.random.key(0)))
    zeros = jax.tree.map(lambda shape: jnp.asarray(np.zeros(shape.shape, shape.dtype)), shapes)
    discriminator = zeros.discriminator and dataclasses.replace(
        zeros.discriminator, parameters=_filled(shapes.discriminator.parameters, seed)
    )
    return dataclasses.replace(zeros, variables=_filled(shapes.variables, seed), discriminator=discriminator)


def _filled(shapes: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)

    def leaf(path: Any, shape: Any) -> Any:
        name = path[-1].key
        if name == "kernel":
            values = rng.normal(size=shape.shape) / math.sqrt(math.prod(shape.shape[:-1]))
        else:
            values = float(name in ("scale", "var")) + 0.1 * rng.uniform(size=shape.shape)
        return jnp.asarray(values.astype(shape.dtype))

    return jax.tree_util.tree_map_with_path(leaf, shapes)
