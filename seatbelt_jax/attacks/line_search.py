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


def consistent(
    step: Float[Array, ""],
    value: Float[Array, ""],
    slope: Float[Array, ""],
    start_value: Float[Array, ""],
    start_slope: Float[Array, ""],
    rounding: Float[Array, ""],
) -> Bool[Array, ""]:
    """Whether both slopes account for the change of value, up to the rounding: no kink, no wrong gradient."""
    return jnp.abs(value - start_value - 0.5 * step * (start_slope + slope)) <= rounding


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
