"""Encoders that break just outside of what may be certified: sound certificates must end there, and not far before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import bounds
from seatbelt_jax.bounds.evidence import Needed, gather
from seatbelt_jax.bounds.streaming import Source
from seatbelt_jax.gaussian import DiagonalGaussian

PICTURE = np.array([[0.3, -0.2, 0.5]], np.float32)
RADIUS = 3.0
KEY = jax.random.key(0)
NOISE = np.random.default_rng(0).normal(size=(4000, 3))


def identity(z):
    return z


def mean_breaks(x):
    """Its first coordinate runs away 0.05 above the picture's."""
    return DiagonalGaussian(x + 5000.0 * jax.nn.relu(x - jnp.array([0.35, 9.0, 9.0])), jnp.zeros(3))


def sigma_breaks(x):
    """The mean breaks at 0.05, but sigma explodes at 0.02 already."""
    return DiagonalGaussian(mean_breaks(x).mean, 5000.0 * jax.nn.relu(x - jnp.array([0.32, 9.0, 9.0])))


def declared_flat(x):
    """The same as the identity times ten, with a derivative that says otherwise."""
    return DiagonalGaussian(_steep(x), jnp.zeros(3))


@jax.custom_jvp
def _steep(x):
    return 10.0 * x


@_steep.defjvp
def _steep_derivative(primals, tangents):
    return _steep(primals[0]), 0.1 * tangents[0]


def straight_through(x):
    return DiagonalGaussian(x + jax.lax.stop_gradient(9.0 * x), jnp.zeros(3))


def clipped_far_away(x):
    return DiagonalGaussian(mean_breaks(jnp.clip(x, -1e20, 1e20)).mean, jnp.zeros(3))


def bounded_by_nothing(x):
    return DiagonalGaussian(mean_breaks(jnp.maximum(x, -jnp.inf)).mean, jnp.zeros(3))


def probability(encode, distortion):
    """The probability to stay within the radius of the clean reconstruction."""
    clean, moved = encode(PICTURE[0]), encode(jnp.asarray(PICTURE[0] + distortion, jnp.float32))
    draws = np.asarray(moved.mean, np.float64) + np.exp(np.minimum(np.asarray(moved.log_std, np.float64), 50.0)) * NOISE
    return np.mean(np.linalg.norm(draws - np.asarray(clean.mean, np.float64), axis=1) <= RADIUS)


def worst(encode, distance):
    """The least probability at this distance, along the axes and in some directions more."""
    directions = [*np.eye(3), *-np.eye(3), *np.random.default_rng(1).normal(size=(20, 3))]
    return min(probability(encode, distance * direction / np.linalg.norm(direction)) for direction in directions)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["linear_region", "lipschitz", "hybrid", "pathwise"])
@pytest.mark.parametrize(
    ("encode", "breaks_at"),
    [(mean_breaks, 0.05), (sigma_breaks, 0.02), (clipped_far_away, 0.05), (bounded_by_nothing, 0.05)],
)
def test_certificates_end_where_the_encoder_breaks(encode, breaks_at, method):
    certificate = bounds.certify(encode, identity, PICTURE, radius=RADIUS, key=KEY, num_samples=4000, method=method)
    radius = certificate.radius[0]
    assert 0.9 * breaks_at < radius < 1.03 * breaks_at
    assert worst(encode, 0.999 * radius) > 0.5
    # A margin hardly larger, or the one of first order, does not hold.
    assert worst(encode, 1.1 * max(radius, breaks_at)) < 0.5
    first_order = bounds.certify(
        encode, identity, PICTURE, radius=RADIUS, key=KEY, num_samples=4000, method="moving_std"
    )
    assert first_order.radius[0] > 10.0 * radius and worst(encode, first_order.radius[0]) < 0.5


@pytest.mark.parametrize("method", ["linear_region", "lipschitz", "hybrid"])
@pytest.mark.parametrize("encode", [declared_flat, straight_through])
def test_the_function_counts_and_not_the_derivative_that_it_declares(encode, method):
    certificate = bounds.certify(encode, identity, PICTURE, radius=RADIUS, key=KEY, num_samples=4000, method=method)
    assert worst(encode, 0.999 * certificate.radius[0]) > 0.5
    np.testing.assert_allclose(certificate.norm_bound, 10.0, rtol=1e-4)


@pytest.mark.parametrize("encode", [declared_flat, straight_through])
def test_draws_are_bounded_by_the_function_too(encode):
    certificate = bounds.certify(encode, identity, PICTURE, radius=RADIUS, key=KEY, method="pathwise")
    assert 0.0 < certificate.radius[0] < 0.3 and worst(encode, 0.999 * certificate.radius[0]) > 0.5


def test_pathwise_margins_end_where_the_decoder_breaks_for_each_draw():
    """A draw leaves the ball from 0.05 less its noise on, a thousand times faster than before."""
    sigma, paths = 0.01, 64

    def encode(x):
        return DiagonalGaussian(x, jnp.full(3, jnp.log(sigma)))

    def decode(z):
        return z + 5000.0 * jax.nn.relu(z - jnp.array([0.35, 9.0, 9.0]))

    certificate = bounds.certify(encode, decode, PICTURE, radius=RADIUS, key=KEY, method="pathwise", num_paths=paths)
    keys = [jax.random.fold_in(jax.random.fold_in(KEY, 0), draw) for draw in range(paths)]
    noise = np.stack([jax.random.normal(key, (3,)) for key in keys])
    breaks = np.sort(0.05 - sigma * noise[:, 0])[-45]
    assert 0.98 * breaks < certificate.radius[0] < breaks + RADIUS / 5000.0


@pytest.mark.parametrize(
    ("mean", "named"),
    [
        (lambda x: jnp.where(jnp.isnan(jnp.sqrt(x)), -50.0 * x, x), "sqrt"),
        (lambda x: jnp.where(jnp.isnan(jnp.log1p(4.0 * x)), -50.0 * x, x), "select_n"),
        (lambda x: jnp.where(jnp.isfinite(x), x, 2.0 * x), "select_n"),
        (lambda x: jnp.where(~(x > 0.0), x, 2.0 * x), "select_n"),
        (lambda x: x / jnp.linalg.norm(x), "sqrt"),
    ],
)
def test_what_cannot_be_bounded_is_refused_by_name(mean, named):
    def encode(x):
        return DiagonalGaussian(mean(x), jnp.zeros(3))

    with pytest.raises(ValueError, match=f"no bounds for '{named}'"):
        bounds.certify(encode, identity, PICTURE, radius=RADIUS, key=KEY, num_samples=20, method="lipschitz")


@pytest.mark.parametrize(
    "mean",
    [
        lambda x: jnp.where(jnp.isnan(jnp.log1p(4.0 * x)), -50.0 * x, x),
        lambda x: jax.nn.softplus(jnp.where(jnp.isnan(jnp.log1p(4.0 * x)), -50.0 * x, x)),
        lambda x: jnp.where(jnp.isnan(jnp.log1p(4.0 * x)), -50.0 * x, jnp.tanh(x) * jax.nn.sigmoid(x) + x),
        lambda x: x / jnp.linalg.norm(x),
    ],
)
def test_what_pathwise_bounds_of_other_operations_holds(mean):
    def encode(x):
        return DiagonalGaussian(mean(x), jnp.zeros(3))

    certificate = bounds.certify(encode, identity, PICTURE, radius=RADIUS, key=KEY, method="pathwise")
    assert worst(encode, 0.999 * certificate.radius[0]) > 0.5


def test_a_function_that_calls_back_to_python_is_refused():
    def encode(x):
        noise = jax.pure_callback(lambda a: np.random.normal(size=3).astype(np.float32), x, x)
        return DiagonalGaussian(x + noise, jnp.zeros(3))

    with pytest.raises(ValueError, match=r"encode calls back to Python \(pure_callback\)"):
        bounds.certify(encode, identity, PICTURE, radius=RADIUS, key=KEY, num_samples=20)


def drawing(x):
    return DiagonalGaussian(x + np.random.default_rng().normal(size=3).astype(np.float32), jnp.zeros(3))


@pytest.mark.parametrize(
    "call",
    [
        lambda: bounds.certify(drawing, identity, PICTURE, radius=RADIUS, key=KEY, num_samples=20),
        lambda: bounds.minimal_robust_radius(drawing, identity, PICTURE, key=KEY, num_samples=20),
        lambda: bounds.empirical_margin(drawing, identity, PICTURE, radius=RADIUS, key=KEY, num_samples=20),
        lambda: bounds.jacobian_norms(drawing, PICTURE[0]),
        lambda: bounds.certified_reconstruction_radius(drawing, identity, PICTURE, eps=0.1, key=KEY, num_samples=20),
        lambda: bounds.hierarchical_margin(
            [lambda x, below: drawing(x)], lambda z: z[0], PICTURE, radius=RADIUS, key=KEY, num_samples=20
        ),
    ],
)
def test_functions_that_draw_are_refused_everywhere(call):
    with pytest.raises(ValueError, match="is not deterministic"):
        call()


def evidence():
    pictures = np.zeros((800, 3), np.float32)
    layers, _ = bounds.Model.of(lambda x: DiagonalGaussian(0.1 * x, jnp.zeros(3)), identity).checked(pictures)
    work = bounds.Work(batch_size=400, decode_batch=64, chunk_size=4)
    return list(gather(layers, Source.of(pictures), bounds.Question(key=KEY), Needed(samples=60, pilot=60), work))


def test_what_is_chosen_by_pilot_draws_is_not_certified_by_them():
    for batch in evidence():
        for pilot, draws in zip(batch.pilot_distances, batch.distances[..., 0], strict=True):
            assert np.isin(pilot, draws).sum() <= 1 and len(np.unique(pilot)) >= 59
