"""A two-layer linear-Gaussian model of one-dimensional layers, with its exact posterior.

z2 ~ N(0, 1), z1 | z2 ~ N(a z2, s1^2), x | z1, z2 ~ N(b z1 + c z2, sx^2): everything is in closed form,
so inference that factorises as q(z1|x) q(z2|z1, x) can be exact and the ELBO equal to log p(x).
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Hierarchy:
    a: float
    s1: float
    b: float
    c: float
    sx: float


# The lower layer's term is positive in the first and negative in the second, where z2 tells nearly all of z1.
LOOSE = Hierarchy(a=0.5, s1=0.6, b=1.0, c=1.0, sx=0.1)
TIGHT = Hierarchy(a=0.9, s1=0.1, b=1.3, c=-0.7, sx=0.5)


def joint_covariance(model):
    """Covariance of (x, z1, z2)."""
    z2 = np.array([0.0, 0.0, 1.0])  # rows: coefficients on the independent normals (e_x, e_1, e_2)
    z1 = np.array([0.0, model.s1, model.a])
    x = model.b * z1 + model.c * z2 + np.array([model.sx, 0.0, 0.0])
    rows = np.stack([x, z1, z2])
    return rows @ rows.T


def log_evidence(model, x):
    variance = joint_covariance(model)[0, 0]
    return -0.5 * (x**2 / variance + np.log(2 * np.pi * variance))


def conditional(model, target, given):
    """Coefficients and standard deviation of one coordinate given others, all of mean zero."""
    covariance = joint_covariance(model)
    coefficients = np.linalg.solve(covariance[np.ix_(given, given)], covariance[given, target])
    return coefficients, np.sqrt(covariance[target, target] - coefficients @ covariance[given, target])
