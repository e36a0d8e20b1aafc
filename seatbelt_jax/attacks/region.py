"""Regions for an attacked image, a box or an L2 ball within a box, and the projection onto them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from seatbelt_jax.arithmetic import common_type
from seatbelt_jax.attacks.box import flatten

# Rounding of a squared norm relative to the ball's, in the type's epsilons: who is out by no more counts as inside.
_SLACK = 4.0


class L2Ball(NamedTuple):
    """||x - centre||_2 <= radius within lower <= x <= upper.

    Attributes:
      centre: the clean image, in the box.
      radius: >= 0, pixel units over the whole image; 0 is the centre alone.
      lower, upper: scalars, or arrays like the centre; either may be infinite.
    """

    centre: Float[Array, "*image"]
    radius: Float[Array, ""] | float
    lower: Float[Array, "*image"] | float
    upper: Float[Array, "*image"] | float


Bound = Float[Array, "*#image"] | float
# An L-infinity ball within a box is a box: pass its bounds.
Region = L2Ball | tuple[Bound, Bound]


def bounds_of(region: Region, x: Float[Array, "*image"]) -> tuple[Float[Array, "*#image"], Float[Array, "*#image"]]:
    """The box of a region, in the image's type."""
    lower, upper = (region.lower, region.upper) if isinstance(region, L2Ball) else region
    return jnp.asarray(lower, x.dtype), jnp.asarray(upper, x.dtype)


def project(region: Region, x: Float[Array, "*image"]) -> Float[Array, "*image"]:
    """The point of the region nearest to x, in the Euclidean norm: `jnp.clip` where the region is a box.

    The answer lies in the box exactly, and within radius (1 + 1e-6) of a ball's centre. A centre outside of the box
    is not looked for here (see `check`): the answer then is still in the box. All is computed in the common type of
    the image and the region, float32 at least.
    """
    x = jnp.asarray(x, common_type(x, region))
    lower, upper = bounds_of(region, x)
    clipped = jnp.clip(x, lower, upper)
    if not isinstance(region, L2Ball):
        return clipped
    # min 1/2 ||y - x||^2 over the box, and ||y - c||^2 <= r^2 with multiplier mu >= 0, falls into pixels:
    # y = clip((x + mu c) / (1 + mu)) = c + clip(t (x - c), lower - c, upper - c), t = 1 / (1 + mu) in (0, 1].
    # With c in the box no entry of y - c shrinks as t grows; mu > 0 only where the norm is r (complementarity). So
    # t is 1, or the one at which the norm is r: in either case the largest that the ball allows.
    centre, radius = jnp.asarray(region.centre, x.dtype), jnp.asarray(region.radius, x.dtype)
    unit = jnp.where(radius > 0.0, radius, 1.0)
    slack = _SLACK * jnp.finfo(x.dtype).eps
    inside = jnp.sum(jnp.square((clipped - centre) / unit)) <= jnp.where(radius > 0.0, 1.0 + slack, 0.0)
    below, above = lower - centre, upper - centre
    step = jnp.clip(_scale_to_ball(x - centre, inside, unit, below, above), below, above)
    moved = centre + jnp.where(radius > 0.0, step, 0.0)
    # Rounded towards the centre: otherwise the rounding of many pixels could add up and leave a small ball.
    moved = jnp.where(jnp.abs(moved - centre) > jnp.abs(step), jnp.nextafter(moved, centre), moved)
    return jnp.where(inside, clipped, jnp.clip(moved, lower, upper))


def optimality_error(region: Region, x: Float[Array, "*image"], gradient: Float[Array, "*image"]) -> Float[Array, ""]:
    """The largest entry of |P(x - g) - x|, zero exactly where x meets the first-order conditions."""
    if not isinstance(region, L2Ball):
        # P(x - g) - x without the rounding of x - g, which loses a gradient that is small beside x.
        lower, upper = bounds_of(region, x)
        return jnp.max(jnp.abs(jnp.clip(-gradient, lower - x, upper - x)), initial=0.0)
    return jnp.max(jnp.abs(project(region, x - gradient) - x), initial=0.0)


def _scale_to_ball(
    v: Float[Array, "*image"],
    inside: Bool[Array, ""],
    radius: Float[Array, ""],
    below: Float[Array, "*image"],
    above: Float[Array, "*image"],
) -> Float[Array, "*image"]:
    """t v with t such that ||clip(t v, below, above)|| = radius; 0 if `inside`, where it is not used.

    The squared norm, sum_i min(t^2 v_i^2, b_i^2), is concave and piecewise linear in t^2: Newton's method from the
    left of the solution goes up to it, pixels that have reached their bound b_i stay there, and the answer is exact
    as soon as no pixel joins them.
    """
    # In units of the radius and of v's largest entry, so that no square overflows.
    length = jnp.abs(v) / jnp.max(jnp.abs(v), initial=jnp.finfo(v.dtype).tiny)
    bound = jnp.where(v > 0.0, above, -below) / radius

    def newton(carry: Any) -> Any:
        held, t, _ = carry
        left = 1.0 - jnp.sum(jnp.square(jnp.where(held, bound, 0.0)))
        free = jnp.sum(jnp.square(jnp.where(held, 0.0, length)))
        t = jnp.where(free > 0.0, jnp.sqrt(jnp.maximum(left, 0.0) / jnp.where(free > 0.0, free, 1.0)), t)
        reached = held | (t * length > bound)
        return reached, t, jnp.any(reached & ~held)

    nothing = jnp.zeros(v.shape, bool)
    _, t, _ = jax.lax.while_loop(lambda carry: carry[2], newton, (nothing, jnp.zeros((), v.dtype), ~inside))
    return radius * (t * length) * jnp.sign(v)


def check(region: Region, x: Any) -> Float[Array, "*image"]:
    """Refuses regions that do not fit the image, as far as their values are known; returns the image as an array.

    Raises:
      TypeError: the image is not one floating-point array.
      ValueError: bounds or a centre of another shape; and (outside of jit) lower > upper, NaN, a negative radius, or
        a centre outside of the box.
    """
    if not hasattr(x, "dtype"):
        raise TypeError(f"params must be one array, an image; got {type(x).__name__}.")
    x = jnp.asarray(x)
    box = flatten(x, bounds_of(region, x))[2]
    if not isinstance(region, L2Ball):
        return x
    if jnp.shape(region.centre) != x.shape:
        raise ValueError(f"the ball's centre has shape {jnp.shape(region.centre)}, params {x.shape}; pass the same.")
    if jnp.ndim(region.radius):
        raise ValueError(
            f"the ball's radius has shape {jnp.shape(region.radius)}; pass one number (vmap over several)."
        )
    if not isinstance(region.radius, jax.core.Tracer) and not 0.0 <= float(region.radius) < np.inf:
        raise ValueError(f"the ball's radius is {float(region.radius)}; pass a finite number >= 0.")
    if not any(isinstance(bound, jax.core.Tracer) for bound in (*box, region.centre)):
        centre = np.asarray(jnp.asarray(region.centre, x.dtype)).ravel()
        outside = ~((centre >= np.asarray(box.lower)) & (centre <= np.asarray(box.upper)))
        if outside.any():
            first = int(np.argmax(outside))
            raise ValueError(
                f"{int(outside.sum())} pixels of the ball's centre are outside of the box, the first at position "
                f"{first}: {centre[first]}. Pass an image within lower <= centre <= upper."
            )
    return x
