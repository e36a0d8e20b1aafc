"""Activations over an interval of inputs: their slopes, their values, and an enclosure by parallel lines.

All on the host in float64, elementwise over arrays of intervals [lower, upper].
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import expit, logit

Values = Float[ndarray, "*shape"]


class Enclosure(NamedTuple):
    """|f(v) - slope v - offset| <= deviation for all v of the interval."""

    slope: Values
    offset: Values
    deviation: Values


@runtime_checkable
class Activation(Protocol):
    """An elementwise function of one variable, continuous and almost everywhere differentiable."""

    def slopes(self, lower: Values, upper: Values) -> tuple[Values, Values]:
        """The least and the largest slope over [lower, upper], which may be infinite."""

    def values(self, lower: Values, upper: Values) -> tuple[Values, Values]:
        """The least and the largest value over [lower, upper]."""

    def enclosure(self, lower: Values, upper: Values) -> Enclosure:
        """Two parallel lines that enclose the graph over the finite [lower, upper]."""


@dataclasses.dataclass(frozen=True)
class Kinked:
    """f(v) = kink + slope (v - kink), of slope `below` where v < kink and `above` where v > kink.

    max(v, c) has kink c and slopes 0, 1; |v| has kink 0 and slopes -1, 1; a leaky ReLU kink 0 and slopes a, 1.
    """

    kink: Values
    below: Values
    above: Values

    def slope(self, v: Values) -> Values:
        return np.where(v < self.kink, self.below, self.above)

    def value(self, v: Values) -> Values:
        slope = self.slope(v)
        # Not kink + slope (v - kink): with a kink far away v would be lost in it.
        with np.errstate(invalid="ignore"):
            return slope * v + np.where(slope == 1.0, 0.0, (1.0 - slope) * self.kink)

    def slopes(self, lower: Values, upper: Values) -> tuple[Values, Values]:
        first = np.where(lower <= self.kink, self.below, self.above)
        last = np.where(upper >= self.kink, self.above, self.below)
        return np.minimum(first, last), np.maximum(first, last)

    def values(self, lower: Values, upper: Values) -> tuple[Values, Values]:
        return _extremes([self.value(v) for v in (lower, upper, np.clip(self.kink, lower, upper))])

    def enclosure(self, lower: Values, upper: Values) -> Enclosure:
        # One side of the kink the chord is the function itself and the deviation 0 (DeepZ, Singh et al. 2018).
        slope = _chord(self.value, lower, upper, *self.slopes(lower, upper))
        return _enclose(self.value, slope, [lower, upper, np.clip(self.kink, lower, upper)])


@dataclasses.dataclass(frozen=True)
class Smooth:
    """A smooth activation.

    Attributes:
      value, derivative: the function and its derivative; at infinity the limit.
      steepest: where the derivative is at a local extreme.
      turning: where the derivative is 0 and changes its sign.
      touching: for a convex or concave function, where its derivative takes a given value; else None.
    """

    value: Callable[[Values], Values]
    derivative: Callable[[Values], Values]
    steepest: tuple[float, ...] = ()
    turning: tuple[float, ...] = ()
    touching: Callable[[Values], Values] | None = None

    def slopes(self, lower: Values, upper: Values) -> tuple[Values, Values]:
        with np.errstate(over="ignore", divide="ignore"):
            points = [lower, upper, *(np.clip(point, lower, upper) for point in self.steepest)]
            return _extremes([self.derivative(v) for v in points])

    def values(self, lower: Values, upper: Values) -> tuple[Values, Values]:
        with np.errstate(over="ignore", divide="ignore"):
            points = [lower, upper, *(np.clip(point, lower, upper) for point in self.turning)]
            return _extremes([self.value(v) for v in points])

    def enclosure(self, lower: Values, upper: Values) -> Enclosure:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            least, largest = self.slopes(lower, upper)
            if self.touching is None:
                # Less its least slope the function does not fall, so its ends are its extremes.
                return _enclose(self.value, least, [lower, upper])
            slope = _chord(self.value, lower, upper, least, largest)
            return _enclose(self.value, slope, [lower, upper, np.clip(self.touching(slope), lower, upper)])


def _chord(
    function: Callable[[Values], Values], lower: Values, upper: Values, least: Values, largest: Values
) -> Values:
    width = upper - lower
    rise = (function(upper) - function(lower)) / np.where(width > 0.0, width, 1.0)
    # Over a short interval the difference cancels; the mean slope is never outside the slopes.
    return np.clip(rise, least, largest)


def _enclose(function: Callable[[Values], Values], slope: Values, points: list[Values]) -> Enclosure:
    """The enclosure of a given slope, from the points where the function less the line is extreme."""
    low, high = _extremes([function(v) - slope * v for v in points])
    return Enclosure(slope, 0.5 * (low + high), 0.5 * (high - low))


def _extremes(values: list[Values]) -> tuple[Values, Values]:
    return np.min(values, axis=0), np.max(values, axis=0)


def _silu_derivative(v: Values) -> Values:
    v = np.clip(v, -500.0, 500.0)
    return expit(v) * (1.0 + v * expit(-v))


def _log1p(v: Values) -> Values:
    return np.where(v > -1.0, np.log1p(np.maximum(v, -1.0)), -np.inf)


def _log1p_derivative(v: Values) -> Values:
    return np.where(v > -1.0, 1.0 / np.maximum(1.0 + v, 0.0), np.inf)


# The zeros of silu'' and silu'.
SILU_STEEPEST, SILU_TURNING = (-2.3993572805154675, 2.3993572805154675), (-1.2784645427610741,)
_SMOOTH = {
    "tanh": Smooth(np.tanh, lambda v: 4.0 * expit(2.0 * v) * expit(-2.0 * v), steepest=(0.0,)),
    "logistic": Smooth(expit, lambda v: expit(v) * expit(-v), steepest=(0.0,)),
    "exp": Smooth(np.exp, np.exp, touching=np.log),
    "softplus": Smooth(lambda v: np.logaddexp(0.0, v), expit, touching=logit),
    "log1p": Smooth(_log1p, _log1p_derivative, touching=lambda slope: 1.0 / slope - 1.0),
    "square": Smooth(np.square, lambda v: 2.0 * v, turning=(0.0,), touching=lambda slope: 0.5 * slope),
    "silu": Smooth(
        lambda v: v * expit(v),
        _silu_derivative,
        steepest=SILU_STEEPEST,
        turning=SILU_TURNING,
    ),
}


def resolve(kind: str, parameters: Sequence[Values]) -> Activation:
    """The activation of a kind named by `patterns`, with the values of its parameters."""
    constants = [np.asarray(parameter, np.float64) for parameter in parameters]
    zero, one = np.zeros(()), np.ones(())
    match kind, constants:
        case "max", [kink]:
            return Kinked(kink, zero, one)
        case "min", [kink]:
            return Kinked(kink, one, zero)
        case "abs", []:
            return Kinked(zero, -one, one)
        case "leaky", [below, above]:
            return Kinked(zero, below, above)
    return _SMOOTH[kind]
