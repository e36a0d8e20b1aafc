"""Slow twin of `bounds.margin` and of what it rests on: NumPy and SciPy, float64, by bisection."""

import numpy as np
from scipy.special import ndtr, ndtri, xlogy

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


def kl(p, q):
    """The divergence of coins with these probabilities of heads; an integral where they are near each other."""
    p, q = np.broadcast_arrays(p, q)
    found = np.asarray(xlogy(p, p) - xlogy(p, q) + xlogy(1.0 - p, 1.0 - p) - xlogy(1.0 - p, 1.0 - q))
    near = np.abs(q - p) < 0.2 * np.minimum(np.minimum(p, 1.0 - p), np.minimum(q, 1.0 - q))
    p, apart = p[near], (q - p)[near]
    share = 0.5 * (NODES + 1.0)
    at = np.expand_dims(p, -1) + np.expand_dims(apart, -1) * share
    found[near] = np.square(apart) * np.sum(0.5 * WEIGHTS * share / (at * (1.0 - at)), axis=-1)
    return found


def survives(p, shift, log_std_shift, risk, reserve, pair_p=None):
    """Whether an event of probability p keeps more than the risk, by the equations of `bounds.tradeoff`.

    The reserve is the divergence of the risk from p.
    """
    moved = ndtr(ndtri(p) - shift)
    if pair_p is not None:
        half_width = ndtri(0.5 * (1.0 + pair_p))
        moved = np.maximum(moved, ndtr(half_width - shift) - ndtr(-half_width - shift))
    divergence = 0.5 * (np.expm1(2.0 * log_std_shift) - 2.0 * log_std_shift)
    one_after_the_other = (moved > risk) & ((divergence == 0.0) | (kl(moved, risk) > divergence))
    return one_after_the_other | ((np.square(shift) / 2.0 + divergence < reserve) & (p > risk))


def margin(p, norm, risk, rescaling, free, pair_p=None):
    """The largest radius at which the event survives, for norms and probabilities that leave it finite."""
    with np.errstate(all="ignore"):
        reserve = kl(risk, p)

        def held(radius):
            return survives(p, norm * np.maximum(radius - free, 0.0), rescaling * radius, risk, reserve, pair_p)

        low, high = np.zeros_like(p), np.ones_like(p)
        for _ in range(200):
            grows = held(high)
            if not np.any(grows):
                break
            high = np.where(grows, 2.0 * high, high)
        for _ in range(120):
            middle = 0.5 * (low + high)
            if np.all((middle == low) | (middle == high)):
                break
            inside = held(middle)
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.where(p > risk, low, 0.0)
