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
    with np.errstate(divide="ignore"):
        log_weights = np.log(weights)
    joint = np.empty(len(z))
    product = np.empty(len(z))
    for i in range(len(z)):
        joint[i] = np.logaddexp.reduce(log_weights[i] + density[i].sum(axis=1))
        product[i] = sum(np.logaddexp.reduce(log_weights[i] + density[i, :, k]) for k in range(z.shape[1]))
    return joint, product


def weights(estimator, batch, dataset_size):
    if estimator == "mws":
        return np.full((batch, batch), 1.0 / (dataset_size * batch))
    if estimator == "exact":
        return np.full((batch, dataset_size), 1.0 / dataset_size)
    matrix = np.full((batch, batch), (dataset_size - 1) / (dataset_size * max(batch - 1, 1)))
    np.fill_diagonal(matrix, 1.0 / dataset_size)
    return matrix


def minibatches_with(member, dataset_size, batch):
    """All minibatches without repetition that hold `member`, each in the order of the data set."""
    for minibatch in itertools.combinations(range(dataset_size), batch):
        if member in minibatch:
            yield minibatch
