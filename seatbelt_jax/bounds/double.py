"""A traced function evaluated in float64, whatever float types its code names.

A bound that divides must not be below the true value. A product of float32 matrices of condition 1e4 loses more than
1e-5 of its norm in float32, and squares of entries below 1e-19 vanish there. float64 keeps both, for the same weights.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.extend.source_info_util import summarize, user_context

from seatbelt_jax.program import Code, trace

# Calls that are evaluated in place, and where their code is found. Derivatives are taken before, or not at all.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "checkpoint": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
}
# The bits of their operands or results mean something only in the type that the code names.
_KEEP_TYPES = frozenset({"bitcast_convert_type", "custom_call", "ffi_call", "pure_callback", "io_callback"})


def in_float64(closed: ClosedJaxpr, *, half: bool) -> Callable[..., list[Any]]:
    """The program as a function of its flat arguments that computes in float64.

    It must be called under jax.enable_x64(True). It is the program in real arithmetic, to float64's precision:
    conversions between float types are left out.

    Args:
      closed: the traced program.
      half: also for values of half precision; else these stay what they are, with the conversions to and from them.
    """
    return lambda *arguments: _evaluate(closed.jaxpr, closed.consts, arguments, half)


def compiled_in_float64(function: Callable, *examples: Any) -> Callable:
    """The function, traced for the types of the examples, compiled to compute in float64.

    Arguments may be of any type; results are float64 where the function's are floating point. Functions of the same
    steps and shapes share what is compiled, whatever arrays they close over.
    """
    traced = trace(function, *examples)

    def call(*arguments: Any) -> Any:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            return jax.tree.unflatten(
                traced.code.results, _run(traced.code, *traced.arrays, *jax.tree.leaves(arguments))
            )

    return call


@functools.partial(jax.jit, static_argnums=0)
def _run(code: Code, *arguments: Any) -> list[Any]:
    return in_float64(ClosedJaxpr(code.jaxpr, ()), half=True)(*arguments)


def wide(dtype: Any, half: bool) -> Any:
    """The type in which values of this type are computed."""
    if jax.dtypes.issubdtype(dtype, jax.dtypes.extended) or not jnp.issubdtype(dtype, jnp.floating):
        return dtype
    return jnp.dtype(jnp.float64) if half or jnp.finfo(dtype).bits >= 32 else dtype


def _evaluate(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any], half: bool) -> list[Any]:
    values: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        if isinstance(atom, Literal):
            aval: Any = atom.aval
            return _as(np.asarray(atom.val, aval.dtype), aval.dtype, half)
        return values[atom]

    def write(variables: Sequence[Any], results: Sequence[Any]) -> None:
        for variable, result in zip(variables, results, strict=True):
            values[variable] = _as(result, variable.aval.dtype, half)

    write(jaxpr.constvars, consts)
    write(jaxpr.invars, arguments)
    for equation in jaxpr.eqns:
        with _at(equation):
            write(equation.outvars, _apply(equation, [read(atom) for atom in equation.invars], half))
    return [read(atom) for atom in jaxpr.outvars]


def _at(equation: Any) -> contextlib.AbstractContextManager:
    """Records the user's line for what follows; code of JAX itself has none and keeps that of its caller."""
    info = equation.source_info
    return user_context(info.traceback) if summarize(info) else contextlib.nullcontext()


def _as(value: Any, dtype: Any, half: bool) -> Any:
    """The value in the type that values of `dtype` are computed in."""
    if jax.dtypes.issubdtype(dtype, jax.dtypes.extended) or dtype == jax.dtypes.float0:
        return value
    target = wide(dtype, half)
    return value if getattr(value, "dtype", None) == target else jnp.asarray(value, target)


def _apply(equation: Any, operands: list[Any], half: bool) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in CALLS:
        return _evaluate(*_opened(params[CALLS[name]]), operands, half)
    if name == "scan":
        return _scan(params, operands, half)
    if name == "while":
        return _while(params, operands, half)
    if name == "cond":
        branches = [functools.partial(_branch, branch, half) for branch in params["branches"]]
        return jax.lax.switch(operands[0], branches, *operands[1:])
    result = equation.outvars[0].aval.dtype
    if name in ("convert_element_type", "reduce_precision") and wide(result, half) == operands[0].dtype:
        return operands
    if name in _KEEP_TYPES or any(_has_code(value) for value in params.values()):
        given = [
            _as_declared(operand, atom.aval.dtype) for operand, atom in zip(operands, equation.invars, strict=True)
        ]
    else:
        given = operands
        params = {key: _wide_parameter(value, half) for key, value in params.items()}
    results = equation.primitive.bind(*given, **params)
    return results if equation.primitive.multiple_results else [results]


def _as_declared(value: Any, dtype: Any) -> Any:
    extended = jax.dtypes.issubdtype(dtype, jax.dtypes.extended)
    return value if extended or value.dtype == dtype else jnp.asarray(value, dtype)


def _wide_parameter(value: Any, half: bool) -> Any:
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return wide(np.dtype(value), half)
    return value


def _has_code(value: Any) -> bool:
    return any(True for _ in _programs(value))


def _programs(value: Any) -> Iterator[Any]:
    if isinstance(value, ClosedJaxpr | Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _programs(part)


def _opened(called: Any) -> tuple[Jaxpr, Sequence[Any]]:
    return (called.jaxpr, called.consts) if isinstance(called, ClosedJaxpr) else (called, ())


def _branch(closed: ClosedJaxpr, half: bool, *operands: Any) -> list[Any]:
    return _evaluate(closed.jaxpr, closed.consts, operands, half)


def _scan(params: dict[str, Any], operands: list[Any], half: bool) -> list[Any]:
    body, (fixed, carried) = params["jaxpr"], _scan_layout(params)
    consts, first, rows = operands[:fixed], operands[fixed : fixed + carried], operands[fixed + carried :]

    def step(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        results = _evaluate(body.jaxpr, body.consts, [*consts, *carry, *row], half)
        return results[:carried], results[carried:]

    carry, stacked = jax.lax.scan(
        step, first, rows, length=params["length"], reverse=params["reverse"], unroll=params["unroll"]
    )
    return [*carry, *stacked]


def _scan_layout(params: dict[str, Any]) -> tuple[int, int]:
    """How many operands are constants, and how many are carried. JAX 0.12 has their trees, before it the numbers."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


def _while(params: dict[str, Any], operands: list[Any], half: bool) -> list[Any]:
    condition, body = params["cond_jaxpr"], params["body_jaxpr"]
    of_condition, of_body = params["cond_nconsts"], params["body_nconsts"]
    condition_consts, rest = operands[:of_condition], operands[of_condition:]
    body_consts, first = rest[:of_body], rest[of_body:]
    return jax.lax.while_loop(
        lambda carry: _evaluate(condition.jaxpr, condition.consts, [*condition_consts, *carry], half)[0],
        lambda carry: _evaluate(body.jaxpr, body.consts, [*body_consts, *carry], half),
        first,
    )
