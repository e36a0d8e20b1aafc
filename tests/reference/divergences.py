"""Divergences of diagonal Gaussians and of categorical variables: float64 NumPy, linear programs, sampling."""

import itertools

import numpy as np
from scipy import optimize, stats

from tests.reference import concrete, gaussian


def gaussian_symmetric_kl(mean_q, std_q, mean_p, std_p):
    there = gaussian.kl_divergence(mean_q, std_q, mean_p, std_p)
    return there + gaussian.kl_divergence(mean_p, std_p, mean_q, std_q)


def gaussian_wasserstein2(mean_q, std_q, mean_p, std_p):
    return float(np.sqrt(np.sum((mean_q - mean_p) ** 2 + (std_q - std_p) ** 2)))


def gaussian_symmetric_kl_by_sampling(mean_q, std_q, mean_p, std_p, rng, number):
    """The mean of log q - log p under q, plus that of log p - log q under p."""
    total = 0.0
    for (mean, std), (other_mean, other_std) in itertools.permutations([(mean_q, std_q), (mean_p, std_p)]):
        z = rng.normal(mean, std, size=(number, len(mean)))
        ratio = stats.norm.logpdf(z, mean, std) - stats.norm.logpdf(z, other_mean, other_std)
        total += np.mean(np.sum(ratio, axis=1))
    return total


def gaussian_wasserstein2_by_sampling(mean_q, std_q, mean_p, std_p, rng, number):
    """Sorted samples of each coordinate are matched: on a line, that is the optimal transport between them."""
    q, p = (np.sort(rng.normal(m, s, size=(number, len(m))), axis=0) for m, s in ((mean_q, std_q), (mean_p, std_p)))
    return float(np.sqrt(np.sum(np.mean((q - p) ** 2, axis=0))))


def categorical_symmetric_kl(q_logits, p_logits, sizes):
    there = concrete.kl_divergence(q_logits, p_logits, sizes)
    return there + concrete.kl_divergence(p_logits, q_logits, sizes)


def categorical_symmetric_kl_by_sampling(q_logits, p_logits, sizes, rng, number):
    total = 0.0
    for q, p in zip(concrete.groups(q_logits, sizes), concrete.groups(p_logits, sizes), strict=True):
        for one, other in itertools.permutations([concrete.softmax(q), concrete.softmax(p)]):
            classes = rng.choice(len(one), size=number, p=one / one.sum())
            total += np.mean(np.log(one[classes]) - np.log(other[classes]))
    return total


def categorical_wasserstein2(q_logits, p_logits, sizes):
    """The optimal transport of one product of variables into the other, as a linear program over all joint states."""
    states = np.array(
        [np.concatenate(state) for state in itertools.product(*(list(np.eye(size)) for size in sizes))], np.float64
    )
    masses = []
    for logits in (q_logits, p_logits):
        probabilities = np.concatenate([concrete.softmax(part) for part in concrete.groups(logits, sizes)])
        masses.append(np.prod(np.where(states > 0, probabilities, 1.0), axis=1))
    cost = np.sum((states[:, None] - states[None]) ** 2, axis=-1)
    number = len(states)
    rows, columns = np.kron(np.eye(number), np.ones(number)), np.kron(np.ones(number), np.eye(number))
    # One constraint follows from the others.
    constraints, sums = np.concatenate([rows, columns])[:-1], np.concatenate(masses)[:-1]
    found = optimize.linprog(cost.ravel(), A_eq=constraints, b_eq=sums, method="highs")
    assert found.status == 0, found.message
    return float(np.sqrt(found.fun))
