"""Aggregate posteriors in float64 NumPy: every density written out, one loop per index."""

import itertools

import numpy as np


def log_density(mean, log_std, z):
    """l[i, j, k] = log q(z_ik | x_j)."""
    std = np.exp(log_std)
    difference = (z[:, None, :] - mean[None]) / std[None]
    return -0.5 * difference**2 - log_std[None] - 0.5 * np.log(2 * np.pi)


def log_aggregate(mean, log_std, z, weights):
    """log sum_j w_ij q(z_i|x_j) and sum_k log sum_j w_ij q(z_ik|x_j)."""
    density = log_density(mean, log_std, z)
    joint = np.empty(len(z))
    product = np.empty(len(z))
    for i in range(len(z)):
        joint[i] = np.log(sum(weights[i, j] * np.exp(density[i, j].sum()) for j in range(len(mean))))
        product[i] = sum(
            np.log(sum(weights[i, j] * np.exp(density[i, j, k]) for j in range(len(mean)))) for k in range(z.shape[1])
        )
    return joint, product


def weights(estimator, batch, dataset_size):
    if estimator == "mws":
        return np.full((batch, batch), 1.0 / (dataset_size * batch))
    if estimator == "exact":
        return np.full((batch, dataset_size), 1.0 / dataset_size)
    matrix = np.full((batch, batch), (dataset_size - 1) / (dataset_size * (batch - 1)))
    np.fill_diagonal(matrix, 1.0 / dataset_size)
    return matrix


def minibatches_with(first, dataset_size, batch):
    """All minibatches without repetition whose first member is `first`."""
    others = [n for n in range(dataset_size) if n != first]
    for rest in itertools.permutations(others, batch - 1):
        yield (first, *rest)
