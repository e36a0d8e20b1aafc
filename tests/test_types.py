"""Every mix of float types, also under JAX_ENABLE_X64: values of their common type, gradients of each one's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import concrete, elbo, gaussian, likelihood, metrics, models, norm, posterior, training
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.models import convolution
from seatbelt_jax.total_correlation import log_aggregate_posterior
from seatbelt_jax.training import chunks, recipe, step
from seatbelt_jax.vae import VAE, Encoding
from tests import drawn

TYPES = ["float32", "float64", "bfloat16", "float16"]
BATCH, LATENT = 4, 3


def operand(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def of_gaussians(function):
    return lambda a, b, c, d: function(DiagonalGaussian(a, b), DiagonalGaussian(c, d))


def of_concretes(function):
    return lambda a, b: function(Concrete(a, (2, 1), 0.5), Concrete(b, (2, 1), 0.5))


def aggregate(estimator, block_size, z, mean, log_std):
    q, size = DiagonalGaussian(mean, log_std), BATCH if estimator == "exact" else 40
    return log_aggregate_posterior(z, q, size, estimator=estimator, block_size=block_size)


def objective(options, log_likelihood, mean, log_std, z, prior_mean, beta):
    q, p = DiagonalGaussian(mean, log_std), gaussian.standard_normal(z)
    below = DiagonalGaussian(prior_mean, log_std)
    terms = elbo.decompose(log_likelihood[:, 0], Encoding((q, q), (z, z)), (below, p), dataset_size=40)
    return elbo.objective(terms, beta=beta[0, 0], **options)


def own_posterior(mean, log_std, latent):
    vae = VAE.from_functions(
        lambda image: DiagonalGaussian(mean[0] + image[0, 0, 0], log_std[0]),
        lambda z: z[:1, None, None],
        image_shape=(1, 1, 1),
    )
    drawn = vae.encode(jnp.zeros((1, 1, 1, 1), jnp.float32), (latent[:1],)).latents[0]
    return vae.posterior(drawn[:, :, None, None][:, :1], ()).mean + drawn


FUNCTIONS = {
    "sample": (lambda a, b, c: gaussian.sample(DiagonalGaussian(a, b), c), 3),
    "log_prob": (lambda a, b, c: gaussian.log_prob(DiagonalGaussian(a, b), c), 3),
    "entropy": (lambda a, b: gaussian.entropy(DiagonalGaussian(a, b)), 2),
    "kl": (of_gaussians(posterior.kl_divergence), 4),
    "symmetric_kl": (of_gaussians(posterior.symmetric_kl), 4),
    "wasserstein2": (of_gaussians(posterior.wasserstein2), 4),
    "location_distance": (lambda a, b: of_gaussians(posterior.location_distance)(a, a, b, b), 2),
    "concrete sample": (lambda a, b: posterior.sample(Concrete(a, (2, 1), 0.5), b), 2),
    "concrete kl": (of_concretes(posterior.kl_divergence), 2),
    "concrete symmetric_kl": (of_concretes(posterior.symmetric_kl), 2),
    "concrete wasserstein2": (of_concretes(posterior.wasserstein2), 2),
    "concrete location_distance": (of_concretes(posterior.location_distance), 2),
    "concrete log_probabilities": (lambda a: concrete.log_probabilities(Concrete(a, (2, 1), 0.5)), 1),
    "l2_norm": (lambda a: norm.l2_norm(a, axis=-1), 1),
    "gaussian likelihood": (likelihood.GaussianLikelihood().log_prob, 2),
    "bernoulli likelihood": (likelihood.BernoulliLikelihood().log_prob, 2),
    **{e: (functools.partial(aggregate, e, block), 3) for e, block in (("mws", 3), ("mss", None), ("exact", 1))},
    "objective": (functools.partial(objective, {"free_bits": (0.1, 0.2)}), 6),
    "objective kl": (functools.partial(objective, {"penalty": "kl", "free_bits": 0.1}), 6),
    "objective capacity": (functools.partial(objective, {"penalty": "capacity", "capacity": [0.1, 2]}), 6),
    "posterior of functions": (own_posterior, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_common_type_is_computed_in_and_each_gradient_is_of_its_own(name, wide):
    function, operands = FUNCTIONS[name]
    with jax.enable_x64(wide):
        types = [jnp.dtype(kind) for kind in TYPES if wide or kind != "float64"]
        # Each type first and last among the others, and alone; where there are many, the fourth beside them too.
        mixes = {(one, *[other] * (operands - 1)) for one in types for other in types}
        mixes |= {(*[other] * (operands - 1), one) for one in types for other in types}
        # What is long to trace has a few of them.
        mixes = set(sorted(mixes, key=str)[::7] if operands > 4 else mixes)
        mixes.add(tuple((types * 2)[:operands]))

        def traced(*given):
            value, pull_back = jax.vjp(function, *given)
            return value, pull_back(value)

        for mix in mixes:
            given = [jax.ShapeDtypeStruct((BATCH, LATENT), kind) for kind in mix]
            value, gradients = jax.eval_shape(traced, *given)
            common = functools.reduce(jnp.promote_types, mix, jnp.dtype("float32"))
            assert {leaf.dtype for leaf in jax.tree.leaves(value)} == {common}, mix
            assert [leaf.dtype for leaf in gradients] == list(mix)


def test_half_and_double_precision_agree_with_all_in_double_precision():
    with jax.enable_x64(True):
        for name in ("log_prob", "kl", "wasserstein2", "concrete kl", "mss", "objective"):
            function, operands = FUNCTIONS[name]
            half = [
                jnp.asarray(0.5 * operand(seed, BATCH, LATENT), "bfloat16" if seed % 2 else "float64")
                for seed in range(operands)
            ]
            whole = [value.astype("float64") for value in half]
            ours, exact = (jax.tree.leaves(jax.jit(function)(*given)) for given in (half, whole))
            for mine, truth in zip(ours, exact, strict=True):
                np.testing.assert_allclose(mine, truth, rtol=1e-12, atol=1e-12, err_msg=name)


def test_numbers_of_python_have_no_say_and_those_of_numpy_have():
    with jax.enable_x64(True):
        given = [jnp.asarray(operand(seed, BATCH, LATENT), jnp.float32) for seed in range(5)]
        for beta, expected in ((4, "float32"), (4.0, "float32"), (np.float64(4), "float64")):
            for penalty in ("total_correlation", "kl", "capacity"):
                q = DiagonalGaussian(*given[:2])
                encoding, prior = Encoding((q,), (given[2],)), (gaussian.standard_normal(given[2]),)
                terms = elbo.decompose(given[3][:, 0], encoding, prior, dataset_size=np.int64(40))
                found = elbo.objective(terms, beta=beta, penalty=penalty)
                assert found.dtype == expected
        terms_with_list = elbo.objective(terms, penalty="capacity", capacity=[1.0])
        assert terms_with_list.dtype == np.float32
        wide = elbo.objective(terms, penalty="capacity", capacity=jnp.ones(1, jnp.float64))
        assert wide.dtype == np.float64


@pytest.mark.parametrize("kinds", [("float32", "float64"), ("float64", "bfloat16"), ("bfloat16", "bfloat16")])
@pytest.mark.parametrize("layer", [convolution.convolve, convolution.convolve_transposed])
def test_convolutions_of_mixed_types(layer, kinds):
    def traced(*given):
        value, pull_back = jax.vjp(layer, *given)
        return value, pull_back(value)

    with jax.enable_x64(True):
        shapes = (1, 4, 4, 2), (4, 4, 2, 2)
        value, gradients = jax.eval_shape(traced, *map(jax.ShapeDtypeStruct, shapes, kinds))
    # Networks that compute in half precision do so.
    assert value.dtype == jnp.promote_types(*kinds)
    assert [leaf.dtype for leaf in gradients] == list(kinds)


def settings_of(batch, **objective):
    return training.parse_settings(
        {
            "seed": 0,
            "objective": objective,
            "optimizer": {},
            "train": {"steps": 10, "batch_size": batch},
            "discriminator": {"width": 4, "layers": 1},
        }
    )


TRAININGS = {
    "mws": ({"latent_sizes": (2, 2)}, {"beta": 3.0, "beta_annealing_steps": 5}),
    "mss in half precision": (
        {"latent_sizes": (2, 2), "compute_dtype": "bfloat16", "decoder_reads": "bottom"},
        {"beta": 3.0, "estimator": "mss", "free_bits": (0.1, 0.1)},
    ),
    "density_ratio": ({"latent_sizes": (2,)}, {"beta": 3.0, "estimator": "density_ratio"}),
    "joint": (
        {"latent_sizes": (2,), "discrete_sizes": (3,)},
        {"beta": 30.0, "penalty": "capacity", "capacity": (1.0, 5.0), "capacity_annealing_steps": 7},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_training_and_its_measures_run_under_x64(name):
    options, objective = TRAININGS[name]
    architecture = {"network": "mlp", "widths": (4,), "hidden_sizes": (4,) * (len(options["latent_sizes"]) - 1)}
    images = np.random.default_rng(0).uniform(0.0, 1.0, (6, 8, 8, 1)).astype(np.float32)

    def trained():
        made = recipe.make_recipe(models.build(architecture | options, (8, 8, 1)), settings_of(6, **objective), 6)
        before = drawn.state(made)
        take = functools.partial(step.train_step, key=jax.random.key(1), recipe=made)
        batches = jnp.stack([jnp.asarray(images)] * 3)
        after, metrics_of = jax.jit(lambda s, b, n: chunks.take_chunk(take, s, b, n))(before, batches, 3)
        assert [leaf.dtype for leaf in jax.tree.leaves(before)] == [leaf.dtype for leaf in jax.tree.leaves(after)]
        vae = made.model.bind(after.variables)
        evaluation = training.evaluate(vae, jnp.asarray(images), jax.random.key(2), dataset_size=6)
        return vae, metrics_of, evaluation

    def measured(vae):
        key = jax.random.key(3)
        found = {
            # Some terms of two layers are NaN: they are not determined.
            "decomposition": metrics.elbo_decomposition(vae, images, key).terms.elbo,
            "active": metrics.active_units(vae, images, key, num_samples=2).activity,
            "noise": metrics.noise_robustness(vae, images, key),
            "scale": metrics.posterior_std_norms(vae, images, key),
            "traversal": metrics.latent_traversal(vae, 1),
            "bound": metrics.importance_weighted_bound(vae, images, key, num_samples=3).log_likelihood,
            "from image": metrics.traversal_from_image(vae, images[0]),
        }
        top = jax.jit(vae.encode)(images, vae.mean_path(6)).posteriors[-1]
        factors = np.stack(np.unravel_index(np.arange(6), (2, 3)), axis=1)
        found["gap"] = metrics.mutual_information_gap(top, factors, key, num_samples=12).mutual_information
        return found

    with jax.enable_x64(True):
        vae, of_steps, evaluation = trained()
        # What a model of single precision computes is of single precision, whatever the default is.
        assert {leaf.dtype for leaf in jax.tree.leaves(evaluation) if jnp.issubdtype(leaf.dtype, jnp.floating)} == {
            jnp.dtype("float32")
        }
        found = (of_steps, evaluation, measured(vae) if name == "mss in half precision" else ())
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


def test_classifiers_are_trained_in_single_precision_under_x64():
    rng, classifier = np.random.default_rng(0), models.Classifier("mlp", (5,), 3)
    with jax.enable_x64(True):
        for kind in (np.float32, np.float64):
            inputs, labels = rng.uniform(size=(12, 5)).astype(kind), np.arange(12, dtype=np.int64) % 3
            trained = training.train_classifier(
                classifier, inputs, labels, inputs, labels, key=jax.random.key(0), epochs=1
            )
            assert {leaf.dtype for leaf in jax.tree.leaves(trained.parameters)} == {np.dtype("float32")}
            assert np.isfinite(trained(inputs)).all()
