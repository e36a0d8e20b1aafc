"""Linear maps from several groups of perturbations, taken through the stages of a function.

A form holds, for every source, a sum of terms A_g p_g: p_0 the movement of the pixels and p_k one unknown for each of
the elements of activation k that need one. What the unknowns are is the user's affair.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.propagation.program import Instance
from seatbelt_jax.bounds.propagation.stages import INPUT, Columns, Source, Stage

# Group 0 are the pixels, group k belongs to the k-th activation.
Group = int
PIXELS: Group = 0
# The unknowns of a value this short get a column each, needed or not, those of a longer one are filled up to a power
# of two: few shapes to compile.
_SHORT = 512
# Numbers in the columns of one value: 1 GiB of float64. Several such arrays are alive at a time.
_MOST_NUMBERS = 2**27


class TooManyColumnsError(ValueError):
    """The columns of a value do not fit into the memory that forms may take."""


class Term(NamedTuple):
    """The columns of one group and how many there are: those after `width` are zeros."""

    map: Columns
    width: int

    def rows(self, chosen: Int[ndarray, "rows"] | slice) -> Float[ndarray, "rows width"]:
        """The chosen rows of the map as a matrix in float64."""
        columns = np.asarray(self.map.columns)[: self.width].reshape(self.width, -1)
        return columns[:, chosen].T.astype(np.float64)


class _Scaled(NamedTuple):
    """Columns that are yet to be multiplied, row by row, by a scale."""

    columns: Float[Array, "n *shape"]
    scale: Float[Array, "*shape"]
    width: int


class AffineForm:
    """The terms of all sources that are still to be read."""

    def __init__(self, instance: Instance):
        self._instance = instance
        self._sources: dict[Source, dict[Group, _Scaled]] = {}

    def through(self, stage: Stage) -> dict[Group, Term]:
        """The terms of a stage's value.

        Raises:
          TooManyColumnsError: they need more memory than a form may take.
        """
        if INPUT in stage.sources:
            pixels = math.prod(stage.shape_of(INPUT))
            _check_size(pixels, max(pixels, stage.size))
        if stage.sources == [INPUT]:
            columns = self._instance.from_input(stage)
            return {PIXELS: Term(columns, len(columns.columns))}
        read = {source: self._of(source, stage) for source in stage.sources}
        constants = self._instance.constants(stage)
        terms = {}
        for group in sorted({group for groups in read.values() for group in groups}):
            given = {source: groups[group] for source, groups in read.items() if group in groups}
            _check_size(len(next(iter(given.values())).columns), stage.size)
            columns = stage.code.push(
                constants,
                {source: scaled.columns for source, scaled in given.items()},
                {source: scaled.scale for source, scaled in given.items()},
            )
            terms[group] = Term(columns, next(iter(given.values())).width)
        return terms

    def _of(self, source: Source, stage: Stage) -> dict[Group, _Scaled]:
        if source != INPUT:
            return self._sources[source]
        shape, dtype = stage.shape_of(INPUT), stage.dtype_of(INPUT)
        size = math.prod(shape)
        pixels = jnp.eye(size, dtype=dtype).reshape(size, *shape)
        return {PIXELS: _Scaled(pixels, jnp.ones(shape, dtype), size)}

    def activate(
        self, source: Source, terms: dict[Group, Term], scale: Float[ndarray, "*shape"], new: Float[ndarray, "*shape"]
    ) -> None:
        """Makes a source: the given terms, scaled, and a group of its own with these entries, of which 0 need none.

        Raises:
          TooManyColumnsError: that group needs more memory than a form may take.
        """
        dtype = self._instance.program.activations[source - 1].dtype
        scales = jnp.asarray(scale, dtype)
        groups = {group: _Scaled(term.map.columns, scales, term.width) for group, term in terms.items()}
        needed = np.flatnonzero(new)
        if len(needed):
            size = new.size
            filled = size if size <= _SHORT else min(size, 1 << math.ceil(math.log2(max(len(needed), _SHORT))))
            _check_size(filled, size)
            places = np.zeros(filled, np.int32)
            places[: len(needed)] = needed
            ones = np.zeros(filled, bool)
            ones[: len(needed)] = True
            columns = _unit_columns(new.shape, places, jnp.asarray(ones, dtype))
            groups[source] = _Scaled(columns, jnp.asarray(new, dtype), len(needed))
        self._sources[source] = groups

    def forget(self, stage: Stage) -> None:
        """Drops the sources that no later stage reads."""
        for source in self._instance.program.last_read_by(stage):
            self._sources.pop(source, None)


@functools.partial(jax.jit, static_argnums=0)
def _unit_columns(shape: tuple[int, ...], places: Int[Array, "n"], ones: Float[Array, "n"]) -> Float[Array, "n *shape"]:
    columns = jnp.zeros((len(places), math.prod(shape)), ones.dtype)
    return columns.at[jnp.arange(len(places)), places].set(ones).reshape(-1, *shape)


def _check_size(columns: int, size: int) -> None:
    if columns * size > _MOST_NUMBERS:
        raise TooManyColumnsError(
            f"an affine form needs {columns} columns of {size} numbers, more than {_MOST_NUMBERS} numbers together: "
            "the function has too many pixels or too wide layers"
        )
