"""Slow float64 twins of seatbelt_jax.bounds, straight from the equations."""

import math
from statistics import NormalDist

import numpy as np


def binomial_tail(trials, probability, at_least):
    """P(Bin(trials, probability) >= at_least), summed term by term."""
    return math.fsum(
        math.comb(trials, k) * probability**k * (1.0 - probability) ** (trials - k)
        for k in range(at_least, trials + 1)
    )


def lower_confidence_bound(hits, trials, alpha):
    """The p at which so many hits or more have probability alpha, by bisection."""
    if hits == 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        if binomial_tail(trials, middle, hits) < alpha:
            low = middle
        else:
            high = middle
    return low


def quantile_ranks(trials, level, alpha):
    """The largest rank that is safe below the quantile, the smallest that is safe above it."""
    low, high = 0, trials + 1
    for rank in range(1, trials + 1):
        if 1.0 - binomial_tail(trials, level, rank) <= alpha:
            low = rank
    for rank in range(trials, 0, -1):
        if binomial_tail(trials, level, rank) <= alpha:
            high = rank
    return low, high


def whitened(jacobian, std):
    return np.asarray(jacobian, np.float64) / np.asarray(std, np.float64)[:, None]


def camuto_margin(probability, jacobian, std, risk=0.5):
    """Camuto et al. 2021, Theorem 1."""
    budget = NormalDist().inv_cdf(probability) - NormalDist().inv_cdf(risk)
    return np.min(np.asarray(std, np.float64)) * budget / np.linalg.norm(np.float64(jacobian))


def spectral_margin(probability, jacobian, std, risk=0.5):
    budget = NormalDist().inv_cdf(probability) - NormalDist().inv_cdf(risk)
    return budget / np.linalg.svd(whitened(jacobian, std), compute_uv=False)[0]
