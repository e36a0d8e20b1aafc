"""The interface of the attacks' solvers, and what they share: an evaluated point, and the loop that runs them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import jaxopt
from jaxtyping import Array, Bool, Float, Int, PyTree

from seatbelt_jax.attacks.arithmetic import cast, working_type
from seatbelt_jax.attacks.lbfgsb_state import Status
from seatbelt_jax.attacks.region import Region, check, optimality_error


@runtime_checkable
class Solver(Protocol):
    """Minimises `fun(params, *args)` over a region, one evaluation of value and gradient at a time.

    A state has `iter_num`, `value`, `error`, `status` and `num_fun_eval`, scalars that describe the iterate
    `params`. The methods are pure, and can be vmapped over problems. `update` returns a finished problem as it is, and
    the params that it returns lie in the region.
    """

    @property
    def fun(self) -> Callable[..., Float[Array, ""]]: ...
    def init_state(self, params: Any, region: Any, *args: Any) -> Any: ...
    def update(self, params: Any, state: Any, region: Any, *args: Any) -> jaxopt.OptStep: ...
    def run(self, params: Any, region: Any, *args: Any) -> jaxopt.OptStep: ...


class Iterate(NamedTuple):
    """A point of the region, with all that is known of it."""

    x: Float[Array, "*image"]
    value: Float[Array, ""]
    gradient: Float[Array, "*image"]
    error: Float[Array, ""]


def evaluate(fun: Callable[..., Float[Array, ""]], x: Float[Array, "*image"], region: Region, args: tuple) -> Iterate:
    """One evaluation of value and gradient, all in the type of x."""
    value, gradient = jax.value_and_grad(fun)(x, *args)
    return Iterate(x, value.astype(x.dtype), gradient, optimality_error(region, x, gradient))


def start_of(fun: Callable[..., Float[Array, ""]], params: Any, region: Region, args: tuple) -> Float[Array, "*image"]:
    """The image in the type that the solver computes in (`working_type`).

    Raises:
      TypeError, ValueError: as `region.check`.
    """
    x = check(region, params)
    return cast(x, working_type(lambda image: fun(image, *args), x, region))


def compiled_run(solver: Solver) -> Callable[..., jaxopt.OptStep]:
    """`run(params, region, args)`: updates until the status is final, for solvers of which the state holds the params.

    To be kept with the solver, so that what is compiled lives as long.
    """

    def whole_run(params: Float[Array, "*image"], region: Region, args: tuple) -> jaxopt.OptStep:
        state = solver.init_state(params, region, *args)
        return jax.lax.while_loop(
            lambda step: step.state.status == Status.RUNNING,
            lambda step: solver.update(*step, region, *args),
            jaxopt.OptStep(state.params, state),
        )

    return jax.jit(whole_run)


def all_finite(value: Float[Array, ""], gradient: Float[Array, "*image"]) -> Bool[Array, ""]:
    return jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))


def select(condition: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    """Leaf by leaf, new where the condition holds, else old."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def first_status(*cases: tuple[Any, Any]) -> Int[Array, ""]:
    """The status of the first case whose condition holds, RUNNING if none does."""
    conditions = [jnp.asarray(condition) for condition, _ in cases]
    statuses = [jnp.asarray(status, jnp.int32) for _, status in cases]
    return jnp.select(conditions, statuses, jnp.asarray(Status.RUNNING, jnp.int32))


def check_limits(solver: Any, *, at_least_0: tuple[str, ...] = (), at_least_1: tuple[str, ...] = ()) -> None:
    """Raises ValueError for a field below its limit, or NaN; None is no limit."""
    for least, names in ((0, at_least_0), (1, at_least_1)):
        for name in names:
            value = getattr(solver, name)
            if value is not None and not value >= least:
                raise ValueError(f"{name}={value} must be at least {least}.")
