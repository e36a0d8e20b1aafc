"""L-BFGS-B for many box-constrained problems at once: one evaluation of the objective per update.

Extends `jaxopt.LBFGSB` (0.8.5), keeping its interface and replacing its step. What differs, and why:

- the inner products of the history respect the pairs' ages when the ring is full (`compact_hessian`);
- the generalised Cauchy point and the subspace step are a fixed number of dense passes, and the subspace step is
  projected onto the box instead of cut at the first bound it meets (`box_step`; Morales and Nocedal 2011);
- the line search is carried in the state, one trial per `update`, so under `jax.vmap` no lane waits for another's;
- the first step is as long as the box suggests (`box_step.steepest_curvature`), and grows until the slope tells of the
  objective's curvature: the first pair shapes the whole run;
- each lane has a `Status`, and an update leaves a finished lane as it is.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jaxopt
from jax.flatten_util import ravel_pytree
from jaxopt import loop
from jaxtyping import Array, Bool, Float, PyTree

from seatbelt_jax.arithmetic import common_type
from seatbelt_jax.attacks import compact_hessian, line_search
from seatbelt_jax.attacks.arithmetic import cast, power_of_two, working_type
from seatbelt_jax.attacks.box import flatten
from seatbelt_jax.attacks.box_step import minimise_model, steepest_curvature
from seatbelt_jax.attacks.lbfgsb_state import LBFGSBState
from seatbelt_jax.attacks.region import optimality_error
from seatbelt_jax.attacks.solver import all_finite, first_status, select
from seatbelt_jax.results import Status

__all__ = ["LBFGSB", "LBFGSBState", "Status"]

# The share of its slope that a first step must take away before its pair is kept, and what it grows by until then.
_TELLING_FALL = 0.5
_GROWTH = 4.0


@dataclasses.dataclass(eq=False)
class LBFGSB(jaxopt.LBFGSB):
    """L-BFGS-B, batched by `jax.vmap`; see `jaxopt.LBFGSB` for the fields not listed here.

    `init_state(params, bounds, *args)`, `update(params, state, bounds, *args)` and `run(params, bounds, *args)` are
    jaxopt's; bounds is (lower, upper), each a scalar or a pytree like params, or None. A start outside the box is
    moved to the nearest point in it. `run` ends when the status is no longer RUNNING.

    Everything is computed, and returned, in the common float type of params, bounds and the objective's value, float32
    at least. The objective may have any unit from 1e-30 to 1e30; `tol` is in that unit.

    Attributes:
      maxiter: accepted iterations at most.
      tol: CONVERGED when the largest entry of P(x - g) - x is at most this.
      ftol: STOPPED_EARLY when (f_k - f_{k+1}) / max(|f_k|, |f_{k+1}|, 1) is at most this: SciPy's `ftol`.
      maxls: trials of one line search at most.
      max_evaluations: evaluations at most; None means maxiter * maxls + 1.
      history_size: pairs kept.
      max_stepsize: the first trial of a line search; 1 is the whole quasi-Newton step, and no more is allowed.

    The line search is always this one: `linesearch`, `linesearch_init`, `increase_factor`, `min_stepsize` and
    `stop_if_linesearch_fails` are accepted and ignored. `theta` scales the first curvature.

    Raises:
      ValueError: fixed step sizes, non-positive limits.
    """

    ftol: float = 0.0
    max_evaluations: int | None = None
    maxls: int = 20

    def __post_init__(self) -> None:
        if callable(self.stepsize) or self.stepsize > 0.0:
            raise ValueError(
                f"stepsize={self.stepsize!r}: this solver always searches along its direction; leave stepsize at 0."
            )
        for name in ("history_size", "maxls", "max_evaluations"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise ValueError(f"{name}={limit} must be at least 1.")
        if not 0.0 < self.max_stepsize <= 1.0:
            raise ValueError(f"max_stepsize={self.max_stepsize} must lie in (0, 1].")
        super().__post_init__()
        # jaxopt compiles each update; compiled whole, a second run costs no tracing either.
        self._whole_run = jax.jit(self._run_loop) if self.jit else self._run_loop

    def _get_unroll_option(self) -> bool:
        # jaxopt turns `implicit_diff=False` into a scan over all iterations; only ask for one if told to.
        return not self.jit if self.unroll == "auto" else self.unroll

    @property
    def _evaluation_limit(self) -> int:
        return self.maxiter * self.maxls + 1 if self.max_evaluations is None else self.max_evaluations

    def init_state(self, init_params: PyTree, bounds: Any, *args: Any, **kwargs: Any) -> LBFGSBState:
        """Evaluates the objective once, at the start.

        Args:
          init_params: a pytree of floating-point arrays, or the `OptStep` of an earlier run, whose pairs are kept.
          bounds: (lower, upper), scalars or pytrees like params; or None.
          *args, **kwargs: passed to the objective.

        Raises:
          TypeError: params are not floating-point.
          ValueError: bounds of another shape or structure, or (outside of jit) lower > upper or NaN.
        """
        warm = init_params.state.memory if isinstance(init_params, jaxopt.OptStep) else None
        # Refuses what does not fit before the objective sees it.
        flatten(_params_of(init_params), bounds)

        def value_and_aux(params: PyTree) -> tuple[Array, Any]:
            return self._value_and_grad_with_aux(params, *args, **kwargs)[0]

        dtype = working_type(value_and_aux, _params_of(init_params), bounds, has_aux=True)
        x, unravel, box = flatten(_params_of(init_params), bounds, dtype)
        x = box.project(x)
        value, aux, grad = self._evaluate(unravel(x), args, kwargs)
        gradient, _ = ravel_pytree(grad)
        error = optimality_error(box, x, gradient)
        theta = self.theta * steepest_curvature(x, gradient, box)
        status = first_status(
            (~all_finite(value, gradient), Status.NON_FINITE),
            (error <= self.tol, Status.CONVERGED),
            (jnp.asarray(self.maxiter <= 0), Status.MAX_ITERATIONS),
            (jnp.asarray(self._evaluation_limit <= 1), Status.MAX_EVALUATIONS),
        )
        zero = jnp.zeros((), jnp.int32)
        return LBFGSBState(
            iter_num=zero,
            value=value,
            grad=grad,
            error=error,
            status=status,
            num_fun_eval=zero + 1,
            num_linesearch_iter=zero,
            stepsize=jnp.asarray(self.max_stepsize, x.dtype),
            target=x,
            num_trials=zero,
            memory=compact_hessian.empty(self.history_size, theta, x.size)
            if warm is None
            else warm._replace(**cast({"pairs": warm.pairs, "gram": warm.gram, "theta": warm.theta}, dtype)),
            aux=aux,
        )

    def update(self, params: PyTree, state: LBFGSBState, bounds: Any, *args: Any, **kwargs: Any) -> jaxopt.OptStep:
        """One evaluation: a trial step, accepted or not. A finished problem is returned as it is.

        Args:
          params: the accepted iterate; pytree.
          state: its state.
          bounds, *args, **kwargs: as for `init_state`.

        Returns:
          OptStep(params, state) with the accepted iterate: the trial's or the former.
        """
        x, unravel, box = flatten(_params_of(params), bounds, state.target.dtype)
        x = box.project(x)
        gradient, _ = ravel_pytree(state.grad)
        running = state.status == Status.RUNNING
        eps = jnp.finfo(x.dtype).eps

        starts_search = running & (state.num_trials == 0)
        target, broke_down = minimise_model(x, gradient, box, state.memory)
        target = jnp.where(starts_search, target, state.target)
        direction = target - x
        theta = self.theta * steepest_curvature(x, gradient, box)
        memory = compact_hessian.forget(state.memory, theta, broke_down & starts_search)
        step = jnp.where(starts_search, self.max_stepsize, state.stepsize).astype(x.dtype)

        slope = direction @ gradient
        # A whole step lands on the target itself: x + (target - x) may miss a bound by rounding.
        trial = jnp.where(step == 1.0, target, box.project(x + step * direction))
        value, aux, trial_grad = self._evaluate(unravel(trial), args, kwargs)
        trial_gradient, _ = ravel_pytree(trial_grad)
        finite = all_finite(value, trial_gradient)
        end_slope = direction @ trial_gradient
        decreased = line_search.sufficient_decrease(step, value, state.value, slope) & (value < state.value)
        accepted = running & finite & decreased
        rejected = running & ~accepted

        shorter = line_search.backtrack(step, value, end_slope, state.value, slope)
        num_trials = state.num_trials + rejected.astype(jnp.int32)
        # A predicted decrease below the objective's rounding cannot be seen: further trials are wasted.
        rounding = 4.0 * eps * jnp.abs(state.value)
        lost = -shorter * slope <= rounding
        exhausted = rejected & (lost | (num_trials >= self.maxls))
        settled = lost & line_search.explained(
            step, value, end_slope, state.value, slope, rounding=rounding, trusted=state.iter_num > 0
        )
        was_steepest = memory.num_updates == 0
        # The next search goes down the projected gradient, as long as the latest curvature allows.
        memory = compact_hessian.forget(memory, memory.theta, exhausted)

        s, y = trial - x, trial_gradient - gradient
        # In units of the step and of the gradients, lest products overflow or vanish.
        unit_s, unit_g = power_of_two(s), power_of_two(jnp.maximum(jnp.abs(gradient), jnp.abs(trial_gradient)))
        scaled_s, scaled_y = s / unit_s, y / unit_g
        curvature = scaled_s @ scaled_y
        convex = curvature > eps * (jnp.abs(scaled_s) @ jnp.abs(gradient / unit_g))
        # The first step was too short to tell the curvature of where the minimum lies.
        too_short = was_steepest & (step == 1.0) & (end_slope < (1.0 - _TELLING_FALL) * slope)
        telling = convex & ~too_short
        memory = compact_hessian.push(memory, s, y, accepted & telling)
        if self.use_gamma:
            # Where the pair tells nothing, dare four times the step next time.
            gamma = (scaled_y @ scaled_y) / curvature * (unit_g / unit_s)
            theta = jnp.where(telling, gamma, memory.theta / _GROWTH)
            memory = memory._replace(theta=jnp.where(accepted, theta, memory.theta))

        iter_num = state.iter_num + accepted.astype(jnp.int32)
        num_fun_eval = state.num_fun_eval + running.astype(jnp.int32)
        error = optimality_error(box, trial, trial_gradient)
        scale = jnp.maximum(jnp.maximum(jnp.abs(value), jnp.abs(state.value)), 1.0)
        status = first_status(
            (~running, state.status),
            (accepted & (error <= self.tol), Status.CONVERGED),
            (accepted & (state.value - value <= self.ftol * scale), Status.STOPPED_EARLY),
            (exhausted & (-slope <= rounding), Status.STALLED),
            (exhausted & was_steepest & settled, Status.STALLED),
            (exhausted & was_steepest & (iter_num > 0), Status.STOPPED_EARLY),
            (exhausted & was_steepest, Status.LINE_SEARCH_FAILED),
            (accepted & (iter_num >= self.maxiter), Status.MAX_ITERATIONS),
            (num_fun_eval >= self._evaluation_limit, Status.MAX_EVALUATIONS),
        )
        new_state = LBFGSBState(
            iter_num=iter_num,
            value=jnp.where(accepted, value, state.value),
            grad=select(accepted, trial_grad, state.grad),
            error=jnp.where(accepted, error, state.error),
            status=status,
            num_fun_eval=num_fun_eval,
            num_linesearch_iter=state.num_linesearch_iter + rejected.astype(jnp.int32),
            stepsize=jnp.where(rejected, shorter, jnp.where(accepted, step, state.stepsize)),
            target=target,
            num_trials=jnp.where(accepted | exhausted, 0, num_trials),
            memory=memory,
            aux=select(accepted, aux, state.aux),
        )
        if self.verbose:
            self.log_info(
                new_state,
                error_name="Projected gradient",
                additional_info={"Objective": new_state.value, "Step": new_state.stepsize},
            )
        return jaxopt.OptStep(unravel(jnp.where(accepted, trial, x)), new_state)

    def _evaluate(self, params: PyTree, args: tuple, kwargs: dict) -> tuple[Float[Array, ""], Any, PyTree]:
        """Value, auxiliary output and gradient, the value in the type of params."""
        (value, aux), grad = self._value_and_grad_with_aux(params, *args, **kwargs)
        return value.astype(ravel_pytree(params)[0].dtype), aux, grad

    def _cond_fun(self, inputs: Any) -> Bool[Array, ""]:
        (_, state), _ = inputs
        return state.status == Status.RUNNING

    def _run(self, init_params: PyTree, bounds: Any, *args: Any, **kwargs: Any) -> jaxopt.OptStep:
        return self._whole_run(init_params, bounds, args, kwargs)

    def _run_loop(self, init_params: PyTree, bounds: Any, args: tuple, kwargs: dict) -> jaxopt.OptStep:
        state = self.init_state(init_params, bounds, *args, **kwargs)
        _, unravel, _ = flatten(_params_of(init_params), bounds, state.target.dtype)
        step, _ = loop.while_loop(
            cond_fun=self._cond_fun,
            body_fun=self._body_fun,
            # The first target is the start, moved into the box.
            init_val=(jaxopt.OptStep(unravel(state.target), state), ((bounds, *args), kwargs)),
            maxiter=self._evaluation_limit,
            jit=self.jit,
            unroll=self._get_unroll_option(),
        )
        return step

    def run(self, init_params: PyTree, bounds: Any = None, *args: Any, **kwargs: Any) -> jaxopt.OptStep:
        """Updates until the status is final; `OptStep(params, state)`. Arguments and errors as for `init_state`."""
        params = _params_of(init_params)
        flatten(params, bounds)
        _, unravel, box = flatten(params, bounds, common_type(params, bounds))
        return super().run(init_params, (unravel(box.lower), unravel(box.upper)), *args, **kwargs)


def _params_of(params: PyTree) -> PyTree:
    return params.params if isinstance(params, jaxopt.OptStep) else params
