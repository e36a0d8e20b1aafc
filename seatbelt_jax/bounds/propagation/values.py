"""Bounds of the inputs of activations over a ball around x.

Values are enclosed by z = centre + A d + sum_k B_k e_k, d in the ball and |e_k| <= 1 elementwise: each activation is
enclosed by two parallel lines, half the distance of which starts a new group of columns (affine arithmetic; for ReLU
DeepZ, Singh et al. 2018). Intervals go along, and the better of the two bounds counts.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.propagation.activations import Activation, Values
from seatbelt_jax.bounds.propagation.forms import PIXELS, AffineForm, Term
from seatbelt_jax.bounds.propagation.program import Instance
from seatbelt_jax.bounds.propagation.stages import INPUT, Source, Stage

# Bounds are widened by so many roundings of the sum of the magnitudes that make a value up.
ROUNDINGS = 16.0
# float32 overflows beyond: bounds that reach it count as infinite.
LARGEST = 1e30

Interval = tuple[Values, Values]


def input_intervals(
    instance: Instance, x: Float[ndarray, "*image"], radius: float, *, norm: Norm, affine: bool
) -> list[Interval]:
    """For each activation, the least and the largest input over the ball.

    Args:
      instance: the function.
      x: the centre of the ball.
      radius: of the ball; with infinity all bounds are.
      norm: the ball's, "l2" or "linf".
      affine: by both forms, or by intervals alone after the stages that read x alone.
    """
    values = _Values(instance, x, radius, norm, affine)
    intervals = []
    with jax.enable_x64(True):
        for source, (stage, activation) in enumerate(
            zip(instance.program.stages, instance.activations, strict=True), start=1
        ):
            intervals.append(values.activate(source, stage, activation))
    return intervals


class _Values:
    """Enclosures of all sources so far."""

    def __init__(self, instance: Instance, x: Float[ndarray, "*image"], radius: float, norm: Norm, affine: bool):
        self._instance = instance
        self._radius = radius
        self._norm = norm
        self._affine = affine
        self._form = AffineForm(instance)
        centre = np.asarray(x, np.float64)
        self._centres = {INPUT: centre}
        self._intervals: dict[Source, Interval] = {}
        # A source of infinite bounds is in neither dictionary.
        if math.isfinite(radius):
            self._intervals[INPUT] = (centre - radius, centre + radius)

    def activate(self, source: Source, stage: Stage, activation: Activation) -> Interval:
        """The bounds of an activation's input; encloses its result."""
        everywhere = np.full(stage.shape, np.inf)
        if any(read not in self._intervals for read in stage.sources):
            return -everywhere, everywhere
        centre, terms, (lower, upper) = self._bounds(stage)
        if not _finite(lower, upper):
            return -everywhere, everywhere
        enclosure = activation.enclosure(lower, upper)
        interval = activation.values(lower, upper)
        if _finite(*enclosure, *interval):
            self._intervals[source] = interval
            self._centres[source] = enclosure.slope * centre + enclosure.offset
            if self._affine:
                self._form.activate(source, terms, enclosure.slope, enclosure.deviation)
                self._form.forget(stage)
        return lower, upper

    def _bounds(self, stage: Stage) -> tuple[Values, dict[int, Term], Interval]:
        points, middles, spreads, magnitudes = {}, {}, {}, {}
        for source in stage.sources:
            lower, upper = self._intervals[source]
            dtype = stage.dtype_of(source)
            centre = self._centres[source] if self._affine else 0.5 * (lower + upper)
            points[source] = jnp.asarray(centre, dtype)
            middles[source] = jnp.asarray(0.5 * (lower + upper), dtype)
            spreads[source] = jnp.asarray(0.5 * (upper - lower), dtype)
            largest = np.maximum(np.maximum(np.abs(lower), np.abs(upper)), np.abs(centre))
            magnitudes[source] = jnp.asarray(largest, dtype)
        box = stage.code.box(self._instance.constants(stage), points, middles, spreads, magnitudes)
        centre, middle, spread, magnitude = (np.asarray(array, np.float64) for array in box)
        rounding = ROUNDINGS * float(jnp.finfo(stage.dtype).eps)
        lower, upper = middle - (1.0 + rounding) * spread, middle + (1.0 + rounding) * spread
        terms = {}
        if self._affine or stage.sources == [INPUT]:
            terms = self._form.through(stage)
            # The elements of other groups move independently: theirs is the ball of the maximum norm.
            deviation = (1.0 + rounding) * sum(
                self._radius * term.map.dual_norms(self._norm) if group == PIXELS else term.map.dual_norms("linf")
                for group, term in terms.items()
            )
            lower, upper = np.maximum(lower, centre - deviation), np.minimum(upper, centre + deviation)
        return centre, terms, (lower - rounding * magnitude, upper + rounding * magnitude)


def _finite(*arrays: Values) -> bool:
    return all((np.abs(array) < LARGEST).all() for array in arrays)
