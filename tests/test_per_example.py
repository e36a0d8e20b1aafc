"""Networks left in training mode are refused at the door of attacks, and the message says what to do."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from seatbelt_jax import attacks, per_example
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.likelihood import GaussianLikelihood
from seatbelt_jax.vae import VAE, Encoding
from tests import annotations

SHAPE = (4, 4, 1)
WEIGHTS = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
IMAGES = np.random.default_rng(1).uniform(-1, 1, (2, *SHAPE)).astype(np.float32)


def vae_of(mean):
    def encode(images, noise):
        values = mean(images.reshape(len(images), -1))
        return Encoding((DiagonalGaussian(values, jnp.zeros_like(values)),), (values + noise[0],))

    return VAE(
        encode=encode,
        decode=lambda latents: (latents[0] @ WEIGHTS.T).reshape(-1, *SHAPE),
        prior=lambda latents: (DiagonalGaussian(jnp.zeros_like(latents[0]), jnp.zeros_like(latents[0])),),
        likelihood=GaussianLikelihood(),
        latent_sizes=(3,),
        image_shape=SHAPE,
    )


def sweep(mean):
    threat = attacks.Penalty([1.0])
    return attacks.sweep(
        vae_of(mean), IMAGES[:1], IMAGES[1:], threat=threat, solver=attacks.BoxLBFGS(maxiter=2), exchanges=0
    )


def normalised(x):
    h = x @ WEIGHTS
    return (h - h.mean(0)) / jnp.sqrt(h.var(0) + 1e-5)


def drawn_inside():
    kept = [jax.random.key(0)]

    def mean(x):
        kept[0], key = jax.random.split(kept[0])
        return x @ WEIGHTS + jax.random.normal(key, (len(x), 3))

    return mean


def nnx_in_training_mode():
    network = nnx.Sequential(nnx.Linear(16, 3, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, rngs=nnx.Rngs(0)))
    return lambda x: network(x)


@pytest.mark.parametrize(
    ("mean", "message"),
    [
        (lambda: normalised, r"mean of layer 1 of an image changes with the images beside it.*model\.eval\(\)"),
        (drawn_inside, r"changes with the images beside it.*not from a key that is kept or split inside"),
        (nnx_in_training_mode, r"inference mode.*model\.eval\(\)"),
    ],
)
def test_a_network_in_training_mode_is_refused(mean, message):
    with pytest.raises(ValueError, match=message):
        sweep(mean())


def test_a_network_in_inference_mode_is_not():
    network = nnx.Sequential(nnx.Linear(16, 3, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, rngs=nnx.Rngs(0)))
    network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        per_example.check(lambda images: {"mean": network(images.reshape(len(images), -1))}, IMAGES[0])


def test_a_mean_that_no_image_moves_is_said():
    with pytest.warns(UserWarning, match="mean of layer 1 does not depend on the image"):
        sweep(lambda x: jnp.zeros((len(x), 3)) + 0.5)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (np.where(np.arange(16).reshape(1, *SHAPE) == 6, np.nan, IMAGES[:1]), r"1 of 16 pixels.*\(0, 1, 2, 0\): nan"),
        (255 * np.abs(IMAGES[:1]), r"first at index \(0, 0, 0, 0\): .*to 2\d\d.*rescale"),
        (IMAGES[0], r"got \(4, 4, 1\); one image needs a batch axis: sources\[None\]"),
    ],
)
@annotations.unchecked()
def test_pixels_are_named_with_index_value_and_remedy(sources, message):
    with pytest.raises(ValueError, match=message):
        attacks.sweep(vae_of(lambda x: x @ WEIGHTS), sources, IMAGES[:1])


def test_bfloat16_images_are_attacked():
    images = jnp.asarray(IMAGES, jnp.bfloat16)
    result = attacks.sweep(
        vae_of(lambda x: x @ WEIGHTS),
        images[:1],
        images[1:],
        threat=attacks.Penalty([1e-3]),
        solver=attacks.BoxLBFGS(maxiter=5),
        exchanges=0,
    )
    assert result.objective[0, 0] < result.objective_at_source[0]
