"""Proven bounds of how far the draws of an image are moved, from the code of the model."""

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds import propagation
from seatbelt_jax.bounds.checks import Decode, DecodePath, Encode, Features, Level, Norm, is_refusal
from seatbelt_jax.bounds.draw_radii import DrawRadii
from seatbelt_jax.bounds.draws import Model, described_model
from seatbelt_jax.bounds.propagation.graph import Operation
from seatbelt_jax.bounds.propagation.reading import read
from seatbelt_jax.program import trace

# Few draws are filled up to so many, more to all: two shapes, so that two programs serve however many are left.
_FEW = 16
# Measured on 2 CPU cores: 21 activations did not compile in 10 minutes, widths of 512 take 30 s an image.
_MANY, _WIDE = 18, 400


def draw_radii(
    model: Model,
    image: Float[ndarray, "*image"],
    centre: Float[ndarray, "*image"],
    noise: Float[ndarray, "path total"],
    distances: Float[ndarray, "path"],
    *,
    norm: Norm,
) -> DrawRadii:
    """How far each draw of this noise stays near the centre, bounded when it is asked for.

    The noise of every layer is a number in a draw's reconstruction, which is then a deterministic function of the
    image: nothing is linearised or frozen, and a hierarchy is one longer function.
    """
    reconstruct = Partial(_reconstruct, model)

    def deviations(rows: Int[ndarray, "row"], size: float) -> Float[ndarray, "row"]:
        filled = np.resize(rows, min(_FEW, len(noise)) if len(rows) <= _FEW else len(noise))
        bounds = propagation.deviation_bound(reconstruct, image, noise[filled], centre, size, norm=norm)
        return np.asarray(bounds, np.float64)[: len(rows)]

    return DrawRadii(deviations, distances)


def _reconstruct(model: Model, x: Float[Array, "*image"], noise: Float[Array, "total"]) -> Float[Array, "*image"]:
    return model.reconstruct(x, noise)


def refusal(
    encode: Encode | None,
    decode: Decode | DecodePath,
    image: Float[ndarray, "*image"],
    *,
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
) -> str:
    """Why no draw of the model can be bounded: the operation of its code that has no bounds; empty if all have."""
    return _looked_at(encode, decode, image, levels, features)[0]


def is_costly(
    encode: Encode | None,
    decode: Decode | DecodePath,
    image: Float[ndarray, "*image"],
    *,
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
) -> bool:
    """Whether bounds of a draw take minutes to compile or many seconds an image: deep or wide activations."""
    _, activations = _looked_at(encode, decode, image, levels, features)
    return len(activations) > _MANY or any(size > _WIDE for size in activations)


def _looked_at(
    encode: Encode | None,
    decode: Decode | DecodePath,
    image: Float[ndarray, "*image"],
    levels: Sequence[Level] | None,
    features: Features | None,
) -> tuple[str, list[int]]:
    """Why the code of a draw has no bounds, or an empty text; and the sizes of its activations."""
    model, _ = described_model(encode, levels, decode, image[None], features)
    noise = jax.ShapeDtypeStruct((sum(model.sizes),), image.dtype)
    code = trace(Partial(_reconstruct, model), jax.ShapeDtypeStruct(image.shape, image.dtype), noise).code
    try:
        graph = read(code)
    except ValueError as error:
        if not is_refusal(error):
            raise
        return str(error), []
    return "", [math.prod(node.shape) for node in graph.nodes[1:] if not isinstance(node, Operation)]
