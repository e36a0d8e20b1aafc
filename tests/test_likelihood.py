import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from seatbelt_jax.likelihood import BernoulliLikelihood, GaussianLikelihood

RNG = np.random.default_rng(0)
PARAMETERS = jnp.asarray(RNG.normal(size=(3, 4, 4, 2)), jnp.float32)


def test_gaussian_equals_scipy():
    images = jnp.asarray(RNG.uniform(-1, 1, size=PARAMETERS.shape), jnp.float32)
    expected = stats.norm.logpdf(images, PARAMETERS, 0.1).sum((1, 2, 3))
    np.testing.assert_allclose(GaussianLikelihood(0.1).log_prob(PARAMETERS, images), expected, rtol=1e-5)
    np.testing.assert_array_equal(GaussianLikelihood(0.1).mean(PARAMETERS), PARAMETERS)


def test_bernoulli_equals_scipy():
    images = jnp.asarray(RNG.integers(0, 2, size=PARAMETERS.shape), jnp.float32)
    model = BernoulliLikelihood()
    expected = stats.bernoulli.logpmf(images, np.float64(model.mean(PARAMETERS))).sum((1, 2, 3))
    np.testing.assert_allclose(model.log_prob(PARAMETERS, images), expected, rtol=1e-4)


def test_bernoulli_stays_finite_for_confident_decoders():
    images = jnp.array([[[[0.0]]], [[[1.0]]]])
    values = BernoulliLikelihood().log_prob(jnp.full((2, 1, 1, 1), 1e4), images)
    np.testing.assert_allclose(values, [-1e4, 0.0])


def test_a_std_of_zero_is_refused():
    with pytest.raises(ValueError, match="must be positive and finite, got 0"):
        GaussianLikelihood(0.0)
