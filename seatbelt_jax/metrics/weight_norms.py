"""Norms of networks' weights, and how they change from one model to another (Willetts et al. 2019, Table 1)."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def weight_norms(parameters: Any) -> dict[str, float]:
    """||W||_2, all entries squared and summed, of every layer of a tree of parameters, by its path "encoder/Conv_0".

    A layer's weights are its arrays of two axes or more (the matrices of dense layers, the kernels of convolutions);
    biases and the scales of normalisation, of one axis, are no weights. Sums are in float64.

    Args:
      parameters: nested mappings, their leaves arrays.

    Raises:
      ValueError: where there are no weights.
    """
    squares: dict[str, float] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
        if np.ndim(leaf) >= 2:
            layer = "/".join(str(getattr(entry, "key", entry)) for entry in path[:-1])
            total = float(np.sum(np.square(np.asarray(leaf, np.float64))))
            squares[layer] = squares.get(layer, 0.0) + total
    if not squares:
        raise ValueError("these parameters hold no weights: no array has two axes")
    return {layer: math.sqrt(square) for layer, square in squares.items()}


def total_norm(norms: Mapping[str, float]) -> float:
    """The norm of all these layers' weights together."""
    return math.sqrt(sum(norm**2 for norm in norms.values()))


def relative_changes(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """(after - before) / before of norms by their names; of a norm of 0 that changes, infinity, and else NaN.

    Willetts et al. 2019, Table 1, gives them for beta from 1 to 10, in per cent, whole encoders and decoders at a time.

    Raises:
      ValueError: where the two name different layers.
    """
    if different := sorted(before.keys() ^ after.keys()):
        raise ValueError(f"the two are of different networks; only one of them has {', '.join(different)}")
    return {name: _relative_change(norm, after[name]) for name, norm in before.items()}


def _relative_change(before: float, after: float) -> float:
    if before == 0.0:
        return math.inf if after else math.nan
    return (after - before) / before
