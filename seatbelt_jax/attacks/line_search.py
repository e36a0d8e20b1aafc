"""Backtracking by interpolation, one trial at a time."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from seatbelt_jax.attacks.arithmetic import power_of_two

SUFFICIENT_DECREASE = 1e-3
_SHORTEST, _LONGEST = 0.1, 0.7


def sufficient_decrease(
    step: Float[Array, ""],
    value: Float[Array, ""],
    start_value: Float[Array, ""],
    start_slope: Float[Array, ""],
) -> Bool[Array, ""]:
    """Armijo's condition: f(t) <= f(0) + c t f'(0)."""
    return value <= start_value + SUFFICIENT_DECREASE * step * start_slope


def explained(
    step: Float[Array, ""],
    value: Float[Array, ""],
    slope: Float[Array, ""],
    start_value: Float[Array, ""],
    start_slope: Float[Array, ""],
    *,
    rounding: Float[Array, ""],
    trusted: Bool[Array, ""],
) -> Bool[Array, ""]:
    """Whether a short trial failed for the objective's rounding alone, not for a kink or a wrong gradient.

    Either both slopes account for the change of value, up to the rounding. Or the gradient can be trusted, since a step
    along it has lowered the objective before, and the trial's slope still descends: then no kink lies between, and the
    value has more noise than its rounding, as where terms cancel.
    """
    accounted = jnp.abs(value - start_value - 0.5 * step * (start_slope + slope)) <= rounding
    # Equal slopes are those of one point: the step was lost in the rounding of x, and shows nothing.
    return accounted | (trusted & (slope < 0.5 * start_slope) & (slope != start_slope))


def backtrack(
    step: Float[Array, ""],
    value: Float[Array, ""],
    slope: Float[Array, ""],
    start_value: Float[Array, ""],
    start_slope: Float[Array, ""],
) -> Float[Array, ""]:
    """A shorter step after a failed trial: the minimiser of the cubic through both ends' values and slopes.

    Between a tenth and seven tenths of the failed step (Nocedal and Wright 2006, Eq. 3.59 and the safeguard after it);
    a tenth if the trial was not finite.
    """
    excess = start_slope + slope - 3.0 * (value - start_value) / step
    # Slopes may be so large, or so small, that their squares are not numbers.
    unit = power_of_two(jnp.stack([excess, slope, start_slope]))
    excess, slope, start_slope = excess / unit, slope / unit, start_slope / unit
    root = jnp.sqrt(jnp.maximum(jnp.square(excess) - start_slope * slope, 0.0))
    denominator = slope - start_slope + 2.0 * root
    fraction = 1.0 - (slope + root - excess) / jnp.where(denominator == 0.0, 1.0, denominator)
    usable = jnp.isfinite(fraction) & (denominator != 0.0)
    fraction = jnp.where(usable, fraction, _SHORTEST)
    return step * jnp.clip(fraction, _SHORTEST, _LONGEST)
