"""Proven bounds of how far the draws of an image are moved, from the code of the model."""

import math

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds import propagation
from seatbelt_jax.bounds.checks import Norm, is_refusal
from seatbelt_jax.bounds.draw_radii import DrawRadii
from seatbelt_jax.bounds.layers import Layers
from seatbelt_jax.bounds.model import Model
from seatbelt_jax.bounds.propagation.graph import Operation
from seatbelt_jax.bounds.propagation.reading import read
from seatbelt_jax.program import trace

# Draws that are bounded at once; fewer are filled up to so many, so that one program serves however many are left.
_BATCH = 16
# On a CPU an activation takes 2 s to compile, and widths of 512 many seconds an image.
_MANY, _WIDE = 40, 400


def draw_radii(
    layers: Layers,
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
    reconstruct = Partial(_reconstruct, layers)

    def deviations(rows: Int[ndarray, "row"], size: float) -> Float[ndarray, "row"]:
        filled = np.resize(rows, max(len(rows), min(_BATCH, len(noise))))
        bounds = propagation.deviation_bound(
            reconstruct, image, noise[filled], centre, size, norm=norm, draw_batch=_BATCH
        )
        return np.asarray(bounds, np.float64)[: len(rows)]

    return DrawRadii(deviations, distances)


def _reconstruct(layers: Layers, x: Float[Array, "*image"], noise: Float[Array, "total"]) -> Float[Array, "*image"]:
    return layers.reconstruct(x, noise)


def why_not(model: Model, image: Float[ndarray, "*image"]) -> str:
    """Why draws of the model are not bounded unasked; empty if they are.

    Either the operation of its code that has no bounds is named, or activations are so many or so wide that bounds
    take minutes to compile or many seconds an image.
    """
    layers, _ = model.checked(image[None])
    noise = jax.ShapeDtypeStruct((sum(layers.sizes),), image.dtype)
    code = trace(Partial(_reconstruct, layers), jax.ShapeDtypeStruct(image.shape, image.dtype), noise).code
    try:
        graph = read(code)
    except ValueError as error:
        if not is_refusal(error):
            raise
        return str(error)
    sizes = [math.prod(node.shape) for node in graph.nodes[1:] if not isinstance(node, Operation)]
    is_costly = len(sizes) > _MANY or any(size > _WIDE for size in sizes)
    return "bounds of networks so deep or wide take minutes; method best_sound makes them" if is_costly else ""
