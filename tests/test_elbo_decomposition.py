"""The ELBO with its aggregate posterior, exact or bracketed, and importance-weighted bounds: oracles, slow twins."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from seatbelt_jax import elbo, gaussian, metrics, models
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.likelihood import GaussianLikelihood
from seatbelt_jax.metrics.batches import noise_of_images
from seatbelt_jax.total_correlation import log_aggregate_posterior
from seatbelt_jax.vae import VAE, Encoding, Inference
from tests import annotations
from tests.reference import deep_linear, linear_hierarchy
from tests.reference import total_correlation as reference
from tests.reference.linear_gaussian import LinearGaussian

PCA = LinearGaussian.with_exact_posterior(
    np.linalg.qr(np.random.default_rng(0).normal(size=(6, 2)))[0] * np.array([1.5, 0.7]), 0.4
)
BROAD = dataclasses.replace(PCA, std=1.5 * PCA.std, encoder=0.9 * PCA.encoder)


def random_model(latent_sizes=(4, 3), **more):
    config = {"latent_sizes": latent_sizes, "network": "mlp", "widths": (16,), "hidden_sizes": (8,), **more}
    model = models.build(config, (8, 8, 1))
    variables = model.init(jax.random.key(0))
    # Standard deviations that differ, where a fresh model has 1 throughout.
    keys = iter(jax.random.split(jax.random.key(5), 100))
    return model.bind(jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(next(keys), leaf.shape), variables))


@pytest.fixture(scope="module")
def two_layers():
    return random_model()


@pytest.fixture(scope="module")
def images():
    return np.asarray(jax.random.uniform(jax.random.key(1), (31, 8, 8, 1), minval=-1.0))


def test_a_gaussian_aggregate_posterior_has_its_closed_form():
    """Images at normal quantiles of two independent pixels, which the encoder mixes: q(z) is all but a Gaussian."""
    quantiles = stats.norm.ppf((np.arange(100) + 0.5) / 100)
    grid = np.stack(np.meshgrid(quantiles, quantiles), axis=-1).reshape(-1, 1, 2, 1).astype(np.float32)
    mixing, std = np.array([[1.0, 0.6], [0.2, 0.9]]), np.array([0.4, 0.5])
    vae = LinearGaussian(np.eye(2), 0.5, mixing, std).vae()
    found = metrics.elbo_decomposition(vae, grid, jax.random.key(0), num_images=6000, batch_size=2000).means()
    covariance = np.var(quantiles) * mixing @ mixing.T + np.diag(std**2)
    variances, (_, log_determinant) = np.diag(covariance), np.linalg.slogdet(covariance)
    expected = {
        "mutual_information_nats": 0.5 * log_determinant - np.sum(np.log(std)),
        "total_correlation_nats": 0.5 * (np.sum(np.log(variances)) - log_determinant),
        "dimension_wise_kl_nats": np.sum(0.5 * (variances - 1.0 - np.log(variances))),
    }
    assert expected["total_correlation_nats"] > 0.15
    for name, value in expected.items():
        assert abs(found[name] - value) < 4.0 * found[f"{name}_error"] + 2e-3 < 0.07


def test_the_elbo_and_the_reconstruction_error_of_a_linear_model_are_their_closed_forms():
    pictures = BROAD.draw(4000)
    found = metrics.elbo_decomposition(BROAD.vae(), pictures, jax.random.key(0), num_images=4000, batch_size=1000)
    means = found.means()
    np.testing.assert_allclose(found.terms.kl[:, 0], BROAD.kl(pictures), rtol=1e-4)
    for name, expected in (
        ("elbo_nats", BROAD.elbo(pictures)),
        ("log_likelihood_nats", BROAD.expected_log_likelihood(pictures)),
    ):
        assert abs(means[name] - expected.mean()) < 4.0 * means[f"{name}_error"] < 0.3
    rows = pictures.reshape(4000, -1)
    error = np.linalg.norm(rows - rows @ (BROAD.weights @ BROAD.encoder).T, axis=1)
    np.testing.assert_allclose(found.reconstruction_error, error, rtol=1e-4)


def test_every_term_of_one_layer_is_that_of_the_slow_twin(images):
    key, vae = jax.random.key(3), random_model((3,))
    found = metrics.elbo_decomposition(vae, images, key, batch_size=8)
    noise = noise_of_images(jax.random.split(key)[1], vae.latent_sizes, jnp.arange(31))
    encoding = vae.encode(images, noise)
    top, z = encoding.posteriors[-1], np.asarray(encoding.latents[-1], np.float64)
    mean, log_std = np.asarray(top.mean, np.float64), np.asarray(top.log_std, np.float64)
    joint, product = reference.log_aggregate(mean, log_std, z, reference.weights("exact", 31, 31))
    own = np.array([reference.log_density(mean, log_std, z)[i, i].sum() for i in range(31)])
    prior = stats.norm.logpdf(z).sum(axis=1)
    np.testing.assert_allclose(found.terms.mutual_information, own - joint, atol=1e-4)
    np.testing.assert_allclose(found.terms.total_correlation, joint - product, atol=1e-4)
    np.testing.assert_allclose(found.terms.dimension_wise_kl, product - prior, rtol=1e-5, atol=1e-4)
    plain = elbo.decompose(
        vae.likelihood.log_prob(vae.decode(encoding.latents), images),
        encoding,
        vae.prior(encoding.latents),
        dataset_size=31,
        estimator="mss",
    )
    np.testing.assert_allclose(found.terms.elbo, plain.elbo, rtol=1e-4)
    assert found.terms.kl.shape == (31, 1) and found.dataset_size == 31 and found.brackets is None


@pytest.mark.slow
def test_the_brackets_of_a_hierarchy_are_those_of_the_slow_twin(two_layers, images):
    key, paths = jax.random.key(3), 3
    found = metrics.elbo_decomposition(two_layers, images, key, batch_size=8, paths=paths)
    noise_key = jax.random.split(key)[1]
    keys = [noise_key, *jax.random.split(jax.random.fold_in(noise_key, 31), paths)]
    tops, latents = [], []
    for path_key in keys:
        encoding = two_layers.encode(images, noise_of_images(path_key, two_layers.latent_sizes, jnp.arange(31)))
        tops.append(
            [np.asarray(leaf, np.float64) for leaf in (encoding.posteriors[-1].mean, encoding.posteriors[-1].log_std)]
        )
        latents.append(np.asarray(encoding.latents[-1], np.float64))
    z = latents[0]
    l_ick = np.concatenate([reference.log_density(mean, log_std, z) for mean, log_std in tops], axis=1)
    prior, own = stats.norm.logpdf(z).sum(axis=1), np.array([l_ick[i, i].sum() for i in range(31)])

    def mixture(l_ick):
        count = np.log(l_ick.shape[1])
        return (
            special.logsumexp(l_ick.sum(axis=2), axis=1) - count,
            (special.logsumexp(l_ick, axis=1) - count).sum(axis=1),
        )

    (low, low_product), (high, high_product) = mixture(l_ick[:, 31:]), mixture(l_ick)
    expected = {
        "mutual_information": (own - high, own - low),
        "total_correlation": (low - high_product, high - low_product),
        "dimension_wise_kl": (low_product - prior, high_product - prior),
    }
    for name, ends in expected.items():
        np.testing.assert_allclose(getattr(found.brackets, name), ends, atol=1e-4)
        assert np.isnan(getattr(found.terms, name)).all()
    plain = elbo.decompose(
        two_layers.likelihood.log_prob(two_layers.decode(encoding.latents), images),
        encoding,
        two_layers.prior(encoding.latents),
        dataset_size=31,
    )
    assert found.terms.kl.shape == plain.kl.shape == (31, 2) and found.brackets.paths == paths


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "paths", "is_narrow"),
    [
        (deep_linear.DeepLinear((8, 4), (0.5, 0.1)), 8, False),
        (deep_linear.DeepLinear((48, 24), (0.5, 0.1)), 4, False),
        (deep_linear.DeepLinear((6, 5, 3), (0.3, 0.4, 0.05)), 4, False),
        (deep_linear.DeepLinear((8, 2), (0.1, 0.6)), 16, True),
        (deep_linear.DeepLinear((6, 4, 2), (0.1, 0.2, 0.8)), 16, True),
    ],
)
def test_the_brackets_of_a_linear_hierarchy_hold_the_truth(case, paths, is_narrow):
    """Here q(z^L|x) is a Gaussian in closed form, so log q(z^L) is known for the same samples."""
    pictures = case.draw(200)
    found = metrics.elbo_decomposition(case.vae(), pictures, jax.random.key(0), batch_size=200, paths=paths)
    noise = noise_of_images(jax.random.split(jax.random.key(0))[1], case.latent_sizes, jnp.arange(200))
    encoding = case.vae().encode(jnp.asarray(pictures), noise)
    truth, means = case.terms(pictures, encoding), found.means()
    for name, values in truth.items():
        ends = getattr(found.brackets, name)
        for below, above in ((ends.lower, values), (values, ends.upper)):
            gap = np.asarray(above - below, np.float64)
            assert gap.mean() > -4.0 * gap.std() / np.sqrt(len(gap)) - 1e-4
        width = means[f"{name}_nats_upper"] - means[f"{name}_nats_lower"]
        assert not is_narrow or width < max(0.05 * values.mean(), 0.05)
        assert means[f"{name}_nats_determined"] == (width <= max(0.05, 0.05 * means[f"{name}_nats_upper"]))
        assert name + "_nats" not in means
    if not is_narrow:
        assert not means["total_correlation_nats_determined"] and not means["mutual_information_nats_determined"]


def test_one_path_an_image_is_outside_the_bracket_of_a_hierarchy():
    """What was called exact: the mixture of the paths that drew the latents is far above log q(z)."""
    case = deep_linear.DeepLinear((48, 24), (0.5, 0.1))
    pictures = case.draw(200)
    encoding = case.vae().encode(jnp.asarray(pictures), case.vae().sample_noise(jax.random.key(0), 200))
    joint, _ = log_aggregate_posterior(encoding.latents[-1], encoding.posteriors[-1], 200, estimator="exact")
    terms = case.terms(pictures, encoding)
    truth = gaussian.log_prob(encoding.posteriors[-1], encoding.latents[-1]) - terms["mutual_information"]
    assert np.mean(joint - truth) > 20.0


def test_a_top_layer_that_no_path_moves_has_single_numbers():
    case = deep_linear.DeepLinear((4, 2), (0.3, 0.5), weight=0.0)
    found = metrics.elbo_decomposition(case.vae(), case.draw(50), jax.random.key(0))
    assert found.brackets is None and "total_correlation_nats" in found.means()


def test_too_few_paths_are_refused(two_layers, images):
    with pytest.raises(ValueError, match="paths must be a whole number of at least 1, got 0"):
        metrics.elbo_decomposition(two_layers, images, jax.random.key(0), paths=0)


def test_the_way_images_are_batched_or_come_changes_nothing(two_layers, images):
    @dataclasses.dataclass
    class Source:
        size: int

        def images(self, numbers):
            return images[numbers]

    key = jax.random.key(3)
    whole = metrics.elbo_decomposition(two_layers, images, key, batch_size=100)
    in_parts = metrics.elbo_decomposition(two_layers, Source(31), key, batch_size=7)
    both = [jax.tree.leaves((found.terms, found.brackets)) for found in (whole, in_parts)]
    for one, other in zip(*both, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    some = metrics.elbo_decomposition(two_layers, images, key, num_images=9, batch_size=7)
    assert len(np.unique(some.numbers)) == 9 and some.dataset_size == 31
    for end in ("lower", "upper"):
        of_some, of_whole = (getattr(found.brackets.total_correlation, end) for found in (some, whole))
        np.testing.assert_allclose(of_some, of_whole[some.numbers], atol=1e-4)


def test_the_means_have_the_error_of_a_mean(two_layers, images):
    found = metrics.elbo_decomposition(two_layers, images, jax.random.key(3))
    means = found.means()
    assert set(means) >= {"kl_1_nats", "kl_2_nats", "elbo_nats_error", "reconstruction_error_l2"}
    np.testing.assert_allclose(means["kl_2_nats_error"], np.std(found.terms.kl[:, 1], ddof=1) / np.sqrt(31), rtol=1e-5)
    np.testing.assert_allclose(means["kl_1_nats"], np.mean(found.terms.kl[:, 0]), rtol=1e-5)


def test_a_joint_vae_has_its_terms_too(images):
    vae = random_model((3,), discrete_sizes=(4,))
    found = metrics.elbo_decomposition(vae, images, jax.random.key(0)).means()
    assert np.isfinite(list(found.values())).all() and 0.0 < found["kl_1_nats"] < np.log(4.0)


@annotations.unchecked()
def test_images_that_are_not_the_models_are_refused(two_layers, images):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"takes images of shape \(8, 8, 1\), got \(8, 8\)"):
        metrics.elbo_decomposition(two_layers, images[..., 0], key)
    with pytest.raises(ValueError, match="num_images is 32, but there are 31 images"):
        metrics.elbo_decomposition(two_layers, images, key, num_images=32)
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, got 0"):
        metrics.elbo_decomposition(two_layers, images, key, batch_size=0)
    with pytest.raises(ValueError, match="not finite"):
        metrics.elbo_decomposition(two_layers, np.where(images > 0.9, np.nan, images), key)
    with pytest.raises(ValueError, match="no images"):
        metrics.importance_weighted_bound(two_layers, images[:0], key, num_samples=1)
    with pytest.raises(TypeError, match="images must be an array"):
        metrics.importance_weighted_bound(two_layers, [1, 2], key, num_samples=1)


def test_of_an_exact_posterior_every_sample_is_the_evidence():
    pictures = PCA.draw(20)
    found = metrics.importance_weighted_bound(PCA.vae(), pictures, jax.random.key(0), num_samples=3, batch_size=8)
    np.testing.assert_allclose(found.log_likelihood, PCA.log_evidence(pictures), rtol=1e-4)
    np.testing.assert_allclose(found.effective_sample_size, 3.0, rtol=1e-4)


def test_the_bound_is_the_elbo_of_one_sample_and_rises_to_the_evidence():
    pictures = BROAD.draw(300)
    evidence = BROAD.log_evidence(pictures)

    def gap(num_samples):
        found = metrics.importance_weighted_bound(
            BROAD.vae(), pictures, jax.random.key(1), num_samples=num_samples, batch_size=300
        )
        assert np.all(found.effective_sample_size <= num_samples * 1.001)
        below = evidence - found.log_likelihood
        return below.mean(), below.std() / np.sqrt(300)

    gaps = {num_samples: gap(num_samples) for num_samples in (1, 2, 6, 4000)}
    expected = np.mean(evidence - BROAD.elbo(pictures))
    assert expected > 0.3 and abs(gaps[1][0] - expected) < 4.0 * gaps[1][1] < 0.5
    assert gaps[1][0] > gaps[2][0] + 0.1 > gaps[6][0] + 0.2 > 0.2
    assert abs(gaps[4000][0]) < 5e-3


def test_the_bound_and_the_effective_samples_are_those_of_the_weights_themselves():
    pictures, key, vae = BROAD.draw(9), jax.random.key(2), BROAD.vae()
    found = metrics.importance_weighted_bound(vae, pictures, key, num_samples=40, batch_size=4)
    weights = np.zeros((40, 9))
    for number in range(40):
        noise = noise_of_images(jax.random.fold_in(key, number), vae.latent_sizes, jnp.arange(9))
        encoding = vae.encode(pictures, noise)
        q, z = encoding.posteriors[0], np.asarray(encoding.latents[0], np.float64)
        decoded = np.asarray(vae.decode(encoding.latents), np.float64)
        likelihood = stats.norm.logpdf(pictures, decoded, BROAD.noise_std).sum(axis=(1, 2, 3))
        log_q = stats.norm.logpdf(z, np.asarray(q.mean, np.float64), BROAD.std).sum(axis=1)
        weights[number] = np.exp(likelihood + stats.norm.logpdf(z).sum(axis=1) - log_q)
    np.testing.assert_allclose(found.log_likelihood, np.log(weights.mean(axis=0)), rtol=1e-4)
    np.testing.assert_allclose(
        found.effective_sample_size, weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0), rtol=1e-3
    )


def hierarchy(inference):
    """The linear hierarchy with its exact posterior, as a VAE of one pixel."""
    model = linear_hierarchy.TIGHT
    from_x, std1 = linear_hierarchy.conditional(model, 1, [0])
    from_both, std2 = linear_hierarchy.conditional(model, 2, [0, 1])

    def posterior(x, below):
        if not below:
            return DiagonalGaussian(from_x[0] * x, jnp.full_like(x, np.log(std1)))
        return DiagonalGaussian(from_both[0] * x + from_both[1] * below[0], jnp.full_like(x, np.log(std2)))

    def features(images):
        return images.reshape(-1, 1)

    def encode(images, noise):
        q1 = posterior(features(images), ())
        z1 = gaussian.sample(q1, noise[0])
        q2 = posterior(features(images), (z1,))
        return Encoding((q1, q2), (z1, gaussian.sample(q2, noise[1])))

    def prior(latents):
        z2 = latents[1]
        return DiagonalGaussian(model.a * z2, jnp.full_like(z2, np.log(model.s1))), gaussian.standard_normal(z2)

    def decode(latents):
        return (model.b * latents[0] + model.c * latents[1])[:, :, None, None]

    parts = Inference(features, posterior) if inference else None
    return VAE(encode, decode, prior, GaussianLikelihood(model.sx), (1, 1), (1, 1, 1), parts)


@pytest.mark.parametrize("inference", [False, True])
def test_of_exact_inference_in_a_hierarchy_every_sample_is_the_evidence(inference):
    x = np.linspace(-3.0, 3.0, 7, dtype=np.float32)
    found = metrics.importance_weighted_bound(
        hierarchy(inference), x[:, None, None, None], jax.random.key(0), num_samples=2
    )
    np.testing.assert_allclose(
        found.log_likelihood, linear_hierarchy.log_evidence(linear_hierarchy.TIGHT, x), atol=2e-4
    )


def test_concrete_latents_have_no_importance_weights(images):
    vae = random_model((3,), discrete_sizes=(4,))
    with pytest.raises(TypeError, match="a layer of Concrete latents"):
        metrics.importance_weighted_bound(vae, images, jax.random.key(0), num_samples=2)
