"""The mean of curves that each have points of their own, such as one of every image (Camuto et al. 2021, Fig. 7)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class MeanCurve(NamedTuple):
    """Mean and standard deviation over curves, at each place."""

    places: Float[np.ndarray, " place"]
    mean: Float[np.ndarray, " place"]
    std: Float[np.ndarray, " place"]


def mean_curve(
    ends: Float[np.ndarray, " curve"],
    curves: Float[np.ndarray, "curve point"],
    places: Float[np.ndarray, " place"],
) -> MeanCurve:
    """Curves at common places, by straight lines between their points.

    Args:
      ends: where each curve ends; its points are evenly spaced from 0 to there. Beyond it, its last value stands.
      curves: their values.
      places: where the mean is wanted, from 0 on.

    Raises:
      ValueError: where there is no curve, or not one end for each.
    """
    ends, curves = np.asarray(ends, np.float64), np.asarray(curves, np.float64)
    if curves.ndim != 2 or not len(curves) or ends.shape != curves.shape[:1]:
        raise ValueError(f"curves must be [curve, point] with an end each, got {curves.shape} and {ends.shape}")
    shares = np.linspace(0.0, 1.0, curves.shape[1])
    values = np.stack([np.interp(places, end * shares, curve) for end, curve in zip(ends, curves, strict=True)])
    return MeanCurve(np.asarray(places), values.mean(axis=0), values.std(axis=0))
