"""Every objective stays finite, value and gradient, where posteriors, latents and batches are extreme."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import concrete, elbo, gaussian, models, training
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.training import recipe, state, step
from seatbelt_jax.vae import Encoding

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
    before = state.create(made, jax.random.key(0))
    take = jax.jit(functools.partial(step.train_step, recipe=made))
    after, metrics = take(before, jnp.ones((batch, 8, 8, 1)), jax.random.key(1))
    assert_finite((after.variables, after.training, metrics))
