"""Box-constrained problems that the solver's tests and benchmark share."""

import jax
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


def tanh_attack(seed, size, codes, share_white, log2_penalty):
    """An attack on a random tanh encoder, as a function of the distortion: sources of black and white pixels.

    Returns:
      fun(distortion, scale), its value times the scale; and the bounds of the distortion.
    """
    keys = jax.random.split(jax.random.key(seed), 3)
    source = np.where(jax.random.bernoulli(keys[0], share_white, (size,)), 1.0, -1.0)
    features = np.asarray(jax.random.normal(keys[1], (codes, size), np.float32) / np.sqrt(size))
    target = np.asarray(jnp.tanh(jax.random.normal(keys[2], (codes,), np.float32)))

    def fun(d, scale=1.0):
        code = jnp.tanh(jnp.asarray(features, d.dtype) @ (jnp.asarray(source, d.dtype) + d))
        distance = jnp.sum(jnp.square(code - 0.9 * jnp.asarray(target, d.dtype)))
        return scale * (distance + 2.0**log2_penalty * jnp.sqrt(jnp.sum(jnp.square(d)) + 1e-12))

    return fun, (-1.0 - source, 1.0 - source)


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
