"""Slow float64 twins of seatbelt_jax.bounds, straight from the equations."""

import math
from statistics import NormalDist

import numpy as np


def binomial_tail(trials, probability, at_least):
    """P(Bin(trials, probability) >= at_least), summed term by term."""
    return math.fsum(
        math.comb(trials, k) * probability**k * (1.0 - probability) ** (trials - k) for k in range(at_least, trials + 1)
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


def joint_mahalanobis(matrices, couplings, stds):
    """A linear hierarchy z^i = couplings[i] (z^1, .., z^{i-1}) + matrices[i] x + stds[i] noise as one joint Gaussian.

    Returns (normal, norm, direction): the unit perturbation of x that shifts the joint Gaussian the most, by `norm`
    standard deviations (Mahalanobis), and the coordinate normal . z of standard deviation 1 that this shift is along.
    No chain of conditionals: the means and the covariance of all latents at once.
    """
    total = sum(len(std) for std in stds)
    pixels = matrices[0].shape[1]
    jacobian, mixing = np.zeros((0, pixels)), np.zeros((0, total))  # z = jacobian x + mixing noise
    for matrix, coupling, std in zip(matrices, couplings, stds, strict=True):
        own = np.zeros((len(std), total))
        own[:, len(mixing) : len(mixing) + len(std)] = np.diag(std)
        jacobian = np.vstack([jacobian, coupling @ jacobian + matrix])
        mixing = np.vstack([mixing, coupling @ mixing + own])
    precision = np.linalg.inv(mixing @ mixing.T)
    values, vectors = np.linalg.eigh(jacobian.T @ precision @ jacobian)
    norm, direction = np.sqrt(values[-1]), vectors[:, -1]
    return precision @ jacobian @ direction / norm, norm, direction


def spectral_margin_with_moving_std(probability, jacobian, std, log_std_jacobian, risk=0.5):
    """The larger of two bounds for a shift W d and a movement of log sigma by its Jacobian times d, by bisection."""
    norm = np.linalg.svd(whitened(jacobian, std), compute_uv=False)[0]
    rate = np.linalg.svd(np.float64(log_std_jacobian), compute_uv=False)[0]

    def coin_divergence(p, q):
        return p * math.log(p / q) + (1.0 - p) * math.log((1.0 - p) / (1.0 - q))

    def holds(radius):
        shift, moved = norm * radius, rate * radius
        divergence = (math.exp(2.0 * moved) - 1.0 - 2.0 * moved) / 2.0
        left = NormalDist().cdf(NormalDist().inv_cdf(probability) - shift)
        first = left > risk and coin_divergence(left, risk) > divergence
        return first or shift**2 / 2.0 + divergence < coin_divergence(risk, probability)

    low, high = 0.0, 10.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def worst_probability(probability, shift, log_std_shift, symmetric=False):
    """The least probability, under N(shift, exp(2 log_std_shift)), of a set of this probability under N(0, 1).

    The set that Neyman and Pearson would choose, of small cells of the line; of pairs of them if it is symmetric.
    """
    edges = np.linspace(-12.0, 12.0, 48_001)
    normal = np.vectorize(NormalDist().cdf)
    clean = np.diff(normal(edges))
    moved = np.diff(normal((edges - shift) * np.exp(-log_std_shift)))
    if symmetric:
        clean, moved = clean + clean[::-1], moved + moved[::-1]
        clean, moved = clean[: len(clean) // 2], moved[: len(moved) // 2]
    order = np.argsort(moved / np.maximum(clean, 1e-300))
    return np.interp(probability, np.cumsum(clean[order]), np.cumsum(moved[order]))


def fixed_sigma_margin(radius, decoder, mean, sigma, latent):
    """The second margin of Barrett et al. 2022, one sigma for all coordinates, by a scan; 0 where it certifies none.

    At u = (radius / decoder - mean R)^2 / (2 sigma^2): C u^{k/2} e^{-u/2} / (u - k + 2) <= 1 / 2, for u > k - 2.
    """
    constant = math.exp(0.5 * (latent - (latent - 1) * math.log(latent))) / math.sqrt(math.pi)
    best = 0.0
    for distance in np.linspace(0.0, radius / (decoder * mean), 20_001)[:-1]:
        u = (radius / decoder - mean * distance) ** 2 / (2.0 * sigma**2)
        if u <= latent - 2 or constant * u ** (latent / 2) * math.exp(-u / 2) / (u - latent + 2) > 0.5:
            break
        best = distance
    return best
