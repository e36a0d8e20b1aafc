"""Every objective stays finite, value and gradient, where posteriors, latents and batches are extreme."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import concrete, elbo, gaussian, likelihood, models, posterior, training
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.total_correlation import log_aggregate_posterior
from seatbelt_jax.training import recipe, step
from seatbelt_jax.vae import Encoding
from tests import annotations, drawn

DATASET = 200_000
PENALTIES = [
    {"penalty": "total_correlation", "beta": 10.0},
    {"penalty": "total_correlation", "beta": 10.0, "free_bits": 0.5},
    {"penalty": "kl", "beta": 10.0},
    {"penalty": "capacity", "beta": 30.0, "capacity": 5.0},
]


def extreme(batch, latent, log_std):
    """Means up to 1e3 either way, log_std as asked for: one number, or "mixed" of both ends in one batch."""
    mean = jnp.linspace(-1e3, 1e3, batch * latent).reshape(batch, latent)
    ends = jnp.where(jnp.arange(batch * latent) % 2, -20.0, 10.0).reshape(batch, latent)
    return DiagonalGaussian(mean, ends if log_std == "mixed" else jnp.full((batch, latent), log_std))


def assert_finite(tree):
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["mws", "mss"])
@pytest.mark.parametrize(("batch", "latent"), [(1, 1), (1, 3), (4, 1), (4, 3)])
def test_extreme_hierarchies(batch, latent, estimator):
    noise = jnp.ones((batch, latent))

    def value(layers, options):
        bottom, conditional, top = layers
        latents = gaussian.sample(bottom, noise), gaussian.sample(top, noise)
        prior = conditional, gaussian.standard_normal(latents[1])
        encoding = Encoding((bottom, top), latents)
        terms = elbo.decompose(jnp.zeros(batch), encoding, prior, dataset_size=DATASET, estimator=estimator)
        return jnp.mean(elbo.objective(terms, **options)), terms

    @jax.jit
    def all_penalties(layers):
        return [jax.value_and_grad(lambda at, o=o: value(at, o), has_aux=True)(layers) for o in PENALTIES]

    for log_std in (-20.0, 10.0, "mixed"):
        q = extreme(batch, latent, log_std)
        # The generative conditional disagrees with the posterior as much as it can.
        assert_finite(all_penalties([q, DiagonalGaussian(-q.mean, q.log_std), q]))


@pytest.mark.parametrize("scale", [0.0, 1e3])
def test_extreme_concrete_latents(scale):
    logits = scale * jnp.array([[1.0, -1.0, 0.0, 1.0, -1.0], [-1.0, 1.0, 0.0, 0.0, 1.0]])
    noise = jnp.array([[-8.0, 8.0, 0.0, 8.0, -8.0], [8.0, -8.0, 8.0, 0.0, 0.0]])

    def value(logits, weights):
        discrete, top = Concrete(logits, (3, 2), 0.1), extreme(2, 2, "mixed")
        drawn = concrete.sample(discrete, noise)
        encoding = Encoding((discrete, top), (drawn, gaussian.sample(top, jnp.ones((2, 2)))))
        prior = concrete.uniform(discrete), gaussian.standard_normal(top.mean)
        terms = elbo.decompose(drawn @ weights, encoding, prior, dataset_size=DATASET)
        return jnp.mean(elbo.objective(terms, penalty="capacity", beta=30.0, capacity=(2.0, 5.0)))

    assert_finite(jax.value_and_grad(value, argnums=(0, 1))(logits, jnp.arange(5.0)))


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("estimator", ["mws", "mss", "density_ratio"])
def test_a_step_on_copies_of_one_image_with_one_latent(batch, estimator):
    """M = 1, D = 1, and BatchNorm of features without variance."""
    model = models.build({"latent_sizes": (2, 1), "network": "mlp", "widths": (8,), "hidden_sizes": (4,)}, (8, 8, 1))
    settings = training.parse_settings(
        {
            "seed": 0,
            "objective": {"beta": 10.0, "estimator": estimator},
            "optimizer": {},
            "train": {"steps": 10, "batch_size": batch},
            "discriminator": {"width": 8, "layers": 2},
        }
    )
    made = recipe.make_recipe(model, settings, dataset_size=batch)
    before = drawn.state(made)
    take = jax.jit(functools.partial(step.train_step, recipe=made))
    after, metrics = take(before, jnp.ones((batch, 8, 8, 1)), jax.random.key(1))
    assert_finite((after.variables, after.training, metrics))


def assert_no_nan(tree):
    assert not any(np.any(np.isnan(leaf)) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", ["log_prob", "kl_divergence", "symmetric_kl", "wasserstein2", "sample"])
def test_gaussians_of_any_scale_are_never_nan(name):
    function = getattr(gaussian, name)

    @jax.jit
    def value_and_gradient(mean, log_std, other, other_log_std):
        q, p = DiagonalGaussian(mean, log_std), DiagonalGaussian(other, other_log_std)
        value, pull_back = jax.vjp(lambda q, p: function(q, p.mean if name in ("log_prob", "sample") else p), q, p)
        return value, pull_back(jnp.ones_like(value))

    mean = jnp.array([[0.0, 1e3], [1e-3, 3e38]])
    for log_std in (-1e3, -89.0, 0.0, 89.0, 1e3):
        for other_log_std in (-1e3, -89.0, 0.0, 89.0, 1e3):
            for other in (mean, -mean):
                scales = (jnp.full((2, 2), scale) for scale in (log_std, other_log_std))
                assert_no_nan(value_and_gradient(mean, next(scales), other, next(scales)))


@pytest.mark.parametrize("estimator", ["mws", "mss", "exact"])
def test_total_correlation_at_any_scale_is_never_nan(estimator):
    size = 3 if estimator == "exact" else DATASET

    @jax.jit
    def value_and_gradient(latents, q):
        return jax.vjp(lambda *of: log_aggregate_posterior(*of, size, estimator=estimator), latents, q)[0], jax.grad(
            lambda of: jnp.sum(jnp.subtract(*log_aggregate_posterior(*of, size, estimator=estimator)))
        )((latents, q))

    mean = jnp.array([[0.0, 1.0], [1.0, -1.0], [0.3, 0.2]])
    for log_std in (-1e3, -89.0, 89.0, 1e3):
        for scale in (0.0, 1.0, 3e38):
            q = DiagonalGaussian(scale * mean, jnp.full((3, 2), log_std))
            for latents in (q.mean, gaussian.sample(q, mean)):
                assert_no_nan(value_and_gradient(latents, q))
    # At their means the latents have their own densities: D (89 - log(2 pi) / 2), and the weight of one of them.
    q = DiagonalGaussian(mean, jnp.full((3, 2), -89.0))
    joint = value_and_gradient(mean, q)[0][0]
    weight = {"mws": -np.log(3 * DATASET), "mss": -np.log(DATASET), "exact": -np.log(3)}[estimator]
    np.testing.assert_allclose(joint, 2 * (89.0 - 0.5 * np.log(2 * np.pi)) + weight, rtol=1e-5)


def test_impossible_classes_contribute_nothing():
    ends = jnp.array([[-jnp.inf, 0.0, 1.0, 1e38, -1e38]])
    whole = jnp.array([[0.5, 0.0, 1.0, -1e38, 1e38]])
    for name in ("kl_divergence", "symmetric_kl", "wasserstein2", "location_distance"):
        function = getattr(posterior, name)
        for one, other in ((ends, ends), (ends, whole), (whole, ends)):

            def distance(a, b, function=function):
                return jnp.sum(function(Concrete(a, (3, 2), 0.1), Concrete(b, (3, 2), 0.1)))

            assert_no_nan(jax.value_and_grad(distance, argnums=(0, 1))(one, other))
    q, uniform = Concrete(ends[:, :3], (3,), 0.1), Concrete(jnp.zeros((1, 3)), (3,), 0.1)
    share = np.exp([0.0, 1.0]) / np.sum(np.exp([0.0, 1.0]))
    np.testing.assert_allclose(concrete.kl_divergence(q, uniform), [np.sum(share * np.log(3 * share))], rtol=1e-6)
    assert np.isposinf(concrete.kl_divergence(uniform, q))

    def drawn(logits):
        return concrete.sample(Concrete(logits, (3, 2), 0.1), jnp.zeros((1, 5)))

    assert_no_nan(jax.vjp(drawn, ends)[1](jnp.arange(5.0)[None]))


def test_bernoulli_logits_of_any_size():
    log_prob = likelihood.BernoulliLikelihood().log_prob
    logits, images = jnp.array([[jnp.inf], [-jnp.inf], [1e38], [-1e38]]), jnp.array([[1.0], [0.0], [1.0], [0.0]])
    np.testing.assert_array_equal(log_prob(logits, images), 0.0)
    assert_no_nan(jax.grad(lambda a, x: jnp.sum(log_prob(a, x)), argnums=(0, 1))(logits, 1.0 - images))


@annotations.unchecked()
def test_a_penalty_that_weighs_nothing_is_nothing():
    q = DiagonalGaussian(jnp.zeros((2, 2)), jnp.full((2, 2), 89.0))
    encoding, prior = Encoding((q,), (q.mean,)), (gaussian.standard_normal(q.mean),)
    terms = elbo.decompose(jnp.zeros(2), encoding, prior, dataset_size=2)
    np.testing.assert_array_equal(elbo.objective(terms, beta=0.0, penalty="kl"), 0.0)
    with pytest.raises(TypeError, match="beta must be a number"):
        elbo.objective(terms, beta="4")
    with pytest.raises(TypeError, match="dataset_size must be the number"):
        elbo.decompose(jnp.zeros(2), encoding, prior, dataset_size="2")
    with pytest.raises(TypeError, match="std must be a number"):
        likelihood.GaussianLikelihood("0.1")
