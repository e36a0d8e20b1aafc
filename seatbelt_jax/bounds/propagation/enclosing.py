"""Two lines that enclose the graph of a function of one variable over an interval."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from seatbelt_jax.bounds.propagation.unary import Kinked, Smooth, Unary, Values, pieces

# Rounding errors of a function's float64 value, relative.
_ULPS = 2.0**-48


class Line(NamedTuple):
    """v -> slope v + offset."""

    slope: Values
    offset: Values


class Enclosure(NamedTuple):
    """Lines that are nowhere below, and nowhere above, the function over the interval."""

    above: Line
    below: Line


def enclosure(function: Unary, lower: Values, upper: Values) -> Enclosure:
    """A chord above and a tangent below a convex function; two lines of one slope around any other.

    The tangent of a function with a kink in the interval is the longer of its two sides (Zhang et al. 2018).
    """
    if isinstance(function, Kinked):
        convex = function.above >= function.below
        low = jnp.where(lower < function.kink, function.below, function.above)
        high = jnp.where(upper > function.kink, function.above, function.below)
        slope = jnp.where(upper - function.kink > function.kink - lower, high, low)
        turn = jnp.clip(function.kink, lower, upper)
        tangent = Line(slope, function.value(turn) - slope * turn)
        return _turned(_chord(function, lower, upper, convex), tangent, convex)
    if isinstance(function, Smooth) and function.curvature:
        at = 0.5 * (lower + upper)
        slope = function.derivative(at)
        tangent = Line(slope, function.value(at) - slope * at)
        return _turned(_chord(function, lower, upper, function.curvature > 0), tangent, function.curvature > 0)
    return _parallel(function, lower, upper)


def _chord(function: Unary, lower: Values, upper: Values, convex: Any) -> Line:
    """The line through both ends; where rounding lets it miss one of them, on the function's outer side."""
    slope = _rise(function, lower, upper)
    ends = [function.value(end) - slope * end for end in (lower, upper)]
    return Line(slope, jnp.where(convex, jnp.maximum(*ends), jnp.minimum(*ends)))


def _rise(function: Unary, lower: Values, upper: Values) -> Values:
    width = upper - lower
    slopes = function.slopes(lower, upper)
    rise = (function.value(upper) - function.value(lower)) / jnp.where(width > 0.0, width, 1.0)
    # Over a short interval the difference cancels; the mean slope is never outside the slopes.
    return jnp.clip(rise, slopes.lower, slopes.upper)


def _turned(chord: Line, tangent: Line, convex: Any) -> Enclosure:
    above = Line(*(jnp.where(convex, c, t) for c, t in zip(chord, tangent, strict=True)))
    below = Line(*(jnp.where(convex, t, c) for c, t in zip(chord, tangent, strict=True)))
    return Enclosure(above, below)


def _parallel(function: Unary, lower: Values, upper: Values) -> Enclosure:
    """In each of many cells the function less the line is extreme at an end, but for its steepest rise from there."""
    slope = _rise(function, lower, upper)
    starts, ends = pieces(lower, upper)
    slopes = function.slopes(starts, ends)
    width = ends - starts
    at_start, at_end = function.value(starts), function.value(ends)
    slack = _ULPS * (jnp.abs(at_start) + jnp.abs(at_end) + jnp.abs(slope) * (jnp.abs(starts) + jnp.abs(ends)))
    first, last = at_start - slope * starts, at_end - slope * ends
    rising, falling = jnp.maximum(slopes.upper - slope, 0.0) * width, jnp.maximum(slope - slopes.lower, 0.0) * width
    most = jnp.max(jnp.minimum(first + rising, last + falling) + slack, axis=0)
    least = jnp.min(jnp.maximum(first - falling, last - rising) - slack, axis=0)
    return Enclosure(Line(slope, most), Line(slope, least))
