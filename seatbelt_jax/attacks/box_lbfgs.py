"""L-BFGS-B as a record of settings, which takes the function to minimise as an argument."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jaxopt
from jaxtyping import Array, Float, PyTree

from seatbelt_jax import program
from seatbelt_jax.attacks.lbfgsb import LBFGSB
from seatbelt_jax.attacks.lbfgsb_state import LBFGSBState
from seatbelt_jax.attacks.solver import check_limits, start_of, value_and_gradient


@dataclasses.dataclass(frozen=True)
class BoxLBFGS:
    """L-BFGS-B within the image box, or an L-infinity ball in it; the same steps as `LBFGSB`.

    Attributes:
      maxiter: accepted iterations at most.
      history_size: pairs kept.
      tol: CONVERGED when the projected gradient's largest entry is at most this; 1e-5 nats per pixel unit is noise in
        float32 and a box of width 2.
      ftol, maxls, max_evaluations: as in `LBFGSB`.

    Raises:
      ValueError: negative tolerances or iterations, limits below 1.
    """

    maxiter: int = 200
    history_size: int = 10
    tol: float = 1e-5
    ftol: float = 0.0
    maxls: int = 20
    max_evaluations: int | None = None

    def __post_init__(self) -> None:
        check_limits(self, at_least_0=("maxiter", "tol"), at_least_1=("history_size", "maxls", "max_evaluations"))

    def init_state(self, fun: Callable[..., Float[Array, ""]], params: PyTree, region: Any, *args: Any) -> LBFGSBState:
        """`LBFGSB.init_state` for `fun(params, *args)`."""
        return self._of(fun).init_state(params, region, *args)

    def update(
        self, fun: Callable[..., Float[Array, ""]], params: PyTree, state: LBFGSBState, region: Any, *args: Any
    ) -> jaxopt.OptStep:
        """`LBFGSB.update` for `fun(params, *args)`."""
        return self._of(fun).update(params, state, region, *args)

    def run(self, fun: Callable[..., Float[Array, ""]], params: PyTree, region: Any, *args: Any) -> jaxopt.OptStep:
        """`LBFGSB.run` for `fun(params, *args)`; compiled once for functions of the same code."""
        start = start_of(fun, params, region, args)
        if isinstance(start, jax.core.Tracer):
            return self._of(fun).run(start, region, *args)
        return _run(self, program.as_value(fun, start, *args), start, region, args)

    def _of(self, fun: Callable[..., Float[Array, ""]]) -> LBFGSB:
        # jaxopt wants to name the first parameter.
        def both(params: PyTree, *args: Any) -> Any:
            return value_and_gradient(fun, params, *args)

        return LBFGSB(both, value_and_grad=True, **dataclasses.asdict(self))


@functools.partial(jax.jit, static_argnums=0)
def _run(solver: BoxLBFGS, fun: Callable, params: PyTree, region: Any, args: tuple) -> jaxopt.OptStep:
    return solver._of(fun).run(params, region, *args)
