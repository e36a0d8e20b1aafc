"""Slow twin of `bounds.margin` and of what it rests on: NumPy and SciPy, float64, by bisection."""

import numpy as np
from scipy.special import ndtr, ndtri, xlogy

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


def kl(p, q):
    """The divergence of coins with these probabilities of heads; an integral where they are near each other."""
    direct = xlogy(p, p) - xlogy(p, q) + xlogy(1.0 - p, 1.0 - p) - xlogy(1.0 - p, 1.0 - q)
    share = 0.5 * (NODES + 1.0)
    at = np.expand_dims(p, -1) + np.expand_dims(q - p, -1) * share
    near = np.square(q - p) * np.sum(0.5 * WEIGHTS * share / (at * (1.0 - at)), axis=-1)
    return np.where(np.abs(q - p) < 0.2 * np.minimum(np.minimum(p, 1.0 - p), np.minimum(q, 1.0 - q)), near, direct)


def survives(p, shift, log_std_shift, risk, pair_p=None):
    """Whether an event of probability p keeps more than the risk, by the equations of `bounds.tradeoff`."""
    moved = ndtr(ndtri(p) - shift)
    if pair_p is not None:
        half_width = ndtri(0.5 * (1.0 + pair_p))
        moved = np.maximum(moved, ndtr(half_width - shift) - ndtr(-half_width - shift))
    divergence = 0.5 * (np.expm1(2.0 * log_std_shift) - 2.0 * log_std_shift)
    one_after_the_other = (moved > risk) & ((divergence == 0.0) | (kl(moved, risk) > divergence))
    return one_after_the_other | ((np.square(shift) / 2.0 + divergence < kl(risk, p)) & (p > risk))


def margin(p, norm, risk, rescaling, free, pair_p=None):
    """The largest radius at which the event survives, for norms and probabilities that leave it finite."""
    with np.errstate(all="ignore"):
        high = np.ones_like(p)
        for _ in range(200):
            held = survives(p, norm * np.maximum(high - free, 0.0), rescaling * high, risk, pair_p)
            high = np.where(held, 2.0 * high, high)
        low = np.zeros_like(high)
        for _ in range(120):
            middle = 0.5 * (low + high)
            held = survives(p, norm * np.maximum(middle - free, 0.0), rescaling * middle, risk, pair_p)
            low, high = np.where(held, middle, low), np.where(held, high, middle)
    return np.where(p > risk, low, 0.0)
