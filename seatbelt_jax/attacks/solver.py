"""The interface of the attacks' solvers, and what they share: an evaluated point, and the loop that runs them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import jaxopt
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, PyTree

from seatbelt_jax import program
from seatbelt_jax.attacks.arithmetic import cast, working_type
from seatbelt_jax.attacks.region import Region, check, optimality_error
from seatbelt_jax.results import Status


@runtime_checkable
class Solver(Protocol):
    """Minimises `fun(params, *args)` over a region, one evaluation of value and gradient at a time.

    A record of settings, hashable and equal to another with the same. A state has `iter_num`, `value`, `error`,
    `status` and `num_fun_eval`, scalars that speak of the iterate that is `params`. The methods are pure, and made to
    be vmapped over problems. `update` returns a finished problem as it is, and no params that it returns leave the
    region.
    """

    def init_state(self, fun: Callable[..., Float[Array, ""]], params: Any, region: Any, *args: Any) -> Any: ...
    def update(
        self, fun: Callable[..., Float[Array, ""]], params: Any, state: Any, region: Any, *args: Any
    ) -> jaxopt.OptStep: ...
    def run(self, fun: Callable[..., Float[Array, ""]], params: Any, region: Any, *args: Any) -> jaxopt.OptStep: ...


class Iterate(NamedTuple):
    """A point of the region, with all that is known of it."""

    x: Float[Array, "*image"]
    value: Float[Array, ""]
    gradient: Float[Array, "*image"]
    error: Float[Array, ""]


@jax.jit
def _value_and_gradient(fun: Partial, x: Any, *args: Any) -> Any:
    return jax.value_and_grad(fun)(x, *args)


def value_and_gradient(fun: Callable[..., Float[Array, ""]], x: PyTree, *args: Any) -> tuple[Float[Array, ""], PyTree]:
    """The objective and its gradient in x; a function that is a value is traced once for all programs that hold it."""
    if isinstance(fun, Partial):
        return _value_and_gradient(fun, x, *args)
    return jax.value_and_grad(fun)(x, *args)


def evaluate(fun: Callable[..., Float[Array, ""]], x: Float[Array, "*image"], region: Region, args: tuple) -> Iterate:
    """One evaluation of value and gradient, all in the type of x."""
    value, gradient = value_and_gradient(fun, x, *args)
    return Iterate(x, value.astype(x.dtype), gradient, optimality_error(region, x, gradient))


def start_of(fun: Callable[..., Float[Array, ""]], params: Any, region: Region, args: tuple) -> Float[Array, "*image"]:
    """The image in the type that the solver computes in (`working_type`).

    Raises:
      TypeError, ValueError: as `region.check`.
    """
    x = check(region, params)
    return cast(x, working_type(lambda image: fun(image, *args), x, region))


def run(
    solver: Solver, fun: Callable[..., Float[Array, ""]], params: Float[Array, "*image"], region: Region, args: tuple
) -> jaxopt.OptStep:
    """Updates until the status is final, for solvers of which the state holds the params.

    Compiled once for solvers of the same settings and functions of the same code (`program.as_value`).
    """
    start = start_of(fun, params, region, args)
    if isinstance(start, jax.core.Tracer):
        return _run(solver, fun, start, region, args)
    return _compiled_run(solver, program.as_value(fun, start, *args), start, region, args)


def _run(solver: Solver, fun: Callable, params: Float[Array, "*image"], region: Region, args: tuple) -> jaxopt.OptStep:
    state = solver.init_state(fun, params, region, *args)
    return jax.lax.while_loop(
        lambda step: step.state.status == Status.RUNNING,
        lambda step: solver.update(fun, *step, region, *args),
        jaxopt.OptStep(state.params, state),
    )


_compiled_run = jax.jit(_run, static_argnums=0)


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


def describe(solver: Any) -> str:
    """A solver's record in words, alike in two processes; a schedule of the learning rate by its values."""
    fields = {field.name: getattr(solver, field.name) for field in dataclasses.fields(solver)}
    for name, value in fields.items():
        if callable(value):
            fields[name] = [float(value(step)) for step in (0, 1, 10, 100, 1000)]
    return f"{type(solver).__name__} {fields}"
