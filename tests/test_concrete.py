import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import concrete, gaussian, posterior
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from tests.reference import concrete as reference

SIZES = (3, 2, 5)
CLASSES = sum(SIZES)

# Compiled: operation by operation they take ten times as long.
sample, kl_divergence = jax.jit(concrete.sample), jax.jit(concrete.kl_divergence)


def random_logits(seed, batch=6, scale=2.0):
    return jnp.asarray(np.random.default_rng(seed).normal(scale=scale, size=(batch, CLASSES)), jnp.float32)


def sums_of_groups(values):
    return np.stack([part.sum(-1) for part in reference.groups(np.asarray(values), SIZES)], axis=-1)


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_the_largest_class_is_distributed_as_the_softmax_of_the_logits(temperature):
    """The Gumbel-max theorem, whatever the temperature, for each variable by itself."""
    number = 200_000
    logits = random_logits(0, batch=1, scale=1.0)[0]
    noise = np.random.default_rng(1).normal(size=(number, CLASSES)).astype(np.float32)
    samples = np.asarray(sample(Concrete(logits, SIZES, temperature), noise))
    chosen = []
    for part, of_logits in zip(
        reference.groups(samples, SIZES), reference.groups(np.asarray(logits), SIZES), strict=True
    ):
        frequency = np.bincount(np.argmax(part, -1), minlength=part.shape[-1]) / number
        expected = reference.softmax(np.asarray(of_logits, np.float64))
        error = np.sqrt(expected * (1.0 - expected) / number)
        assert np.all(np.abs(frequency - expected) < 4.5 * error), (frequency, expected)
        chosen.append(np.argmax(part, -1))
    # The variables are independent of each other: no pair's joint frequency is off its product.
    joint = np.zeros((3, 2))
    np.add.at(joint, (chosen[0], chosen[1]), 1.0 / number)
    product = np.outer(joint.sum(1), joint.sum(0))
    assert np.all(np.abs(joint - product) < 4.5 * np.sqrt(product / number))


def test_samples_are_those_of_the_quantile_function():
    q = Concrete(random_logits(2), SIZES, 0.7)
    noise = np.array(random_logits(3, scale=1.0))
    noise[-2:] = 4.0
    noise[-1, ::2] = -6.0
    expected = reference.sample(q.logits, noise, SIZES, 0.7)
    np.testing.assert_allclose(sample(q, noise), expected, rtol=2e-4, atol=1e-6)


def test_no_noise_gives_the_softmax_of_the_tempered_logits():
    q = Concrete(random_logits(4), SIZES, 0.3)
    parts = [reference.softmax(part / 0.3) for part in reference.groups(np.asarray(q.logits, np.float64), SIZES)]
    np.testing.assert_allclose(sample(q, jnp.zeros_like(q.logits)), np.concatenate(parts, -1), rtol=2e-5, atol=1e-7)


def test_samples_become_one_hot_as_the_temperature_goes_to_zero():
    noise = jax.random.normal(jax.random.key(5), (6, CLASSES))
    samples = sample(Concrete(random_logits(6), SIZES, 1e-3), noise)
    largest = np.stack([part.max(-1) for part in reference.groups(np.asarray(samples), SIZES)], -1)
    np.testing.assert_allclose(largest, 1.0, atol=1e-4)


@pytest.mark.parametrize("temperature", [1e-3, 0.7, 1e8])
def test_hard_samples_are_the_one_hot_vectors_of_gumbel_max(temperature):
    noise = jax.random.normal(jax.random.key(6), (200, CLASSES))
    q = Concrete(random_logits(7, batch=200), SIZES, temperature, hard=True)
    np.testing.assert_array_equal(sample(q, noise), reference.hard_sample(q.logits, noise, SIZES))
    # No noise: the arg max of the logits, however near the second is, and the first class where several are largest.
    none = jnp.zeros_like(q.logits)
    np.testing.assert_array_equal(sample(q, none), reference.hard_sample(q.logits, none, SIZES))
    near = jnp.zeros((1, CLASSES)).at[0, jnp.array([2, 9])].set(1e-3)
    np.testing.assert_array_equal(sample(dataclasses.replace(q, logits=near), none[:1])[0].nonzero()[0], [2, 3, 9])


def test_hard_samples_have_the_derivatives_of_relaxed_ones_and_hide_no_nan():
    q = Concrete(random_logits(8), SIZES, 0.5)
    noise, weights = jax.random.normal(jax.random.key(9), (6, CLASSES)), random_logits(10)

    def weighted(logits, hard):
        return jnp.sum(weights * concrete.sample(Concrete(logits, SIZES, 0.5, hard=hard), noise))

    gradient = jax.jit(jax.grad(weighted), static_argnums=1)
    np.testing.assert_array_equal(gradient(q.logits, True), gradient(q.logits, False))
    assert np.abs(gradient(q.logits, True)).max() > 1e-2
    broken = dataclasses.replace(q, logits=q.logits.at[0, 0].set(jnp.nan), hard=True)
    assert np.isnan(sample(broken, noise)[0, :3]).all()


def test_extreme_noise_and_logits_stay_on_the_simplex_with_finite_gradients():
    @jax.jit
    def loss(logits, noise):
        q = Concrete(logits, SIZES, 0.1)
        samples = concrete.sample(q, noise)
        weights = jnp.arange(CLASSES, dtype=jnp.float32)
        divergence = concrete.kl_divergence(q, concrete.uniform(q))
        return jnp.sum(samples * weights) + jnp.sum(divergence), samples

    signs = np.where(np.random.default_rng(0).random((6, CLASSES)) < 0.5, -1.0, 1.0).astype(np.float32)
    for scale, extreme in itertools.product((0.0, 1.0, 1e3), (8.0, -8.0)):
        for noise in (extreme * signs, np.full_like(signs, extreme)):
            gradient, samples = jax.grad(loss, has_aux=True)(scale * signs[:, ::-1], noise)
            assert np.all((samples >= 0.0) & (samples <= 1.0))
            np.testing.assert_allclose(sums_of_groups(samples), 1.0, atol=1e-5)
            assert np.all(np.isfinite(gradient))


def test_gradients_of_samples_and_divergences_equal_finite_differences():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        logits, others, noise, weights = (jnp.asarray(rng.normal(size=(2, CLASSES))) for _ in range(4))

        def of_sample(logits):
            return jnp.sum(weights * concrete.sample(Concrete(logits, SIZES, 0.5), noise))

        def of_divergence(logits):
            q, p = Concrete(logits, SIZES, 0.5), Concrete(others, SIZES, 0.5)
            return jnp.sum(concrete.kl_divergence(q, p)) + 0.5 * jnp.sum(concrete.kl_divergence(p, q))

        steps = 1e-5 * jnp.eye(2 * CLASSES).reshape(-1, 2, CLASSES)
        for function in (of_sample, of_divergence):
            values = jax.jit(jax.vmap(function))
            slopes = (values(logits + steps) - values(logits - steps)) / 2e-5
            np.testing.assert_allclose(jax.jit(jax.grad(function))(logits).ravel(), slopes, rtol=1e-6, atol=1e-9)


def test_the_divergence_is_that_of_the_categorical_distributions():
    q, p = Concrete(random_logits(11), SIZES, 0.1), Concrete(random_logits(12), SIZES, 0.1)
    found = kl_divergence(q, p)
    np.testing.assert_allclose(found, reference.kl_divergence(q.logits, p.logits, SIZES), rtol=1e-5)
    assert np.all(found > 0.0)
    # Logits are unnormalised: a constant for each variable changes nothing.
    shift = jnp.repeat(jnp.array([5.0, -3.0, 1.0]), jnp.array(SIZES))
    moved = kl_divergence(Concrete(q.logits + shift, SIZES, 0.1), p)
    np.testing.assert_allclose(moved, found, rtol=1e-4)


def test_the_divergence_of_equals_is_zero_and_of_neighbours_no_less():
    q = Concrete(random_logits(13, batch=200), SIZES, 0.1)
    np.testing.assert_array_equal(kl_divergence(q, q), 0.0)
    for shift in (1e-2, 1e-3, 1e-4):
        near = Concrete(q.logits + shift * random_logits(14, batch=200), SIZES, 0.1)
        # Rounding alone, in float32, may take it below zero.
        assert np.all(kl_divergence(near, q) >= -1e-6)


def test_a_certain_class_is_sum_log_k_away_from_the_uniform_prior():
    logits = jnp.full((1, CLASSES), -1e3).at[0, jnp.array([1, 3, 9])].set(1e3)
    q = Concrete(logits, SIZES, 0.1)
    certain = kl_divergence(q, concrete.uniform(q))
    np.testing.assert_allclose(certain, math.log(3 * 2 * 5), rtol=1e-6)
    np.testing.assert_allclose(concrete.largest_kl_to_uniform(SIZES), math.log(3 * 2 * 5), rtol=1e-12)
    # Nothing is farther away, and the other way round it is far but finite.
    spread = kl_divergence(Concrete(random_logits(15, scale=30.0), SIZES, 0.1), concrete.uniform(q))
    assert np.all(spread <= concrete.largest_kl_to_uniform(SIZES) + 1e-5)
    back = kl_divergence(concrete.uniform(q), q)
    np.testing.assert_allclose(back, reference.kl_divergence(np.zeros_like(logits), logits, SIZES), rtol=1e-5)


def test_the_uniform_prior_has_equal_logits_and_all_else_of_its_model():
    q = Concrete(random_logits(16), SIZES, 0.37)
    prior = concrete.uniform(q)
    assert (prior.sizes, prior.temperature, prior.hard) == (SIZES, 0.37, False)
    assert concrete.uniform(dataclasses.replace(q, hard=True)).hard
    np.testing.assert_array_equal(prior.logits, jnp.zeros((6, CLASSES)))


def test_only_the_logits_are_a_leaf():
    q = Concrete(random_logits(17), SIZES, 0.1)
    assert len(jax.tree.leaves(q)) == 1
    first = jax.tree.map(lambda leaf: leaf[0], q)
    assert (first.sizes, first.temperature) == (SIZES, 0.1)
    assert first.logits.shape == (CLASSES,)
    passed = jax.jit(lambda q: q)(q)
    assert (passed.sizes, passed.temperature) == (SIZES, 0.1)


def test_jit_and_vmap_agree_with_eager():
    q = Concrete(random_logits(18), SIZES, 0.4)
    p = concrete.uniform(q)
    noise = jax.random.normal(jax.random.key(19), q.logits.shape)
    samples, divergences = concrete.sample(q, noise), concrete.kl_divergence(q, p)
    np.testing.assert_allclose(sample(q, noise), samples, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(jax.jit(jax.vmap(concrete.sample))(q, noise), samples, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(kl_divergence(q, p), divergences, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(jax.jit(jax.vmap(concrete.kl_divergence))(q, p), divergences, rtol=1e-5, atol=1e-7)


def test_a_posterior_of_either_kind_is_sampled_and_compared_as_its_kind():
    q = Concrete(random_logits(20), SIZES, 0.4)
    normal = DiagonalGaussian(q.logits, 0.1 * q.logits)
    other = DiagonalGaussian(normal.mean + 1.0, normal.log_std)
    noise = jax.random.normal(jax.random.key(21), q.logits.shape)
    np.testing.assert_array_equal(jax.jit(posterior.sample)(q, noise), sample(q, noise))
    np.testing.assert_array_equal(posterior.sample(normal, noise), gaussian.sample(normal, noise))
    prior = concrete.uniform(q)
    np.testing.assert_array_equal(jax.jit(posterior.kl_divergence)(q, prior), kl_divergence(q, prior))
    np.testing.assert_array_equal(posterior.kl_divergence(normal, other), gaussian.kl_divergence(normal, other))
    for one, another, names in ((q, normal, "Concrete and DiagonalGaussian"), (normal, q, "Gaussian and Concrete")):
        with pytest.raises(TypeError, match=f"no divergence between .*{names}"):
            posterior.kl_divergence(one, another)
