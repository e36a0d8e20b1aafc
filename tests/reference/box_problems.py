"""Box-constrained problems that the solver's tests and benchmark share."""

import jax.numpy as jnp
import numpy as np


def rosenbrock(x):
    return jnp.sum(100.0 * jnp.square(x[1:] - jnp.square(x[:-1])) + jnp.square(1.0 - x[:-1]))


def quadratic(condition, size=100):
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(size, size)))
    matrix = (q * np.geomspace(1.0, condition, size)) @ q.T
    linear = np.sqrt(condition) * rng.normal(size=size)

    def fun(x):
        a, b = jnp.asarray(matrix, x.dtype), jnp.asarray(linear, x.dtype)
        return 0.5 * x @ (a @ x) - b @ x

    return fun


def smooth_code_distance(size=4096):
    """Distance of 64 tanh features to a target's plus a badly scaled quadratic; its minimiser has active bounds."""
    rng = np.random.default_rng(0)
    features, code = rng.normal(size=(64, size)) / np.sqrt(size), np.tanh(rng.normal(size=64))
    weights, centre = 0.5 * np.linspace(0.01, 1.0, size), rng.normal(size=size)

    def fun(x):
        distance = jnp.tanh(jnp.asarray(features, x.dtype) @ x) - jnp.asarray(code, x.dtype)
        pull = jnp.asarray(weights, x.dtype) * jnp.square(x - jnp.asarray(centre, x.dtype))
        return 50.0 * jnp.sum(jnp.square(distance)) + jnp.sum(pull)

    return fun


def starts(kind, size, lower, upper, count):
    rng = np.random.default_rng(1)
    if kind == "on bounds":
        return rng.choice([float(lower), float(upper)], (count, size))
    points = np.clip(0.1 + 0.3 * rng.normal(size=(count, size)), lower, upper)
    points[0] = 0.1
    return points


# name: objective, size, lower, upper, start, number of starts, tol
PROBLEMS = {
    "rosenbrock-64, active": (rosenbrock, 64, -2.0, 0.8, "inside", 8, 1e-4),
    "rosenbrock-100, active": (rosenbrock, 100, -2.0, 0.8, "inside", 8, 1e-4),
    "rosenbrock-64, inactive": (rosenbrock, 64, -5.0, 5.0, "inside", 2, 1e-4),
    "rosenbrock-100, inactive": (rosenbrock, 100, -5.0, 5.0, "inside", 2, 1e-4),
    "quadratic 1e4": (quadratic(1e4), 100, -1.0, 1.0, "inside", 2, 0.1),
    "quadratic 1e6": (quadratic(1e6), 100, -1.0, 1.0, "inside", 2, 1.0),
    "4096 on bounds": (smooth_code_distance(), 4096, -1.0, 1.0, "on bounds", 1, 0.03),
}
