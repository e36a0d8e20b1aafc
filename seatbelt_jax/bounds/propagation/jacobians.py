"""Bounds of the norm of a function's Jacobian where only ranges of its activations' slopes are known.

J = C + sum_k G_k diag(e_k sqrt(r_k)) J_k with |e_k| <= 1 elementwise: activation k has its slopes in
[c_k - r_k, c_k + r_k], the columns of C and G_k go through the activations with the slopes c, and sqrt(r_k) times the
Jacobian J_k of the activation's input has a norm of at most S_k, found in the same way. Then
||J|| <= ||C|| + sum_k ||G_k||_2 S_k, or less (`combined_norm`). Known slopes, r = 0, add no term: where all are known,
this is the norm of the Jacobian.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.operator_norm import combined_norm
from seatbelt_jax.bounds.propagation.forms import PIXELS, AffineForm, Group, Term
from seatbelt_jax.bounds.propagation.program import Instance, times
from seatbelt_jax.bounds.propagation.values import LARGEST, Interval


def jacobian_bounds(instance: Instance, intervals: Sequence[Interval], norm: Norm) -> list[float]:
    """For each output, a bound of the Jacobian's norm from `norm` to L2, activations' inputs being in intervals."""
    program = instance.program
    form = AffineForm(instance)
    norms: dict[Group, float] = {}
    for source, (stage, activation, interval) in enumerate(
        zip(program.stages, instance.activations, intervals, strict=True), start=1
    ):
        least, largest = (np.broadcast_to(slope, stage.shape) for slope in activation.slopes(*interval))
        unbounded = np.maximum(np.abs(least), np.abs(largest)) > LARGEST
        with np.errstate(invalid="ignore"):
            centre = np.where(unbounded, 0.0, 0.5 * (least + largest))
            # With an infinite S_k, any positive radius says that no bound is known.
            root = np.sqrt(np.where(unbounded, 1.0, 0.5 * (largest - least)))
        terms = form.through(stage)
        if unbounded.any():
            norms[source] = math.inf
        elif root.any():
            everywhere = times(float(root.max()), instance.lipschitz(stage, norm))
            norms[source] = min(everywhere, _norm(terms, norms, root.reshape(-1), norm))
        form.activate(source, terms, centre, root)
        form.forget(stage)
    return [
        0.0 if stage is None else _norm(form.through(stage), norms, np.ones(stage.size), norm)
        for stage in program.outputs
    ]


def _norm(terms: dict[Group, Term], norms: dict[Group, float], scale: Float[ndarray, "rows"], norm: Norm) -> float:
    """A bound of the norm of diag(scale) J."""
    rows = np.flatnonzero(scale)
    # Where no pixel has a term, an empty matrix stands for it.
    matrices = [np.zeros((len(rows), 0))]
    for group, term in terms.items():
        matrix = term.rows(rows) * scale[rows, None]
        if group == PIXELS:
            matrices[0] = matrix
        elif math.isfinite(norms[group]):
            matrices.append(matrix * norms[group])
        elif matrix.any():
            return math.inf
    return combined_norm(matrices, norm)
