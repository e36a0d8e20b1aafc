"""The solvers of a sweep, each with the settings that suit attacks: `sweep(..., solver=attacks.adam(maxiter=3000))`."""

from collections.abc import Callable
from typing import Any

import optax
from jaxtyping import Array, Float

from seatbelt_jax.attacks.adam import Adam
from seatbelt_jax.attacks.lbfgsb import LBFGSB
from seatbelt_jax.attacks.projected_gradient import ProjectedGradient
from seatbelt_jax.attacks.sigmoid_lbfgs import SigmoidLBFGS
from seatbelt_jax.attacks.solver import Solver
from seatbelt_jax.attacks.threat import Threat

MakeSolver = Callable[[Callable[..., Float[Array, ""]]], Solver]


def lbfgsb(*, maxiter: int = 200, history_size: int = 10, tol: float = 1e-5) -> MakeSolver:
    """L-BFGS-B within the image box, or an L-infinity ball in it.

    Args:
      maxiter: accepted iterations per attack.
      history_size: quasi-Newton pairs kept.
      tol: an attack has converged when the projected gradient's largest entry is at most this. In float32 and a box of
        width 2, 1e-5 nats per pixel unit is below the noise.
    """
    return _maker(LBFGSB, maxiter=maxiter, history_size=history_size, tol=tol)


def projected_gradient(*, maxiter: int = 200, tol: float = 1e-5) -> MakeSolver:
    """Projected gradient descent with spectral step lengths, in any region; the default in L2 balls."""
    return _maker(ProjectedGradient, maxiter=maxiter, tol=tol)


def adam(
    *,
    maxiter: int = 1000,
    learning_rate: float | optax.Schedule = 1e-3,
    keep_best: bool = True,
    accumulate_gradients: bool = False,
) -> MakeSolver:
    """Adam, projected onto the region after every step; the settings of Sootla 2018, Sec. 3.3, except `keep_best`.

    Args:
      maxiter: steps.
      learning_rate: in pixel units, or a schedule.
      keep_best: return the best iterate, not the last.
      accumulate_gradients: pass Adam the sum of all gradients so far, as the code of Sootla 2018 did by mistake.
    """
    return _maker(
        Adam,
        maxiter=maxiter,
        learning_rate=learning_rate,
        keep_best=keep_best,
        accumulate_gradients=accumulate_gradients,
    )


def sigmoid_lbfgs(*, maxiter: int = 200, history_size: int = 10, tol: float = 1e-5) -> MakeSolver:
    """L-BFGS without bounds, on the logits of the pixels' places in the image box."""
    return _maker(SigmoidLBFGS, maxiter=maxiter, history_size=history_size, tol=tol)


def default_solver(threat: Threat) -> Callable[..., MakeSolver]:
    """`projected_gradient` in an L2 ball, else `lbfgsb`."""
    return projected_gradient if threat.name == "l2_ball" else lbfgsb


def _maker(solver: Callable[..., Any], **settings: Any) -> MakeSolver:
    return lambda fun: solver(fun, **settings)
