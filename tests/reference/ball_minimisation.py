"""Independent float64 answers for minimisation within an L2 ball, alone or within a box."""

import numpy as np
import scipy.optimize


def trust_region(matrix, linear, radius):
    """argmin 1/2 d'A d - b'd over ||d|| <= r, A positive definite: (A + mu I) d = b (Nocedal and Wright, Thm. 4.1)."""
    values, vectors = np.linalg.eigh(matrix)
    turned = vectors.T @ linear

    def step(mu):
        return turned / (values + mu)

    if np.linalg.norm(step(0.0)) <= radius:
        return vectors @ step(0.0)
    highest = np.linalg.norm(linear) / radius
    mu = scipy.optimize.brentq(lambda m: np.linalg.norm(step(m)) - radius, 0.0, highest, xtol=1e-14)
    return vectors @ step(mu)


def ball_in_box(fun, gradient, start, centre, radius, lower, upper):
    """argmin of a smooth function over ||x - c|| <= r, lower <= x <= upper, by SciPy's SLSQP; for few variables."""
    ball = {
        "type": "ineq",
        "fun": lambda x: radius**2 - np.sum((x - centre) ** 2),
        "jac": lambda x: -2.0 * (x - centre),
    }
    found = scipy.optimize.minimize(
        fun,
        start,
        jac=gradient,
        method="SLSQP",
        bounds=[(lower, upper)] * centre.size,
        constraints=[ball],
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return found.x
