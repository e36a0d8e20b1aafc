"""The ball around x in which a piecewise-linear function is affine."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm, check_norm
from seatbelt_jax.bounds.propagation.activations import Kinked
from seatbelt_jax.bounds.propagation.forms import PIXELS, AffineForm
from seatbelt_jax.bounds.propagation.program import Instance, Program
from seatbelt_jax.bounds.propagation.stages import INPUT, Source
from seatbelt_jax.bounds.propagation.values import ROUNDINGS


def linear_region_radius(function: Callable, x: Float[Array | ndarray, "*image"], *, norm: Norm = "l2") -> float:
    """The radius of the largest open ball around x in which no activation of a function changes its slope.

    In there the function is affine, so all inputs of activations are affine too and reach their kinks at
    min_i |a_i - kink_i| / ||d a_i / d x||_dual, to which the radius is exact but for a decrease by the rounding errors
    of the a_i. For several images, `LipschitzBound.linear_region_radius` reads the function once.

    Args:
      function: x -> array or pytree of arrays, for one example; affine but for ReLU, leaky ReLU, abs, and maxima and
        minima with constants.
      x: the centre, of any shape.
      norm: the ball's, "l2" or "linf".

    Returns:
      The radius; infinite for an affine function, 0 where an activation is on its kink, as far as rounding can tell,
      or a value on the way is not finite.

    Raises:
      TypeError: x is not floating point, or an output not float32 or float64.
      ValueError: x is not finite; the norm is unknown; an activation is smooth and not linear; an operation on x is
        not supported.
    """
    check_norm(norm)
    program = Program(function, x, ())
    return region_radius(program.with_constants(()), program.point(x), norm)


def region_radius(instance: Instance, x: Float[ndarray, "*image"], norm: Norm) -> float:
    """The same of a function that has been read."""
    with jax.enable_x64(True):
        return _region_radius(instance, x, norm)


def _region_radius(instance: Instance, x: Float[ndarray, "*image"], norm: Norm) -> float:
    program = instance.program
    form = AffineForm(instance)
    values: dict[Source, Any] = {INPUT: x}
    radius = math.inf
    for source, (stage, activation) in enumerate(zip(program.stages, instance.activations, strict=True), start=1):
        if not isinstance(activation, Kinked):
            raise ValueError(
                f"the function has a smooth activation, {program.activations[source - 1].kind}: it is affine in no "
                "ball; only piecewise-linear activations (ReLU, leaky ReLU, abs, maximum, minimum) have linear regions"
            )
        points = {read: jnp.asarray(values[read], stage.dtype_of(read)) for read in stage.sources}
        nothing = {read: jnp.zeros_like(point) for read, point in points.items()}
        sizes = {read: jnp.abs(point) for read, point in points.items()}
        box = stage.code.box(instance.constants(stage), points, points, nothing, sizes)
        value, magnitude = np.asarray(box.value, np.float64), np.asarray(box.magnitude, np.float64)
        terms = form.through(stage)
        slope = np.broadcast_to(activation.slope(value), stage.shape)
        if PIXELS in terms:
            rounding = ROUNDINGS * float(jnp.finfo(stage.dtype).eps)
            distance = np.maximum(np.abs(value - activation.kink) - rounding * magnitude, 0.0)
            steepness = (1.0 + rounding) * terms[PIXELS].map.dual_norms(norm)
            moves = (steepness > 0.0) & (activation.below != activation.above)
            known = np.isfinite(value) & np.isfinite(magnitude) & np.isfinite(steepness)
            if not known.all():
                return 0.0
            radius = min(radius, float(np.min(distance[moves] / steepness[moves], initial=math.inf)))
        values[source] = activation.value(value)
        form.activate(source, terms, slope, np.zeros(stage.shape))
        form.forget(stage)
    return radius
