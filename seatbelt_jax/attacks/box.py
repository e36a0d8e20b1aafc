"""The box lower <= x <= upper, and a problem's pytrees as vectors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from seatbelt_jax.attacks.arithmetic import cast


class Box(NamedTuple):
    """lower <= x <= upper, each [n]; either may be infinite, and they may be equal."""

    lower: Float[Array, "n"]
    upper: Float[Array, "n"]

    def project(self, x: Float[Array, "*points n"]) -> Float[Array, "*points n"]:
        return jnp.clip(x, self.lower, self.upper)


def inward_gradient(x: Float[Array, "*image"], gradient: Float[Array, "*image"], box: Box) -> Float[Array, "*image"]:
    """The gradient, zero where x is on a bound and descent would leave the box."""
    leaves = ((gradient > 0.0) & (x <= box.lower)) | ((gradient < 0.0) & (x >= box.upper))
    return jnp.where(leaves, 0.0, gradient)


def flatten(
    params: PyTree, bounds: Any, dtype: Any = None
) -> tuple[Float[Array, "n"], Callable[[Float[Array, "n"]], PyTree], Box]:
    """Params and bounds as vectors, and the way back.

    Args:
      params: a pytree of floating-point arrays.
      bounds: (lower, upper), each a scalar or a pytree like params (of scalars or of arrays of its shapes); or None.
      dtype: to compute in; by default the common type of params.

    Raises:
      TypeError: params are not floating-point, or bounds are not two.
      ValueError: bounds of another structure or shape, or (where they are concrete) lower > upper or NaN.
    """
    x, unravel = ravel_pytree(params)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"params have dtype {x.dtype}; pass floating-point arrays.")
    if dtype is not None:
        params = cast(params, dtype)
        x, unravel = ravel_pytree(params)
    bounds = (-jnp.inf, jnp.inf) if bounds is None else bounds
    if len(bounds) != 2:
        raise TypeError(f"bounds must be (lower, upper), got {type(bounds).__name__}; balls need projected_gradient.")
    lower, upper = bounds
    box = Box(_flatten_bound("lower", lower, params), _flatten_bound("upper", upper, params))
    if not any(isinstance(bound, jax.core.Tracer) for bound in box):
        _check_order(np.asarray(box.lower), np.asarray(box.upper))
    return x, unravel, box


def _flatten_bound(name: str, bound: PyTree, params: PyTree) -> Float[Array, "n"]:
    if jax.tree_util.all_leaves([bound]) and jnp.ndim(bound) == 0:
        bound = jax.tree.map(lambda _: bound, params)
    received, allowed = str(jax.tree.structure(bound)), str(jax.tree.structure(params))
    if received != allowed:
        raise ValueError(
            f"the {name} bound has structure {received}, params {allowed}; pass a scalar or the structure of params."
        )

    def like(leaf: Array, parameter: Array) -> Array:
        if jnp.ndim(leaf) and jnp.shape(leaf) != jnp.shape(parameter):
            raise ValueError(
                f"the {name} bound has shape {jnp.shape(leaf)}, params {jnp.shape(parameter)}; "
                "pass a scalar or the shape of params."
            )
        return jnp.broadcast_to(jnp.asarray(leaf, jnp.result_type(parameter)), jnp.shape(parameter))

    return ravel_pytree(jax.tree.map(like, bound, params))[0]


def _check_order(lower: np.ndarray, upper: np.ndarray) -> None:
    crossed = ~(lower <= upper)
    if crossed.any():
        first = int(np.argmax(crossed))
        raise ValueError(
            f"{int(crossed.sum())} variables have lower > upper or NaN bounds, the first at position {first}: "
            f"lower={lower[first]}, upper={upper[first]}. Pass lower <= upper."
        )
