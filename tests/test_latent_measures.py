"""Active units, posterior widths, densities, noise robustness and traversals: planted answers and closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from seatbelt_jax import concrete, gaussian, metrics, models
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.likelihood import GaussianLikelihood
from seatbelt_jax.vae import VAE, Encoding
from tests import annotations
from tests.compilations import counted
from tests.reference.linear_gaussian import LinearGaussian

ENCODER = np.array([[1.0, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.05], [0.0, 0.0, 0.0]])
LINEAR = LinearGaussian(0.3 + 0.1 * np.eye(3, 4), 0.5, ENCODER, np.array([0.3, 0.4, 1.2, 1.0]))


def two_layers(from_image, from_below, std=0.5):
    """Images of one pixel x: q(z^1|x) has means (x, 0), and q(z^2|z^1, x) the mean from_image x + from_below z^1_2."""

    def encode(images, noise):
        x = images.reshape(-1, 1)
        first = DiagonalGaussian(jnp.concatenate([x, 0 * x], axis=1), jnp.full((len(x), 2), np.log(std)))
        z = gaussian.sample(first, noise[0])
        second = DiagonalGaussian(from_image * x + from_below * z[:, 1:], jnp.full_like(x, np.log(0.1)))
        return Encoding((first, second), (z, gaussian.sample(second, noise[1])))

    def prior(latents):
        above = latents[1] * jnp.array([2.0, -1.0])
        return DiagonalGaussian(above, jnp.full_like(above, np.log(0.5))), gaussian.standard_normal(latents[1])

    def decode(latents):
        return jnp.concatenate([latents[0], latents[1]], axis=1)[:, :, None, None]

    return VAE(encode, decode, prior, GaussianLikelihood(), (2, 1), (1, 1, 1))


def pixels(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 1, 1, 1)).astype(np.float32)


def test_the_activity_of_a_linear_encoder_is_the_variance_of_its_means():
    images = np.random.default_rng(0).normal(size=(2000, 1, 3, 1)).astype(np.float32)
    found = metrics.active_units(LINEAR.vae(), images, batch_size=300)
    expected = np.var(images.reshape(2000, 3) @ ENCODER.T, axis=0, ddof=1)
    np.testing.assert_allclose(found.activity[0], expected, rtol=1e-4, atol=1e-9)
    # Variances 1, 0.04, 0.0025 and 0 against 0.01.
    np.testing.assert_array_equal(found.active[0], [True, True, False, False])
    assert found.counts == (2,)
    assert metrics.active_units(LINEAR.vae(), images, threshold=0.1).counts == (1,)


def test_models_of_closures_share_what_is_compiled():
    images, key = np.random.default_rng(0).normal(size=(7, 1, 3, 1)).astype(np.float32), jax.random.key(0)

    def measure(model):
        vae = model.vae()
        return [
            metrics.active_units(vae, images, key, num_samples=2, batch_size=3).activity[0],
            metrics.posterior_std_norms(vae, images, batch_size=3)[0],
            metrics.noise_robustness(vae, images, key, batch_size=3),
            metrics.importance_weighted_bound(vae, images, key, num_samples=2, batch_size=3).log_likelihood,
            metrics.elbo_decomposition(vae, images, key, num_images=5, batch_size=3).terms.elbo,
            metrics.latent_traversal(vae, 1),
            np.concatenate(metrics.traversal_from_image(vae, images[0])),
        ]

    found = measure(LINEAR)
    with counted() as programs:
        others = measure(LinearGaussian(0.5 * np.eye(3, 4), 0.5, 0.5 * ENCODER, np.array([0.2, 0.4, 1.0, 0.8])))
    assert not programs
    assert all(np.any(other != first) for other, first in zip(others, found, strict=True))


def test_upper_layers_follow_the_mean_path_or_samples():
    images = pixels(400)
    variance = np.var(images, ddof=1, dtype=np.float64)
    on_means = metrics.active_units(two_layers(0.7, 1.0), images)
    np.testing.assert_allclose(on_means.activity[0], [variance, 0.0], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(on_means.activity[1], [0.49 * variance], rtol=1e-5)
    sampled = metrics.active_units(two_layers(0.7, 1.0), images, jax.random.key(0), num_samples=20)
    np.testing.assert_allclose(sampled.activity[1], [0.49 * variance], rtol=0.05)


def test_noise_of_the_layer_below_is_no_activity():
    """The upper unit reads nothing but noise: of its mean over 4 samples the variance is 0.25 / 4."""
    found = metrics.active_units(two_layers(0.0, 1.0), pixels(2000), jax.random.key(0), num_samples=4)
    assert abs(found.activity[1][0]) < 0.01 < 0.25 / 4
    assert found.counts == (1, 0)


def test_classes_of_concrete_latents_are_units():
    def encode(images, noise):
        q = Concrete(images.reshape(-1, 1) * jnp.array([4.0, 0.0, 0.0]), (3,), 0.5)
        return Encoding((q,), (concrete.sample(q, noise[0]),))

    def prior(latents):
        return (concrete.uniform(Concrete(latents[0], (3,), 0.5)),)

    vae = VAE(encode, lambda latents: latents[0][:, :1, None, None], prior, GaussianLikelihood(), (3,), (1, 1, 1))
    images = pixels(200)
    probabilities = np.exp(4.0 * images[:, 0, 0, 0].astype(np.float64))
    expected = np.var(probabilities / (probabilities + 2.0), ddof=1)
    found = metrics.active_units(vae, images)
    np.testing.assert_allclose(found.activity[0], [expected, expected / 4, expected / 4], rtol=1e-4)
    assert np.isnan(metrics.posterior_std_norms(vae, images)[0]).all()


def test_what_active_units_refuse():
    vae, key = two_layers(0.0, 1.0), jax.random.key(0)
    with pytest.raises(ValueError, match="at least 2: one sample"):
        metrics.active_units(vae, pixels(5), key, num_samples=1)
    with pytest.raises(ValueError, match="give a key"):
        metrics.active_units(vae, pixels(5), num_samples=3)
    with pytest.raises(ValueError, match="give at least 2"):
        metrics.active_units(vae, pixels(1))
    with pytest.raises(ValueError, match="threshold must be a variance"):
        metrics.active_units(vae, pixels(5), threshold=-0.1)


def test_the_norms_of_sigma_per_layer():
    widths = metrics.posterior_std_norms(two_layers(0.7, 1.0), pixels(5), batch_size=2)
    np.testing.assert_allclose(widths[0], np.full(5, 0.5 * np.sqrt(2.0)), rtol=1e-5)
    np.testing.assert_allclose(widths[1], np.full(5, 0.1), rtol=1e-5)

    def encode(images, noise):
        q = DiagonalGaussian(jnp.zeros((len(images), 2)), images[:, 0, 0] + noise[0])
        return Encoding((q, q), (q.mean, q.mean))

    other = two_layers(0.0, 0.0)
    moving = VAE(encode, other.decode, other.prior, other.likelihood, (2, 2), other.image_shape)
    np.testing.assert_allclose(
        metrics.posterior_std_norms(moving, pixels(4))[1], np.sqrt(2.0) * np.exp(pixels(4).ravel()), rtol=1e-5
    )
    # With a key the noise is there, image by image.
    sampled = metrics.posterior_std_norms(moving, pixels(4), jax.random.key(0))[0]
    assert np.all(np.abs(sampled / (np.sqrt(2.0) * np.exp(pixels(4).ravel())) - 1.0) > 1e-3)


def test_a_density_is_that_of_scipy_with_the_same_bandwidth():
    values = np.random.default_rng(0).gamma(3.0, size=200)
    found = metrics.kernel_density(values)
    twin = stats.gaussian_kde(values, bw_method=found.bandwidth / np.std(values, ddof=1))
    np.testing.assert_allclose(found.density, twin(found.grid), rtol=1e-6)
    np.testing.assert_allclose(np.trapezoid(found.density, found.grid), 1.0, rtol=1e-3)
    spread = (np.quantile(values, 0.75) - np.quantile(values, 0.25)) / 1.34
    np.testing.assert_allclose(found.bandwidth, 0.9 * min(spread, np.std(values, ddof=1)) / 200**0.2)


def test_a_density_of_normal_numbers_is_near_the_normal_density():
    grid = np.linspace(-3.0, 3.0, 50)
    found = metrics.kernel_density(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000), grid)
    # Kernels turn normal numbers into normal ones, a little wider.
    wider = np.hypot(1.0, found.bandwidth)
    np.testing.assert_allclose(found.density, stats.norm.pdf(grid, scale=wider), atol=1e-3)
    # Half of the numbers are the same: the quartiles say nothing, the standard deviation does.
    assert metrics.kernel_density(np.array([1.0] * 8 + [2.0])).bandwidth > 0.1


@annotations.unchecked()
def test_what_has_no_density_is_refused():
    with pytest.raises(ValueError, match=r"all values are 0\.1: that is no density"):
        metrics.kernel_density(np.full(10, 0.1, np.float32))
    for values in (np.ones(1), np.ones((2, 2)), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="at least 2 finite numbers"):
            metrics.kernel_density(values)
    with pytest.raises(ValueError, match="bandwidth must be a positive number"):
        metrics.kernel_density(np.arange(3.0), bandwidth=0.0)
    with pytest.raises(ValueError, match="grid must be finite"):
        metrics.kernel_density(np.arange(3.0), np.array([np.inf]))


def test_noise_robustness_of_a_linear_model_is_its_closed_form():
    model = dataclasses.replace(LINEAR, encoder=2.0 * ENCODER + 0.5)
    images = model.draw(4000)
    scales = (0.0, 0.1, 0.5, 1.0)
    found = metrics.noise_robustness(model.vae(), images, jax.random.key(0), scales=scales, batch_size=1500)
    assert found.shape == (4, 4000)
    expected = np.stack([model.expected_log_likelihood(images, scale) for scale in scales])
    error = np.std(found - expected, axis=1) / np.sqrt(4000)
    assert np.all(np.abs(np.mean(found - expected, axis=1)) < 4.0 * error)
    # Each scale's mean is told apart from the next one's.
    assert np.all(-np.diff(expected.mean(axis=1))[1:] > 10.0 * error[2:])
    assert np.all(np.diff(found.mean(axis=1)) < 0.0)
    assert metrics.noise_robustness(LINEAR.vae(), images[:3], jax.random.key(0)).shape == (3, 3)


def test_noise_does_not_depend_on_how_images_are_batched():
    images = LINEAR.draw(20)
    one, other = (metrics.noise_robustness(LINEAR.vae(), images, jax.random.key(0), batch_size=n) for n in (20, 6))
    np.testing.assert_allclose(one, other, rtol=1e-4)
    with pytest.raises(ValueError, match="scales must list finite numbers"):
        metrics.noise_robustness(LINEAR.vae(), images, jax.random.key(0), scales=(-0.1,))


def test_a_traversal_moves_one_unit_and_what_lies_below_it():
    other = two_layers(0.0, 0.0)

    def encode(images, noise):
        return other.encode(images[:, :1], noise)

    vae = VAE(encode, other.decode, other.prior, other.likelihood, other.latent_sizes, (3, 1, 1))
    top = metrics.latent_traversal(vae, 2, values=(-1.0, 0.0, 2.0))
    # z^2 moves; z^1 follows its mean (2, -1) z^2.
    np.testing.assert_allclose(top[0, :, :, 0, 0], [[-2.0, 1.0, -1.0], [0.0] * 3, [4.0, -2.0, 2.0]], atol=1e-6)
    bottom = metrics.latent_traversal(vae, 1, coordinates=[1], values=(-1.0, 2.0))
    np.testing.assert_allclose(bottom[0, :, :, 0, 0], [[0.0, -0.5, 0.0], [0.0, 1.0, 0.0]], atol=1e-6)
    assert metrics.latent_traversal(vae, 1).shape == (2, 11, 3, 1, 1)


def test_a_traversal_of_a_concrete_layer_chooses_its_classes():
    config = {"latent_sizes": (2,), "discrete_sizes": (3,), "network": "mlp", "widths": (8,)}
    model = models.build(config, (8, 8, 1))
    vae = model.bind(model.init(jax.random.key(0)))
    found = metrics.latent_traversal(vae, 1, values=(4.0,))[:, 0]
    for number in range(3):
        latents = (jnp.eye(3)[number : number + 1], jnp.zeros((1, 2)))
        np.testing.assert_allclose(found[number], vae.likelihood.mean(vae.decode(latents))[0], atol=1e-4)


def test_what_a_traversal_refuses():
    vae = two_layers(0.0, 0.0)
    with pytest.raises(ValueError, match="layer must be from 1 to 2, got 0"):
        metrics.latent_traversal(vae, 0)
    with pytest.raises(ValueError, match=r"coordinates of layer 2 must be from 0 to 0, got \[1\]"):
        metrics.latent_traversal(vae, 2, coordinates=[1])
    with pytest.raises(ValueError, match="values must list finite numbers"):
        metrics.traversal_noise(vae, 1, values=())


def test_a_traversal_from_an_image_changes_one_unit_of_its_code():
    vae = two_layers(0.5, 0.0)
    image = np.full((1, 1, 1), 2.0, np.float32)
    strips = metrics.traversal_from_image(vae, image, values=(-1.0, 3.0))
    # The image's code is (2, 0) and (1,), and the decoder shows it as it is.
    expected = [[[-1, 0, 1], [3, 0, 1]], [[2, -1, 1], [2, 3, 1]], [[2, 0, -1], [2, 0, 3]]]
    np.testing.assert_allclose([strip[..., 0, 0] for strip in strips], expected, atol=1e-6)


def test_a_traversal_from_an_image_goes_through_the_classes_of_concrete_variables():
    def encode(images, noise):
        q = Concrete(jnp.array([[0.0, 5.0, 0.0, 1.0, 0.0]]), (3, 2), 0.1)
        mean = DiagonalGaussian(images.reshape(1, 1), jnp.zeros((1, 1)))
        return Encoding((q, mean), (concrete.sample(q, noise[0]), gaussian.sample(mean, noise[1])))

    vae = VAE(
        encode,
        lambda latents: jnp.concatenate(latents, axis=1)[:, :, None, None],
        lambda latents: (concrete.uniform(Concrete(latents[0], (3, 2), 0.1)), gaussian.standard_normal(latents[1])),
        GaussianLikelihood(),
        (5, 1),
        (1, 1, 1),
    )
    gaussian_unit, *classes = metrics.traversal_from_image(vae, np.full((1, 1, 1), 4.0, np.float32), values=(0.0,))
    np.testing.assert_allclose(gaussian_unit[..., 0, 0], [[0, 1, 0, 1, 0, 0]], atol=1e-3)
    np.testing.assert_allclose(classes[0][..., 0, 0], [[*row, 1, 0, 4] for row in np.eye(3)], atol=1e-3)
    np.testing.assert_allclose(classes[1][..., 0, 0], [[0, 1, 0, *row, 4] for row in np.eye(2)], atol=1e-3)
