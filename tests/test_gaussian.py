import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import gaussian
from seatbelt_jax.gaussian import DiagonalGaussian
from tests.reference import gaussian as reference


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    q = DiagonalGaussian(*(jnp.asarray(rng.normal(size=(5, 3)), jnp.float32) for _ in range(2)))
    p = DiagonalGaussian(*(jnp.asarray(rng.normal(size=(5, 3)), jnp.float32) for _ in range(2)))
    return q, p


def test_log_prob_equals_the_definition(pair):
    q, p = pair
    expected = [reference.log_prob(q.mean[i], q.std[i], p.mean[i]) for i in range(5)]
    np.testing.assert_allclose(gaussian.log_prob(q, p.mean), expected, rtol=1e-5)


def test_kl_equals_the_closed_form_and_monte_carlo(pair):
    q, p = pair
    expected = [reference.kl_divergence(q.mean[i], q.std[i], p.mean[i], p.std[i]) for i in range(5)]
    np.testing.assert_allclose(gaussian.kl_divergence(q, p), expected, rtol=1e-5)
    near = DiagonalGaussian(q.mean + 0.3, q.log_std - 0.2)
    z = gaussian.sample(q, jax.random.normal(jax.random.key(0), (200_000, 5, 3)))
    estimate = jnp.mean(gaussian.log_prob(q, z) - gaussian.log_prob(near, z), axis=0)
    np.testing.assert_allclose(gaussian.kl_divergence(q, near), estimate, rtol=0.02)


def test_kl_of_neighbours_is_not_negative():
    q = DiagonalGaussian(jnp.zeros((100, 4)), jnp.linspace(-5, 5, 100)[:, None] * jnp.ones(4))
    p = DiagonalGaussian(q.mean, q.log_std + 1e-4)
    assert np.all(gaussian.kl_divergence(q, p) >= 0.0)
    assert np.all(gaussian.kl_divergence(q, q) == 0.0)


def test_entropy_is_the_expected_negative_log_prob(pair):
    q, _ = pair
    z = gaussian.sample(q, jax.random.normal(jax.random.key(1), (200_000, 5, 3)))
    np.testing.assert_allclose(gaussian.entropy(q), -jnp.mean(gaussian.log_prob(q, z), 0), atol=0.02)


def test_wasserstein_is_the_closed_form_with_a_finite_gradient_at_zero(pair):
    q, p = pair
    expected = np.sqrt(np.sum((q.mean - p.mean) ** 2, -1) + np.sum((q.std - p.std) ** 2, -1))
    np.testing.assert_allclose(gaussian.wasserstein2(q, p), expected, rtol=1e-5)
    gradient = jax.grad(lambda mean: gaussian.wasserstein2(DiagonalGaussian(mean, q.log_std[0]), at).sum())
    at = DiagonalGaussian(q.mean[0], q.log_std[0])
    assert np.all(gradient(q.mean[0]) == 0.0)


def test_zero_noise_gives_the_mean(pair):
    q, _ = pair
    np.testing.assert_array_equal(gaussian.sample(q, jnp.zeros_like(q.mean)), q.mean)
