"""The objective of beta-TCVAE (Chen et al. 2018, Eq. 4, alpha = gamma = 1) in float64 NumPy, by loops.

    E log p(x|z) - I(z; x) - beta TC(z) - sum_j KL(q(z_j) || p(z_j)),

each of the three by the minibatch-weighted estimate of the same sample, as their Eq. 6 has it. They add up to the
one-sample log q(z|x) - log p(z); the library has the closed form of its expectation there, a difference of mean zero.
"""

import numpy as np

from tests.reference import gaussian
from tests.reference import total_correlation as aggregate


def parts(mean, std, z, dataset_size):
    """Index-code mutual information, total correlation and dimension-wise KL of each example."""
    batch, latent = mean.shape
    joint, product = aggregate.log_aggregate(mean, np.log(std), z, aggregate.weights("mws", batch, dataset_size))
    own = np.array([gaussian.log_prob(mean[i], std[i], z[i]) for i in range(batch)])
    prior = np.array([gaussian.log_prob(np.zeros(latent), np.ones(latent), z[i]) for i in range(batch)])
    return own - joint, joint - product, product - prior


def objective(log_likelihood, mean, std, z, *, beta, dataset_size, closed_form=True):
    """Per example, in nats."""
    information, correlation, dimension_wise = parts(mean, std, z, dataset_size)
    chen = log_likelihood - information - beta * correlation - dimension_wise
    if not closed_form:
        return chen
    divergence = [
        gaussian.kl_divergence(m, s, np.zeros_like(m), np.ones_like(s)) for m, s in zip(mean, std, strict=True)
    ]
    return chen + (information + correlation + dimension_wise) - np.array(divergence)
