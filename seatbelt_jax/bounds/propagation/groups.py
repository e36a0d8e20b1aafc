"""Deviations as linear images of unknowns: the columns that values over a ball are made of.

A value moves by sum_g M_g^T q_g + e. Group g's unknowns lie in an ellipsoid, ||q_g / scale_g||_2 <= 1, and each in a
box. The columns of all groups are stacked in one array, so that what is compiled grows with the number of operations
and not with its square.

A new group's columns are those of an identity, which no draw changes: they stay so, `fresh`, through the linear
operations behind it, and only the next activation weighs them for each draw. In a long value, only the
`MOST_UNKNOWNS` with the largest boxes become unknowns; the boxes of the rest are added to e.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.propagation.spectral import factor, joined

MOST_UNKNOWNS = 256
# For a longer value, the columns of its unknowns alone are pushed, not an identity.
_LONG = 2048
# A cut that is passed by more groups makes one of them.
_MOST_GROUPS = 8

Place = int
Values = Float[Array, "*shape"]
Number = Float[Array, ""]


class Group(NamedTuple):
    """Where a group's unknowns lie.

    Attributes:
      scale: ||q / scale||_2 <= 1.
      box: |q_i| <= box_i; None where no more is known than by the ellipsoid.
      chosen: which coordinates of the value that made the group are unknowns; None of all.
      rest: the boxes of the coordinates that are not, 0 for the others.
    """

    scale: Float[Array, "n"]
    box: Float[Array, "n"] | None
    chosen: Int[Array, "n"] | None = None
    rest: Float[Array, "m"] | None = None


class Columns(NamedTuple):
    """The maps from the unknowns of groups to a value's deviation.

    Attributes:
      groups: all groups since the last cut, shared by the values since then, and growing.
      kept: the columns of the first `covered` groups, stacked.
      covered: how many these are.
      fresh: of later groups, by their places, the columns of all coordinates that made them.
    """

    groups: list[Group]
    kept: Float[Array, "n *shape"]
    covered: int
    fresh: Mapping[Place, Float[Array, "m *shape"]]

    @property
    def known(self) -> Sequence[Group]:
        return self.groups[: self.covered]


def grown(columns: Columns, count: int) -> tuple[Columns, Values]:
    """The same with the first `count` groups kept, and the error that this adds."""
    parts, shape = [columns.kept], columns.kept.shape[1:]
    fresh, error = dict(columns.fresh), jnp.zeros(shape)
    for place in range(columns.covered, count):
        group = columns.groups[place]
        rows = fresh.pop(place, None)
        if rows is None:
            rows = jnp.zeros((len(group.scale), *shape))
        elif group.chosen is not None and group.rest is not None:
            error = error + jnp.tensordot(group.rest, jnp.abs(rows), 1)
            rows = rows[group.chosen]
        parts.append(rows)
    return Columns(columns.groups, jnp.concatenate(parts), max(count, columns.covered), fresh), error


def settled(columns: Columns) -> tuple[Columns, Values]:
    """The same with no group fresh."""
    return grown(columns, max([columns.covered, *(place + 1 for place in columns.fresh)]))


def pushed(
    operands: Sequence[Columns | None], linear: Callable[[Mapping[int, Array]], Array]
) -> tuple[Columns, list[Values | None]]:
    """The columns of a linear function of several values, and the errors that are added to these first.

    Args:
      operands: of each operand; None of those that do not move.
      linear: from the movements of some operands, by their number, to that of the function.
    """
    count = max(columns.covered for columns in operands if columns is not None)
    aligned, errors = list(operands), list[Values | None]([None] * len(operands))
    for number, columns in enumerate(operands):
        if columns is not None:
            aligned[number], errors[number] = grown(columns, count)
    moving = {number: columns for number, columns in enumerate(aligned) if columns is not None}
    groups = next(iter(moving.values())).groups
    kept = jax.vmap(linear)({number: columns.kept for number, columns in moving.items()})
    places = sorted({place for columns in moving.values() for place in columns.fresh})
    fresh = {
        place: jax.vmap(linear)(
            {number: columns.fresh[place] for number, columns in moving.items() if place in columns.fresh}
        )
        for place in places
    }
    return Columns(groups, kept, count, fresh), errors


def deviation(columns: Columns) -> Values:
    """How far each coordinate moves at most by groups that are kept: of each, by its ellipsoid or by its box."""
    groups, shape = columns.known, columns.kept.shape[1:]
    rows = columns.kept.reshape(len(columns.kept), -1)
    scaled = rows * jnp.concatenate([group.scale for group in groups])[:, None]
    by_norm = jnp.sqrt(_members(groups) @ jnp.square(scaled))
    boxed = [group.box is not None for group in groups]
    boxes = [jnp.zeros_like(group.scale) if group.box is None else group.box for group in groups]
    by_box = _members(groups) @ (jnp.abs(rows) * jnp.concatenate(boxes)[:, None])
    least = jnp.where(jnp.array(boxed)[:, None], jnp.minimum(by_norm, by_box), by_norm)
    # Each row rounds once more, in float64.
    found = jnp.sum(least, axis=0) * (1.0 + 1e-15 * len(rows))
    return found.reshape(shape)


def matrix(columns: Columns) -> Float[Array, "n m"]:
    """A matrix A of which the unit ball's image A^T p holds all deviations by groups that are kept."""
    return weighted(columns, lambda rows: rows)


def weighted(columns: Columns, turn: Callable[[Float[Array, "n m"]], Float[Array, "n k"]]) -> Float[Array, "n k"]:
    """The same of a linear function of the deviation, given by what it makes of rows."""
    groups = columns.known
    scale = jnp.concatenate([group.scale for group in groups])
    rows = turn(columns.kept.reshape(len(columns.kept), -1))
    return joined(rows * scale[:, None], _members(groups))


def compressed(columns: Columns, reach: Values) -> tuple[Columns, Values]:
    """No more unknowns a group than the value has coordinates, and no more than a few groups; with what errors grow by.

    What comes after it must read the groups by this value alone.

    Args:
      reach: how far each coordinate is moved at most: one ellipsoid for all groups is chosen so as to move none of them
        far more.
    """
    columns, error = settled(columns)
    size, shape = reach.size, columns.kept.shape[1:]
    if len(columns.known) > _MOST_GROUPS:
        unit = 1.0 / jnp.where(reach > 0.0, reach, 1.0).reshape(-1)
        rows = factor(weighted(columns, lambda rows: rows * unit))
        one = Group(jnp.ones(size), None)
        return Columns([one], (rows / unit).reshape(size, *shape), 1, {}), error
    if all(len(group.scale) <= size for group in columns.known):
        return columns, error
    starts = np.cumsum([0, *(len(group.scale) for group in columns.known)])
    flat = columns.kept.reshape(len(columns.kept), -1)
    long = [place for place, group in enumerate(columns.known) if len(group.scale) > size]
    parts: dict[int, Array] = {place: flat[starts[place] : starts[place + 1]] for place in range(len(columns.known))}
    groups = list(columns.known)
    for place in long:
        parts[place] = factor(parts[place] * groups[place].scale[:, None])
        groups[place] = Group(jnp.ones(size), None)
    kept = jnp.concatenate([parts[place] for place in range(len(groups))])
    return Columns(groups, kept.reshape(-1, *shape), len(groups), {}), error


def added(
    columns: Columns, weights: Values, box: Values, radius: Callable[[Array | slice], Number]
) -> tuple[Columns, Values]:
    """The columns with a new group, an unknown for each coordinate of the value, and the error that this adds.

    Args:
      columns: all groups are kept.
      weights: the unknowns lie in ||q / weights|| <= radius.
      box: the largest that each can be.
      radius: of the coordinates chosen.
    """
    place, shape, size, nothing = len(columns.groups), weights.shape, weights.size, jnp.zeros_like(weights)
    columns, _ = grown(columns, place)
    weights, box = weights.reshape(-1), box.reshape(-1)
    if size <= MOST_UNKNOWNS:
        columns.groups.append(Group(radius(slice(None)) * weights, box))
        return columns._replace(fresh={place: jnp.eye(size).reshape(size, *shape)}), nothing
    chosen = jax.lax.top_k(box, MOST_UNKNOWNS)[1]
    rest = box.at[chosen].set(0.0)
    scale = radius(chosen) * weights[chosen]
    if size <= _LONG:
        columns.groups.append(Group(scale, box[chosen], chosen, rest))
        return columns._replace(fresh={place: jnp.eye(size).reshape(size, *shape)}), nothing
    columns.groups.append(Group(scale, box[chosen]))
    rows = jax.nn.one_hot(chosen, size, dtype=box.dtype).reshape(-1, *shape)
    kept = jnp.concatenate([columns.kept, rows])
    return Columns(columns.groups, kept, place + 1, {}), rest.reshape(shape)


def _members(groups: Sequence[Group]) -> Float[ndarray, "group n"]:
    return _indicators(tuple(len(group.scale) for group in groups))


@functools.lru_cache(maxsize=256)
def _indicators(sizes: tuple[int, ...]) -> Float[ndarray, "group n"]:
    return np.repeat(np.eye(len(sizes)), sizes, axis=1)
