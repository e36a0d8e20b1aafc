import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seatbelt_jax import elbo, gaussian, models, training
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.total_correlation import log_aggregate_posterior
from seatbelt_jax.training import recipe, state, step
from seatbelt_jax.vae import Encoding
from tests import drawn
from tests.reference import beta_tcvae
from tests.reference import gaussian as reference
from tests.reference import linear_hierarchy as linear

DATASET = 50


def outputs_of_a_model(latent_sizes, batch=12, seed=0):
    """log-likelihood, encoding and prior of a small random model on random images."""
    model = models.build(
        {"latent_sizes": latent_sizes, "network": "mlp", "widths": (16,), "hidden_sizes": (8,) * 4}, (8, 8, 1)
    )

    rng = np.random.default_rng(seed)
    images = rng.uniform(-1.0, 1.0, (batch, 8, 8, 1)).astype(np.float32)
    noise = tuple(rng.normal(size=(batch, size)).astype(np.float32) for size in latent_sizes)

    @jax.jit
    def outputs(variables):
        vae = model.bind(variables)
        encoding = vae.encode(images, noise)
        log_likelihood = vae.likelihood.log_prob(vae.decode(encoding.latents), images)
        return log_likelihood, encoding, vae.prior(encoding.latents)

    return outputs(drawn.variables(model, seed))


decompose = jax.jit(elbo.decompose, static_argnames=("dataset_size", "estimator"))


@pytest.fixture(scope="module")
def two_layers():
    return outputs_of_a_model((4, 3))


def exact_inference(model, x, noise):
    """The linear hierarchy's model and exact posterior as a batch of encodings."""
    from_x, std1 = linear.conditional(model, 1, [0])
    from_both, std2 = linear.conditional(model, 2, [0, 1])
    q1 = DiagonalGaussian(from_x[0] * x, jnp.full_like(x, np.log(std1)))
    z1 = gaussian.sample(q1, noise[0])
    q2 = DiagonalGaussian(from_both[0] * x + from_both[1] * z1, jnp.full_like(x, np.log(std2)))
    z2 = gaussian.sample(q2, noise[1])
    prior = (DiagonalGaussian(model.a * z2, jnp.full_like(x, np.log(model.s1))), gaussian.standard_normal(z2))
    observed = DiagonalGaussian(model.b * z1 + model.c * z2, jnp.full_like(x, np.log(model.sx)))
    return gaussian.log_prob(observed, x), Encoding((q1, q2), (z1, z2)), prior


@pytest.mark.parametrize("model", [linear.LOOSE, linear.TIGHT])
def test_the_elbo_of_exact_inference_is_the_evidence(model):
    x = jnp.full((4_000, 1), 1.7)
    noise = jax.random.normal(jax.random.key(0), (2, *x.shape))
    terms = elbo.decompose(*exact_inference(model, x, noise), dataset_size=x.shape[0])
    error = jnp.std(terms.elbo) / np.sqrt(x.shape[0])
    evidence = linear.log_evidence(model, 1.7)
    assert abs(jnp.mean(terms.elbo) - evidence) < 4.0 * error < 0.2
    # No free bits is no free bits, whatever the sign of the lower layer's term.
    assert (jnp.mean(terms.kl[:, 0]) < 0.0) == (model == linear.TIGHT)
    np.testing.assert_allclose(elbo.objective(terms), terms.elbo, rtol=1e-5)


def test_drawing_the_upper_layer_apart_would_exceed_the_evidence():
    """The closed form of the paper's Eq. 22, which is why the lower terms keep z^1 and z^2 paired."""
    x = jnp.full((100_000, 1), 1.7)
    noise = jax.random.normal(jax.random.key(0), (2, *x.shape))
    log_likelihood, encoding, prior = exact_inference(linear.LOOSE, x, noise)
    apart = sum(gaussian.kl_divergence(q, p) for q, p in zip(encoding.posteriors, prior, strict=True))
    assert jnp.mean(log_likelihood - apart) > linear.log_evidence(linear.LOOSE, 1.7) + 0.1


@pytest.mark.parametrize("latent_sizes", [(3,), (4, 3), (4, 3, 2), (5, 4, 3, 2)])
def test_the_decomposition_adds_up_to_the_elbo(latent_sizes):
    outputs = outputs_of_a_model(latent_sizes)
    terms = decompose(*outputs, dataset_size=DATASET, estimator="mss")
    _, encoding, prior = outputs
    top_log_ratio = gaussian.log_prob(encoding.posteriors[-1], encoding.latents[-1]) - gaussian.log_prob(
        prior[-1], encoding.latents[-1]
    )
    parts = terms.mutual_information + terms.total_correlation + terms.dimension_wise_kl
    np.testing.assert_allclose(parts, top_log_ratio, rtol=1e-4, atol=1e-4)
    # Theorem 1: with the top layer's one-sample ratio in place of its closed form.
    lower = jnp.sum(terms.kl[:, :-1], axis=-1)
    np.testing.assert_allclose(
        terms.log_likelihood - lower - parts,
        terms.elbo + terms.kl[:, -1] - top_log_ratio,
        rtol=1e-5,
    )
    assert terms.kl.shape == (12, len(latent_sizes))


@pytest.mark.parametrize("latent_sizes", [(3,), (4, 3), (4, 3, 2), (5, 4, 3, 2)])
def test_every_term_is_that_of_the_definition_layer_by_layer(latent_sizes):
    """In float64, one example at a time: which layer is compared with which, and what is in closed form."""
    # In NumPy, where what follows takes numbers from them one by one.
    log_likelihood, encoding, prior = jax.tree.map(np.asarray, outputs_of_a_model(latent_sizes))
    terms = jax.tree.map(np.asarray, decompose(log_likelihood, encoding, prior, dataset_size=DATASET, estimator="mss"))

    def density(distribution, example, z):
        mean, log_std = (np.asarray(leaf[example], np.float64) for leaf in (distribution.mean, distribution.log_std))
        return reference.log_prob(mean, np.exp(log_std), np.asarray(z[example], np.float64))

    for example in range(12):
        # log p(x, z) - log q(z|x), and the same as Theorem 1 and the lower layers' terms give it.
        evidence = float(log_likelihood[example])
        by_parts = float(terms.log_likelihood[example])
        for layer, (q, p, z) in enumerate(zip(encoding.posteriors, prior, encoding.latents, strict=True)):
            log_q, log_p = density(q, example, z), density(p, example, z)
            evidence += log_p - log_q
            if layer == len(latent_sizes) - 1:
                mean, std = np.asarray(q.mean[example], np.float64), np.asarray(q.std[example], np.float64)
                closed_form = reference.kl_divergence(mean, std, np.zeros_like(mean), np.ones_like(std))
                by_parts -= float(
                    terms.mutual_information[example]
                    + terms.total_correlation[example]
                    + terms.dimension_wise_kl[example]
                )
            else:
                entropy = float(np.sum(q.log_std[example]) + 0.5 * q.mean.shape[-1] * (1.0 + np.log(2.0 * np.pi)))
                closed_form = -entropy - log_p
                by_parts -= float(terms.kl[example, layer]) + log_q + entropy
            np.testing.assert_allclose(terms.kl[example, layer], closed_form, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(by_parts, evidence, rtol=1e-5)
        np.testing.assert_allclose(terms.elbo[example], log_likelihood[example] - np.sum(terms.kl[example]), rtol=1e-5)


@pytest.mark.parametrize("beta", [1.0, 6.0])
def test_with_one_layer_it_is_the_objective_of_beta_tcvae(beta):
    outputs = outputs_of_a_model((3,))
    log_likelihood, encoding, _ = outputs
    terms = decompose(*outputs, dataset_size=DATASET, estimator="mws")
    q, z = encoding.posteriors[0], encoding.latents[0]
    in_float64 = [np.asarray(array, np.float64) for array in (log_likelihood, q.mean, q.std, z)]
    _, mean, std, latents = in_float64
    written_out = beta_tcvae.parts(mean, std, latents, DATASET)
    for found, expected in zip(
        (terms.mutual_information, terms.total_correlation, terms.dimension_wise_kl), written_out, strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    expected = beta_tcvae.objective(*in_float64, beta=beta, dataset_size=DATASET)
    np.testing.assert_allclose(elbo.objective(terms, beta=beta), expected, rtol=1e-5)
    # Chen et al. have one sample's log q(z|x) / p(z) in place of its mean in closed form.
    chens = beta_tcvae.objective(*in_float64, beta=beta, dataset_size=DATASET, closed_form=False)
    sampled = sum((terms.mutual_information, terms.total_correlation, terms.dimension_wise_kl))
    np.testing.assert_allclose(elbo.objective(terms, beta=beta) + terms.kl[:, 0] - sampled, chens, rtol=1e-5)


def test_a_seatbelt_of_one_layer_is_a_beta_tcvae_in_value_and_gradient():
    """decoder_reads="all" against "bottom": the same parameters, noise and batch."""
    images = jax.random.uniform(jax.random.key(1), (12, 8, 8, 1), minval=-1.0)
    noise = (jax.random.normal(jax.random.key(2), (12, 3)),)
    settings = training.parse_settings(
        {"seed": 0, "objective": {"beta": 6.0}, "optimizer": {}, "train": {"steps": 1, "batch_size": 12}}
    )

    def value_and_gradient(reads):
        config = {"latent_sizes": (3,), "network": "mlp", "widths": (16,), "decoder_reads": reads}
        made = recipe.make_recipe(models.build(config, (8, 8, 1)), settings, DATASET)
        start = jax.jit(functools.partial(state.create, made))(jax.random.key(0))
        compute = jax.jit(jax.value_and_grad(lambda params: step.loss(params, start, images, noise, made)[0]))
        return compute(start.variables["params"])

    (value, gradient), (other_value, other_gradient) = map(value_and_gradient, ("all", "bottom"))
    assert value == other_value
    jax.tree.map(np.testing.assert_array_equal, gradient, other_gradient)
    assert optax.tree.norm(gradient) > 1.0


def test_another_estimate_of_the_total_correlation_takes_the_place_of_the_batchs(two_layers):
    terms = decompose(*two_layers, dataset_size=DATASET)
    estimate = jnp.arange(12.0)
    found = elbo.objective(terms, beta=4.0, total_correlation=estimate)
    np.testing.assert_allclose(found, terms.elbo - 3.0 * estimate, rtol=1e-5)
    at_one = elbo.objective(terms, beta=1.0, total_correlation=estimate)
    np.testing.assert_allclose(at_one, terms.elbo, rtol=1e-6)


def capacity_terms(kl):
    return elbo.ElboTerms(jnp.array([-3.0, -5.0]), kl, *[jnp.full(2, 9.0)] * 3)


def test_capacities_pull_the_mean_kl_of_each_layer_from_either_side():
    kl = jnp.array([[1.0, 5.0, 2.0], [3.0, 7.0, 2.0]])  # means 2, 6, 2

    def mean(kl):
        return jnp.mean(elbo.objective(capacity_terms(kl), beta=10.0, penalty="capacity", capacity=(5.0, 2.5, 2.0)))

    np.testing.assert_allclose(mean(kl), -4.0 - 10.0 * (3.0 + 3.5 + 0.0), rtol=1e-6)
    # Up for the layer below its capacity, example by example, down for the one above; at its capacity, at rest.
    np.testing.assert_allclose(jax.grad(mean)(kl), [[5.0, -5.0, 0.0]] * 2, rtol=1e-6)
    step = jnp.zeros_like(kl).at[0, 1].set(0.01)
    np.testing.assert_allclose((mean(kl + step) - mean(kl - step)) / 0.02, -5.0, rtol=1e-3)


@pytest.mark.parametrize("penalty", ["total_correlation", "kl"])
def test_beta_one_is_the_plain_elbo(two_layers, penalty):
    terms = decompose(*two_layers, dataset_size=DATASET)
    np.testing.assert_allclose(elbo.objective(terms, beta=1.0, penalty=penalty), terms.elbo, rtol=1e-6)


def test_beta_multiplies_the_named_penalty(two_layers):
    terms = decompose(*two_layers, dataset_size=DATASET)
    by_kl = elbo.objective(terms, beta=4.0, penalty="kl")
    np.testing.assert_allclose(by_kl, terms.log_likelihood - 4.0 * terms.kl.sum(-1), rtol=1e-5)
    by_tc = elbo.objective(terms, beta=4.0)
    np.testing.assert_allclose(by_tc, terms.elbo - 3.0 * terms.total_correlation, rtol=1e-5)


def test_free_bits_replace_the_mean_kl_of_a_layer_below_them():
    terms = elbo.ElboTerms(
        log_likelihood=jnp.zeros(2),
        kl=jnp.array([[0.1, 5.0], [0.3, 7.0]]),
        mutual_information=jnp.zeros(2),
        total_correlation=jnp.zeros(2),
        dimension_wise_kl=jnp.zeros(2),
    )

    def mean(kl, free_bits):
        replaced = elbo.ElboTerms(terms.log_likelihood, kl, *[jnp.zeros(2)] * 3)
        return jnp.mean(elbo.objective(replaced, free_bits=free_bits))

    np.testing.assert_allclose(mean(terms.kl, 0.5), -(0.5 + 6.0), rtol=1e-6)
    np.testing.assert_allclose(mean(terms.kl, (0.0, 6.5)), -(0.2 + 6.5), rtol=1e-6)
    gradient = jax.grad(mean)(terms.kl, 0.5)
    np.testing.assert_allclose(gradient, [[0.0, -0.5], [0.0, -0.5]])


def test_free_bits_for_another_number_of_layers_are_refused(two_layers):
    terms = elbo.decompose(*two_layers, dataset_size=DATASET)
    with pytest.raises(ValueError, match="one number or 2, one per layer; got 3"):
        elbo.objective(terms, free_bits=(0.1, 0.1, 0.1))


def test_gradients_of_the_objective_equal_finite_differences(two_layers):
    def value(shift):
        log_likelihood, encoding, prior = exact
        posteriors = tuple(DiagonalGaussian(q.mean + shift, q.log_std + shift) for q in encoding.posteriors)
        moved = Encoding(posteriors, tuple(z + shift for z in encoding.latents))
        terms = elbo.decompose(log_likelihood, moved, prior, dataset_size=DATASET)
        return jnp.mean(elbo.objective(terms, beta=3.0))

    # The objective is near -3000: in float32, its rounding over the step is 0.4 % of the gradient.
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda array: jnp.asarray(array, jnp.float64), two_layers)
        step = 1e-4
        compiled = jax.jit(jax.value_and_grad(value))
        difference = (compiled(step)[0] - compiled(-step)[0]) / (2 * step)
        np.testing.assert_allclose(compiled(0.0)[1], difference, rtol=1e-6)


def test_an_unknown_penalty_is_refused(two_layers):
    with pytest.raises(ValueError, match="penalty must be one of total_correlation, kl, capacity; got 'tc'"):
        elbo.objective(elbo.decompose(*two_layers, dataset_size=DATASET), penalty="tc")


def test_the_aggregate_may_be_given_whole():
    log_likelihood, encoding, prior = outputs_of_a_model((4, 3))
    whole = encoding.posteriors[-1]
    first = jax.tree.map(lambda leaf: leaf[:5], (log_likelihood, encoding, prior))
    terms = elbo.decompose(*first, dataset_size=12, estimator="exact", aggregate=whole)
    joint, product = log_aggregate_posterior(first[1].latents[-1], whole, 12, estimator="exact")
    np.testing.assert_allclose(terms.total_correlation, joint - product, rtol=1e-5)
