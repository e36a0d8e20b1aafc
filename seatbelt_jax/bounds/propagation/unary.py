"""Functions of one variable over intervals: their values, their slopes, and their chords from a point.

The chord slopes of f from p0 are (f(p) - f(p0)) / (p - p0) for p in [lower, upper]: what multiplies the deviation p -
p0 where f is anchored at p0. Their range is no wider than the slopes', often half as wide.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax.bounds.propagation.activations import SILU_STEEPEST, SILU_TURNING

# Cells on each side of the anchor in which a function without a curvature of one sign is bounded by its slopes.
_CELLS = 8
# Pieces that an interval is cut into where a function's range over it is sought.
_PIECES = 8
# Rounding errors of a function's float64 value, relative.
_ULPS = 2.0**-48

Values = Float[Array, "*shape"]


class Range(NamedTuple):
    """Bounds of what something can be."""

    lower: Values
    upper: Values


class Unary(Protocol):
    """An elementwise function of one variable, continuous where it is finite."""

    def value(self, v: Values) -> Values:
        """The function."""

    def values(self, lower: Values, upper: Values) -> Range:
        """The range of the function over [lower, upper]."""

    def slopes(self, lower: Values, upper: Values) -> Range:
        """The range of the slopes between any two points of [lower, upper], which may be infinite."""

    def chords(self, lower: Values, upper: Values, anchor: Values) -> Range:
        """The range of the slopes between the anchor, in [lower, upper], and any other point of it."""

    def rounding(self, lower: Values, upper: Values) -> Values:
        """How far the function's float32 evaluation is from its value at the same argument, at most."""


# Half the distance of neighbouring float32 numbers, relative.
HALF_ULP = 2.0**-24
# What elementary functions of float32 are granted: 8 such roundings of their value, or of 1 where they saturate there.
_ELEMENTARY = 8.0 * HALF_ULP


@dataclasses.dataclass(frozen=True)
class Kinked:
    """f(v) = kink + slope (v - kink), of slope `below` where v < kink and `above` where v > kink.

    max(v, c) has kink c and slopes 0, 1; |v| has kink 0 and slopes -1, 1; a leaky ReLU kink 0 and slopes a, 1. `exact`
    says that its evaluation does not round.
    """

    kink: Values
    below: Values
    above: Values
    exact: bool = False

    def _slope(self, v: Values) -> Values:
        return jnp.where(v < self.kink, self.below, self.above)

    def value(self, v: Values) -> Values:
        slope = self._slope(v)
        # Not kink + slope (v - kink): with a kink far away v would be lost in it.
        return slope * v + jnp.where(slope == 1.0, 0.0, (1.0 - slope) * self.kink)

    def values(self, lower: Values, upper: Values) -> Range:
        return _extremes([self.value(v) for v in (lower, upper, jnp.clip(self.kink, lower, upper))])

    def slopes(self, lower: Values, upper: Values) -> Range:
        first = jnp.where(lower <= self.kink, self.below, self.above)
        last = jnp.where(upper >= self.kink, self.above, self.below)
        return _extremes([first, last])

    def chords(self, lower: Values, upper: Values, anchor: Values) -> Range:
        return _extremes([self._chord(anchor, lower), self._chord(anchor, upper)])

    def _chord(self, anchor: Values, end: Values) -> Values:
        # The function is convex or concave, so chords turn one way as their end moves: the ends are extreme.
        width = end - anchor
        share = (self.kink - anchor) / jnp.where(width == 0.0, 1.0, width)
        share = jnp.where((width == 0.0) | ~((share >= 0.0) & (share <= 1.0)), 1.0, share)
        return share * self._slope(anchor) + (1.0 - share) * self._slope(end)

    def rounding(self, lower: Values, upper: Values) -> Values:
        steepest = 0.0 if self.exact else jnp.maximum(jnp.abs(self.below), jnp.abs(self.above))
        return HALF_ULP * steepest * jnp.maximum(jnp.abs(lower), jnp.abs(upper))


@dataclasses.dataclass(frozen=True)
class Smooth:
    """A smooth function.

    Attributes:
      value, derivative: the function and its derivative; at infinity the limit.
      steepest: where the derivative is at a local extreme.
      turning: where the derivative is 0 and changes its sign.
      curvature: 1 where it is convex, -1 where it is concave, 0 where it is neither everywhere.
      domain: outside of this open interval it is not defined: bounds are infinite.
      relative: whether its float32 error is relative to its value; else to 1 plus its value.
    """

    value: Callable[[Values], Values]
    derivative: Callable[[Values], Values]
    steepest: tuple[float, ...] = ()
    turning: tuple[float, ...] = ()
    curvature: int = 0
    domain: tuple[float, float] = (-np.inf, np.inf)
    relative: bool = False

    def values(self, lower: Values, upper: Values) -> Range:
        points = [lower, upper, *(jnp.clip(point, lower, upper) for point in self.turning)]
        return self._inside(lower, upper, _extremes([self.value(v) for v in points]))

    def slopes(self, lower: Values, upper: Values) -> Range:
        points = [lower, upper, *(jnp.clip(point, lower, upper) for point in self.steepest)]
        return self._inside(lower, upper, _extremes([self.derivative(v) for v in points]))

    def chords(self, lower: Values, upper: Values, anchor: Values) -> Range:
        slopes = self.slopes(lower, upper)
        if self.curvature:
            # Chords of a convex function turn up as their end moves up.
            ends = (lower, upper) if self.curvature > 0 else (upper, lower)
            least, largest = (_chord(self.value, anchor, end) for end in ends)
            found = Range(jnp.maximum(slopes.lower, least.lower), jnp.minimum(slopes.upper, largest.upper))
        else:
            found = celled_chords(self, lower, upper, anchor)
        return self._inside(lower, upper, found)

    def rounding(self, lower: Values, upper: Values) -> Values:
        least, most = self.values(lower, upper)
        largest = jnp.maximum(jnp.abs(least), jnp.abs(most))
        return _ELEMENTARY * (largest if self.relative else largest + 1.0)

    def _inside(self, lower: Values, upper: Values, found: Range) -> Range:
        if self.domain == (-np.inf, np.inf):
            return found
        inside = (lower > self.domain[0]) & (upper < self.domain[1])
        return Range(jnp.where(inside, found.lower, -jnp.inf), jnp.where(inside, found.upper, jnp.inf))


def _chord(function: Callable[[Values], Values], anchor: Values, end: Values) -> Range:
    """The slope between two points, with its rounding error; unbounded where they are one."""
    here, there = function(anchor), function(end)
    width = end - anchor
    divisor = jnp.where(width == 0.0, 1.0, width)
    slope = (there - here) / divisor
    slack = _ULPS * (jnp.abs(here) + jnp.abs(there)) / jnp.abs(divisor)
    apart = width != 0.0
    return Range(jnp.where(apart, slope - slack, -jnp.inf), jnp.where(apart, slope + slack, jnp.inf))


def celled_chords(function: Any, lower: Values, upper: Values, anchor: Values) -> Range:
    """The chord slopes of a function of which values at points and slopes over intervals are known.

    Each side of the anchor is cut into cells. With F the rise from the anchor to a cell's near end, at distance w, and
    slopes in [m, M] over the cell, the chord to a point of it at distance w + t is at most (F + M t) / (w + t), which
    is monotone in t. What this gives away is of second order in the cells' width.
    """
    right, left = (_cells(function, anchor, end) for end in (upper, lower))
    # Over a short interval differences cancel, and the slopes are the better bounds.
    slopes = function.slopes(lower, upper)
    return Range(
        jnp.maximum(slopes.lower, jnp.minimum(right.lower, left.lower)),
        jnp.minimum(slopes.upper, jnp.maximum(right.upper, left.upper)),
    )


def _cells(function: Any, anchor: Values, end: Values) -> Range:
    shape = (_CELLS, *[1] * jnp.ndim(end))
    steps = (end - anchor) / _CELLS
    near = jnp.arange(_CELLS).reshape(shape) * steps
    points = jnp.concatenate([anchor + near, end[None]])
    low, high = jnp.minimum(points[:-1], points[1:]), jnp.maximum(points[:-1], points[1:])
    slopes = function.slopes(low, high)
    distance, width = jnp.abs(near), jnp.abs(steps)
    values = function.value(points[:-1])
    # The direction away from the anchor counts as positive on both sides: there chords keep their sign.
    sign = jnp.where(steps < 0.0, -1.0, 1.0)
    rise = sign * (values - values[:1])
    slack = _ULPS * (jnp.abs(values) + jnp.abs(values[:1]))
    first = jnp.arange(_CELLS).reshape(shape) == 0
    apart = jnp.where(distance > 0.0, distance, 1.0)

    def extreme(rises: Values, slope: Values, largest: Callable) -> Values:
        far = distance + width
        across = (rises + slope * width) / jnp.where(far > 0.0, far, 1.0)
        return jnp.where(first | (width == 0.0), slope, largest(rises / apart, across))

    upper = jnp.max(extreme(rise + slack, slopes.upper, jnp.maximum), axis=0)
    lower = jnp.min(extreme(rise - slack, slopes.lower, jnp.minimum), axis=0)
    return Range(lower, upper)


def pieces(lower: Values, upper: Values) -> tuple[Values, Values]:
    """The ends of the pieces of each interval, along a new first axis."""
    shares = jnp.arange(_PIECES + 1).reshape(-1, *[1] * jnp.ndim(lower)) / _PIECES
    points = (lower + shares * (upper - lower)).at[-1].set(upper)
    return points[:-1], points[1:]


def _extremes(values: Sequence[Values]) -> Range:
    least = most = values[0]
    for value in values[1:]:
        least, most = jnp.minimum(least, value), jnp.maximum(most, value)
    return Range(least, most)


def _logistic_derivative(v: Values) -> Values:
    return jax.nn.sigmoid(v) * jax.nn.sigmoid(-v)


def _silu_derivative(v: Values) -> Values:
    v = jnp.clip(v, -500.0, 500.0)
    return jax.nn.sigmoid(v) * (1.0 + v * jax.nn.sigmoid(-v))


@dataclasses.dataclass(frozen=True)
class Reciprocal:
    """1 / v, on either side of 0."""

    def value(self, v: Values) -> Values:
        return 1.0 / v

    def values(self, lower: Values, upper: Values) -> Range:
        return self._apart(lower, upper, 1.0 / upper, 1.0 / lower)

    def slopes(self, lower: Values, upper: Values) -> Range:
        ends = _extremes([-1.0 / jnp.square(lower), -1.0 / jnp.square(upper)])
        return self._apart(lower, upper, *ends)

    def chords(self, lower: Values, upper: Values, anchor: Values) -> Range:
        ends = _extremes([-1.0 / (anchor * lower), -1.0 / (anchor * upper)])
        return self._apart(lower, upper, *ends)

    def rounding(self, lower: Values, upper: Values) -> Values:
        return _ELEMENTARY / jnp.minimum(jnp.abs(lower), jnp.abs(upper))

    def _apart(self, lower: Values, upper: Values, least: Values, most: Values) -> Range:
        apart = (lower > 0.0) | (upper < 0.0)
        return Range(jnp.where(apart, least, -jnp.inf), jnp.where(apart, most, jnp.inf))


@dataclasses.dataclass(frozen=True)
class Wave:
    """sin(v + phase)."""

    phase: float

    def value(self, v: Values) -> Values:
        return jnp.sin(v + self.phase)

    def values(self, lower: Values, upper: Values) -> Range:
        low, high = lower + self.phase, upper + self.phase
        ends = _extremes([jnp.sin(low), jnp.sin(high)])
        # A peak lies in the interval where the number of those passed changes, a hair is granted for rounding.
        slack = 1e-12 * (1.0 + jnp.abs(low) + jnp.abs(high))

        def passes(peak: float) -> Array:
            turns = [jnp.floor((v - peak) / (2.0 * np.pi)) for v in (low - slack, high + slack)]
            return turns[0] < turns[1]

        return Range(
            jnp.where(passes(-0.5 * np.pi), -1.0, ends.lower - slack),
            jnp.where(passes(0.5 * np.pi), 1.0, ends.upper + slack),
        )

    def slopes(self, lower: Values, upper: Values) -> Range:
        return Wave(self.phase + 0.5 * np.pi).values(lower, upper)

    def chords(self, lower: Values, upper: Values, anchor: Values) -> Range:
        return celled_chords(self, lower, upper, anchor)

    def rounding(self, lower: Values, upper: Values) -> Values:
        return jnp.full_like(lower, 2.0 * _ELEMENTARY)


_ROOT_OF_PI = np.sqrt(np.pi)
_POSITIVE = (0.0, np.inf)


_FIXED: dict[str, Unary] = {
    "tanh": Smooth(jnp.tanh, lambda v: 4.0 * _logistic_derivative(2.0 * v), steepest=(0.0,)),
    "logistic": Smooth(jax.nn.sigmoid, _logistic_derivative, steepest=(0.0,)),
    "exp": Smooth(jnp.exp, jnp.exp, curvature=1, relative=True),
    "exp2": Smooth(jnp.exp2, lambda v: np.log(2.0) * jnp.exp2(v), curvature=1, relative=True),
    "expm1": Smooth(jnp.expm1, jnp.exp, curvature=1),
    "log": Smooth(jnp.log, lambda v: 1.0 / v, curvature=-1, domain=_POSITIVE),
    "sqrt": Smooth(jnp.sqrt, lambda v: 0.5 / jnp.sqrt(v), curvature=-1, domain=_POSITIVE, relative=True),
    "rsqrt": Smooth(jax.lax.rsqrt, lambda v: -0.5 * v**-1.5, curvature=1, domain=_POSITIVE, relative=True),
    "erf": Smooth(jax.lax.erf, lambda v: 2.0 / _ROOT_OF_PI * jnp.exp(-jnp.square(v)), steepest=(0.0,)),
    "erfc": Smooth(jax.lax.erfc, lambda v: -2.0 / _ROOT_OF_PI * jnp.exp(-jnp.square(v)), steepest=(0.0,)),
    "atan": Smooth(jnp.arctan, lambda v: 1.0 / (1.0 + jnp.square(v)), steepest=(0.0,)),
    "reciprocal": Reciprocal(),
    "sin": Wave(0.0),
    "cos": Wave(0.5 * np.pi),
    "softplus": Smooth(lambda v: jnp.logaddexp(0.0, v), jax.nn.sigmoid, curvature=1),
    "log1p": Smooth(jnp.log1p, lambda v: 1.0 / (1.0 + v), curvature=-1, domain=(-1.0, np.inf)),
    "square": Smooth(jnp.square, lambda v: 2.0 * v, turning=(0.0,), curvature=1, relative=True),
    "silu": Smooth(
        lambda v: v * jax.nn.sigmoid(v),
        _silu_derivative,
        steepest=SILU_STEEPEST,
        turning=SILU_TURNING,
    ),
}


def resolve(kind: str, parameters: Sequence[Any]) -> Unary:
    """The function of a kind named by `patterns`, with the values of its parameters."""
    constants = [jnp.asarray(parameter, jnp.float64) for parameter in parameters]
    zero, one = jnp.zeros(()), jnp.ones(())
    match kind, constants:
        case "max", [kink]:
            return Kinked(kink, zero, one, exact=True)
        case "min", [kink]:
            return Kinked(kink, one, zero, exact=True)
        case "abs", []:
            return Kinked(zero, -one, one, exact=True)
        case "leaky", [below, above]:
            return Kinked(zero, below, above)
        case "integer_pow", [_]:
            return _integer_power(parameters[0])
        case "pow", [power]:
            return Smooth(
                lambda v: jnp.power(v, power), lambda v: power * jnp.power(v, power - 1.0), domain=_POSITIVE,
            )  # fmt: skip
    return _FIXED[kind]


def _integer_power(parameter: Any) -> Unary:
    """v^n for a whole number n > 0, given as an array of it."""
    power = int(np.asarray(parameter).flat[0])
    even = power % 2 == 0
    return Smooth(
        lambda v: jax.lax.integer_pow(v, power),
        lambda v: power * jax.lax.integer_pow(v, power - 1),
        steepest=() if even else (0.0,),
        turning=(0.0,) if even else (),
        curvature=1 if even else 0,
        relative=True,
    )
