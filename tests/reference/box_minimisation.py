"""Independent answers for box-constrained minimisation: SciPy's L-BFGS-B and the dense BFGS matrix."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize


class Outcome(NamedTuple):
    iterations: int
    evaluations: int
    value: float
    x: np.ndarray
    values: np.ndarray  # after each iteration
    evaluations_until: np.ndarray  # the end of each iteration


def scipy_lbfgsb(
    value_and_grad: Callable,
    start: np.ndarray,
    lower: float | np.ndarray,
    upper: float | np.ndarray,
    *,
    history_size: int,
    tol: float,
    maxiter: int,
) -> Outcome:
    """SciPy's L-BFGS-B without its own stopping rule on decreases (ftol=0)."""
    values, evaluations, evaluations_until = [], 0, []

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal evaluations
        evaluations += 1
        value, gradient = value_and_grad(x.astype(start.dtype))
        return float(value), np.asarray(gradient, np.float64)

    def iterated(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        values.append(float(intermediate_result.fun))
        evaluations_until.append(evaluations)

    result = scipy.optimize.minimize(
        fun,
        np.asarray(start, np.float64),
        jac=True,
        method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(np.broadcast_to(lower, start.shape), np.broadcast_to(upper, start.shape)),
        callback=iterated,
        options={"maxcor": history_size, "gtol": tol, "ftol": 0.0, "maxiter": maxiter, "maxfun": 50 * maxiter},
    )
    return Outcome(
        result.nit, result.nfev, float(result.fun), result.x, np.asarray(values), np.asarray(evaluations_until)
    )


def bfgs_matrix(theta: float, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """B from theta I by one BFGS update for each (s, y), oldest first (Nocedal and Wright 2006, Eq. 6.19)."""
    b = theta * np.eye(pairs[0][0].size)
    for s, y in pairs:
        b_s = b @ s
        b = b - np.outer(b_s, b_s) / (s @ b_s) + np.outer(y, y) / (y @ s)
    return b
