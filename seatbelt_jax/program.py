"""Functions as values: the code, which is compared, apart from the arrays that it computes with.

A jitted function that takes such a value as an argument compiles once for each code, whatever the arrays. Functions
of our own models carry their parameters. Functions of users are traced, which finds the arrays that they close over.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.extend.source_info_util import user_context

_JITTED = ("jit", "pjit")


@dataclasses.dataclass(frozen=True, eq=False)
class Code:
    """A traced function without its arrays. Two are equal where they take the same steps.

    Attributes:
      jaxpr: the steps; its inputs are the arrays, then the arguments.
      arguments: the structure of the arguments, and the shape and type of each.
      results: the structure of what the function returns.
      key: what is compared.
    """

    jaxpr: Any
    arguments: tuple[Any, tuple[jax.ShapeDtypeStruct, ...]]
    results: Any
    key: Any = dataclasses.field(repr=False)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Code) and self.key == other.key)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Program:
    """A traced function, called as the function was: a pytree of the arrays that it closed over.

    Attributes:
      code: the steps.
      arrays: what the function closed over, as it was when it was traced.
    """

    code: Code = dataclasses.field(metadata={"static": True})
    arrays: list[Any]

    def __call__(self, *arguments: Any) -> Any:
        """The function's results, for arguments of the shapes that it was traced for.

        Raises:
          ValueError: for arguments of other shapes.
        """
        structure, expected = self.code.arguments
        leaves, given = jax.tree.flatten(arguments)
        shapes = [np.shape(leaf) for leaf in leaves]
        if given != structure or shapes != [leaf.shape for leaf in expected]:
            raise ValueError(f"traced for arguments of shapes {[leaf.shape for leaf in expected]}, got {shapes}")
        leaves = [jnp.asarray(leaf, wanted.dtype) for leaf, wanted in zip(leaves, expected, strict=True)]
        results = jax.core.eval_jaxpr(self.code.jaxpr, (), *self.arrays, *leaves)
        return jax.tree.unflatten(self.code.results, results)


def is_value(function: Callable) -> bool:
    """Whether the function is a pytree, such as a `Program` or a `jax.tree_util.Partial`, of arrays and floats alone.

    One with other leaves, or a structure without a hash, is none: jitted functions would refuse it, or a function that
    reads whole numbers as shapes would refuse theirs.
    """
    leaves, structure = jax.tree.flatten(function)
    if not all(isinstance(leaf, jax.Array | np.ndarray | np.generic | float) for leaf in leaves):
        return False
    try:
        hash(structure)
    except TypeError:
        return False
    return True


def as_value(function: Callable, *examples: Any) -> Callable:
    """The function as a pytree that jitted functions take as an argument; itself where it is one."""
    return function if is_value(function) else trace(function, *examples)


@jax.jit
def run(function: Callable, *arguments: Any) -> Any:
    """Calls a function that is a value, compiled once for all of the same code and shapes."""
    return function(*arguments)


def trace(function: Callable, *examples: Any) -> Program:
    """Traces a function for arguments of the shapes and types of the examples.

    Args:
      function: of pytrees of arrays, to a pytree of arrays. What it closes over is read now, once.
      *examples: its arguments, or their `jax.ShapeDtypeStruct`.
    """
    leaves, structure = jax.tree.flatten(examples)
    expected = tuple(jax.eval_shape(jnp.asarray, _narrowed(leaf)) for leaf in leaves)
    # JAX remembers what it has traced by the function's identity: a new one reads what is closed over again.
    afresh = jax.make_jaxpr(lambda *arguments: function(*arguments), return_shape=True)
    closed, results = afresh(*jax.tree.unflatten(structure, expected))
    # Jitted parts hold arrays of their own: opened, these become the function's.
    opened = jax.make_jaxpr(lambda *given: _open(closed, given))(*expected)
    # NumPy's would be copied to the device at each call.
    arrays = list(map(jnp.asarray, opened.consts))
    bare = jax.make_jaxpr(lambda kept, given: jax.core.eval_jaxpr(opened.jaxpr, kept, *given))(arrays, expected)
    key = (_key_of(bare), structure, expected, jax.tree.structure(results))
    return Program(Code(bare.jaxpr, (structure, expected), jax.tree.structure(results), key), arrays)


def _narrowed(leaf: Any) -> Any:
    """A shape with the type that arrays of it will have: JAX warns of wider ones than are enabled."""
    if isinstance(leaf, jax.ShapeDtypeStruct) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype))
    return leaf


def _open(closed: Any, arguments: Sequence[Any]) -> list[Any]:
    """Evaluates a jaxpr, and step by step the jitted parts of it that hold arrays."""
    steps, consts = _parts(closed)
    values = dict(zip([*steps.constvars, *steps.invars], [*consts, *arguments], strict=True))
    for step in steps.eqns:
        operands = [atom.val if isinstance(atom, Literal) else values[atom] for atom in step.invars]
        with user_context(step.source_info.traceback):
            if step.primitive.name in _JITTED and _holds_arrays(step.params["jaxpr"]):
                found: Any = _open(step.params["jaxpr"], operands)
            else:
                found = _take(step, operands)
        values.update(zip(step.outvars, found, strict=True))
    return [atom.val if isinstance(atom, Literal) else values[atom] for atom in steps.outvars]


def _take(step: Any, operands: Sequence[Any]) -> Sequence[Any]:
    """The results of one step of a jaxpr."""
    found = step.primitive.bind(*operands, **step.primitive.get_bind_params(step.params))
    return found if step.primitive.multiple_results else [found]


def _parts(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    return (jaxpr.jaxpr, jaxpr.consts) if isinstance(jaxpr, ClosedJaxpr) else (jaxpr, getattr(jaxpr, "consts", ()))


def _holds_arrays(jaxpr: Any) -> bool:
    """Whether a jitted part closes over arrays, itself or in a jitted part of its own."""
    steps, consts = _parts(jaxpr)
    inner = (step.params["jaxpr"] for step in steps.eqns if step.primitive.name in _JITTED)
    return bool(consts) or any(map(_holds_arrays, inner))


def key_of(value: Any) -> Any:
    """A hashable that parameters of steps share where they are the same; jaxprs, arrays and numbers by content."""
    return _value_key(value, ())


class _Same:
    """Stands in a key for what cannot be compared: equal to itself alone."""

    def __init__(self, value: Any):
        self._value = value

    def __hash__(self) -> int:
        return id(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value


def _key_of(jaxpr: Any, within: tuple[Any, ...] = ()) -> Any:
    """What two jaxprs have in common where they take the same steps; hashable, and alive as long as what it names.

    Args:
      jaxpr: the steps.
      within: the keys of the functions whose rule of derivation they are part of.
    """
    steps, consts = _parts(jaxpr)
    numbers = {var: number for number, var in enumerate([*steps.constvars, *steps.invars])}

    def atom_key(atom: Any) -> Any:
        return _value_key(np.asarray(atom.val), within) if isinstance(atom, Literal) else numbers[atom]

    taken = []
    for step in steps.eqns:
        params = tuple((name, _param_key(step, name, within)) for name in sorted(step.params))
        taken.append((step.primitive, tuple(map(atom_key, step.invars)), params))
        for var in step.outvars:
            numbers[var] = len(numbers)
    shapes = tuple(var.aval for var in [*steps.constvars, *steps.invars])
    return (shapes, tuple(taken), tuple(map(atom_key, steps.outvars)), _value_key(tuple(consts), within))


def _param_key(step: Any, name: str, within: tuple[Any, ...]) -> Any:
    value = step.params[name]
    # The rule is made anew at each trace, but what it computes can be compared. It may use the function itself.
    if name == "jvp_jaxpr_fun":
        function = _value_key(step.params["call_jaxpr"], within)
        if function in within:
            return within.index(function)
        shapes = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in step.invars]
        rule = jax.make_jaxpr(lambda given, moved: jax.jvp(lambda *x: _take(step, x), given, moved))
        return _key_of(rule(shapes, shapes), (*within, function))
    return _value_key(value, within)


def _value_key(value: Any, within: tuple[Any, ...]) -> Any:
    if isinstance(value, ClosedJaxpr | Jaxpr):
        return _key_of(value, within)
    if isinstance(value, tuple | list):
        return (type(value).__name__, tuple(_value_key(part, within) for part in value))
    if isinstance(value, np.ndarray | np.generic):
        return (value.dtype, value.shape, value.tobytes())
    if isinstance(value, int | float | complex):
        return (type(value).__name__, repr(value))
    try:
        hash(value)
    except TypeError:
        return _Same(value)
    return value
