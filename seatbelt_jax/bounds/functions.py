"""The functions that certificates are about, as values: what is compiled for one model serves all of its code."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import Float
from numpy import ndarray

from seatbelt_jax import program
from seatbelt_jax.bounds.checks import Decode, DecodePath, Encode, Features, Level
from seatbelt_jax.gaussian import sample


def one_layer(encode: Encode, decode: Decode, images: Float[ndarray, "n *image"]) -> tuple[Encode, Decode]:
    """encode and decode of one example as values; they must have been checked (`checks.check_model`)."""
    image = _example(images)
    value = _value(encode, image)
    return value, _value(decode, _drawn(value, image))


def hierarchy(
    levels: Sequence[Level], decode: DecodePath, features: Features | None, images: Float[ndarray, "n *image"]
) -> tuple[tuple[Level, ...], DecodePath, Features | None]:
    """The functions of a hierarchy as values; they must have been checked (`checks.check_hierarchy`)."""
    read: Any = _example(images)
    if features is not None:
        features = _value(features, read)
        read = jax.eval_shape(features, read)
    values: list[Level] = []
    path: tuple[Any, ...] = ()
    for level in levels:
        values.append(_value(level, read, path))
        path = (*path, _drawn(values[-1], read, path))
    return tuple(values), _value(decode, path), features


def _example(images: Float[ndarray, "n *image"]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(images.shape[1:], images.dtype)


def _value(function: Callable, *examples: Any) -> Callable:
    # Products keep the precision that they are traced with: all of float32, also where an accelerator would round.
    with jax.default_matmul_precision("highest"):
        return program.as_value(function, *examples)


def _drawn(level: Callable, *given: Any) -> jax.ShapeDtypeStruct:
    """Shape and type of a sample of the posterior."""

    def draw(*arguments: Any) -> Any:
        posterior = level(*arguments)
        return sample(posterior, posterior.mean)

    return jax.eval_shape(draw, *given)
