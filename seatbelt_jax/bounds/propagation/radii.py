"""How far an image can be moved before a function of it leaves a ball: proven radii, draw by draw."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.propagation.compiled import FIRST, Relaxation, deviations, in_batches, largest_radii, prepared

# The search for one radius: pilot draws, evaluations for each, tests of all draws, and the step back between tests.
_PILOTS, _PILOT_STEPS, _TESTS, _BACK = 4, 8, 6, 0.97


def radii(
    fun: Callable[..., Float[Array, "*output"]],
    x: Float[Array | ndarray, "*image"],
    noise: Any,
    centre: Float[Array | ndarray, "*output"],
    radius: float,
    *,
    norm: Norm = "l2",
    relaxation: Relaxation = "chords",
    upper: float | None = None,
    draw_batch: int = 16,
) -> Float[ndarray, "draw"]:
    """For each draw e, a lower bound of R_e = sup{R : ||fun(x + d, e) - centre||_2 <= radius for all ||d|| <= R}.

    Each is a radius at which `deviation_bound` proves it, found by a search of a few steps. The function is read and
    compiled once for each architecture: parameters that it closes over, x, noise, centre and radius are arguments.

    Args:
      fun: (x, e) -> the reconstruction of one image; deterministic.
      x: one image.
      noise: a pytree of arrays with a leading axis of draws; fun gets it without.
      centre: what reconstructions are compared with.
      radius: r, in L2.
      norm: of d, "l2" or "linf".
      relaxation: "chords", telescoped chord intervals, or "crown", backward linear relaxation with dual norms: cheaper
        where layers are narrow, and without columns for what convolutions read.
      upper: no larger radius is tried; else the search ends where none fails within its steps.
      draw_batch: draws that are bounded at once; bounds the memory, not the result.

    Returns:
      [draw], in the units of x; 0 where the clean draw is outside already.

    Raises:
      TypeError: x is not floating point, or fun does not return one array of float32 or float64.
      ValueError: shapes that do not fit, NaN, an unknown norm or relaxation, or an operation on x that has no bounds.
    """
    call, arguments = prepared(fun, x, noise, centre, norm, relaxation, draw_batch)
    if not radius > 0.0:
        raise ValueError(f"radius must be positive, got {radius}")
    if upper is not None and not upper > 0.0:
        raise ValueError(f"upper must be positive, got {upper}")
    return in_batches(largest_radii, call, arguments, radius, np.inf if upper is None else upper)


def deviation_bound(
    fun: Callable[..., Float[Array, "*output"]],
    x: Float[Array | ndarray, "*image"],
    noise: Any,
    centre: Float[Array | ndarray, "*output"],
    R: float,
    *,
    norm: Norm = "l2",
    relaxation: Relaxation = "chords",
    draw_batch: int = 16,
) -> Float[ndarray, "draw"]:
    """For each draw e, an upper bound of sup ||fun(x + d, e) - centre||_2 over ||d|| <= R, or infinity.

    Sound for fun as float32 evaluates it (`chords`). What does not read the noise is bounded once for all draws, so a
    test at one R is cheaper than `radii`. Other arguments and errors as for `radii`.
    """
    call, arguments = prepared(fun, x, noise, centre, norm, relaxation, draw_batch)
    if not 0.0 <= R < np.inf:
        raise ValueError(f"R must be at least 0 and finite, got {R}")
    return in_batches(deviations, call, arguments, R)


def common_radius(
    fun: Callable[..., Float[Array, "*output"]],
    x: Float[Array | ndarray, "*image"],
    noise: Any,
    centre: Float[Array | ndarray, "*output"],
    radius: float,
    count: int,
    *,
    norm: Norm = "l2",
    relaxation: Relaxation = "chords",
    draw_batch: int = 16,
) -> float:
    """A lower bound of the count-th largest R_e of the draws: one R at which `count` of them are proven.

    What margins by order statistic need, for less than all `radii`: a few pilot draws, those whose clean distances are
    next to the count-th, choose R, and all draws are tested at it; where too few pass, at less. At each R, what does
    not read the noise is bounded once. Arguments and errors as for `radii`.

    Args:
      count: from 1 to the number of draws.

    Returns:
      0 where fewer clean draws than `count` are inside.
    """
    call, (ends, arrays, image, leaves, target) = prepared(fun, x, noise, centre, norm, relaxation, draw_batch)
    draws = len(leaves[0])
    if not radius > 0.0:
        raise ValueError(f"radius must be positive, got {radius}")
    if not 1 <= count <= draws:
        raise ValueError(f"count must be from 1 to the number of draws, {draws}, got {count}")
    code, settings = call

    def bounds(chosen: ndarray, tried: float) -> Float[ndarray, "chosen"]:
        batch = settings._replace(draw_batch=min(settings.draw_batch, len(chosen)))
        given = [leaf[chosen] for leaf in leaves]
        return in_batches(deviations, (code, batch), (ends, arrays, image, given, target), tried)

    every = np.arange(draws)
    clean = bounds(every, 0.0)
    order = np.argsort(clean)
    if clean[order[count - 1]] > radius:
        return 0.0
    pilots = order[max(0, min(count - 1 - _PILOTS // 2, draws - _PILOTS)) :][:_PILOTS]
    tried = _solved(lambda size: float(np.median(bounds(pilots, size))), radius, _PILOT_STEPS)
    for _ in range(_TESTS):
        if tried == 0.0 or np.sum(bounds(every, tried) <= radius) >= count:
            return tried
        tried *= _BACK
    return 0.0


def _solved(bound: Callable[[float], float], radius: float, steps: int) -> float:
    """About the largest R with bound(R) <= radius: of those tried, the largest that passed."""
    low, high, at_low, at_high = 0.0, np.inf, bound(0.0), np.inf
    tried = FIRST
    for _ in range(steps):
        found = bound(tried)
        if found <= radius:
            before, at_before, low, at_low = low, at_low, tried, found
            # Onward along the line through the last two that passed.
            ahead = low + 0.8 * (radius - at_low) * (low - before) / max(at_low - at_before, 1e-300)
        else:
            high, at_high = tried, found
        if np.isfinite(high):
            share = 1.05 * (radius - at_low) / (at_high - at_low) if np.isfinite(at_high) else 0.5
            tried = low + (high - low) * min(max(share, 0.05), 0.95)
        else:
            tried = min(max(ahead, 1.05 * low), 1e3 * low)
    return low
