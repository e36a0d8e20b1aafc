"""Certificates that hold, and certificates that do not, against attacked images."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from seatbelt_jax.bounds import certify, check_soundness, soundness_attacks
from seatbelt_jax.bounds.confidence import upper_confidence_bound
from seatbelt_jax.gaussian import DiagonalGaussian

SHAPE = (3, 2, 1)
PIXELS = 6
RADIUS = 1.0
KEY = jax.random.key(0)
ATTACK_KEY = jax.random.key(1)
RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(3, PIXELS))
STD = RNG.uniform(0.2, 2.0, 3)
# W, its largest singular value, and the half-space on which it is felt in full.
LEFT, VALUES, RIGHT = np.linalg.svd(MATRIX / STD[:, None], full_matrices=False)
NORMAL, NORM = LEFT[:, 0] / STD, VALUES[0]
THRESHOLD = 2.0


def float32(array):
    return jnp.asarray(array, jnp.float32)


def encode(x):
    return DiagonalGaussian(float32(MATRIX) @ x.reshape(-1), float32(np.log(STD)))


def decode(z):
    """Within RADIUS of zero just where NORMAL . z <= THRESHOLD."""
    return jnp.zeros(SHAPE).at[0, 0, 0].set(jax.nn.relu(float32(NORMAL) @ z - (THRESHOLD - RADIUS)))


def certificate(radius, *, abstained=None, risk=0.5, reconstruction_radius=RADIUS, norm="l2"):
    radius = np.asarray(radius, np.float64)
    abstained = np.zeros(radius.shape, bool) if abstained is None else np.asarray(abstained)
    return types.SimpleNamespace(
        radius=radius,
        abstained=abstained,
        risk=risk,
        reconstruction_radius=reconstruction_radius,
        norm=norm,
        method="planted",
        soundness="sound",
    )


def half_space_images(count):
    """Images and their true margins."""
    images = 0.1 * np.random.default_rng(2).normal(size=(count, *SHAPE)).astype(np.float32)
    heights = images.reshape(count, -1).astype(np.float64) @ (NORMAL @ MATRIX)
    return images, (THRESHOLD - heights) / NORM


def flat_norm(values):
    return np.linalg.norm(values.reshape(*values.shape[:2], -1), axis=-1)


def test_half_space_certificates_hold_up_to_the_true_margin_and_no_further():
    images, true = half_space_images(3)
    settings = {"encode": encode, "decode": decode, "images": images}
    reports = {}
    for scale in (1.0, 1.05):
        made = certificate(scale * true)
        attacked = soundness_attacks(
            encode, decode, images, made, key=ATTACK_KEY, trials_per_image=6, steps=20, decode_batch=2048
        )
        assert attacked.shape == (3, 6, *SHAPE)
        # Two singular vectors, two ascents, two random directions.
        sizes = flat_norm(attacked.astype(np.float64) - images[:, None])
        np.testing.assert_allclose(sizes[:, [0, 1, 4, 5]], np.tile(0.999 * made.radius[:, None], 4), rtol=1e-5)
        assert (sizes < made.radius[:, None]).all() and (sizes > 0.0).all()
        reports[scale] = check_soundness(made, attacked, key=KEY, num_samples=20_000, decode_batch=2048, **settings)
    sound, unsound = reports[1.0], reports[1.05]
    assert sound.trials == unsound.trials == 18
    assert sound.violations == 0 and "0 violations in 18 trials" in sound.summary()
    assert unsound.violated[:, :2].sum() == 3  # one of the two signs, for each image
    assert unsound.worst < 0.0 and f"{unsound.violations} violations in 18" in unsound.summary()
    assert unsound.violations == unsound.violated.sum()
    heights = attacked.reshape(3, 6, -1).astype(np.float64) @ (NORMAL @ MATRIX)
    np.testing.assert_allclose(unsound.probability, special.ndtr(THRESHOLD - heights), atol=4 * 0.5 / 20_000**0.5)
    bounds = upper_confidence_bound(np.arange(20_001), 20_000, 1e-6)
    np.testing.assert_array_equal(unsound.probability_upper, bounds[np.rint(20_000 * unsound.probability).astype(int)])
    assert (unsound.violated == (unsound.probability_upper < 0.5)).all()
    # An ascent finds the half-space's normal from anywhere that feels it.
    assert unsound.probability[:, 2:4].min() < unsound.probability[:, 4:].min()


def test_the_ball_is_centred_at_the_unperturbed_image():
    """An identity that hardly draws: x + d leaves the ball exactly where ||d|| > r."""
    images = np.full((1, *SHAPE), 0.5, np.float32)

    def still(x):
        return DiagonalGaussian(x.reshape(-1), jnp.full(PIXELS, -9.0))

    attacked = images[:, None] + np.array([0.9, 1.1]).reshape(1, 2, 1, 1, 1) * np.eye(PIXELS)[0].reshape(SHAPE)
    report = check_soundness(
        certificate([1.5]),
        attacked.astype(np.float32),
        encode=still,
        decode=lambda z: z.reshape(SHAPE),
        images=images,
        key=KEY,
        num_samples=100,
    )
    assert report.violated.tolist() == [[False, True]]
    np.testing.assert_array_equal(report.probability, [[1.0, 0.0]])


@pytest.mark.parametrize("growth", [3.0, -3.0])
def test_sigma_is_taken_where_the_attacked_image_is(growth):
    def swelling(x):
        return DiagonalGaussian(jnp.zeros(1), growth * x.reshape(-1)[:1])

    report = check_soundness(
        certificate([1.5], risk=0.9 if growth < 0.0 else 0.5),
        np.eye(PIXELS, dtype=np.float32)[:1].reshape(1, 1, *SHAPE),
        encode=swelling,
        decode=lambda z: jnp.zeros(SHAPE).at[0, 0, 0].set(z[0]),
        images=np.zeros((1, *SHAPE), np.float32),
        key=KEY,
        num_samples=2000,
    )
    # P(|sigma eta| <= 1): with sigma as at x it would be 0.683 in both cases, with the other verdict in each.
    truth = 2.0 * special.ndtr(np.exp(-growth)) - 1.0
    np.testing.assert_allclose(report.probability, [[truth]], atol=4 * 0.5 / 2000**0.5)
    assert report.violations == (growth > 0.0)


@pytest.mark.parametrize("growth", [3.0, -3.0])
def test_a_frozen_sigma_is_that_of_the_image_itself(growth):
    """P(|mean + sigma eta| <= 1) at x + d, mean = d_0 and log sigma = growth d_1: both variants in closed form."""

    def drifting(x):
        flat = x.reshape(-1)
        return DiagonalGaussian(flat[:1], growth * flat[1:2])

    distortion = np.zeros((1, 1, *SHAPE), np.float32)
    distortion.reshape(-1)[:2] = 0.8, 1.0
    reports = {
        frozen: check_soundness(
            certificate([1.5], risk=0.9 if growth < 0.0 else 0.5),
            distortion,
            encode=drifting,
            decode=lambda z: jnp.zeros(SHAPE).at[0, 0, 0].set(z[0]),
            images=np.zeros((1, *SHAPE), np.float32),
            key=KEY,
            num_samples=2000,
            frozen_std=frozen,
        )
        for frozen in (True, False)
    }
    for frozen, report in reports.items():
        std = 1.0 if frozen else np.exp(growth)
        truth = special.ndtr(0.2 / std) - special.ndtr(-1.8 / std)
        np.testing.assert_allclose(report.probability, [[truth]], atol=4 * 0.5 / 2000**0.5)
        assert report.frozen_std == frozen and ("sigma frozen" in report.summary()) == frozen
    # A sigma that grows makes a violation, one that shrinks takes one away.
    assert (reports[True].violations, reports[False].violations) == ((0, 1) if growth > 0.0 else (1, 0))


@pytest.mark.slow
def test_a_first_order_margin_of_a_linear_mean_holds_for_a_frozen_sigma_alone():
    """`spectral` is exact for a frozen sigma and a linear mean: no attack refutes it; where sigma grows, some do."""

    def swelling(x):
        q = encode(x)
        return DiagonalGaussian(q.mean, q.log_std + 40.0 * x.reshape(-1)[:1])

    images, _ = half_space_images(4)
    images[:, 0, 0, 0] = 0.0
    made = certify(swelling, decode, images, radius=RADIUS, key=KEY, num_samples=4000, risk=0.7, method="spectral")
    counts = {}
    for frozen in (True, False):
        attacked = soundness_attacks(
            swelling, decode, images, made, key=jax.random.key(5), trials_per_image=12, steps=30, frozen_std=frozen
        )
        report = check_soundness(
            made,
            attacked,
            encode=swelling,
            decode=decode,
            images=images,
            key=jax.random.key(6),
            num_samples=4000,
            frozen_std=frozen,
        )
        assert report.trials == 48
        counts[frozen] = report.violations
    assert counts[True] == 0 and counts[False] > 0


def test_every_layer_of_a_hierarchy_is_drawn_at_the_attacked_image():
    """z1 ~ N(x1, 1) and z2 ~ N(x2 + z1, e^{x3}); the event is z2 <= 2."""

    def first(x, below):
        return DiagonalGaussian(x.reshape(-1)[:1], jnp.zeros(1))

    def second(x, below):
        return DiagonalGaussian(x.reshape(-1)[1:2] + below[0], x.reshape(-1)[2:3])

    images = np.zeros((1, *SHAPE), np.float32)
    made = certificate([4.0])
    settings = {
        "levels": [first, second],
        "decode": lambda latents: jnp.zeros(SHAPE).at[0, 0, 0].set(jax.nn.relu(latents[1][0] - 1.0)),
        "decode_batch": 2048,
    }
    shifts = np.array([[0, 0, 0], [1.5, 0, 0], [0, 1.5, 0], [1.5, 1.5, 0], [1, 0, -2], [-2, 0, 1]], np.float64)
    attacked = np.zeros((1, len(shifts), PIXELS), np.float32)
    attacked[0, :, :3] = shifts
    attacked = attacked.reshape(1, -1, *SHAPE)
    report = check_soundness(made, attacked, images=images, key=KEY, num_samples=10_000, **settings)
    truth = special.ndtr((2.0 - shifts[:, 0] - shifts[:, 1]) / np.sqrt(1.0 + np.exp(2.0 * shifts[:, 2])))
    assert report.counted.tolist() == [[False, True, True, True, True, True]]
    np.testing.assert_allclose(report.probability[0, 1:], truth[1:], atol=4 * 0.5 / 10_000**0.5)
    assert report.violated.tolist() == [[False, False, False, True, False, False]]

    again = check_soundness(
        made, attacked, images=images, key=KEY, num_samples=10_000, **(settings | {"decode_batch": 999})
    )
    np.testing.assert_array_equal(again.probability, report.probability)

    decoder = settings.pop("decode")
    found = soundness_attacks(None, decoder, images, made, key=ATTACK_KEY, trials_per_image=3, steps=20, **settings)
    report = check_soundness(made, found, images=images, key=KEY, num_samples=2_000, decode=decoder, **settings)
    # Both latents' means move most along (x1, x2) or against it; the ascent goes that way too.
    assert report.violated[0, :2].any() and report.worst < -0.3


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_only_trials_inside_a_certified_radius_count(norm):
    images = np.zeros((5, *SHAPE), np.float32)
    made = certificate([1.0, np.inf, 0.0, 1.0, 1.0], abstained=[False, False, False, True, False], norm=norm)
    attacked = soundness_attacks(
        encode, decode, images, made, key=ATTACK_KEY, trials_per_image=4, share=0.9, steps=3, decode_batch=2048
    )
    assert (attacked[1:4] == 0.0).all()
    sizes = np.abs(attacked).reshape(5, 4, -1).max(-1) if norm == "linf" else flat_norm(attacked)
    assert (sizes[[0, 4]] < 0.901).all() and (sizes[0, [0, 1, 3]] > 0.899).all()
    attacked[4, 1] *= 1.2  # beyond the radius
    attacked[4, 3] = 0.0
    attacked[4, 2] = 0.0
    attacked[4, 2, 0, 0, 0] = 1.0  # at the radius, in either norm
    attacked[1, 3] = attacked[3, 3] = 0.1
    report = check_soundness(
        made, attacked, encode=encode, decode=decode, images=images, key=KEY, num_samples=50, decode_batch=2048
    )
    expected = np.zeros((5, 4), bool)
    expected[0] = expected[4, 0] = expected[1, 3] = True
    np.testing.assert_array_equal(report.counted, expected)
    assert np.isnan(report.probability[~expected]).all() and np.isfinite(report.probability[expected]).all()
    assert report.trials == 6 and report.norm == norm

    nothing = check_soundness(
        made, images[:, None], encode=encode, decode=decode, images=images, key=KEY, num_samples=50
    )
    assert nothing.trials == nothing.violations == 0 and nothing.worst == np.inf
    assert "no trial" in nothing.summary()


def test_what_is_not_finite_is_a_miss_and_the_radius_is_not_rounded_up():
    images = np.zeros((1, *SHAPE), np.float32)
    attacked = np.zeros((1, 2, *SHAPE), np.float32)
    attacked[0, :, 0, 0, 0] = 0.1, 0.25

    def still(x):
        return DiagonalGaussian(x.reshape(-1), jnp.full(PIXELS, -40.0))

    def broken(z):  # NaN beyond 0.2
        return jnp.where(z[0] > 0.2, jnp.nan, z).reshape(SHAPE)

    # float32(0.1) is above 0.1: the distance is outside of a radius of 0.1.
    for radius, probability in ((0.1, 0.0), (0.11, 1.0)):
        report = check_soundness(
            certificate([1.0], reconstruction_radius=radius),
            attacked,
            encode=still,
            decode=broken,
            images=images,
            key=KEY,
            num_samples=64,
        )
        np.testing.assert_array_equal(report.probability, [[probability, 0.0]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attacked": np.zeros((2, *SHAPE), np.float32)}, r"attacked must have shape \[n, trial"),
        ({"attacked": np.full((2, 1, *SHAPE), np.nan, np.float32)}, "NaN"),
        ({"images": np.zeros((3, *SHAPE), np.float32), "attacked": np.zeros((3, 1, *SHAPE))}, "speaks of 2 images"),
        ({"num_samples": 5}, "can never refute"),
        ({"levels": [lambda x, below: encode(x)]}, "either encode"),
        ({"encode": None}, "either encode"),
    ],
)
def test_bad_input_is_refused(settings, message):
    attacked = settings.pop("attacked", np.zeros((2, 1, *SHAPE), np.float32))
    defaults = {"encode": encode, "decode": decode, "images": np.zeros((2, *SHAPE), np.float32), "key": KEY}
    with pytest.raises(ValueError, match=message):
        check_soundness(certificate([1.0, 1.0]), attacked, **(defaults | settings))
