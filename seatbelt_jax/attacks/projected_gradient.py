"""Spectral projected gradient, for L2 balls as for boxes: one evaluation of the objective per update."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import jaxopt
from jaxtyping import Array, Bool, Float, Int

from seatbelt_jax.attacks import line_search
from seatbelt_jax.attacks.arithmetic import l2_norm, power_of_two
from seatbelt_jax.attacks.region import L2Ball, Region, bounds_of, check, project
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

# Safeguards of the spectral length, relative to the first: BMR's alpha_min and alpha_max.
_SHORTEST, _LONGEST = 1e-10, 1e10
# Spectral lengths differ greatly from step to step: one step that changes nothing says little.
_LEVEL_STEPS = 10


class ProjectedGradientState(NamedTuple):
    """State of `ProjectedGradient`. value and error belong to the best iterate, `params`.

    Attributes:
      iter_num: accepted iterations.
      status: a `Status`.
      num_fun_eval: evaluations of value and gradient, the start's included.
      best: the accepted iterate of the least value.
      current: the last accepted iterate.
      history: values of the last accepted iterates; -inf where there are none yet.
      length: alpha, of the direction P(x - alpha g) - x.
      target: P(x - alpha g) of the current iterate, which the line search heads for and a step of 1 reaches.
      stepsize: the next trial of the line search.
      num_trials: rejected trials of the present line search.
      num_level: accepted iterations in succession that changed the value by no more than its rounding.
      shortened: whether the present line search repeats a failed one with a shorter length.
    """

    iter_num: Int[Array, ""]
    status: Int[Array, ""]
    num_fun_eval: Int[Array, ""]
    best: Iterate
    current: Iterate
    history: Float[Array, "history"]
    length: Float[Array, ""]
    target: Float[Array, "*image"]
    stepsize: Float[Array, ""]
    num_trials: Int[Array, ""]
    num_level: Int[Array, ""]
    shortened: Bool[Array, ""]

    @property
    def params(self) -> Float[Array, "*image"]:
        return self.best.x

    @property
    def value(self) -> Float[Array, "*lanes"]:
        return self.best.value

    @property
    def error(self) -> Float[Array, "*lanes"]:
        return self.best.error


@dataclasses.dataclass(frozen=True)
class ProjectedGradient:
    """Spectral projected gradient (Birgin, Martinez and Raydan 2000, SPG2), batched by `jax.vmap`.

    Each iteration searches from x towards P(x - alpha g), P the projection onto the region: alpha is the
    Barzilai-Borwein length s's / s'y of the last step, as long as allowed where the objective bends down, and the
    value need only fall below the largest of the last `history_size` (Grippo, Lampariello and Lucidi 1986). The first
    length is as long as the region: an L2 ball's radius, or what takes the pixel of the largest gradient across half
    of the widest bounds (a unit where they are infinite).

    Values may rise from one iterate to the next. `params` and the state's value are therefore the best iterate's at
    any time; the current one is in the state. A search that would end at a worse point than the best (CONVERGED,
    STALLED, STOPPED_EARLY, LINE_SEARCH_FAILED) goes on from the best instead, from where no value exceeds it: so
    these four speak of the params returned.

    `init_state(fun, params, region, *args)`, `update(fun, params, state, region, *args)` and
    `run(fun, params, region, *args)`: params
    is one image, region an `L2Ball` or bounds (lower, upper), *args are handed to the objective. A start outside of
    the region is moved to the nearest point in it. A trial of which value or gradient is not finite is rejected.

    Attributes:
      maxiter: accepted iterations at most.
      tol: CONVERGED when the largest entry of |P(x - g) - x| is at most this.
      history_size: M, the values that a new one is compared with; 1 makes every step a decrease.
      maxls: trials of one line search at most.
      max_evaluations: evaluations at most; None means maxiter * maxls + 1.

    Raises:
      ValueError: negative tolerances or iterations, limits below 1.
    """

    maxiter: int = 200
    tol: float = 1e-5
    history_size: int = 10
    maxls: int = 20
    max_evaluations: int | None = None

    def __post_init__(self) -> None:
        check_limits(self, at_least_0=("maxiter", "tol"), at_least_1=("history_size", "maxls", "max_evaluations"))

    @property
    def _evaluation_limit(self) -> int:
        return self.maxiter * self.maxls + 1 if self.max_evaluations is None else self.max_evaluations

    def init_state(
        self, fun: Callable[..., Float[Array, ""]], params: Float[Array, "*image"], region: Region, *args: Any
    ) -> ProjectedGradientState:
        """Evaluates the objective once, at the start.

        Raises:
          TypeError: params are not one floating-point array.
          ValueError: the region does not fit params (`region.check`).
        """
        start = evaluate(fun, project(region, start_of(fun, params, region, args)), region, args)
        length = _first_length(region, start)
        zero = jnp.zeros((), jnp.int32)
        return ProjectedGradientState(
            iter_num=zero,
            status=first_status(
                (~all_finite(start.value, start.gradient), Status.NON_FINITE),
                (start.error <= self.tol, Status.CONVERGED),
                (self.maxiter == 0, Status.MAX_ITERATIONS),
                (self._evaluation_limit == 1, Status.MAX_EVALUATIONS),
            ),
            num_fun_eval=zero + 1,
            best=start,
            current=start,
            history=self._history(start.value),
            length=length,
            target=project(region, start.x - length * start.gradient),
            stepsize=jnp.ones((), start.x.dtype),
            num_trials=zero,
            num_level=zero,
            shortened=jnp.zeros((), bool),
        )

    def update(
        self,
        fun: Callable[..., Float[Array, ""]],
        params: Float[Array, "*image"],
        state: ProjectedGradientState,
        region: Region,
        *args: Any,
    ) -> jaxopt.OptStep:
        """One evaluation: a trial step, accepted or not. A finished problem is returned as it is.

        Args:
          params: the best iterate so far; the state's own is used, so that nothing of it is lost.
          state, region, *args: as from and for `init_state`.

        Returns:
          OptStep(params, state), params the best iterate.
        """
        del params
        eps = jnp.finfo(state.target.dtype).eps
        running = state.status == Status.RUNNING
        x, step = state.current.x, state.stepsize
        direction = state.target - x
        slope = jnp.sum(direction * state.current.gradient)
        trial = evaluate(fun, jnp.where(step == 1.0, state.target, project(region, x + step * direction)), region, args)
        reference = jnp.max(state.history)
        accepted = (
            running
            & all_finite(trial.value, trial.gradient)
            & line_search.sufficient_decrease(step, trial.value, reference, slope)
        )
        rejected = running & ~accepted
        iter_num = state.iter_num + accepted.astype(jnp.int32)
        num_fun_eval = state.num_fun_eval + running.astype(jnp.int32)

        # A change below the objective's rounding cannot be seen.
        rounding = 4.0 * eps * jnp.abs(state.current.value)
        end_slope = jnp.sum(direction * trial.gradient)
        shorter = line_search.backtrack(step, trial.value, end_slope, state.current.value, slope)
        num_trials = state.num_trials + rejected.astype(jnp.int32)
        lost = -shorter * slope <= rounding
        exhausted = rejected & (lost | (num_trials >= self.maxls))
        settled = lost & line_search.explained(
            step, trial.value, end_slope, state.current.value, slope, rounding=rounding, trusted=state.iter_num > 0
        )
        # P(x - alpha g) bends along the region's border: a shorter alpha may descend where no shorter step did.
        shorten = exhausted & ~state.shortened & (-slope > rounding)
        history = state.history.at[iter_num % self.history_size].set(trial.value)
        history = jnp.where(accepted, history, state.history)
        num_level = jnp.where(jnp.abs(trial.value - state.current.value) <= rounding, state.num_level + 1, 0)
        num_level = jnp.where(accepted, num_level, state.num_level)
        level = accepted & (num_level >= _LEVEL_STEPS)

        current = select(accepted, trial, state.current)
        converged = accepted & (trial.error <= self.tol)
        better = accepted & (
            (trial.value < state.best.value) | (converged & (trial.value <= state.best.value + rounding))
        )
        best = select(better, trial, state.best)
        ended = first_status(
            (converged, Status.CONVERGED),
            (level, Status.STALLED),
            (exhausted & ~shorten & ((-slope <= rounding) | settled), Status.STALLED),
            # At the very first step, no decrease where one was due means a wrong gradient.
            (exhausted & ~shorten & (iter_num > 0), Status.STOPPED_EARLY),
            (exhausted & ~shorten, Status.LINE_SEARCH_FAILED),
        )
        resume = running & (ended != Status.RUNNING) & (current.value > best.value + rounding)

        length = jnp.where(accepted, _spectral_length(region, state.current, trial), state.length)
        length = jnp.where(shorten, step * jnp.minimum(length, _first_length(region, current)), length)
        length = jnp.where(resume, _first_length(region, best), length)
        current = select(resume, best, current)
        restarted = accepted | shorten | resume

        new_state = ProjectedGradientState(
            iter_num=iter_num,
            status=first_status(
                (~running, state.status),
                (~resume & (ended != Status.RUNNING), ended),
                (accepted & (iter_num >= self.maxiter), Status.MAX_ITERATIONS),
                (num_fun_eval >= self._evaluation_limit, Status.MAX_EVALUATIONS),
            ),
            num_fun_eval=num_fun_eval,
            best=best,
            current=current,
            history=jnp.where(resume, jnp.roll(self._history(best.value), iter_num), history),
            length=length,
            target=jnp.where(restarted, project(region, current.x - length * current.gradient), state.target),
            stepsize=jnp.where(restarted, 1.0, jnp.where(rejected, shorter, step)),
            num_trials=jnp.where(restarted, 0, num_trials),
            num_level=jnp.where(resume, 0, num_level),
            shortened=shorten | (state.shortened & ~restarted),
        )
        return jaxopt.OptStep(best.x, new_state)

    def run(
        self, fun: Callable[..., Float[Array, ""]], params: Float[Array, "*image"], region: Region, *args: Any
    ) -> jaxopt.OptStep:
        """Updates until the status is final; arguments and errors as for `init_state`."""
        return run(self, fun, check(region, params), region, args)

    def _history(self, value: Float[Array, ""]) -> Float[Array, "history"]:
        return jnp.full(self.history_size, -jnp.inf, value.dtype).at[0].set(value)


def _spectral_length(region: Region, former: Iterate, new: Iterate) -> Float[Array, ""]:
    """s's / s'y of the step between two iterates, within the safeguards; the longest if s'y is not positive."""
    s, y = new.x - former.x, new.gradient - former.gradient
    number = jnp.finfo(s.dtype)
    unit_s = power_of_two(s)
    unit_g = power_of_two(jnp.maximum(jnp.abs(former.gradient), jnp.abs(new.gradient)))
    s, y = s / unit_s, y / unit_g
    curvature = jnp.sum(s * y)
    convex = curvature > number.eps * jnp.sum(jnp.abs(s * (former.gradient / unit_g)))
    ratio = jnp.sum(s * s) / jnp.where(convex, curvature, 1.0)
    length = jnp.where(convex, ratio * (unit_s / unit_g), jnp.inf)
    first = _first_length(region, new)
    return jnp.clip(length, _SHORTEST * first, jnp.minimum(_LONGEST * first, number.max))


def _first_length(region: Region, point: Iterate) -> Float[Array, ""]:
    """The length of -alpha g that goes as far as the region does."""
    if isinstance(region, L2Ball):
        reach, speed = jnp.asarray(region.radius, point.x.dtype), l2_norm(point.gradient)
    else:
        lower, upper = bounds_of(region, point.x)
        width = jnp.max(upper - lower, initial=0.0)
        reach, speed = jnp.where(jnp.isfinite(width), width / 2.0, 1.0), jnp.max(jnp.abs(point.gradient), initial=0.0)
    return jnp.where(speed > 0.0, reach / jnp.where(speed > 0.0, speed, 1.0), 1.0)
