"""dSprites from its factors: the official frames, the geometry, the order of the factors, bad input."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax.data import sprites

FRAMES = pathlib.Path(__file__).parents[1] / ".." / "shared" / "data" / "dsprites_frames" / "frames.npz"
SQUARE, ELLIPSE, HEART = range(3)
STEP = 32 / 31  # pixels of a 64 x 64 image between neighbouring positions


def picture(*factors: int, size: int = 64) -> np.ndarray:
    return np.asarray(sprites.draw(jnp.array(factors), size=size))[..., 0]


def random_factors(count: int) -> jax.Array:
    index = jax.random.randint(jax.random.key(0), (count,), 0, sprites.NUM_SPRITES)
    return sprites.factors_from_index(index)


def centroids(images: np.ndarray) -> np.ndarray:
    """Mean (x, y) of the lit pixels of [batch, size, size], in pixels."""
    axis = np.arange(images.shape[-1]) + 0.5
    mass = images.sum((1, 2))
    return np.stack([images.sum(1) @ axis / mass, images.sum(2) @ axis / mass], axis=-1)


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.minimum(a, b).sum((-2, -1)) / np.maximum(a, b).sum((-2, -1))


def best_match(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each frame, the factors of its best match and the IoU: a lower bound on the best over the grid.

    Every shape, scale and orientation whose area allows an IoU of 0.85 is drawn at the one grid position
    that brings its centroid nearest to the frame's.
    """
    poses = np.stack(np.unravel_index(np.arange(720), (3, 6, 40)), axis=-1)
    templates = np.asarray(sprites.draw(np.pad(poses, ((0, 0), (0, 2)))))[..., 0]
    ratio = templates.sum((1, 2)) / frames.sum((1, 2))[:, None]
    frame, pose = np.nonzero((ratio >= 0.85) & (ratio <= 1 / 0.85))
    offset = (centroids(frames)[frame] - centroids(templates)[pose]) / STEP
    candidates = np.concatenate([poses[pose], np.clip(np.rint(offset), 0, 31).astype(int)], axis=-1)
    score = np.zeros(len(candidates))
    block = 1024  # one compilation, little memory
    for start in range(0, len(candidates), block):
        rows = np.arange(start, start + block) % len(candidates)
        images = np.asarray(sprites.draw(candidates[rows]))[..., 0]
        score[rows] = intersection_over_union(images, frames[frame[rows]])
    best = [np.flatnonzero(frame == i)[score[frame == i].argmax()] for i in range(len(frames))]
    return candidates[best], score[best]


@pytest.mark.skipif(not FRAMES.exists(), reason="the official dSprites frames are not beside the checkout")
def test_draws_the_official_frames() -> None:
    with np.load(FRAMES, allow_pickle=False) as archive:
        frames = archive["images"].astype(np.float32)
    factors, score = best_match(frames)
    assert score.mean() >= 0.998
    assert score.min() >= 0.98
    assert (score == 1).sum() >= 100
    # The animation turns the heart, then moves it down and to the right, by two levels a frame.
    np.testing.assert_array_equal(factors[3:22, 2], np.arange(1, 38, 2))
    np.testing.assert_array_equal(factors[22:38, 4], np.arange(1, 32, 2))
    np.testing.assert_array_equal(factors[38:53, 3], np.arange(2, 31, 2))


def test_order_is_that_of_the_official_arrays() -> None:
    index = np.arange(sprites.NUM_SPRITES)
    factors = sprites.factors_from_index(index)
    np.testing.assert_array_equal(factors, np.stack(np.unravel_index(index, (3, 6, 40, 32, 32)), -1))
    np.testing.assert_array_equal(sprites.index_from_factors(factors), index)
    assert np.prod(sprites.FACTOR_SIZES) == sprites.NUM_SPRITES
    assert sprites.FACTOR_NAMES == ("shape", "scale", "orientation", "x", "y")


def test_batch_axes_are_kept() -> None:
    index = jnp.arange(6).reshape(2, 3) * 100_000
    factors = sprites.factors_from_index(index)
    assert factors.shape == (2, 3, 5)
    np.testing.assert_array_equal(sprites.index_from_factors(factors), index)
    images = sprites.draw(factors, size=16)
    assert images.shape == (2, 3, 16, 16, 1)
    assert images.dtype == jnp.float32
    np.testing.assert_array_equal(images, sprites.draw_index(index, size=16))
    np.testing.assert_array_equal(images[1, 2], sprites.draw(factors[1, 2], size=16))


@pytest.mark.parametrize("size", [8, 13, 16, 32, 64])
def test_images_are_binary_and_never_empty(size: int) -> None:
    images = np.asarray(sprites.draw(random_factors(4096), size=size))
    assert set(np.unique(images)) == {0.0, 1.0}
    assert images.sum((1, 2, 3)).min() >= 1


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE, HEART])
def test_a_step_in_position_moves_the_sprite_by_its_pixels(shape: int) -> None:
    level = np.arange(32)
    factors = np.tile([shape, 5, 7, 0, 0], (2, 32, 1))
    factors[0, :, 3] = level
    factors[1, :, 4] = level
    along_x, along_y = (centroids(np.asarray(sprites.draw(row))[..., 0]) for row in factors)
    still = np.zeros(32)
    np.testing.assert_allclose(along_x - along_x[0], np.stack([STEP * level, still], -1), atol=0.3)
    np.testing.assert_allclose(along_y - along_y[0], np.stack([still, STEP * level], -1), atol=0.3)


def test_positions_run_from_a_quarter_to_three_quarters_of_the_image() -> None:
    for shape in (SQUARE, ELLIPSE):
        for x, y in ((0, 0), (31, 0), (0, 31)):
            centre = centroids(picture(shape, 5, 0, x, y)[None])[0]
            np.testing.assert_allclose(centre, (16 + 32 * (x > 0), 16 + 32 * (y > 0)), atol=1e-4)


def test_every_factor_changes_the_image() -> None:
    factors = np.asarray(random_factors(256))
    images = np.asarray(sprites.draw(factors))
    for axis, count in enumerate(sprites.FACTOR_SIZES):
        other = factors.copy()
        # Two orientations on, as the first and the last level are the same angle.
        other[:, axis] = (other[:, axis] + (2 if axis == 2 else 1)) % count
        assert (np.asarray(sprites.draw(other)) != images).any((1, 2, 3)).all(), sprites.FACTOR_NAMES[axis]


def test_first_and_last_orientation_are_the_same() -> None:
    for shape in (SQUARE, ELLIPSE, HEART):
        np.testing.assert_array_equal(picture(shape, 3, 0, 9, 20), picture(shape, 3, 39, 9, 20))


# Closed forms of the areas in squared half sides of the square: 2 * 2, pi a b, and, for the heart,
# the integral of y dx, 180 pi, over the divisors 16 and 14.5.
@pytest.mark.parametrize(("shape", "unit_area"), [(SQUARE, 4.0), (ELLIPSE, np.pi), (HEART, 180 * np.pi / (16 * 14.5))])
def test_area_grows_with_the_square_of_the_scale(shape: int, unit_area: float) -> None:
    # The mean over orientations and positions hides the pixel raster.
    grid = np.stack(np.meshgrid([shape], np.arange(6), np.arange(39), [3, 17], [8, 22], indexing="ij"), -1)
    area = np.asarray(sprites.draw(grid)).sum((-3, -2, -1)).mean((0, 2, 3, 4))
    assert (np.diff(area) > 0).all()
    half_side = 9.6 * np.linspace(0.5, 1, 6)
    np.testing.assert_allclose(area, unit_area * half_side**2, rtol=0.01)


def test_the_sprite_lies_in_its_box() -> None:
    lit = np.argwhere(picture(ELLIPSE, 5, 0, 0, 0))
    np.testing.assert_array_equal(np.ptp(lit, axis=0) + 1, (14, 26))  # rows, columns
    heart = picture(HEART, 5, 0, 0, 0)
    rows = np.flatnonzero(heart.any(1))
    # Upright at orientation 0: a point below, two lobes with a notch between them above.
    assert heart[rows[-1]].sum() == 2
    assert heart[rows[0]].sum() > 2
    assert heart[rows[0], 15:17].sum() == 0


@pytest.mark.parametrize("orientation", [0, 1, 7, 22])
def test_square_has_a_quarter_turn_symmetry(orientation: int) -> None:
    # A quarter turn of the image about its middle takes each extreme position to the next.
    corners = [picture(SQUARE, 4, orientation, x, y) for x, y in ((0, 0), (0, 31), (31, 31), (31, 0))]
    for here, there in zip(corners, corners[1:] + corners[:1], strict=True):
        np.testing.assert_array_equal(np.rot90(here), there)
    ellipse, turned = (picture(ELLIPSE, 4, orientation, x, y) for x, y in ((0, 0), (0, 31)))
    assert (np.rot90(ellipse) != turned).any()


def test_hearts_mirror_and_turn_anticlockwise() -> None:
    for orientation in (1, 6, 13):
        np.testing.assert_array_equal(
            picture(HEART, 5, orientation, 0, 0)[:, ::-1], picture(HEART, 5, 39 - orientation, 31, 0)
        )
    # The lobes outweigh the point: they are above the position at first, left of it a quarter of a turn on.
    above, left = (centroids(picture(HEART, 5, orientation, 0, 0)[None])[0] for orientation in (0, 10))
    np.testing.assert_allclose(above, (16, 14), atol=0.3)
    np.testing.assert_allclose(left, (14, 16), atol=0.3)


@pytest.mark.parametrize(("size", "least"), [(32, 0.91), (16, 0.92), (8, 0.78)])
def test_smaller_images_agree_with_averaged_blocks(size: int, least: float) -> None:
    factors = random_factors(1024)
    block = 64 // size
    large = np.asarray(sprites.draw(factors)).reshape(-1, size, block, size, block)
    small = np.asarray(sprites.draw(factors, size=size))[..., 0]
    coverage = large.mean((2, 4))
    assert intersection_over_union(small, (coverage >= 0.5).astype(np.float32)).mean() >= least
    np.testing.assert_allclose(small.sum(), coverage.sum(), rtol=0.05)


def test_jit_and_vmap_equal_eager() -> None:
    factors = random_factors(64)
    index = sprites.index_from_factors(factors)
    eager = sprites.draw(factors, size=32)
    np.testing.assert_array_equal(jax.jit(lambda f: sprites.draw(f, size=32))(factors), eager)
    np.testing.assert_array_equal(jax.vmap(lambda f: sprites.draw(f, size=32))(factors), eager)
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda i: sprites.draw_index(i, size=32)))(index), eager)
    np.testing.assert_array_equal(jax.vmap(sprites.index_from_factors)(factors), index)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_any_integer_type_is_taken(dtype: type) -> None:
    factors = np.array([2, 5, 39, 31, 31], dtype)
    assert int(sprites.index_from_factors(factors)) == sprites.NUM_SPRITES - 1
    np.testing.assert_array_equal(sprites.draw(factors), sprites.draw_index(sprites.NUM_SPRITES - 1))
    np.testing.assert_array_equal(sprites.factors_from_index(dtype(100)), (0, 0, 0, 3, 4))


@pytest.mark.parametrize("size", [0, 7, 65, -32, 32.0, "32", True, None])
def test_a_bad_size_raises(size: object) -> None:
    with pytest.raises(ValueError, match="size must be an integer from 8 to 64"):
        sprites.draw(jnp.zeros(5, int), size=size)  # type: ignore[arg-type]


def test_bad_factors_and_indices_raise() -> None:
    with pytest.raises(TypeError, match="factors must hold integers, got float32"):
        sprites.draw(jnp.zeros(5, jnp.float32))
    with pytest.raises(TypeError, match="index must hold integers"):
        sprites.factors_from_index(jnp.array(1.5))
    for shape in ((), (4,), (5, 3)):
        with pytest.raises(ValueError, match="factors must have shape"):
            sprites.index_from_factors(jnp.zeros(shape, int))
    for factors in ([3, 0, 0, 0, 0], [0, 6, 0, 0, 0], [0, 0, 0, 0, -1]):
        with pytest.raises(ValueError, match="factors must lie from 0 to"):
            sprites.draw(jnp.array(factors))
    for index in (-1, sprites.NUM_SPRITES, 2**40):
        with pytest.raises(ValueError, match="index must lie from 0 to 737279"):
            sprites.draw_index(np.array(index))
