"""A program rewritten in fewer operations: quotients, maxima and products of values that both depend on x.

A quotient becomes a product with a reciprocal, max(a, b) becomes b + max(a - b, 0), a maximum over axes or windows a
tournament of those, a contraction of two values their products' sum, and a softmax exp(a - logsumexp(a)).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal, Primitive
from jax.extend.source_info_util import user_context
from jaxtyping import Array

# Stands for a node alone: it is never evaluated. Keeps the axes that it sums over, with size 1.
logsumexp_p = Primitive("logsumexp")


@logsumexp_p.def_abstract_eval
def _abstract(operand: Any, *, axes: tuple[int, ...]) -> Any:
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(operand.shape))
    return jax.core.ShapedArray(shape, operand.dtype)


# Operations whose operands may have axes of size 1 where the result's are longer.
_BROADCASTING = frozenset({"add", "add_any", "sub", "mul", "div", "max", "min", "pow"})
# What moves values about between a softmax's maximum, or its sum, and where it is used.
_MOVING = ("stop_gradient", "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "copy")


def expanded(closed: ClosedJaxpr, x: int) -> ClosedJaxpr:
    """The same program, with the operations above rewritten where they depend on input number x.

    It must be called under jax.enable_x64(True) where the program has float64.
    """
    return jax.make_jaxpr(lambda *inputs: _Expansion(closed, x).run(inputs))(*closed.in_avals)


class _Expansion:
    def __init__(self, closed: ClosedJaxpr, x: int):
        self._jaxpr, self._consts = closed.jaxpr, closed.consts
        self._moves = {self._jaxpr.invars[x]}
        self._made: dict[Any, Any] = {}
        self._values: dict[Any, Array] = {}

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        self._values.update(zip(self._jaxpr.constvars, self._consts, strict=True))
        self._values.update(zip(self._jaxpr.invars, inputs, strict=True))
        for equation in self._jaxpr.eqns:
            with user_context(equation.source_info.traceback):
                results = self._take(equation)
            self._values.update(zip(equation.outvars, results, strict=True))
            self._made.update((var, equation) for var in equation.outvars)
            if any(self._depends(atom) for atom in equation.invars):
                self._moves.update(equation.outvars)
        return [self._read(atom) for atom in self._jaxpr.outvars]

    def _read(self, atom: Any) -> Array:
        if isinstance(atom, Literal):
            aval: Any = atom.aval
            return jnp.asarray(atom.val, aval.dtype)
        return self._values[atom]

    def _depends(self, atom: Any) -> bool:
        return not isinstance(atom, Literal) and atom in self._moves

    def _take(self, equation: Any) -> Sequence[Array]:
        name, params = equation.primitive.name, equation.params
        operands = [self._read(atom) for atom in equation.invars]
        moving = [self._depends(atom) for atom in equation.invars]
        floating = jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.floating)
        if any(moving) and floating:
            if name in _BROADCASTING:
                shape = equation.outvars[0].aval.shape
                operands = [
                    jnp.broadcast_to(operand, shape) if moves else operand
                    for operand, moves in zip(operands, moving, strict=True)
                ]
            match name:
                case "div" if moving[1]:
                    return [self._softmax(equation) or operands[0] * lax.integer_pow(operands[1], -1)]
                case "integer_pow" if params["y"] < -1:
                    return [lax.integer_pow(lax.integer_pow(operands[0], -params["y"]), -1)]
                case "clamp" if not moving[0] and not moving[2]:
                    return [lax.min(lax.max(operands[1], operands[0]), operands[2])]
                case "max" | "min" if all(moving):
                    return [_larger(operands[0], operands[1], equation.primitive.bind)]
                case "reduce_max" | "reduce_min":
                    pick = lax.max if name == "reduce_max" else lax.min
                    return [_tournament(operands[0], params["axes"], pick)]
                case "reduce_window_max" if _is_plain(params):
                    return [_window_max(operands[0], params)]
                case "dot_general" if all(moving):
                    return [_contraction(operands[0], operands[1], params["dimension_numbers"])]
        found = equation.primitive.bind(*operands, **equation.primitive.get_bind_params(params))
        return found if equation.primitive.multiple_results else [found]

    def _softmax(self, equation: Any) -> Array | None:
        """exp(a - logsumexp(a)) for a quotient that is exp(a - max a) / sum exp(a - max a) over the same axes."""
        powers, total = equation.invars
        power, summed = self._maker(powers), self._behind(total)
        if power is None or power.primitive.name != "exp" or summed is None or summed.primitive.name != "reduce_sum":
            return None
        if summed.invars[0] is not powers:
            return None
        difference = self._maker(power.invars[0])
        if difference is None or difference.primitive.name != "sub":
            return None
        exponent, shift = difference.invars
        largest, axes = self._behind(shift), tuple(summed.params["axes"])
        if largest is None or largest.primitive.name != "reduce_max" or tuple(largest.params["axes"]) != axes:
            return None
        if largest.invars[0] is not exponent:
            return None
        value = self._read(exponent)
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(value.shape))
        # The shift and the sum must stand where keeping the axes would put them.
        if any(not self._keeps(atom, axes, value.shape, kept) for atom in (shift, total)):
            return None
        return lax.exp(value - jnp.broadcast_to(logsumexp_p.bind(value, axes=axes), value.shape))

    def _behind(self, atom: Any) -> Any:
        """The operation whose result an atom is, moved about."""
        made = self._maker(atom)
        while made is not None:
            if made.primitive.name in _MOVING:
                atom = made.invars[0]
            elif made.primitive.name == "max" and isinstance(made.invars[0], Literal):
                # jax.nn.softmax takes the maximum with minus infinity.
                if not np.all(np.isneginf(np.asarray(made.invars[0].val))):
                    return made
                atom = made.invars[1]
            else:
                return made
            made = self._maker(atom)
        return None

    def _maker(self, atom: Any) -> Any:
        return None if isinstance(atom, Literal) else self._made.get(atom)

    def _keeps(self, atom: Any, axes: tuple[int, ...], shape: tuple[int, ...], kept: tuple[int, ...]) -> bool:
        """Whether moving a reduced array about put each entry where keeping its axes would."""
        reduced = tuple(size for axis, size in enumerate(shape) if axis not in axes)
        numbers = np.arange(math.prod(reduced), dtype=np.float64).reshape(reduced)
        steps = []
        made = self._maker(atom)
        while made is not None and made.primitive.name not in ("reduce_max", "reduce_sum"):
            steps.append(made)
            made = self._maker(made.invars[-1 if made.primitive.name == "max" else 0])
        with jax.ensure_compile_time_eval():
            moved = jnp.asarray(numbers)
            for step in reversed(steps):
                if step.primitive.name not in ("max", "stop_gradient"):
                    moved = step.primitive.bind(moved, **step.params)
            wanted = np.broadcast_to(numbers.reshape(kept), shape)
            return np.array_equal(np.broadcast_to(np.asarray(moved), shape), wanted)


def _larger(a: Array, b: Array, pick: Callable[[Array, Array], Array]) -> Array:
    """max(a, b), or min, as an activation of their difference."""
    return b + pick(a - b, jnp.zeros_like(b))


def _tournament(value: Array, axes: Sequence[int], pick: Callable[[Array, Array], Array]) -> Array:
    for axis in sorted(axes, reverse=True):
        while value.shape[axis] > 1:
            half = value.shape[axis] // 2
            first, second = (lax.slice_in_dim(value, start, start + half, axis=axis) for start in (0, half))
            rest = lax.slice_in_dim(value, 2 * half, None, axis=axis)
            value = lax.concatenate([_larger(first, second, pick), rest], axis)
        value = lax.squeeze(value, (axis,))
    return value


def _is_plain(params: dict[str, Any]) -> bool:
    """Whether repeating the border stands for padding in every window."""
    windows = zip(params["window_dimensions"], params["window_dilation"], params["padding"], strict=True)
    fits = all(not any(padding) or (dilation == 1 and max(padding) < size) for size, dilation, padding in windows)
    return fits and all(dilation == 1 for dilation in params["base_dilation"])


def _window_max(value: Array, params: dict[str, Any]) -> Array:
    """The maximum over windows, axis by axis. Padding repeats the border, which lies in every window that it is in."""
    for axis, size in enumerate(params["window_dimensions"]):
        stride, dilation = params["window_strides"][axis], params["window_dilation"][axis]
        before, after = params["padding"][axis]
        count = (value.shape[axis] + before + after - (size - 1) * dilation - 1) // stride + 1
        if size == 1 and stride == 1 and not before and not after:
            continue
        found = None
        for place in range(size):
            rows = np.clip(stride * np.arange(count) + place * dilation - before, 0, value.shape[axis] - 1)
            taken = jnp.take(value, rows, axis=axis, mode="clip")
            found = taken if found is None else _larger(taken, found, lax.max)
        assert found is not None
        value = found
    return value


def _contraction(a: Array, b: Array, numbers: Any) -> Array:
    """dot_general as products and their sum."""
    (over_a, over_b), (batch_a, batch_b) = numbers
    free_a = [axis for axis in range(a.ndim) if axis not in (*over_a, *batch_a)]
    free_b = [axis for axis in range(b.ndim) if axis not in (*over_b, *batch_b)]
    a = lax.transpose(a, [*batch_a, *free_a, *over_a])
    b = lax.transpose(b, [*batch_b, *free_b, *over_b])
    batch, summed = len(batch_a), len(over_a)
    shape = (*a.shape[:batch], *a.shape[batch : batch + len(free_a)], *b.shape[batch : batch + len(free_b)])
    full = (*shape, *a.shape[a.ndim - summed :])
    last = range(len(shape), len(full))
    of_a = [*range(batch + len(free_a)), *last]
    of_b = [*range(batch), *range(batch + len(free_a), len(shape)), *last]
    products = lax.broadcast_in_dim(a, full, of_a) * lax.broadcast_in_dim(b, full, of_b)
    return jnp.sum(products, axis=tuple(last))
