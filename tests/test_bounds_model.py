"""The records that a certificate is made from: the model, the question and the work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import bounds, models
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.vae import VAE
from tests import drawn

SHAPE = (4, 4, 1)
IMAGES = np.random.default_rng(0).uniform(-1.0, 1.0, (2, *SHAPE)).astype(np.float32)
KEY = jax.random.key(0)
QUICK = {"key": KEY, "num_samples": 40}


def vae_of(latent_sizes):
    model = models.build({"latent_sizes": latent_sizes, "network": "mlp", "widths": (6,), "hidden_sizes": (5,)}, SHAPE)
    return model.bind(drawn.variables(model, seed=3))


def encode(x):
    return DiagonalGaussian(x.reshape(-1)[:2], 0.1 * x.reshape(-1)[2:4])


def decode(z):
    return jnp.zeros(16).at[:2].set(z).reshape(SHAPE)


def test_one_layer_of_a_vae_is_its_encoder_and_decoder():
    vae = vae_of((3,))
    made = bounds.certify(bounds.Model.of_vae(vae), None, IMAGES, radius=16.0, **QUICK)
    expected = bounds.certify(
        lambda x: jax.tree.map(lambda leaf: leaf[0], vae.posterior(x[None], ())),
        lambda z: vae.likelihood.mean(vae.decode((z[None],)))[0],
        IMAGES,
        radius=16.0,
        **QUICK,
    )
    np.testing.assert_allclose(made.radius, expected.radius, rtol=1e-4)
    assert (made.radius > 0.0).all()


@pytest.mark.slow
def test_levels_of_a_vae_read_features_where_these_are_known():
    vae = vae_of((3, 2))
    whole = VAE(vae.encode, vae.decode, vae.prior, vae.likelihood, vae.latent_sizes, vae.image_shape)
    parts = bounds.Model.of_vae(vae)
    assert parts.features is not None and bounds.Model.of_vae(whole).features is None
    for method in ("hierarchical", "pathwise_first_order"):
        made, expected = (
            bounds.certify(model, None, IMAGES, radius=8.0, method=method, num_pilot_samples=20, **QUICK)
            for model in (parts, bounds.Model.of_vae(whole))
        )
        np.testing.assert_allclose(made.radius, expected.radius, rtol=1e-3)
        assert (made.radius > 0.0).all()


def test_questions_are_answered_as_one_at_a_time():
    model = bounds.Model.of(encode, decode)
    questions = {
        "near": bounds.Question(radius=2.0, **QUICK),
        "surely": bounds.Question(radius=4.0, alpha=1e-6, **QUICK),
        "mirrored": bounds.Question(radius=4.0, method="antithetic", num_samples=30, key=KEY),
    }
    made = bounds.certificates(model, IMAGES, questions, bounds.Work(batch_size=1))
    for name, question in questions.items():
        alone = bounds.certify(
            encode, decode, IMAGES, radius=question.radius, key=KEY, method=question.method, alpha=question.alpha,
            num_samples=question.num_samples,
        )  # fmt: skip
        np.testing.assert_array_equal(made[name].radius, alone.radius)
        assert (made[name].alpha, made[name].method) == (question.alpha, question.method)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: bounds.Model(None, None, decode), ValueError, "either encode, for one latent layer, or levels"),
        (lambda: bounds.Model(encode, None, decode, jnp.ravel), ValueError, "features are for the levels"),
        (lambda: bounds.certify(bounds.Model.of(encode, decode), decode, IMAGES, radius=1.0, key=KEY), ValueError,
         "a Model stands for encode, decode"),
        (lambda: bounds.certify(encode, decode, IMAGES, radius=1.0, key=KEY, samples=20), TypeError,
         "unexpected keyword argument samples; settings are alpha, "),
        (lambda: bounds.minimal_robust_radius(encode, decode, IMAGES, key=KEY, norm="linf"), TypeError,
         "unexpected keyword argument norm"),
        (lambda: bounds.Question(key=KEY, radius=-1.0), ValueError, "radius must be a positive"),
        (lambda: bounds.Question(key=KEY, alpha=2.0), ValueError, "alpha must lie"),
        (lambda: bounds.Question(key=0), TypeError, "typed key"),
        (lambda: bounds.Work(chunk_size=0), ValueError, "chunk_size must be at least 1"),
        (lambda: bounds.certificates(bounds.Model.of(encode, decode), IMAGES, {}), ValueError, "no question"),
        (lambda: bounds.certificates(bounds.Model.of(encode, decode), IMAGES, {"a": bounds.Question(key=KEY)}),
         ValueError, "radius must be a positive, finite"),
        (lambda: bounds.certificates(
            bounds.Model.of(encode, decode), IMAGES,
            {"a": bounds.Question(radius=1.0, **QUICK), "b": bounds.Question(radius=1.0, norm="linf", **QUICK)},
        ), ValueError, "answered together share their norm"),
        (lambda: bounds.certify(encode, decode, IMAGES, radius=1.0, method="hierarchical", **QUICK), ValueError,
         "'hierarchical' is for a hierarchy, given as levels"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_where_it_is_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_concrete_latents_have_no_margin():
    settings = {"latent_sizes": (2,), "discrete_sizes": (3,), "network": "mlp", "widths": (6,)}
    model = models.build(settings, SHAPE)
    with pytest.raises(ValueError, match=r"margins are for Gaussian latents; .* Concrete ones \(JointVAE\)"):
        bounds.Model.of_vae(model.bind(drawn.variables(model)))
