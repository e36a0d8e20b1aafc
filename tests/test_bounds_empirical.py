"""Upper bounds of margins against models whose margins are known in closed form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

from seatbelt_jax.bounds.confidence import upper_confidence_bound
from seatbelt_jax.bounds.empirical import EmpiricalMargin, empirical_margin
from seatbelt_jax.gaussian import DiagonalGaussian

SHAPE = (3, 2, 1)
PIXELS = 6
LATENT = 3
RADIUS = 1.0
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(LATENT, PIXELS))
STD = RNG.uniform(0.2, 2.0, LATENT)
# A combination of the latents of standard deviation 1 at the mean's noise: the half-space's normal.
NORMAL = np.array([0.6, 0.0, 0.8]) / STD
# How the combination's mean moves with a perturbation.
SLOPE = NORMAL @ MATRIX


def float32(array):
    return jnp.asarray(array, jnp.float32)


def half_space_decoder(threshold, normal=NORMAL, shape=SHAPE):
    """An image within RADIUS of zero just where normal . z <= threshold; constant well below that."""

    def decode(z):
        height = jax.nn.relu(float32(normal) @ z - (threshold - RADIUS))
        return jnp.zeros(shape).at[(0,) * len(shape)].set(height)

    return decode


def encode(x):
    return DiagonalGaussian(float32(MATRIX) @ x.reshape(-1), float32(np.log(STD)))


def images_at(heights):
    """Images at which the combination's mean has these values, and otherwise random."""
    noise = np.random.default_rng(1).normal(size=(len(heights), PIXELS))
    along = (np.asarray(heights) - noise @ SLOPE) / (SLOPE @ SLOPE)
    return (noise + along[:, None] * SLOPE).reshape(-1, *SHAPE).astype(np.float32)


def probability_at(images, distortion, threshold):
    moved = (images.astype(np.float64) + distortion).reshape(len(images), -1)
    return special.ndtr(threshold - moved @ SLOPE)


SETTINGS = {"radius": RADIUS, "key": KEY, "num_samples": 10_000, "search_samples": 128, "steps": 10, "restarts": 1}


@pytest.fixture(scope="module")
def half_space():
    threshold = 2.0
    images = images_at(np.linspace(-1.5, 0.5, 12))
    found = empirical_margin(encode, half_space_decoder(threshold), images, decode_batch=2048, **SETTINGS)
    return images, threshold, found


@pytest.mark.slow
def test_half_space_is_bounded_to_within_some_percent(half_space):
    images, threshold, found = half_space
    true = (threshold - images.reshape(len(images), -1) @ SLOPE) / np.linalg.norm(SLOPE)
    ratio = found.upper / true
    assert (ratio >= 1.0).all()
    assert (ratio <= 1.1).all() and np.mean(ratio) < 1.05
    # What it reports is what it found.
    np.testing.assert_allclose(np.linalg.norm(found.distortion.reshape(len(images), -1), axis=1), found.upper)
    assert (found.p_upper < found.risk).all()
    # All that were tried share alpha.
    assert found.num_tried == 5
    bounds = upper_confidence_bound(np.arange(10_001), 10_000, found.alpha / found.num_tried)
    assert np.isin(found.p_upper, bounds).all()
    assert (probability_at(images, found.distortion, threshold) < found.p_upper).all()
    np.testing.assert_allclose(found.p_clean, probability_at(images, 0.0, threshold), atol=4 * 0.5 / 10_000**0.5)


@pytest.mark.slow
def test_a_probability_that_falls_in_a_step_far_beyond_the_first_order():
    """Hardly any noise: what suffices to first order is hundreds of times shorter, and no point of a ray meets the
    fall itself."""

    def sharp(x):
        return DiagonalGaussian(float32(NORMAL @ MATRIX)[None] @ x.reshape(-1), jnp.full(1, np.log(1e-3)))

    threshold, images = 2.0, images_at(np.linspace(-1.5, 0.5, 12))
    true = (threshold - images.reshape(len(images), -1) @ SLOPE) / np.linalg.norm(SLOPE)
    decode = half_space_decoder(threshold, np.ones(1))
    found = empirical_margin(sharp, decode, images, decode_batch=2048, **SETTINGS)
    assert (found.upper >= 0.999 * true).all() and (found.upper <= 1.05 * true).all()


def test_the_curve_is_the_probability_along_the_direction_found(half_space):
    images, threshold, found = half_space
    for index in range(len(images)):
        direction = found.distortion[index] / found.upper[index]
        steps = found.curve_norms[index].reshape(-1, *[1] * len(SHAPE))
        truth = probability_at(np.repeat(images[index, None], len(steps), 0), steps * direction, threshold)
        np.testing.assert_allclose(found.curve_probability[index], truth, atol=4 * 0.5 / 128**0.5)
    assert (found.curve_norms[:, 0] == 0.0).all() and (found.curve_norms[:, -1] > found.upper).all()


@pytest.mark.slow
def test_draws_depend_on_key_and_index_alone(half_space):
    images, threshold, found = half_space
    again = empirical_margin(
        encode, half_space_decoder(threshold), images[:2], batch_size=1, decode_batch=500, **SETTINGS
    )
    np.testing.assert_array_equal(again.p_clean, found.p_clean[:2])
    np.testing.assert_allclose(again.upper, found.upper[:2], rtol=1e-4)
    assert len(np.unique(found.p_clean)) == len(images)


def test_it_survives_a_file_that_cannot_run_code(half_space, tmp_path):
    *_, found = half_space
    for made in (found, dataclasses.replace(found, image_range=(-1.0, 1.0))):
        np.savez(tmp_path / "margin.npz", **made.to_arrays())
        with np.load(tmp_path / "margin.npz", allow_pickle=False) as arrays:
            read = EmpiricalMargin.from_arrays(arrays)
        for field in dataclasses.fields(made):
            before, after = getattr(made, field.name), getattr(read, field.name)
            assert type(after) is type(before)
            np.testing.assert_array_equal(after, before)
    assert read.rows() == made.rows() and len(made.rows()) == 12
    arrays = made.to_arrays()
    del arrays["p_upper"]
    with pytest.raises(ValueError, match="not an empirical margin: p_upper missing"):
        EmpiricalMargin.from_arrays(arrays)


@pytest.mark.slow
def test_sigma_that_moves_and_images_that_are_not_robust_to_begin_with():
    risk, threshold, growth = 0.7, 2.0, 1.5

    def swelling(x):
        # mean and log sigma move along different pixels; the sigma of the first image is large already.
        flat = x.reshape(-1)
        return DiagonalGaussian(flat[:1], growth * flat[1:2])

    def probability(mean, log_std):
        return special.ndtr((threshold - mean) / np.exp(growth * log_std))

    images = np.zeros((4, *SHAPE), np.float32)
    images.reshape(4, -1)[:, 1] = [1.0, 0.0, 0.0, -0.5]
    images.reshape(4, -1)[:, 0] = [0.5, 0.0, -1.0, 0.5]
    found = empirical_margin(
        swelling,
        half_space_decoder(threshold, np.ones(1)),
        images,
        radius=RADIUS,
        key=KEY,
        num_samples=10_000,
        steps=30,
        risk=risk,
        decode_batch=2048,
    )
    assert found.upper[0] == 0.0 and (found.distortion[0] == 0.0).all() and found.p_upper[0] < risk

    def nearest(image, level):
        """The shortest way to where the probability is the level, by angles."""
        mean, log_std = image.reshape(-1)[:2].astype(np.float64)

        def reach(angle):
            def excess(length):
                return probability(mean + length * np.cos(angle), log_std + length * np.sin(angle)) - level

            return optimize.brentq(excess, 0.0, 20.0) if excess(20.0) < 0.0 else 20.0

        return min(reach(angle) for angle in np.linspace(0.0, np.pi, 501))

    true = np.array([nearest(image, risk) for image in images[1:]])
    assert (found.upper[1:] >= true).all()
    # Confirming takes the probability a little below the risk; for the one it was taken to, the way is the shortest.
    for image, upper, distortion in zip(images[1:], found.upper[1:], found.distortion[1:], strict=True):
        reached = probability(*(image + distortion).reshape(-1)[:2])
        assert risk - 0.04 < reached < risk
        assert upper <= 1.08 * nearest(image, reached)
    # With sigma as it is at x, the way would be longer.
    mean, log_std = images.reshape(4, -1)[1:, :2].astype(np.float64).T
    frozen = threshold - special.ndtri(risk) * np.exp(growth * log_std) - mean
    assert (found.upper[1:] < 0.95 * frozen).all()


@pytest.mark.slow
def test_a_frozen_sigma_is_bounded_by_its_own_closed_form():
    """mean = x_0, log sigma = growth x_1, a half-space: R = t - Phi^-1(m) sigma(x) - mean(x) where sigma is frozen."""
    risk, threshold, growth = 0.7, 2.0, 1.5

    def swelling(x):
        flat = x.reshape(-1)
        return DiagonalGaussian(flat[:1], growth * flat[1:2])

    images = np.zeros((3, *SHAPE), np.float32)
    images.reshape(3, -1)[:, 0] = [0.0, -1.0, 0.5]
    images.reshape(3, -1)[:, 1] = [0.0, 0.0, -0.5]
    mean, log_std = images.reshape(3, -1)[:, :2].astype(np.float64).T
    true = threshold - special.ndtri(risk) * np.exp(growth * log_std) - mean
    decode = half_space_decoder(threshold, np.ones(1))
    settings = {**SETTINGS, "risk": risk, "steps": 30, "decode_batch": 2048}
    found = empirical_margin(swelling, decode, images, frozen_std=True, **settings)
    assert found.frozen_std and all(row["frozen_std"] for row in found.rows())
    ratio = found.upper / true
    assert (ratio >= 1.0).all() and (ratio <= 1.1).all()
    # What was confirmed is below the risk, by the mean alone and by the shortest way.
    moved = found.distortion.reshape(3, -1)[:, 0]
    reached = special.ndtr((threshold - mean - moved) / np.exp(growth * log_std))
    assert ((risk - 0.04 < reached) & (reached < risk)).all()
    np.testing.assert_allclose(found.upper, moved, rtol=0.01)
    # A hierarchy freezes sigma given the latents below: here the first layer says nothing.
    levels = [
        lambda x, below: DiagonalGaussian(jnp.zeros(1), jnp.zeros(1)),
        lambda x, below: swelling(x),
    ]
    upper = empirical_margin(
        None, lambda latents: decode(latents[1]), images[:1], levels=levels, frozen_std=True, **settings
    ).upper
    assert 1.0 <= upper[0] / true[0] <= 1.1


def test_margins_of_files_without_the_field_are_of_a_moving_sigma(half_space):
    arrays = half_space[-1].to_arrays()
    del arrays["frozen_std"]
    assert EmpiricalMargin.from_arrays(arrays).frozen_std is False


@pytest.mark.slow
def test_only_fresh_draws_confirm():
    """The probability is 0.52 at every d but 0; on draws that chose among the d it looks far lower."""
    count, size, draws, radius = 150, 30, 64, 0.04
    threshold = special.ndtri(0.52)
    stds = jnp.repeat(jnp.array([-20.0, 0.0]), size, total_repeat_length=2 * size)

    def turning(x):
        # The first half of the latents tell the direction of d, the second half are noise.
        return DiagonalGaussian(jnp.concatenate([x / jnp.sqrt(jnp.sum(x * x) + 1e-12), jnp.zeros(size)]), stds)

    def decode(z):
        return jnp.zeros(size).at[0].set(jax.nn.relu(z[:size] @ z[size:] - threshold + radius))

    found = empirical_margin(
        turning,
        decode,
        np.zeros((count, size), np.float32),
        radius=radius,
        key=KEY,
        norms=(0.5,),
        num_samples=draws,
        search_samples=draws,
        restarts=1,
        steps=20,
        alpha=0.5,
        decode_batch=2048,
    )
    # Each try confirms where fewer than 27 of 64 draws hit, which has probability 0.05, and a direction comes to be
    # tried where as few did at the closer look: 0.05 again, for each of two. Draws used twice would show 15 images.
    assert np.median(found.curve_probability[:, -1]) < 0.4
    missed = np.isfinite(found.upper)
    assert missed.sum() <= 3
    assert (found.distortion[~missed] == 0.0).all() and (found.p_upper[~missed] > 0.9).all()
    assert (found.curve_norms[:, -1] > 0.0).all()


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_hierarchy_in_a_box_of_pixels(norm):
    """Two linear layers; the shortest d for their decoder is not the one that moves the latents most."""
    rng = np.random.default_rng(3)
    first, second, coupling = rng.normal(size=(2, PIXELS)), rng.normal(size=(2, PIXELS)), rng.normal(size=(2, 2))
    levels = (
        lambda x, below: DiagonalGaussian(float32(first) @ x, jnp.zeros(2)),
        lambda x, below: DiagonalGaussian(float32(second) @ x + float32(coupling) @ below[0], jnp.zeros(2)),
    )
    normal = np.array([0.6, 0.8])
    std = np.sqrt(1.0 + np.sum((normal @ coupling) ** 2))
    slope = normal @ (second + coupling @ first) / std
    threshold = 2.0 * std

    def decode(latents):
        return half_space_decoder(threshold, normal, (PIXELS,))(latents[1])

    found = empirical_margin(
        None,
        decode,
        np.zeros((2, PIXELS), np.float32),
        radius=RADIUS,
        key=KEY,
        levels=levels,
        norm=norm,
        num_samples=10_000,
        steps=60,
        image_range=(0.0, 4.0),
        decode_batch=2048,
    )
    rising = np.maximum(slope, 0.0)
    true = 2.0 / (np.linalg.norm(rising) if norm == "l2" else rising.sum())
    assert (true <= found.upper).all() and (found.upper <= 1.08 * true).all()
    assert (found.distortion >= 0.0).all() and found.image_range == (0.0, 4.0) and found.norm == norm


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norms": []}, "norms must be a list of positive"),
        ({"norms": [1.0, 0.0]}, "norms must be a list of positive"),
        ({"norm": "l1"}, "norm must be one of l2, linf"),
        ({"num_samples": 10}, "num_samples = 10 can never refute"),
        ({"image_range": (0.0, 1.0)}, "outside of image_range"),
        ({"image_range": (1.0, 1.0)}, "low < high"),
        ({"radius": -1.0}, "radius must be a positive"),
        ({"risk": 1.0}, "risk must lie strictly"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"levels": [lambda x, below: encode(x)]}, "either encode"),
    ],
)
def test_bad_input_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        empirical_margin(
            encode, half_space_decoder(2.0), images_at([5.0]), **({"radius": RADIUS, "key": KEY} | settings)
        )
