"""Mutual information between a latent and a factor by numerical integration, in float64, from its definition."""

import math

import numpy as np


def between(means, stds, levels, points=20_001):
    """I(z; v) in nats of one latent, q(z|x_n) = N(means[n], stds[n]^2), and one factor, all images equally likely.

    I = sum_v p(v) int q(z|v) log(q(z|v) / q(z)) dz, by trapezoids.
    """
    low, high = np.min(means - 10.0 * stds), np.max(means + 10.0 * stds)
    z = np.linspace(low, high, points)
    densities = np.stack(
        [
            np.exp(-0.5 * ((z - mean) / std) ** 2) / (std * math.sqrt(2.0 * math.pi))
            for mean, std in zip(means, stds, strict=True)
        ]
    )
    marginal = densities.mean(axis=0)
    total = 0.0
    for level in np.unique(levels):
        conditional = densities[levels == level].mean(axis=0)
        there = conditional > 0.0
        integrand = np.zeros_like(z)
        integrand[there] = conditional[there] * np.log(conditional[there] / marginal[there])
        total += np.mean(levels == level) * np.trapezoid(integrand, z)
    return total
