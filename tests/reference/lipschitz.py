"""Local Lipschitz constants by enumeration and by sampling, in float64 NumPy."""

import itertools

import numpy as np
from scipy.optimize import nnls


def distance_to_polyhedron(normals, offsets):
    """The least ||d||_2 with normals @ d >= offsets, infinite where there is none (Lawson and Hanson 1974, LDP)."""
    system = np.vstack([normals.T, offsets])
    target = np.zeros(len(system))
    target[-1] = 1.0
    solution, residual = nnls(system, target)
    if residual < 1e-9:
        return np.inf
    rest = system @ solution - target
    return np.linalg.norm(rest[:-1] / rest[-1])


def relu_network(weights, biases, x):
    """W_n relu(.. relu(W_1 x + b_1) ..) + b_n."""
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = np.maximum(weight @ x + bias, 0.0)
    return weights[-1] @ x + biases[-1]


def exact_constant(first, bias, second, x, radius):
    """The Lipschitz constant of second @ relu(first @ x + bias) over the open L2 ball, from all its linear pieces."""
    value = first @ x + bias
    largest = 0.0
    for signs in itertools.product((-1.0, 1.0), repeat=len(bias)):
        signs = np.array(signs)
        if distance_to_polyhedron(signs[:, None] * first, -signs * value) < radius:
            largest = max(largest, np.linalg.norm(second * (signs > 0.0) @ first, 2))
    return largest


def points_in_ball(x, radius, count, rng, norm="l2"):
    """Random points of the ball around x, half of them on its surface."""
    directions = rng.normal(size=(count, x.size))
    order = 2 if norm == "l2" else np.inf
    directions /= np.linalg.norm(directions, ord=order, axis=1, keepdims=True)
    if norm == "linf":
        directions[: count // 2] = np.sign(directions[: count // 2])
    lengths = radius * rng.uniform(size=(count, 1)) ** (1.0 / x.size)
    lengths[: count // 2] = radius
    return x + (lengths * directions).reshape(count, *x.shape)


def norm_into_l2(matrix, norm):
    """sup ||M d||_2 over the unit ball; for "linf" over all signs, of few columns."""
    if norm == "l2":
        return np.linalg.norm(matrix, 2)
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=matrix.shape[1])))
    return np.linalg.norm(signs @ matrix.T, axis=1).max()
