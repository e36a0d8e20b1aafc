"""Adam with a projection after each step, the solver of Sootla 2018."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jaxopt
import optax
from jaxtyping import Array, Float, Int

from seatbelt_jax.attacks.arithmetic import power_of_two
from seatbelt_jax.attacks.region import Region, check, project
from seatbelt_jax.attacks.solver import (
    Iterate,
    all_finite,
    check_limits,
    evaluate,
    first_status,
    run,
    select,
    start_of,
)
from seatbelt_jax.results import Status

# Gradients beyond this would soon have squares beyond float32; beside them Adam's epsilon, 1e-8, is nothing.
_LARGE = 2.0**30


class AdamState(NamedTuple):
    """State of `Adam`. value and error belong to the kept iterate, `params`.

    Attributes:
      iter_num: steps taken.
      status: a `Status`.
      num_fun_eval: evaluations of value and gradient, the start's included.
      kept: the iterate of the least value so far, or (without `keep_best`) the last.
      current: the last iterate.
      slope: what Adam is handed next: the current gradient, or the sum of all so far.
      unit: what gradients are divided by before Adam squares them; 1 unless the first is very large.
      moments: of optax's Adam.
    """

    iter_num: Int[Array, ""]
    status: Int[Array, ""]
    num_fun_eval: Int[Array, ""]
    kept: Iterate
    current: Iterate
    slope: Float[Array, "*image"]
    unit: Float[Array, ""]
    moments: optax.OptState

    @property
    def params(self) -> Float[Array, "*image"]:
        return self.kept.x

    @property
    def value(self) -> Float[Array, "*lanes"]:
        return self.kept.value

    @property
    def error(self) -> Float[Array, "*lanes"]:
        return self.kept.error


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015), each step projected onto the region, batched by `jax.vmap`.

    Sootla et al. 2018, Sec. 3.3, attack with 1000 steps of 1e-3. Every step is accepted, whether or not the value
    decreases. The run ends with MAX_ITERATIONS, or with NON_FINITE at the last point before a value or gradient that
    is not finite.

    Use it in boxes. In an L2 ball the iterates stay in the region but stop where Adam's step, which scales every pixel
    differently, points out of the ball, not where the gradient does: use `ProjectedGradient` there.

    `init_state(fun, params, region, *args)`, `update(fun, params, state, region, *args)` and
    `run(fun, params, region, *args)` as in
    `ProjectedGradient`.

    Attributes:
      maxiter: steps.
      learning_rate: a step of every pixel at first; or an optax schedule.
      keep_best: whether params and value are those of the best iterate seen; else of the last.
      accumulate_gradients: hands Adam the sum of all gradients so far. Only to reproduce the published code of
        Sootla et al. 2018, which never zeroed its gradients.
      tol: CONVERGED when the largest entry of |P(x - g) - x| is at most this; 0 means never.

    Raises:
      ValueError: negative iterations or tolerance, or a learning rate that is not positive.
    """

    maxiter: int = 1000
    learning_rate: float | optax.Schedule = 1e-3
    keep_best: bool = True
    accumulate_gradients: bool = False
    tol: float = 0.0

    def __post_init__(self) -> None:
        check_limits(self, at_least_0=("maxiter", "tol"))
        if not callable(self.learning_rate) and not self.learning_rate > 0.0:
            raise ValueError(f"learning_rate={self.learning_rate} must be positive, or an optax schedule.")

    @property
    def _adam(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def init_state(
        self, fun: Callable[..., Float[Array, ""]], params: Float[Array, "*image"], region: Region, *args: Any
    ) -> AdamState:
        """Evaluates the objective once, at the start.

        Raises:
          TypeError: params are not one floating-point array.
          ValueError: the region does not fit params (`region.check`).
        """
        start = evaluate(fun, project(region, start_of(fun, params, region, args)), region, args)
        unit = power_of_two(start.gradient)
        zero = jnp.zeros((), jnp.int32)
        return AdamState(
            iter_num=zero,
            status=first_status(
                (~all_finite(start.value, start.gradient), Status.NON_FINITE),
                (self._converged(start), Status.CONVERGED),
                (self.maxiter == 0, Status.MAX_ITERATIONS),
            ),
            num_fun_eval=zero + 1,
            kept=start,
            current=start,
            slope=start.gradient,
            unit=jnp.where(unit > _LARGE, unit, 1.0),
            moments=self._adam.init(start.x),
        )

    def update(
        self,
        fun: Callable[..., Float[Array, ""]],
        params: Float[Array, "*image"],
        state: AdamState,
        region: Region,
        *args: Any,
    ) -> jaxopt.OptStep:
        """One step and one evaluation. A finished problem is returned as it is.

        Args:
          params: the kept iterate; the state's own is used.
          state, region, *args: as from and for `init_state`.

        Returns:
          OptStep(params, state), params the kept iterate.
        """
        del params
        running = state.status == Status.RUNNING
        step, moments = self._adam.update(state.slope / state.unit, state.moments)
        x = project(region, optax.apply_updates(state.current.x, step))
        trial = evaluate(fun, x, region, args)
        taken = running & all_finite(trial.value, trial.gradient)
        better = (trial.value < state.kept.value) | self._converged(trial) | (not self.keep_best)
        kept = select(taken & better, trial, state.kept)
        iter_num = state.iter_num + taken.astype(jnp.int32)
        slope = trial.gradient + (state.slope if self.accumulate_gradients else 0.0)
        new_state = AdamState(
            iter_num=iter_num,
            status=first_status(
                (~running, state.status),
                (~taken, Status.NON_FINITE),
                (self._converged(trial), Status.CONVERGED),
                (iter_num >= self.maxiter, Status.MAX_ITERATIONS),
            ),
            num_fun_eval=state.num_fun_eval + running.astype(jnp.int32),
            kept=kept,
            current=select(taken, trial, state.current),
            slope=jnp.where(taken, slope, state.slope),
            unit=state.unit,
            moments=select(taken, moments, state.moments),
        )
        return jaxopt.OptStep(kept.x, new_state)

    def run(
        self, fun: Callable[..., Float[Array, ""]], params: Float[Array, "*image"], region: Region, *args: Any
    ) -> jaxopt.OptStep:
        """Steps until the status is final; arguments and errors as for `init_state`."""
        return run(self, fun, check(region, params), region, args)

    def _converged(self, point: Iterate) -> Any:
        return (point.error <= self.tol) & (self.tol > 0.0)
