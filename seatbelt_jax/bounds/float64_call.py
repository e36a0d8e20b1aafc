"""A call into float64 from a program in any type: the body is compiled, vmapped and derived where float64 exists.

float64 exists where jax.enable_x64 is on. JAX transforms a program after it was traced, where it may be off again, and
then makes constants of the wrong type. So the body is kept whole, as one primitive, until it is transformed or compiled
with x64 on. At its border all arrays have the types of the program around it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

# From arrays in float64 to a list of arrays in float64.
Body = Callable[..., Sequence[Array]]


def float64_call(body: Body, finish: Callable, *arrays: Array) -> list[Array]:
    """finish(*body(*arrays)), computed in float64.

    It can be jitted, vmapped and differentiated in both modes, as often as the body can. Its derivative is that of the
    body, converted to the types of the results, whatever finish does.

    Args:
      body: a pure function without arrays of its own; other arrays than those of floats and integers are passed on.
      finish: from the body's results in float64 to as many in other types: their rounding.
    """
    return _call.bind(*arrays, body=body, finish=finish, linear=0)


_call = Primitive("float64_call")
_call.multiple_results = True


def _run(*arrays: Array, body: Body, finish: Callable, linear: int) -> list[Array]:
    with jax.enable_x64(True):
        return list(finish(*body(*[_wide(array) for array in arrays])))


_call.def_impl(lambda *arrays, **params: jax.jit(functools.partial(_run, **params))(*arrays))


@_call.def_abstract_eval
def _abstract(*avals: Any, **params: Any) -> list[Any]:
    shapes = jax.eval_shape(functools.partial(_run, **params), *avals)
    return [jax.core.ShapedArray(shape.shape, shape.dtype) for shape in shapes]


def _lower(context: Any, *operands: Any, **params: Any) -> Any:
    with jax.enable_x64(True):
        return mlir.lower_fun(functools.partial(_run, **params), multiple_results=True)(context, *operands)


mlir.register_lowering(_call, _lower)


def _batch(arrays: Sequence[Array], axes: Sequence[Any], *, body: Body, finish: Callable, linear: int) -> Any:
    batched = _call.bind(*arrays, body=jax.vmap(body, tuple(axes)), finish=jax.vmap(finish), linear=linear)
    return batched, [0] * len(batched)


batching.primitive_batchers[_call] = _batch


def _jvp(primals: Sequence[Array], tangents: Sequence[Any], *, body: Body, finish: Callable, linear: int) -> Any:
    results = _call.bind(*primals, body=body, finish=finish, linear=linear)
    moved = [index for index, tangent in enumerate(tangents) if type(tangent) is not ad.Zero]

    def derivative(*values: Array) -> Sequence[Array]:
        at, along = values[: len(primals)], values[len(primals) :]

        def of_moved(*changed: Array) -> Sequence[Array]:
            given = list(at)
            for index, value in zip(moved, changed, strict=True):
                given[index] = value
            return list(body(*given))

        return jax.jvp(of_moved, [at[index] for index in moved], list(along))[1]

    along = [tangents[index] for index in moved]
    convert = _converting([result.dtype for result in results])
    return results, _call.bind(*primals, *along, body=derivative, finish=convert, linear=len(along))


ad.primitive_jvps[_call] = _jvp


def _transpose(cotangents: Sequence[Any], *arrays: Any, body: Body, finish: Callable, linear: int) -> list[Any]:
    sought = [index for index, array in enumerate(arrays) if ad.is_undefined_primal(array)]
    if min(sought) < len(arrays) - linear:
        raise NotImplementedError("float64_call is transposed in what it is linear in alone")
    known = [array for array in arrays if not ad.is_undefined_primal(array)]
    like = [arrays[index].aval for index in sought]

    def transposed(*values: Array) -> Sequence[Array]:
        at, pulled = list(values[: len(known)]), values[len(known) :]

        def of_sought(*changed: Array) -> Sequence[Array]:
            rest, varied = iter(at), dict(zip(sought, changed, strict=True))
            return list(body(*[varied[index] if index in varied else next(rest) for index in range(len(arrays))]))

        zeros = [jnp.zeros(aval.shape, jnp.float64) for aval in like]
        return list(jax.vjp(of_sought, *zeros)[1](list(pulled)))

    pulled = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    convert = _converting([aval.dtype for aval in like])
    found = _call.bind(*known, *pulled, body=transposed, finish=convert, linear=len(pulled))
    return [found[sought.index(index)] if index in sought else None for index in range(len(arrays))]


ad.primitive_transposes[_call] = _transpose


def _converting(dtypes: Sequence[Any]) -> Callable:
    return lambda *results: [result.astype(dtype) for result, dtype in zip(results, dtypes, strict=True)]


def _wide(array: Array) -> Array:
    return array.astype(jnp.float64) if jnp.issubdtype(array.dtype, jnp.number) else array
