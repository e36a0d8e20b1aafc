import math
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import data, models, training
from seatbelt_jax.models import Discriminator
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.training import density_ratio
from seatbelt_jax.training.density_ratio import DiscriminatorConfig
from seatbelt_jax.training.recipe import make_recipe
from seatbelt_jax.training.state import create
from seatbelt_jax.training.step import loss, train_step
from seatbelt_jax.vae import sample_noise

CORRELATED = np.array([[1.0, 0.8, 0.3], [0.8, 1.0, 0.0], [0.3, 0.0, 1.0]])
FACTORISED = np.diag([1.0, 4.0, 0.25])

CONFIG = {
    "seed": 0,
    "objective": {"beta": 5.0, "estimator": "density_ratio"},
    "optimizer": {"learning_rate": 1e-2},
    "discriminator": {"width": 8, "layers": 2, "learning_rate": 1e-2},
    "train": {
        "steps": 4,
        "batch_size": 16,
        "log_every": 1,
        "evaluate_every": 2,
        "checkpoint_every": 4,
        "evaluation_images": 6,
    },
}


@pytest.fixture(scope="module")
def fitted():
    """One compiled training of a discriminator on samples of N(0, covariance); its log ratio at fresh samples."""
    ratio = density_ratio.make_density_ratio(DiscriminatorConfig(width=64, layers=3, learning_rate=2e-3), 3)

    @jax.jit
    def fit(root):
        def step(state, key):
            sample_key, permutation_key = jax.random.split(key)
            latents = jax.random.normal(sample_key, (512, 3)) @ root.T
            return ratio.step(state, latents, permutation_key)

        start = ratio.create(jax.random.key(0))
        state, losses = jax.lax.scan(step, start, jax.random.split(jax.random.key(1), 1_000))
        fresh = jax.random.normal(jax.random.key(2), (20_000, 3)) @ root.T
        return ratio.discriminator.log_ratio(state.parameters, fresh), fresh, losses

    return lambda covariance: fit(jnp.asarray(np.linalg.cholesky(covariance), jnp.float32))


def true_log_ratio(covariance, latents):
    """log N(z; 0, covariance) - sum_j log N(z_j; 0, covariance_jj), in float64."""
    latents = np.asarray(latents, np.float64)
    quadratic = np.einsum("bi,ij,bj->b", latents, np.linalg.inv(covariance), latents)
    independent = np.sum(latents**2 / np.diag(covariance), axis=-1)
    log_determinants = np.log(np.linalg.det(covariance)) - np.sum(np.log(np.diag(covariance)))
    return -0.5 * (quadratic - independent + log_determinants)


def test_the_best_discriminator_is_the_log_density_ratio(fitted):
    estimate, latents, losses = fitted(CORRELATED)
    closed_form = -0.5 * np.log(np.linalg.det(CORRELATED))
    assert 0.6 < closed_form < 0.7
    # A finite network, 1,000 steps: 10 % of the total correlation, a fifth of a nat at a point.
    assert abs(np.mean(estimate) - closed_form) < 0.1 * closed_form
    error = np.asarray(estimate) - true_log_ratio(CORRELATED, latents)
    assert np.sqrt(np.mean(error**2)) < 0.2
    assert losses[-100:].mean() < math.log(2.0) - 0.05


def test_of_independent_latents_it_finds_nothing(fitted):
    estimate, _, losses = fitted(FACTORISED)
    assert abs(np.mean(estimate)) < 0.03
    np.testing.assert_allclose(losses[-100:].mean(), math.log(2.0), atol=0.01)


def test_a_discriminator_that_says_nothing_loses_log_two():
    discriminator = Discriminator(3, width=4, layers=1)
    parameters = jax.tree.map(jnp.zeros_like, discriminator.init(jax.random.key(0)))
    latents = jax.random.normal(jax.random.key(1), (8, 3))
    np.testing.assert_array_equal(discriminator.log_ratio(parameters, latents), jnp.zeros(8))
    np.testing.assert_allclose(discriminator.loss(parameters, latents, jax.random.key(2)), math.log(2.0), rtol=1e-6)


def test_the_loss_is_the_cross_entropy_of_latents_against_their_permutations():
    """Written out for a permutation that this test makes itself; the expectation over permutations is compared."""
    discriminator = Discriminator(2, width=4, layers=1)
    parameters = discriminator.init(jax.random.key(0))
    latents = jax.random.normal(jax.random.key(1), (32, 2))
    losses = jax.jit(jax.vmap(lambda key: discriminator.loss(parameters, latents, key)))(
        jax.random.split(jax.random.key(2), 2_000)
    )
    # Over permutations, each pair of coordinates (z_i1, z_j2) is as likely as any other.
    pairs = jnp.stack([jnp.repeat(latents[:, 0], 32), jnp.tile(latents[:, 1], 32)], axis=-1)
    of_latents, of_pairs = (np.asarray(discriminator.log_ratio(parameters, z), np.float64) for z in (latents, pairs))
    expected = 0.5 * (np.mean(np.log1p(np.exp(-of_latents))) + np.mean(np.log1p(np.exp(of_pairs))))
    error = np.std(losses) / np.sqrt(2_000)
    assert error > 0.0
    assert abs(np.mean(losses) - expected) < 4.0 * error


def test_the_papers_network_and_optimiser_are_the_default():
    """Kim and Mnih 2018, App. A: six layers of 1,000 units, LeakyReLU 0.2, Adam 1e-4 with 0.5 and 0.9."""
    ratio = density_ratio.make_density_ratio(DiscriminatorConfig(), 10)
    state = jax.eval_shape(ratio.create, jax.random.key(0))
    kernels = [leaf.shape for leaf in jax.tree.leaves(state.parameters) if leaf.ndim == 2]
    assert sorted(kernels) == [(10, 1000), *[(1000, 1)], *[(1000, 1000)] * 5]
    # Two gradients of 1 and -1: Adam's bias-corrected moments in closed form show its b1 and b2.
    updates, state = ratio.optimizer.update({"w": jnp.ones(1)}, ratio.optimizer.init({"w": jnp.zeros(1)}))
    np.testing.assert_allclose(updates["w"], -1e-4, rtol=1e-5)
    updates, _ = ratio.optimizer.update({"w": jnp.full(1, -1.0)}, state)
    first, second = (0.5 * 0.5 - 0.5) / (1 - 0.5**2), 1.0
    np.testing.assert_allclose(updates["w"], -1e-4 * first / np.sqrt(second), rtol=1e-5)
    updates, _ = ratio.optimizer.update({"w": jnp.full(1, 3.0)}, state)
    first, second = (0.5 * 0.5 + 0.5 * 3.0) / (1 - 0.5**2), (0.9 * 0.1 + 0.1 * 9.0) / (1 - 0.9**2)
    np.testing.assert_allclose(updates["w"], -1e-4 * first / np.sqrt(second), rtol=1e-5)
    negative = Discriminator(1, width=1, layers=1)
    ones = jax.tree.map(jnp.ones_like, negative.init(jax.random.key(0)))
    ones["params"]["Dense_0"]["bias"] = jnp.zeros(1)
    np.testing.assert_allclose(negative.log_ratio(ones, jnp.array([[-2.0], [2.0]])), [1.0 - 0.4, 3.0], rtol=1e-6)


@pytest.fixture(scope="module")
def splits():
    return data.load({"name": "mock", "image_size": 8, "num_images": 60}, (-1.0, 1.0))


@pytest.fixture(scope="module")
def model(splits):
    return models.build({"latent_sizes": (3,), "network": "mlp", "widths": (8,)}, splits.train.image_shape)


def test_each_network_follows_its_own_loss_alone(model):
    """One step against the two gradients taken apart, each at the other's old parameters."""
    settings = training.parse_settings({**CONFIG, "optimizer": {"learning_rate": 1e-2, "schedule": "constant"}})
    recipe = make_recipe(model, settings, 54)
    key = jax.random.key(4)
    state = jax.jit(lambda root: create(recipe, root))(jax.random.key(3))
    images = jax.random.uniform(jax.random.key(5), (16, 8, 8, 1))

    @jax.jit
    def both(state):
        after, metrics = train_step(state, images, key, recipe=recipe)
        noise = sample_noise(jax.random.fold_in(key, 0), (3,), 16)
        params = state.variables["params"]
        gradient, aside = jax.grad(loss, has_aux=True)(params, state, images, noise, recipe)
        estimate = recipe.density_ratio.discriminator.log_ratio(state.discriminator.parameters, aside.latents[-1])
        return after, metrics, gradient, aside, estimate

    after, metrics, gradient, aside, estimate = both(state)
    # Adam's first step is -rate times the gradient's sign, but for its epsilon.
    expected = jax.tree.map(
        lambda leaf, slope: leaf - 1e-2 * slope / (abs(slope) + 1e-8), state.variables["params"], gradient
    )
    chex.assert_trees_all_close(after.variables["params"], expected, rtol=1e-4, atol=1e-6)

    # What the VAE is told is the discriminator's estimate, at beta - 1.
    np.testing.assert_allclose(metrics["total_correlation_density_ratio"], jnp.mean(estimate), rtol=1e-5)
    np.testing.assert_allclose(-metrics["loss"], metrics["elbo"] - 4.0 * jnp.mean(estimate), rtol=1e-5)
    assert abs(jnp.mean(estimate) - metrics["total_correlation_mss"]) > 1e-3

    # The discriminator moves by Adam at its own rate, down its own loss.
    own_loss = recipe.density_ratio.discriminator.loss
    before, moved = state.discriminator.parameters, after.discriminator.parameters
    largest = max(np.max(np.abs(x - y)) for x, y in zip(jax.tree.leaves(moved), jax.tree.leaves(before), strict=True))
    np.testing.assert_allclose(largest, 1e-2, rtol=1e-3)
    keys = jax.random.split(jax.random.key(6), 200)
    mean_loss = jax.jit(
        lambda parameters: jnp.mean(jax.vmap(lambda k: own_loss(parameters, aside.latents[0], k))(keys))
    )
    assert mean_loss(moved) < mean_loss(before)


def train(model, splits, directory, on_evaluation=None):
    return training.train(model, splits, training.parse_settings(CONFIG), directory, on_evaluation=on_evaluation)


@pytest.mark.slow
def test_an_interrupted_run_resumes_with_its_discriminator(model, splits, tmp_path):
    whole = train(model, splits, tmp_path / "whole")

    def interrupt(step, evaluation):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(model, splits, tmp_path / "broken", interrupt)
    with Checkpoints(tmp_path / "broken" / "checkpoints") as checkpoints:
        halfway_step = checkpoints.latest_step
        assert 2 < halfway_step < whole.step
        halfway = checkpoints.load(halfway_step, variables=whole.variables, training=whole.training)[1]["discriminator"]
    resumed = train(model, splits, tmp_path / "broken")
    chex.assert_trees_all_equal(resumed, whole)
    fresh = create(make_recipe(model, training.parse_settings(CONFIG), 54), jax.random.key(0)).discriminator
    for other in (fresh, whole.discriminator):
        assert not np.allclose(jax.tree.leaves(halfway.parameters)[-1], jax.tree.leaves(other.parameters)[-1])

    rows = {row["split"]: row for row in training.read_metrics(tmp_path / "broken")}
    assert {"total_correlation_density_ratio", "discriminator_loss", "total_correlation_mss"} <= rows["train"].keys()
    assert 0.0 < rows["train"]["discriminator_loss"] < 2.0
    assert "discriminator_loss" not in rows["validation"]


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("discriminator", {"width": 0}, "discriminator.width must be a positive whole number, got 0"),
        ("discriminator", {"layers": 1.5}, "discriminator.layers must be a whole number, got 1.5"),
        ("discriminator", {"learning_rate": 0.0}, "discriminator.learning_rate must be a positive number, got 0.0"),
        ("discriminator", {"depth": 2}, "unknown discriminator fields depth"),
        ("objective", {"penalty": "kl"}, "'density_ratio' is for total correlation; the penalty is 'kl'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(section, change, message):
    with pytest.raises(ValueError, match=message):
        training.parse_settings({**CONFIG, section: {**CONFIG[section], **change}})


def test_without_a_discriminator_there_is_nothing_of_it(model):
    settings = training.parse_settings({**CONFIG, "objective": {"beta": 5.0}})
    recipe = make_recipe(model, settings, 54)
    assert recipe.density_ratio is None
    state = jax.eval_shape(lambda key: create(recipe, key), jax.random.key(0))
    assert state.discriminator is None
    assert "discriminator" not in state.training
