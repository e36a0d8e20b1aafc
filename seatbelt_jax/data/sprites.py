"""dSprites drawn from its factors: each image is a pure function of five integers; no file is read.

dSprites (Matthey, Higgins, Hassabis and Lerchner 2017) shows one white shape on black, once for every
combination of five factors, ordered with the last the fastest:

    shape        3   square, ellipse, heart
    scale        6   linear in [0.5, 1]
    orientation  40  linear in [0, 2 pi] with both ends, so the first and the last look the same
    x            32  linear in [0, 1], left to right
    y            32  linear in [0, 1], top to bottom

The set was rendered from vector shapes without antialiasing: a pixel is white where its centre lies
in the shape. We test the pixel centres against the equation of each shape. The constants below were
fitted to 127 frames (64 x 64) of the animation published with the set, and then rounded: 103 of
these frames come back exactly, and none of the others differs by more than four pixels.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

FACTOR_NAMES = ("shape", "scale", "orientation", "x", "y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
NUM_SPRITES = 737_280
SIZES = range(8, 65)  # sides of the images, in pixels

_SCALES = np.linspace(0.5, 1.0, 6)
_ORIENTATIONS = np.linspace(0.0, 2.0 * np.pi, 40)

# The canvas has side 1. Fitted: the positions span its middle half (pixels 16 to 48 of 64, so that a
# step is 32/31 pixels), and the square of scale 1 has side 0.3 (19.2 pixels).
_POSITIONS = np.linspace(0.25, 0.75, 32)
_HALF_SIDE = 0.15

# Fitted: semi-axes of the ellipse in half sides (12.8 and 7.2 pixels of 64), the long one along x at
# orientation 0.
_ELLIPSE_AXES = (4.0 / 3.0, 3.0 / 4.0)

# The heart is the well-known curve
#     x = 16 sin(t)^3,   y = 13 cos(t) - 5 cos(2 t) - 2 cos(3 t) - cos(4 t)   (y upwards).
# Fitted: to get half sides, x is divided by 16, y by 14.5, and the whole is then raised by 0.15.
_HEART_HEIGHT = 14.5
_HEART_LIFT = 0.15

_PAIRS_AT_ONCE = 256


def factors_from_index(index: Int[Array | np.ndarray, "*batch"]) -> Int[Array, "*batch 5"]:
    """Factors, in the order of `FACTOR_NAMES`, of the sprites at places `index` of the official arrays.

    Raises TypeError if `index` does not hold integers, and ValueError if one lies outside
    [0, NUM_SPRITES); traced values cannot be checked, and then the result has no meaning.
    """
    return _unravel(_as_levels(index, NUM_SPRITES, "index"))


def shape_from_index(index: Int[Array | np.ndarray, "*batch"]) -> Int[Array, "*batch"]:
    """The first factor of `factors_from_index`; raises its errors."""
    return _shape(_as_levels(index, NUM_SPRITES, "index"))


def index_from_factors(factors: Int[Array | np.ndarray, "*batch 5"]) -> Int[Array, "*batch"]:
    """Places in the official arrays of the sprites with these factors: undoes `factors_from_index`.

    Raises TypeError and ValueError as `draw` does.
    """
    return _ravel(_as_factors(factors))


def draw(
    factors: Int[Array | np.ndarray, "*batch 5"], *, size: int = 64, zoom: float = 1.0
) -> Float[Array, "*batch size size 1"]:
    """Images of the sprites with these factors: 0 or 1, rows along y, columns along x.

    A zoom above 1 shows the middle of the canvas alone, 1 / zoom of it along each side.

    Size 64 is that of dSprites. A smaller image samples the same canvas at fewer pixel centres; as
    a small sprite could slip between these, the pixel that holds its position is always lit. (From
    size 32 on, the centre of that pixel lies in the shape anyway.)

    Raises TypeError if `factors` does not hold integers; ValueError if its last axis is not 5 long,
    if a factor lies outside its range in `FACTOR_SIZES` (traced values cannot be checked: the
    nearest allowed level is drawn), if `size` is not an integer from 8 to 64, or if `zoom` is below 1.
    """
    if not zoom >= 1.0:
        raise ValueError(f"zoom must be a number of at least 1, got {zoom!r}")
    return _draw(_as_factors(factors), _as_size(size), float(zoom))


def draw_index(index: Int[Array | np.ndarray, "*batch"], *, size: int = 64) -> Float[Array, "*batch size size 1"]:
    """Images of the sprites at places `index` of the official arrays: see `draw`."""
    return draw(factors_from_index(index), size=size)


def one_factor_pairs(
    factor: str,
    number: int,
    *,
    seed: int,
    sources: Int[np.ndarray, " source"] | None = None,
    size: int = 64,
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Pairs of sprites that differ in one factor alone, and in their pictures.

    Such pairs show how one generative factor is attacked (Willetts et al. 2021, Fig. 4, turns a sprite). The target's
    level is drawn uniformly from the other levels whose picture is another: orientations 0 and 39 are one, a small
    square may look the same at two angles, and small images hold few positions apart.

    Args:
      factor: one of `FACTOR_NAMES`.
      number: of pairs.
      seed: of the draw.
      sources: places in the official arrays that sources are drawn from, without repetition; all if None.
      size: of the images whose pictures shall differ.

    Returns:
      Places of the sources and of the targets in the official arrays.

    Raises:
      ValueError: for an unknown factor, a place or size outside its range, or where there are fewer pairs.
      TypeError: where `sources` are not whole numbers.
    """
    if factor not in FACTOR_NAMES:
        raise ValueError(f"factor must be one of {', '.join(FACTOR_NAMES)}; got {factor!r}")
    size = _as_size(size)
    pool = np.arange(NUM_SPRITES) if sources is None else np.unique(np.asarray(sources))
    if not 1 <= number <= len(pool):
        raise ValueError(f"asked for {number} sources out of {len(pool)} sprites; give 1 to {len(pool)}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(pool)
    found = np.empty((0, 2), order.dtype)
    block = min(number, _PAIRS_AT_ONCE)
    for start in range(0, len(order), block):
        pairs = _other_levels(order[start : start + block], FACTOR_NAMES.index(factor), size, rng)
        found = np.concatenate([found, pairs])[:number]
        if len(found) == number:
            return found[:, 0], found[:, 1]
    raise ValueError(
        f"only {len(found)} of these {len(order)} sprites look different at another level of {factor} in images of "
        f"{size} pixels; asked for {number}"
    )


def _other_levels(
    sources: Int[np.ndarray, " source"], factor: int, size: int, rng: np.random.Generator
) -> Int[np.ndarray, "pair 2"]:
    """Each source with a target at another level, drawn from those that look different; none, no pair."""
    factors = np.asarray(factors_from_index(sources))
    pictures = np.asarray(draw(factors, size=size))
    levels = rng.permuted(np.tile(np.arange(FACTOR_SIZES[factor]), (len(sources), 1)), axis=1)
    targets = np.full(len(sources), -1)
    for column in range(levels.shape[1]):
        changed = factors.copy()
        changed[:, factor] = levels[:, column]
        differs = np.any(np.asarray(draw(changed, size=size)) != pictures, axis=(1, 2, 3))
        targets = np.where((targets < 0) & differs, np.asarray(index_from_factors(changed)), targets)
        if np.all(targets >= 0):
            break
    return np.stack([sources, targets], axis=-1)[targets >= 0]


@jax.jit
def _unravel(index: Int[Array, "*batch"]) -> Int[Array, "*batch 5"]:
    return jnp.stack(jnp.unravel_index(index, FACTOR_SIZES), axis=-1)


@jax.jit
def _shape(index: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
    return index // (NUM_SPRITES // FACTOR_SIZES[0])


@jax.jit
def _ravel(factors: Int[Array, "*batch 5"]) -> Int[Array, "*batch"]:
    return jnp.ravel_multi_index(tuple(jnp.moveaxis(factors, -1, 0)), FACTOR_SIZES, mode="clip")


@partial(jax.jit, static_argnames=("size", "zoom"))
def _draw(factors: Int[Array, "*batch 5"], size: int, zoom: float) -> Float[Array, "*batch size size 1"]:
    # One number per sprite, with two axes for the rows and columns of its image.
    shape, scale, orientation, x, y = jnp.moveaxis(factors[..., None, None], -3, 0)
    centre_x = _lookup(_POSITIONS, x)
    centre_y = _lookup(_POSITIONS, y)
    unit = _lookup(1.0 / (_HALF_SIDE * _SCALES), scale)  # half sides per canvas side
    cosine = _lookup(np.cos(_ORIENTATIONS), orientation) * unit
    sine = _lookup(np.sin(_ORIENTATIONS), orientation) * unit

    pixel = jnp.arange(size)
    edge = 0.5 - 0.5 / zoom
    grid = edge + (pixel + 0.5) / size / zoom  # pixel centres
    right = grid[None, :] - centre_x
    down = grid[:, None] - centre_y
    # Pixel centres in the frame of the upright sprite, in half sides; it turns anticlockwise on the page.
    u = cosine * right - sine * down
    v = sine * right + cosine * down

    inside = jnp.where(shape <= 0, _in_square(u, v), jnp.where(shape == 1, _in_ellipse(u, v), _in_heart(u, v)))
    column, row = ((centre - edge) * zoom * size for centre in (centre_x, centre_y))
    holds_position = (pixel == jnp.floor(column)) & (pixel[:, None] == jnp.floor(row))
    return (inside | holds_position)[..., None].astype(jnp.float32)


def _in_square(u: Array, v: Array) -> Array:
    return jnp.maximum(jnp.abs(u), jnp.abs(v)) <= 1.0


def _in_ellipse(u: Array, v: Array) -> Array:
    return jnp.square(u / _ELLIPSE_AXES[0]) + jnp.square(v / _ELLIPSE_AXES[1]) <= 1.0


def _in_heart(u: Array, v: Array) -> Array:
    # A given u = sin(t)^3 is met twice on the curve: with q = 1 - |u|^(2/3), at cos(t) = sqrt(q) on the
    # upper border and at -sqrt(q) on the lower. Written as polynomials in cos(t), the borders are
    #     y = (4 - 2 q - 8 q^2) +- sqrt(q) (19 - 8 q),
    # and a point lies between them if its squared distance from their middle is at most the square
    # of the last term. Left and right of the heart q < 0, and no y meets that.
    # The power is an exponential because jnp.cbrt is not vectorised on CPU, where it took ten times the
    # time of all the rest; u = 0 gives exp(-inf) = 0, as it should.
    q = 1.0 - jnp.exp(jnp.log(jnp.square(u)) / 3.0)
    y = -_HEART_HEIGHT * (v + _HEART_LIFT)
    return jnp.square(y - (4.0 - 2.0 * q - 8.0 * jnp.square(q))) <= q * jnp.square(19.0 - 8.0 * q)


def _lookup(table: np.ndarray, level: Array) -> Array:
    return jnp.take(jnp.asarray(table, jnp.float32), level, mode="clip")


def _as_factors(factors: Array | np.ndarray) -> Array:
    if jnp.ndim(factors) == 0 or jnp.shape(factors)[-1] != len(FACTOR_NAMES):
        raise ValueError(
            f"factors must have shape [..., {len(FACTOR_NAMES)}], the last axis holding "
            f"{', '.join(FACTOR_NAMES)}, got {jnp.shape(factors)}"
        )
    return _as_levels(factors, np.array(FACTOR_SIZES), "factors")


def _as_levels(levels: Array | np.ndarray, count: int | np.ndarray, name: str) -> Array:
    if not jnp.issubdtype(jnp.result_type(levels), jnp.integer):
        raise TypeError(f"{name} must hold integers, got {jnp.result_type(levels)}; convert it first")
    if not isinstance(levels, jax.core.Tracer):
        values = np.asarray(levels)  # int32 could hide a value out of range
        if np.any((values < 0) | (values >= count)):
            raise ValueError(f"{name} must lie from 0 to {count - 1}, got values from {values.min()} to {values.max()}")
    return jnp.asarray(levels, jnp.int32)


def _as_size(size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size not in SIZES:
        raise ValueError(f"size must be an integer from {SIZES[0]} to {SIZES[-1]} pixels, got {size!r}")
    return int(size)
