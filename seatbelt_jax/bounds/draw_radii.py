"""How far the draws of one image are proven to stay near a point, and the order statistics that certificates take.

Every draw e has a deviation D_e(R) = sup{||h_e(x + d) - c||_2 : ||d|| <= R} (`pathwise`), of which `propagation` proves
upper bounds. A draw whose bound at R is at most r has R_e >= R. So wherever k draws pass at R, the k-th largest R_e is
at least R, however R was chosen: the search below needs no draws of its own, and no share of alpha for its steps. It
tests all draws at the same R, and at the next R only those on which that depends.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

# From draws, by their numbers, and the size of perturbations to upper bounds of their deviations.
Deviations = Callable[[Int[ndarray, "row"], float], Float[ndarray, "row"]]

# Width of the bracket, relative, at which it is narrow enough.
_NARROW = 5e-3
# Perturbations beyond so many r are not looked at: reconstructions that nothing moves are certified up to there.
_FARTHEST = 2.0**20
# Nor are perturbations below this share of r: nothing is certified then.
_NEAREST = 2.0**-40
# The first perturbation tried is this share of r: small enough to tell the slope of most models.
_FIRST = 2.0**-8
_FEW = 8
_MOST_ROUNDS = 40


class DrawRadii:
    """What is proven of the draws of one image; remembers every bound, whatever r it was asked for.

    Args:
      deviations: proves bounds.
      distances: [draw], ||h_e(x) - c||_2 at the image itself; they guide the search, and prove nothing.
    """

    def __init__(self, deviations: Deviations, distances: Float[ndarray, "draw"]):
        self._deviations = deviations
        self._distances = np.asarray(distances, np.float64)
        # Bounds at each R tried, NaN for draws that were not tested there; the image itself stands for R = 0.
        self._tested: dict[float, Float[ndarray, draw]] = {}

    @property
    def tests(self) -> int:
        """How many bounds were computed."""
        return sum(int(np.count_nonzero(~np.isnan(bounds))) for bounds in self._tested.values())

    def deviations_at(self, size: float) -> Float[ndarray, "draw"]:
        """Bounds of all draws' deviations under perturbations of a size."""
        return self._test(size, np.ones(len(self._distances), bool))

    def largest(self, radius: float, rank: int) -> float:
        """The largest R found at which `rank` draws are proven to stay within the radius r; 0 where there is none.

        It is at most the rank-th largest R_e, and within 0.5 % of the rank-th largest R that `deviations` can prove,
        if its bounds grow with R.
        """
        if np.count_nonzero(self._distances <= radius) < rank:
            return 0.0
        # Widths of the bracket, the last three.
        widths = [np.inf] * 3
        for _ in range(_MOST_ROUNDS):
            passed, failed = self._brackets(radius)
            low, high = (float(np.sort(ends)[-rank]) for ends in (passed, failed))
            if high <= low * (1.0 + _NARROW) or low >= _FARTHEST * radius or high < _NEAREST * radius:
                break
            widths = [*widths[1:], high - low]
            stalled = np.isfinite(high) and widths[2] > 0.5 * widths[0]
            if not self._tested:
                trial = _FIRST * radius
                # The slope of a draw that is not tested is guessed from the others'.
                undecided = np.isin(np.arange(len(failed)), np.flatnonzero(failed)[:_FEW])
            else:
                trial = _middle(low, high) if stalled else self._next(radius, rank, low, high)
                undecided = (passed < trial) & (trial < failed)
            self._test(trial, undecided)
        return float(np.sort(self._brackets(radius)[0])[-rank])

    def _brackets(self, radius: float) -> tuple[Float[ndarray, "draw"], Float[ndarray, "draw"]]:
        """For each draw the largest R at which it passed, 0 without one, and the least at which it failed."""
        passed = np.zeros(len(self._distances))
        failed = np.where(self._distances <= radius, np.inf, 0.0)
        for size, bounds in self._tested.items():
            within = bounds <= radius
            passed = np.where(within, np.maximum(passed, size), passed)
            failed = np.where(np.isnan(bounds) | within, failed, np.minimum(failed, size))
        # Where a bound fell while R grew, what is proven counts.
        return passed, np.maximum(failed, passed)

    def _next(self, radius: float, rank: int, low: float, high: float) -> float:
        """The R to try next, between low, which is proven, and high, which cannot be."""
        guess = float(np.sort(self._crossings(radius))[-rank])
        if not any(np.isfinite(bounds).any() for bounds in self._tested.values()):
            return min(self._tested) / 64.0
        if np.isinf(high):
            # A slope near the image promises too much elsewhere; without one, on by large steps.
            return min(max(0.8 * guess, 2.0 * low), 256.0 * max(self._tested), _FARTHEST * radius)
        if low == 0.0:
            return min(max(0.7 * guess, high / 64.0), 0.5 * high)
        # A guess is tried from below and, once it holds, from above, so that both ends close in on it.
        if guess * (1.0 - 0.4 * _NARROW) > low * (1.0 + 0.1 * _NARROW):
            return min(guess * (1.0 - 0.4 * _NARROW), low + 0.9 * (high - low))
        return min(low * (1.0 + 0.95 * _NARROW), low + 0.5 * (high - low))

    def _crossings(self, radius: float) -> Float[ndarray, "draw"]:
        """Where each draw's bound may reach the radius.

        What a bound adds to the distance is s(R) R, with a slope s that hardly changes: it is taken for a straight line
        through two points, the two around the crossing where both are known.
        """
        shape = self._distances.shape
        near, far, of_near, of_far = np.zeros(shape), np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
        for size, bounds in sorted(self._tested.items()):
            slope, seen = (bounds - self._distances) / size, np.isfinite(bounds)
            # Beyond the first that failed, nothing is learnt.
            seen &= ~((far > near) & (self._distances + of_far * far > radius))
            first, later = seen & np.isnan(of_near), seen & ~np.isnan(of_near)
            inner = later & ~np.isnan(far)
            near, of_near = np.where(inner, far, near), np.where(inner, of_far, of_near)
            near, of_near = np.where(first, size, near), np.where(first, slope, of_near)
            far, of_far = np.where(later, size, far), np.where(later, slope, of_far)
        # A draw that was not tested yet has about the slope of the others.
        of_near = np.where(np.isnan(of_near), np.nanmedian(of_near) if np.isfinite(of_near).any() else np.nan, of_near)
        left = radius - self._distances
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = np.where(np.isnan(far), 0.0, (of_far - of_near) / (far - near))
            start = of_near - growth * near
            # The positive root of growth R^2 + start R = left.
            reached = 2.0 * left / (start + np.sqrt(np.maximum(start**2 + 4.0 * growth * left, 0.0)))
        return np.where(left < 0.0, 0.0, np.where(reached > 0.0, reached, np.inf))

    def _test(self, size: float, rows: ndarray) -> Float[ndarray, "draw"]:
        """Bounds at a size, of these draws at least; those that are not numbers are infinite."""
        bounds = self._tested.setdefault(size, np.full(len(self._distances), np.nan))
        missing = np.flatnonzero(rows & np.isnan(bounds))
        if missing.size:
            found = np.asarray(self._deviations(missing, size), np.float64)
            bounds[missing] = np.where(np.isnan(found), np.inf, found)
        return bounds


def _middle(low: float, high: float) -> float:
    """Halves the bracket, by ratios where its ends are far apart."""
    if high <= 4.0 * low:
        return 0.5 * (low + high)
    return float(np.sqrt(low * high)) if low > 0.0 else high / 16.0
