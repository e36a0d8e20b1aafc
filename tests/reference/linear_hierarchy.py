"""A two-layer linear-Gaussian model of one-dimensional layers, with its exact posterior.

z2 ~ N(0, 1), z1 | z2 ~ N(a z2, s1^2), x | z1, z2 ~ N(b z1 + c z2, sx^2): everything is in closed form,
so inference that factorises as q(z1|x) q(z2|z1, x) can be exact and the ELBO equal to log p(x).
"""

import numpy as np

A, S1, B, C, SX = 0.9, 0.6, 1.3, -0.7, 0.5


def joint_covariance():
    """Covariance of (x, z1, z2)."""
    z2 = np.array([0.0, 0.0, 1.0])  # rows: coefficients on the independent normals (e_x, e_1, e_2)
    z1 = np.array([0.0, S1, A])
    x = B * z1 + C * z2 + np.array([SX, 0.0, 0.0])
    rows = np.stack([x, z1, z2])
    return rows @ rows.T


def log_evidence(x):
    variance = joint_covariance()[0, 0]
    return -0.5 * (x**2 / variance + np.log(2 * np.pi * variance))


def conditional(target, given):
    """Coefficients and standard deviation of one coordinate given others, all of mean zero."""
    covariance = joint_covariance()
    coefficients = np.linalg.solve(covariance[np.ix_(given, given)], covariance[given, target])
    return coefficients, np.sqrt(covariance[target, target] - coefficients @ covariance[given, target])
