"""The hierarchical margin against closed forms, of means affine in x given the layers below: first order is exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

from seatbelt_jax import bounds
from seatbelt_jax.gaussian import DiagonalGaussian
from tests.reference import bounds as reference

SHAPE = (3, 2, 1)
PIXELS = 6
KEY = jax.random.key(0)
ZERO = np.zeros((1, *SHAPE), np.float32)


def images(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SHAPE)).astype(np.float32)


def picture(*pixels):
    return jnp.zeros(PIXELS).at[: len(pixels)].set(jnp.stack(pixels)).reshape(SHAPE)


def linear_hierarchy(sizes, seed=0):
    """Levels, and (matrices, couplings, stds) for the reference."""
    rng = np.random.default_rng(seed)
    matrices = [rng.normal(size=(size, PIXELS)) for size in sizes]
    couplings = [rng.normal(size=(size, sum(sizes[:i]))) for i, size in enumerate(sizes)]
    stds = [rng.uniform(0.2, 2.0, size) for size in sizes]

    def make(matrix, coupling, std):
        def level(x, below):
            under = jnp.concatenate([jnp.zeros(0), *below])
            mean = jnp.asarray(coupling, jnp.float32) @ under + jnp.asarray(matrix, jnp.float32) @ x.reshape(-1)
            return DiagonalGaussian(mean, jnp.asarray(np.log(std), jnp.float32))

        return level

    parameters = (matrices, couplings, stds)
    return [make(*layer) for layer in zip(*parameters, strict=True)], parameters


def switching_levels(steepness):
    """Layer 1 ignores x; layer 2 has mean steepness(z1) * x_1, both with standard deviation 1."""
    one = jnp.zeros(1)
    return [
        lambda x, below: DiagonalGaussian(0.0 * x.reshape(-1)[:1], one),
        lambda x, below: DiagonalGaussian(steepness(below[0]) * x.reshape(-1)[:1], one),
    ]


def above(value, offset):
    """An image within 1 of zero (that of the mean path) just where value <= offset + 1."""
    return picture(jax.nn.relu(value - offset))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4,), (3, 2), (2, 3, 2)])
def test_linear_hierarchy_is_the_joint_gaussian_and_its_half_space_is_certified_tightly(sizes):
    levels, parameters = linear_hierarchy(sizes)
    normal, norm, direction = reference.joint_mahalanobis(*parameters)
    probability = 0.95
    threshold = special.ndtri(probability)

    def decode(latents):
        return above(jnp.asarray(normal, jnp.float32) @ jnp.concatenate(latents), threshold - 1.0)

    certificate = bounds.hierarchical_margin(
        levels, decode, ZERO, radius=1.0, key=KEY, num_samples=40_000, num_pilot_samples=100, draw_batch=4096
    )
    assert norm <= certificate.norm_bound[0] <= norm * (1.0 + 1e-5)
    true = threshold / norm
    assert 0.95 <= certificate.radius[0] / true <= 1.0
    # That `true` is the margin of this model: draws from the levels at the image it is reached by, all in turn.
    shifted = jnp.asarray(true * direction, jnp.float32).reshape(SHAPE)

    def hit(key):
        latents = ()
        for level, layer_key in zip(levels, jax.random.split(key, len(levels)), strict=True):
            q = level(shifted, latents)
            latents = (*latents, q.mean + q.std * jax.random.normal(layer_key, q.mean.shape))
        return jnp.linalg.norm(decode(latents)) <= 1.0

    share = np.mean(jax.jit(jax.vmap(hit))(jax.random.split(jax.random.key(7), 20_000)))
    np.testing.assert_allclose(share, 0.5, atol=4 * 0.5 / 20_000**0.5)


def test_one_layer_agrees_with_certify():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(8, PIXELS)), rng.normal(size=(2, 4, 8))

    def encode(x):
        hidden = jnp.tanh(jnp.asarray(first, jnp.float32) @ x.reshape(-1))
        return DiagonalGaussian(*(jnp.asarray(second, jnp.float32) @ hidden))

    def decode(z):
        return picture(*jnp.sin(z))

    settings = {"radius": 1.6, "key": KEY, "num_samples": 500, "risk": 0.4}
    spectral = bounds.certify(encode, decode, images(3), **settings)
    assert (spectral.radius > 0.0).any()
    hierarchical = bounds.hierarchical_margin(
        [lambda x, below: encode(x)], lambda latents: decode(*latents), images(3), **settings
    )
    np.testing.assert_array_equal(hierarchical.hits, spectral.hits)
    np.testing.assert_allclose(hierarchical.norm_bound, spectral.norm_bound, rtol=1e-5)
    np.testing.assert_allclose(hierarchical.radius, spectral.radius, rtol=1e-5)


def test_derivatives_of_opposite_signs_do_not_cancel():
    # z2 = +-3 x_1 + noise, + where z1 > 0: the Jacobian averages to 0, and is 0 on the mean path, z1 = 0. The event
    # z2 sign(z1) <= t moves by 3 x_1 on every path: its margin is t / 3.
    steepness, threshold = 3.0, 2.0
    levels = switching_levels(lambda z1: steepness * jnp.sign(z1))
    certificate = bounds.hierarchical_margin(
        levels,
        lambda latents: above(latents[1][0] * jnp.sign(latents[0][0]), threshold - 1.0),
        ZERO,
        radius=1.0,
        key=KEY,
        num_samples=20_000,
        draw_batch=2048,
    )
    true = threshold / steepness
    assert 0.95 * true <= certificate.radius[0] <= true


def test_steep_paths_are_not_counted_as_certain():
    # On 40 % of the paths layer 2 is 50 times as steep. kappa leaves those out, and with them their probability.
    levels = switching_levels(lambda z1: jnp.where(z1 > special.ndtri(0.6), 50.0, 1.0))
    threshold = 3.0
    certificate = bounds.hierarchical_margin(
        levels,
        lambda latents: above(latents[1][0], threshold - 1.0),
        ZERO,
        radius=1.0,
        key=jax.random.key(1),
        num_samples=20_000,
        draw_batch=2048,
    )

    def probability(distance):
        return 0.6 * special.ndtr(threshold - distance) + 0.4 * special.ndtr(threshold - 50.0 * distance)

    true = optimize.brentq(lambda d: probability(d) - 0.5, 0.0, 3.0)
    np.testing.assert_allclose(certificate.norm_bound, 1.0, rtol=1e-5)
    bound = special.ndtri(0.6 * special.ndtr(threshold))  # T5 with this kappa and every draw there is
    assert 0.85 * bound <= certificate.radius[0] <= bound < true


def test_confidence_is_kept_although_kappa_is_chosen():
    # ||W|| = max(z1, 0) + 0.05, so P(E) = Phi(kappa - 0.05), and all kappas promise much the same margin: choosing
    # kappa by the draws that estimate P(A and E) misses in 40 % of the cases.
    count, alpha = 300, 0.1
    certificate = bounds.hierarchical_margin(
        switching_levels(lambda z1: jax.nn.relu(z1) + 0.05),
        lambda latents: picture(0.0 * latents[1][0]),
        np.zeros((count, *SHAPE), np.float32),
        radius=1.0,
        key=KEY,
        num_samples=100,
        num_pilot_samples=100,
        alpha=alpha,
        draw_batch=200,
    )
    true = special.ndtr(certificate.norm_bound - 0.05)
    misses = np.count_nonzero(certificate.p_lower > true)
    assert certificate.expected_failures == alpha * count
    assert 0.3 * alpha * count < misses <= alpha * count + 4.0 * np.sqrt(alpha * count)


def test_certified_statement_holds_by_monte_carlo_around_the_ball():
    # Everything of layer 2 depends on z1: its Jacobian, its offset and its sigma.
    rng = np.random.default_rng(1)
    bottom, top = rng.normal(size=(2, PIXELS)), rng.normal(size=(3, 2, PIXELS))
    radius, risk = 6.0, 0.5

    def matrix(z1, xp):
        return top[0] * xp.sin(2.0 * z1[..., :1, None]) + top[1] * xp.tanh(z1[..., 1:, None]) + 0.2 * top[2]

    def log_std(z1, xp):
        return 0.3 * xp.cos(z1)

    levels = [
        lambda x, below: DiagonalGaussian(jnp.asarray(bottom, jnp.float32) @ x.reshape(-1), jnp.zeros(2)),
        lambda x, below: DiagonalGaussian(
            jnp.asarray(matrix(below[0], jnp), jnp.float32) @ x.reshape(-1) + below[0] ** 2, log_std(below[0], jnp)
        ),
    ]
    x = 0.3 * images(1, seed=3)
    certificate = bounds.hierarchical_margin(
        levels,
        lambda latents: picture(*latents[0], *latents[1]),
        x,
        radius=radius,
        key=KEY,
        num_samples=10_000,
        risk=risk,
        draw_batch=2048,
    )
    assert certificate.radius[0] > 0.05
    draws = 20_000
    noise = rng.normal(size=(2, draws, 2))
    pixels = x.reshape(-1).astype(np.float64)

    def paths(pixels, noise):
        z1 = bottom @ pixels + noise[0]
        return np.hstack([z1, matrix(z1, np) @ pixels + z1**2 + np.exp(log_std(z1, np)) * noise[1]])

    centre = paths(pixels, np.zeros((2, 1, 2)))
    directions = [*np.linalg.svd(bottom)[2][:2], *rng.normal(size=(40, PIXELS))]
    for direction in [*directions, *(-d for d in directions)]:
        shifted = pixels + 0.999 * certificate.radius[0] * direction / np.linalg.norm(direction)
        share = np.mean(np.linalg.norm(paths(shifted, noise) - centre, axis=1) <= radius)
        assert share > risk - 3.0 * 0.5 / draws**0.5


@pytest.mark.parametrize("width", [4, 9])
def test_features_give_the_same_margin(width):
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(width, PIXELS)).astype(np.float32)
    heads = rng.normal(size=(2, 3, width)).astype(np.float32)

    def features(x):
        return jnp.tanh(weights @ x.reshape(-1))

    def first(f, below):
        return DiagonalGaussian(heads[0] @ f, jnp.full(3, -0.5))

    def second(f, below):
        return DiagonalGaussian(jnp.cos(below[0]) * (heads[1] @ f), jnp.zeros(3))

    def decode(latents):
        return picture(*latents[0], *latents[1])

    settings = {"radius": 3.0, "key": KEY, "num_samples": 300, "num_pilot_samples": 50}
    direct = bounds.hierarchical_margin(
        [lambda x, below: first(features(x), below), lambda x, below: second(features(x), below)],
        decode,
        images(2),
        **settings,
    )
    # Nor do the sizes of the blocks matter.
    through = bounds.hierarchical_margin(
        [first, second], decode, images(2), features=features, draw_batch=13, chunk_size=2, **settings
    )
    assert (direct.radius > 0.0).all()
    np.testing.assert_array_equal(through.hits, direct.hits)
    np.testing.assert_allclose(through.norm_bound, direct.norm_bound, rtol=3e-6)
    np.testing.assert_allclose(through.radius, direct.radius, rtol=3e-6)


def test_one_compilation_however_many_images_and_blocks():
    def traces(count, draw_batch):
        calls = []

        def level(x, below):
            calls.append(x.shape)
            return DiagonalGaussian(x.reshape(-1), jnp.zeros(PIXELS))

        bounds.hierarchical_margin(
            [level],
            lambda latents: latents[0].reshape(SHAPE),
            images(count),
            radius=1.0,
            key=KEY,
            num_samples=20,
            num_pilot_samples=5,
            draw_batch=draw_batch,
        )
        return len(calls)

    assert traces(3, 4) == traces(1, 25)


@pytest.mark.parametrize("sizes", [(3, 2), (2, 3, 2)])
def test_composed_levels_lose_more_than_the_path(sizes):
    levels, (matrices, couplings, stds) = linear_hierarchy(sizes)
    normal, norm, _ = reference.joint_mahalanobis(matrices, couplings, stds)

    def decode(latents):
        return above(jnp.asarray(normal, jnp.float32) @ jnp.concatenate(latents), 1.0)

    settings = {"radius": 1.0, "key": KEY, "num_samples": 2000, "num_pilot_samples": 20}
    path = bounds.hierarchical_margin(levels, decode, ZERO, **settings)
    sup = bounds.hierarchical_margin(levels, decode, ZERO, mode="sup", **settings)
    whitened = [reference.whitened(matrix, std) for matrix, std in zip(matrices, stds, strict=True)]
    level_norms = [np.linalg.norm(matrix, 2) for matrix in whitened]
    composed = np.sqrt(np.sum(np.square(level_norms)))
    assert composed <= sup.norm_bound[0] <= composed * (1.0 + 2e-5) and composed > 1.02 * norm
    assert sup.radius[0] < path.radius[0] and sup.hits == path.hits
    given = bounds.hierarchical_margin(levels, decode, ZERO, mode="sup", level_norms=level_norms, **settings)
    np.testing.assert_allclose(given.radius, sup.radius, rtol=2e-5)
    assert (path.method, sup.method) == ("hierarchical", "hierarchical_sup")
    assert any("given" in sentence for sentence in given.assumptions)


def test_levels_steeper_than_the_pilot_saw_are_outside_the_event():
    """One draw in ten is steep; a bound below its steepness must not count it, one that was given counts all."""
    levels = switching_levels(lambda z: jnp.where(z > special.ndtri(0.9), 50.0, 1.0))

    def decode(latents):
        return jnp.zeros(SHAPE)

    settings = {"radius": 1.0, "key": KEY, "num_samples": 4000, "mode": "sup", "num_pilot_samples": 2}
    keys = jax.random.split(jax.random.key(1), 4)
    made = [bounds.hierarchical_margin(levels, decode, ZERO, **(settings | {"key": key})) for key in keys]
    for certificate in made:
        if certificate.norm_bound[0] < 2.0:
            assert 3500 < certificate.hits[0] < 3700
        else:
            assert certificate.norm_bound[0] > 49.0 and certificate.hits[0] == 4000
    assert min(certificate.norm_bound[0] for certificate in made) < 2.0
    given = bounds.hierarchical_margin(levels, decode, ZERO, level_norms=[0.0, 50.0], **settings)
    assert given.hits[0] == 4000 and given.norm_bound[0] == 50.0


@pytest.mark.parametrize("with_features", [False, True])
def test_boxes_are_certified_below_the_truth_and_not_far_below(with_features):
    levels, parameters = linear_hierarchy((3, 2))
    normal, _, _ = reference.joint_mahalanobis(*parameters)
    matrices, couplings, _ = parameters
    jacobian = np.vstack([matrices[0], couplings[1] @ matrices[0] + matrices[1]])
    probability = 0.95
    threshold = special.ndtri(probability)

    def decode(latents):
        return above(jnp.asarray(normal, jnp.float32) @ jnp.concatenate(latents), threshold - 1.0)

    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(PIXELS, PIXELS)))[0]
    settings = {"radius": 1.0, "key": KEY, "num_samples": 20_000, "num_pilot_samples": 50, "draw_batch": 4096}
    if with_features:
        read = [
            lambda f, below, level=level: level(jnp.asarray(rotation.T, jnp.float32) @ f, below) for level in levels
        ]
        settings["features"] = lambda x: jnp.asarray(rotation, jnp.float32) @ x.reshape(-1)
    else:
        read = levels
    certificate = bounds.hierarchical_margin(read, decode, ZERO, norm="linf", **settings)
    # Across the normal a box of half-width R shifts the draw by R ||J^T normal||_1 standard deviations.
    true = threshold / np.abs(jacobian.T @ normal).sum()
    assert 0.6 < certificate.radius[0] / true <= 1.0
    assert certificate.norm == "linf"


def test_draws_that_are_not_finite_are_misses():
    # Where z1 > 1 (16 % of the draws) the reconstruction, the sigma or the Jacobian of layer 2 is not finite.
    def bad(value, z1):
        return jnp.where(z1[0] > 1.0, value, 0.0)

    def level(log_std, root):
        return lambda x, below: DiagonalGaussian(
            jnp.sqrt(root(x.reshape(-1)[:1], below[0])), log_std(below[0]) + jnp.zeros(1)
        )

    def steady(x, z1):
        return 1.0 + x

    def plain(latents):
        return picture(0.0 * latents[0][0])

    cases = (
        (level(lambda z1: 0.0, steady), lambda latents: plain(latents) + bad(jnp.nan, latents[0])),
        (level(lambda z1: bad(jnp.nan, z1), steady), plain),
        (level(lambda z1: 0.0, lambda x, z1: jnp.where(z1 > 1.0, 0.0 * x, 1.0 + x)), plain),
    )
    bottom = switching_levels(jnp.sign)[0]
    for top, decode in cases:
        certificate = bounds.hierarchical_margin(
            [bottom, top], decode, ZERO, radius=1.0, key=KEY, num_samples=1000, num_pilot_samples=200, draw_batch=600
        )
        np.testing.assert_allclose(certificate.hits, 1000 * special.ndtr(1.0), atol=4 * 1000**0.5 * 0.37)
        np.testing.assert_allclose(certificate.norm_bound, 0.5, rtol=1e-5)
        assert 0.0 < certificate.radius[0] <= 2.0 * special.ndtri(special.ndtr(1.0))


def test_abstains_and_says_what_it_is():
    levels, _ = linear_hierarchy((3, 2))
    certificate = bounds.hierarchical_margin(
        levels, lambda latents: picture(*latents[0]), images(2), radius=1e-3, key=KEY, num_samples=50, progress=True
    )
    assert certificate.abstained.all() and (certificate.radius == 0.0).all() and (certificate.norm_bound > 0.0).all()
    assert certificate.method == "hierarchical" and certificate.soundness == "first_order"
    assert certificate.norms is None and certificate.num_samples == 50
    assert any("frozen" in sentence for sentence in certificate.assumptions)
    assert any("pilot" in sentence for sentence in certificate.assumptions)
    read = bounds.Certificate.from_arrays(certificate.to_arrays())
    assert read.rows() == certificate.rows() and read.norms is None


def test_a_model_that_ignores_the_image_has_no_limit():
    still = [lambda x, below: DiagonalGaussian(jnp.zeros(2), jnp.zeros(2))] * 2
    with pytest.warns(UserWarning, match=r"every layer does not depend on the image at 1 of 1 .*\.eval\(\)") as warned:
        certificate = bounds.hierarchical_margin(
            still, lambda latents: picture(*latents[0]), ZERO, radius=9.0, key=KEY, num_samples=50
        )
    assert warned[0].filename == __file__
    assert certificate.radius[0] == np.inf and certificate.norm_bound[0] == 0.0


STREAM = iter(range(100))


def constant(mean, log_std, size=2):
    return DiagonalGaussian(mean + jnp.zeros(size), log_std + jnp.zeros(size))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"radius": 0.0}, ValueError, "radius must be a positive"),
        ({"num_samples": 9}, ValueError, "at least 10 draws are needed"),
        ({"num_pilot_samples": 0}, ValueError, "num_pilot_samples must be at least 1"),
        ({"draw_batch": 1.5}, TypeError, "draw_batch must be an integer"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be at least 1"),
        ({"alpha": 1.0}, ValueError, "alpha must lie strictly between"),
        ({"risk": 0.0}, ValueError, "risk must lie strictly between"),
        ({"key": 0}, TypeError, "typed key"),
        ({"images": ZERO[0, 0, 0]}, ValueError, "leading batch axis"),
        ({"levels": []}, TypeError, "non-empty list or tuple of functions"),
        ({"levels": lambda x, below: constant(0.0, 0.0)}, TypeError, "non-empty list or tuple of functions"),
        ({"levels": [lambda x, below: x]}, TypeError, r"levels\[0\] must return"),
        (
            {"levels": [lambda x, below: constant(0.0, 0.0), lambda x, below: constant(0.0, 0.0, (1, 2))]},
            ValueError,
            r"levels\[1\] must map",
        ),
        (
            {"levels": [lambda x, below: constant(0.0, 0.0), lambda x, below: constant(0.0, -jnp.inf)]},
            ValueError,
            r"levels\[1\] gives image 0 a standard deviation of 0",
        ),
        ({"levels": [lambda x, below: constant(jnp.nan, 0.0)]}, ValueError, r"levels\[0\] gives image 0 a mean"),
        (
            {"levels": [lambda x, below: constant(jnp.sqrt(0.0 * x.sum()), 0.0)]},
            ValueError,
            "Jacobian of a level's mean is NaN or infinite at image 0",
        ),
        ({"decode": lambda latents: latents[0]}, ValueError, "decode must map a tuple of latents"),
        ({"decode": lambda latents: jnp.full(SHAPE, jnp.nan)}, ValueError, "latent mean of image 0"),
        ({"mode": "mean"}, ValueError, "mode must be one of path, sup"),
        ({"norm": "l1"}, ValueError, "norm must be one of l2, linf"),
        ({"level_norms": [1.0]}, ValueError, "level_norms are for mode='sup'"),
        ({"level_norms": [1.0, 2.0], "mode": "sup"}, ValueError, "level_norms must be 1 numbers"),
        ({"level_norms": [-1.0], "mode": "sup"}, ValueError, "none negative"),
        ({"features": lambda x: x}, TypeError, r"features must map one image to one array \[feature\]"),
        ({"features": "relu"}, TypeError, r"features must be a function .*got 'relu'"),
        ({"features": lambda x: x @ jnp.ones(9)}, ValueError, r"features fails on one example of shape \("),
        ({"features": lambda x: x.ravel() + next(STREAM)}, ValueError, "features is not deterministic"),
        ({"levels": [lambda x: constant(x, 0.0)]}, ValueError, r"levels\[0\] fails .*\(image or features, latents"),
        ({"decode": lambda one, two: one}, ValueError, r"decode fails .*called with \(latents of all layers\)"),
        ({"level_norms": ["a"], "mode": "sup"}, TypeError, r"level_norms must be numbers.*got \['a'\]"),
        ({"level_norms": [np.nan], "mode": "sup"}, ValueError, "none negative"),
    ],
)
def test_bad_input_is_named(changes, error, message):
    arguments = {
        "levels": [lambda x, below: constant(x.mean(), 0.0)],
        "decode": lambda latents: jnp.zeros(SHAPE),
        "images": ZERO,
        "radius": 1.0,
        "key": KEY,
        "num_samples": 10,
        "num_pilot_samples": 5,
    }
    with pytest.raises(error, match=message):
        bounds.hierarchical_margin(**(arguments | changes))
