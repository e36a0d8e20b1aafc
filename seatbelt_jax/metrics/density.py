"""Kernel density estimates of one number per image, for density plots."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# Points of the default grid, which reaches this many bandwidths beyond the values.
_POINTS, _MARGIN = 200, 4.0
_GRID_AT_ONCE = 16


class KernelDensity(NamedTuple):
    """An estimated density: `density` at the points `grid`, per unit of the values, by kernels of width `bandwidth`."""

    grid: Float[np.ndarray, " point"]
    density: Float[np.ndarray, " point"]
    bandwidth: float


def kernel_density(
    values: Float[np.ndarray, " image"],
    grid: Float[np.ndarray, " point"] | None = None,
    *,
    bandwidth: float | None = None,
) -> KernelDensity:
    """A Gaussian kernel density estimate on a grid.

    `scipy.stats.gaussian_kde` measures its bandwidth in standard deviations of the values, so it fails on equal values
    even where a bandwidth is given, and its rule has no interquartile range.

    Args:
      values: one number per image.
      grid: where to estimate; by default 200 points from four bandwidths below the least value to four above the
        largest.
      bandwidth: the kernels' standard deviation; by default Silverman's rule of thumb (1986, Eq. 3.31),
        0.9 min(std, interquartile range / 1.34) n^(-1/5).

    Raises:
      ValueError: for fewer than 2 values, values or a grid that are not finite, a bandwidth that is not positive,
        or values that are all the same, which have no density.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.all(np.isfinite(values)):
        raise ValueError(f"values must be at least 2 finite numbers, one per image; got shape {values.shape}")
    if bandwidth is None:
        bandwidth = _silverman(values)
    if not 0.0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth must be a positive number, got {bandwidth}")
    if grid is None:
        margin = _MARGIN * bandwidth
        grid = np.linspace(values.min() - margin, values.max() + margin, _POINTS)
    grid = np.asarray(grid, np.float64)
    if grid.ndim != 1 or not np.all(np.isfinite(grid)):
        raise ValueError(f"grid must be finite numbers along one axis, got shape {grid.shape}")
    # A few points at once: [point, image] may not fit into memory.
    density = np.concatenate(
        [
            np.mean(np.exp(-0.5 * ((part[:, None] - values) / bandwidth) ** 2), axis=1)
            for part in np.split(grid, range(_GRID_AT_ONCE, len(grid), _GRID_AT_ONCE))
        ]
    )
    return KernelDensity(grid, density / (bandwidth * math.sqrt(2.0 * math.pi)), bandwidth)


def _silverman(values: Float[np.ndarray, " image"]) -> float:
    quartiles = np.quantile(values, (0.25, 0.75))
    spreads = [np.std(values, ddof=1), (quartiles[1] - quartiles[0]) / 1.34]
    # Rounding makes a tiny spread of equal float32 numbers, and half of the values may be equal.
    positive = [spread for spread in spreads if spread > 1e-6 * np.max(np.abs(values))]
    if not positive:
        raise ValueError(f"all values are {values[0]:.6g}: that is no density; give a bandwidth to smooth it by")
    return 0.9 * min(positive) * len(values) ** -0.2
