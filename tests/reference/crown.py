"""CROWN (Zhang et al. 2018) of dense ReLU networks in NumPy: the range of every layer by a backward pass."""

import numpy as np


def ranges(weights, biases, x, radius, dual):
    """The least and the largest of each output over ||d|| <= radius; `dual` is the order of the dual norm."""
    bounds = []
    for depth in range(1, len(weights) + 1):
        bounds.append(_bounds(weights[:depth], biases[:depth], bounds, x, radius, dual))
    return bounds[-1]


def _bounds(weights, biases, inner, x, radius, dual):
    found = []
    for sign in (-1.0, 1.0):
        rows = sign * np.eye(len(biases[-1]))
        constant = np.zeros(len(rows))
        for layer in range(len(weights) - 1, -1, -1):
            constant += rows @ biases[layer]
            rows = rows @ weights[layer]
            if layer:
                low, high = inner[layer - 1]
                crossing = (low < 0.0) & (high > 0.0)
                upper = np.where(crossing, high / np.where(crossing, high - low, 1.0), (low >= 0.0) * 1.0)
                offset = np.where(crossing, -upper * low, 0.0)
                lower = np.where(crossing, (high > -low) * 1.0, (low >= 0.0) * 1.0)
                rising, falling = np.maximum(rows, 0.0), np.minimum(rows, 0.0)
                constant += rising @ offset
                rows = rising * upper + falling * lower
        found.append(rows @ x + constant + radius * np.linalg.norm(rows, ord=dual, axis=1))
    return -found[0], found[1]
