"""Relaxed categorical variables in float64 NumPy: Gumbel noise and divergences, one variable at a time."""

import numpy as np
from scipy import stats


def softmax(logits):
    powers = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return powers / np.sum(powers, axis=-1, keepdims=True)


def groups(values, sizes):
    """The classes of each variable, as slices of the last axis."""
    start = 0
    for size in sizes:
        yield values[..., start : start + size]
        start += size
    assert start == values.shape[-1]


def sample(logits, noise, sizes, temperature):
    """softmax((logits + gumbel) / temperature), the Gumbel noise by the quantile function."""
    gumbel = stats.gumbel_r.isf(stats.norm.sf(np.asarray(noise, np.float64)))
    relaxed = (np.asarray(logits, np.float64) + gumbel) / temperature
    return np.concatenate([softmax(part) for part in groups(relaxed, sizes)], axis=-1)


def hard_sample(logits, noise, sizes):
    """The one-hot vector of arg max (logits + gumbel) of each variable: the Gumbel-max trick."""
    gumbel = stats.gumbel_r.isf(stats.norm.sf(np.asarray(noise, np.float64)))
    perturbed = np.asarray(logits, np.float64) + gumbel
    return np.concatenate([np.eye(part.shape[-1])[np.argmax(part, -1)] for part in groups(perturbed, sizes)], axis=-1)


def kl_divergence(q_logits, p_logits, sizes):
    """sum over variables of sum_k q_k log(q_k / p_k), with 0 log 0 = 0."""
    total = 0.0
    for q, p in zip(
        groups(np.asarray(q_logits, np.float64), sizes), groups(np.asarray(p_logits, np.float64), sizes), strict=True
    ):
        log_q, log_p = (x - np.max(x, -1, keepdims=True) for x in (q, p))
        log_q, log_p = (x - np.log(np.sum(np.exp(x), -1, keepdims=True)) for x in (log_q, log_p))
        total = total + np.sum(np.where(np.exp(log_q) > 0, np.exp(log_q) * (log_q - log_p), 0.0), axis=-1)
    return total
