"""Diagonal Gaussians in float64 NumPy, straight from the definitions."""

import numpy as np


def log_prob(mean, std, z):
    return float(np.sum(-0.5 * ((z - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)))


def kl_divergence(mean_q, std_q, mean_p, std_p):
    return float(np.sum(np.log(std_p / std_q) + (std_q**2 + (mean_q - mean_p) ** 2) / (2 * std_p**2) - 0.5))
