import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax.gaussian import DiagonalGaussian, sample
from seatbelt_jax.total_correlation import log_aggregate_posterior
from tests.reference import total_correlation as reference

BATCH, LATENT, DATASET = 7, 3, 40


def components(number, seed=0, latent=LATENT):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(number, latent))
    log_std = -1.0 + 0.3 * rng.normal(size=(number, latent))
    z = mean + np.exp(log_std) * rng.normal(size=(number, latent))
    return mean, log_std, z


def to_jax(mean, log_std, z):
    posterior = DiagonalGaussian(jnp.asarray(mean, jnp.float32), jnp.asarray(log_std, jnp.float32))
    return jnp.asarray(z, jnp.float32), posterior


@pytest.mark.parametrize("estimator", ["mws", "mss"])
@pytest.mark.parametrize("block_size", [None, 1, 3, 7, 100])
def test_minibatch_estimators_equal_the_double_loop(estimator, block_size):
    mean, log_std, z = components(BATCH)
    expected = reference.log_aggregate(mean, log_std, z, reference.weights(estimator, BATCH, DATASET))
    got = log_aggregate_posterior(*to_jax(mean, log_std, z), DATASET, estimator=estimator, block_size=block_size)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("block_size", [None, 16])
def test_exact_equals_the_mixture_of_all_components(block_size):
    mean, log_std, z = components(DATASET)
    expected = reference.log_aggregate(mean, log_std, z[:BATCH], reference.weights("exact", BATCH, DATASET))
    latents, posterior = to_jax(mean, log_std, z)
    got = log_aggregate_posterior(latents[:BATCH], posterior, DATASET, estimator="exact", block_size=block_size)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_mss_weights_average_to_the_aggregate_over_all_minibatches():
    dataset_size, batch = 6, 3
    mean, log_std, z = components(dataset_size, seed=1)
    latents, posterior = to_jax(mean, log_std, z)
    for first in range(dataset_size):
        densities = []
        for members in reference.minibatches_with(first, dataset_size, batch):
            index = jnp.asarray(members)
            subset = DiagonalGaussian(posterior.mean[index], posterior.log_std[index])
            log_joint, _ = log_aggregate_posterior(latents[index], subset, dataset_size, estimator="mss")
            densities.append(np.exp(np.float64(log_joint[0])))
        exact, _ = reference.log_aggregate(
            mean, log_std, z[first : first + 1], reference.weights("exact", 1, dataset_size)
        )
        np.testing.assert_allclose(np.mean(densities), np.exp(exact[0]), rtol=1e-5)


def test_mws_total_correlation_is_that_of_the_batch_mixture_plus_a_constant():
    mean, log_std, z = components(BATCH)
    joint, product = log_aggregate_posterior(*to_jax(mean, log_std, z), DATASET, estimator="mws")
    plain = reference.log_aggregate(mean, log_std, z, np.full((BATCH, BATCH), 1.0 / BATCH))
    np.testing.assert_allclose((joint - product) - (plain[0] - plain[1]), (LATENT - 1) * np.log(DATASET), rtol=1e-4)


def test_total_correlation_of_a_factorised_aggregate_is_zero():
    # All combinations of two levels per coordinate: the mixture is a product by construction.
    grid = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), -1).reshape(-1, 3)
    latents, posterior = to_jax(grid, np.full_like(grid, -0.5), grid + 0.3)
    joint, product = log_aggregate_posterior(latents, posterior, len(grid), estimator="exact")
    np.testing.assert_allclose(joint - product, 0.0, atol=1e-5)


def test_total_correlation_of_a_correlated_gaussian_is_its_closed_form():
    # Means from a correlated normal and small noise: the aggregate is close to that normal.
    correlation, number = 0.8, 20_000
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])
    std = 0.3
    mean = rng.multivariate_normal(np.zeros(2), covariance - std**2 * np.eye(2), size=number)
    latents, posterior = to_jax(mean, np.full_like(mean, np.log(std)), mean + std * rng.normal(size=mean.shape))
    joint, product = log_aggregate_posterior(latents[:4000], posterior, number, estimator="exact")
    closed_form = -0.5 * np.log(1.0 - correlation**2)
    np.testing.assert_allclose(np.mean(joint - product), closed_form, rtol=0.03)


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_gradients_equal_finite_differences_and_do_not_depend_on_blocks(estimator):
    latents, posterior = to_jax(*components(5, seed=2))
    noise = jax.random.normal(jax.random.key(0), latents.shape)

    def total_correlation(q, block_size=None):
        joint, product = log_aggregate_posterior(
            sample(q, noise), q, DATASET, estimator=estimator, block_size=block_size
        )
        return jnp.mean(joint - product)

    whole = jax.grad(total_correlation)(posterior)
    blocks = jax.grad(lambda q: total_correlation(q, 2))(posterior)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole, blocks)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.float64(leaf)), posterior)
        noise = jnp.asarray(np.float64(noise))
        step = jax.tree.map(lambda leaf: 1e-5 * jnp.ones_like(leaf), wide)
        up = total_correlation(jax.tree.map(jnp.add, wide, step))
        down = total_correlation(jax.tree.map(jnp.subtract, wide, step))
        along_ones = sum(float(jnp.sum(leaf)) for leaf in jax.tree.leaves(whole))
        np.testing.assert_allclose((up - down) / 2e-5, along_ones, rtol=1e-3)


@pytest.mark.parametrize("estimator", ["mws", "mss"])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("scale", [-60.0, -20.0, 10.0])
def test_extreme_posteriors_stay_finite(estimator, batch, scale):
    mean = jnp.full((batch, 2), 1e3).at[0].set(-1e3)
    posterior = DiagonalGaussian(mean, jnp.full((batch, 2), scale))

    def total(q):
        joint, product = log_aggregate_posterior(q.mean, q, 200_000, estimator=estimator)
        return jnp.mean(joint - product)

    value, gradient = jax.value_and_grad(total)(posterior)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_large_products_of_sizes_do_not_overflow():
    latents, posterior = to_jax(*components(4))
    joint, _ = log_aggregate_posterior(latents, posterior, 2**40, estimator="mws")
    small, _ = log_aggregate_posterior(latents, posterior, 4, estimator="mws")
    np.testing.assert_allclose(small - joint, np.log(2.0**38), rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "estimator", "message"),
    [
        (3, "mws", "smaller than the minibatch"),
        (40, "exact", "takes all 40"),
        (40, "best", "estimator must be one of mws, mss, exact"),
    ],
)
def test_bad_input_is_refused(size, estimator, message):
    latents, posterior = to_jax(*components(BATCH))
    with pytest.raises(ValueError, match=message):
        log_aggregate_posterior(latents, posterior, size, estimator=estimator)
