"""Where a box-constrained minimisation stands: what `LBFGSB` carries from one evaluation to the next."""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int, PyTree

from seatbelt_jax.attacks import compact_hessian
from seatbelt_jax.results import Status


class LBFGSBState(NamedTuple):
    """State of the solver. value, grad, error and aux belong to the accepted iterate, `params`.

    Attributes:
      iter_num: accepted iterations.
      value: the objective.
      grad: its gradient, a pytree like params.
      error: largest entry of the projected gradient P(x - g) - x.
      status: a `Status`.
      num_fun_eval: evaluations of value and gradient, the start's included.
      num_linesearch_iter: rejected trials.
      stepsize: the last accepted step, or while a line search goes on, its next trial.
      target: [n], the point of the box that the line search heads for, reached by a step of 1.
      num_trials: rejected trials of the present line search; 0 where the next update starts a new one.
      memory: the quasi-Newton pairs, over params as one vector.
      aux: auxiliary output of the objective, or None.
    """

    iter_num: Int[Array, ""]
    value: Float[Array, ""]
    grad: PyTree
    error: Float[Array, ""]
    status: Int[Array, ""]
    num_fun_eval: Int[Array, ""]
    num_linesearch_iter: Int[Array, ""]
    stepsize: Float[Array, ""]
    target: Float[Array, "n"]
    num_trials: Int[Array, ""]
    memory: compact_hessian.Memory
    aux: Any = None

    @property
    def num_evals(self) -> Int[Array, "*lanes"]:
        return self.num_fun_eval

    @property
    def num_grad_eval(self) -> Int[Array, "*lanes"]:
        return self.num_fun_eval

    @property
    def failed_linesearch(self) -> Bool[Array, ""]:
        return self.status == Status.LINE_SEARCH_FAILED
