"""What is compiled to bound a function over a ball: once for each architecture, shape and setting."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm, check_norm
from seatbelt_jax.bounds.propagation.chords import Deviations
from seatbelt_jax.bounds.propagation.crown import Backward
from seatbelt_jax.bounds.propagation.end import End, finish
from seatbelt_jax.bounds.propagation.reading import Ground, read
from seatbelt_jax.bounds.propagation.start import Start, begin
from seatbelt_jax.program import Code, trace
from seatbelt_jax.sections import check_choice

Relaxation = Literal["chords", "crown"]

# Evaluations of the bound in the search for a radius.
_STEPS = 8
# The first radius tried, in units of x, after 0.
FIRST = 1e-3


class Settings(NamedTuple):
    """What is compiled for, besides the code.

    Attributes:
      norm: of the ball of perturbations.
      relaxation: how activations are bounded.
      draw_batch: draws that are bounded at once.
    """

    norm: Norm
    relaxation: Relaxation
    draw_batch: int


class Ends(NamedTuple):
    """The first and the last linear map of a function."""

    start: Start
    end: End | None


_made: dict[tuple[Code, Norm, bool, bytes], Ends] = {}
_MOST_MADE = 8


def prepared(
    fun: Callable, x: Any, noise: Any, centre: Any, norm: Norm, relaxation: Relaxation, draw_batch: int
) -> tuple[tuple[Code, Settings], tuple[Ends, list[Any], Any, list[Any], Any]]:
    check_norm(norm)
    check_choice("relaxation", relaxation, get_args(Relaxation))
    image = np.asarray(x)
    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError(f"x must be floating point, got dtype {image.dtype}")
    leaves, structure = jax.tree.flatten(noise)
    leaves = [np.asarray(leaf) for leaf in leaves]
    counts = {leaf.shape[:1] for leaf in leaves}
    if len(counts) != 1 or counts <= {(), (0,)}:
        raise ValueError(f"noise must hold arrays of one number of draws, got {[leaf.shape for leaf in leaves]}")
    one = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for leaf in leaves])
    program = trace(fun, jax.ShapeDtypeStruct(image.shape, image.dtype), one)
    with jax.ensure_compile_time_eval():
        graph = read(program.code)
    target = np.asarray(centre)
    if target.shape != graph.output.shape:
        raise ValueError(f"centre must have the output's shape {graph.output.shape}, got {target.shape}")
    for name, array in [("x", image), ("centre", target), *(("noise", leaf) for leaf in leaves)]:
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinite entries")
    settings = Settings(norm, relaxation, min(draw_batch, len(leaves[0])))
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        arrays = jax.tree.map(_wide, program.arrays)
        ends = _ends(program.code, arrays, norm, relaxation == "chords")
        return (program.code, settings), (ends, arrays, image, leaves, target)


def _ends(code: Code, arrays: list[Array], norm: Norm, chords: bool) -> Ends:
    """Made once for the same parameters, by their contents: they serve all images, draws and radii."""
    digest = hashlib.sha256()
    for array in arrays:
        is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
        digest.update(np.asarray(jax.random.key_data(array) if is_key else array).tobytes())
    key = (code, norm, chords, digest.digest())
    if key not in _made:
        while len(_made) >= _MOST_MADE:
            _made.pop(next(iter(_made)))
        _made[key] = Ends(begin(code, arrays, norm, ellipsoid=chords), finish(code, arrays) if chords else None)
    return _made[key]


def in_batches(function: Callable, call: tuple, arguments: tuple, *numbers: float) -> Float[ndarray, "draw"]:
    """A compiled function of all draws, `draw_batch` at a time: one program for any number of draws."""
    ends, arrays, image, leaves, target = arguments
    draws, batch = len(leaves[0]), call[1].draw_batch
    given = [np.float64(number) for number in numbers]
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        found = [
            function(*call, ends, arrays, image, [np.resize(leaf[start:], (batch, *leaf.shape[1:])) for leaf in leaves],
                     target, *given)
            for start in range(0, draws, batch)
        ]  # fmt: skip
        return np.concatenate([np.asarray(bounds) for bounds in found])[:draws]


def _of_draws(code: Code, settings: Settings, start: Ends, arrays: list[Array], x: Array, centre: Array) -> Callable:
    """(noise of one draw, R) -> the bound."""
    graph = read(code)
    x, centre = _wide(x), _wide(centre)

    def bound(noise: list[Array], radius: Array) -> Array:
        ground = Ground(graph.arguments, [*arrays, x, *map(_wide, noise)])
        if settings.relaxation == "crown":
            return Backward(graph, ground, start.start, x, radius, settings.norm).farthest(centre, start.end)
        return Deviations(graph, ground, start.start, x, radius).farthest(centre, start.end)

    return bound


@functools.partial(jax.jit, static_argnums=(0, 1))
def deviations(
    code: Code,
    settings: Settings,
    start: Ends,
    arrays: list[Array],
    x: Array,
    noise: list[Array],
    centre: Array,
    radius: Array,
) -> Float[Array, "draw"]:
    bound = _of_draws(code, settings, start, arrays, x, centre)
    return jax.vmap(lambda draw: bound(draw, radius))(noise)


@functools.partial(jax.jit, static_argnums=(0, 1))
def largest_radii(
    code: Code,
    settings: Settings,
    start: Ends,
    arrays: list[Array],
    x: Array,
    noise: list[Array],
    centre: Array,
    radius: Array,
    most: Array,
) -> Float[Array, "draw"]:
    bound = _of_draws(code, settings, start, arrays, x, centre)

    def search(draw: list[Array]) -> Array:
        return _largest(lambda tried: bound(draw, tried), radius, most)

    return jax.vmap(search)(noise)


def _largest(bound: Callable[[Array], Array], radius: Array, most: Array) -> Array:
    """The largest of the tried R with bound(R) <= radius.

    The bound is near a convex function of R. While none has failed the line through the two largest that passed says
    where to go, then the line between the largest that passed and the least that failed, kept off both.
    """

    def step(count: Array, state: tuple) -> tuple:
        low, at_low, before, at_before, high, at_high = state
        slope = (at_low - at_before) / jnp.maximum(low - before, 1e-300)
        ahead = low + 0.8 * (radius - at_low) / jnp.maximum(slope, 1e-300)
        outward = jnp.clip(ahead, 1.05 * low, 1e3 * low)
        share = (radius - at_low) / jnp.maximum(at_high - at_low, 1e-300)
        share = jnp.where(jnp.isfinite(at_high), 1.05 * share, 0.5)
        inward = low + (high - low) * jnp.clip(share, 0.05, 0.95)
        later = jnp.where(jnp.isfinite(high), inward, outward)
        tried = jnp.minimum(jnp.where(count == 0, 0.0, jnp.where(count == 1, FIRST, later)), most)
        found = bound(tried)
        # The first is at 0: where that fails, all that follow are in vain.
        passed = found <= radius
        return (
            jnp.where(passed, tried, low),
            jnp.where(passed, found, at_low),
            jnp.where(passed, low, before),
            jnp.where(passed, at_low, at_before),
            jnp.where(passed, high, tried),
            jnp.where(passed, at_high, found),
        )

    zero, infinite = jnp.zeros(()), jnp.full((), jnp.inf)
    state = (zero, zero, zero, zero, infinite, infinite)
    return jax.lax.fori_loop(0, _STEPS + 2, step, state)[0]


def _wide(array: Array) -> Array:
    return jnp.asarray(array, jnp.float64) if jnp.issubdtype(array.dtype, jnp.floating) else jnp.asarray(array)
