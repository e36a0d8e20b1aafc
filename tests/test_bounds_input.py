"""What certify and minimal_robust_radius refuse, and the reason they give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from seatbelt_jax import bounds
from seatbelt_jax.gaussian import DiagonalGaussian

SHAPE = (4, 3, 2)
LATENT = 5
KEY = jax.random.key(0)


def gaussian(mean, log_std):
    return DiagonalGaussian(mean + jnp.zeros(LATENT), log_std + jnp.zeros(LATENT))


def third_image(x):
    """True for the image of ones, the third of the batch below."""
    return jnp.all(x == 1.0)


BATCH = np.stack([np.zeros(SHAPE), np.full(SHAPE, 0.5), np.ones(SHAPE)]).astype(np.float32)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"radius": 0.0}, ValueError, "radius must be a positive"),
        ({"radius": float("nan")}, ValueError, "radius must be a positive"),
        ({"radius": "4"}, TypeError, "radius must be a real number"),
        ({"num_samples": 9}, ValueError, "at least 10 draws are needed"),
        ({"num_samples": 0}, ValueError, "num_samples must be at least 1"),
        ({"num_samples": 1e4}, TypeError, "num_samples must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"decode_batch": 0}, ValueError, "decode_batch must be at least 1"),
        ({"alpha": 0.0}, ValueError, "alpha must lie strictly between"),
        ({"risk": 1.0}, ValueError, "risk must lie strictly between"),
        ({"method": "exact"}, ValueError, "some of camuto, spectral"),
        ({"method": ()}, ValueError, "some of camuto, spectral"),
        ({"key": 0}, TypeError, "typed key"),
        ({"key": jax.random.key_data(KEY)}, TypeError, "typed key"),
        ({"key": jax.random.split(KEY)}, ValueError, "single key"),
        ({"images": BATCH[0, 0, 0]}, ValueError, "leading batch axis"),
        ({"images": BATCH[:0]}, ValueError, "at least one image"),
        ({"images": BATCH.astype(np.uint8)}, TypeError, "floating point"),
        ({"images": BATCH * np.array([1, np.nan, 1])[:, None, None, None]}, ValueError, "image 1"),
        ({"encode": lambda x: (gaussian(0.0, 0.0),) * 2}, TypeError, "hierarchy"),
        ({"encode": lambda x: x}, TypeError, "DiagonalGaussian"),
        (
            {"encode": lambda x: DiagonalGaussian(jnp.zeros((1, 5)), jnp.zeros((1, 5)))},
            ValueError,
            "without a batch axis",
        ),
        (
            {"encode": lambda x: DiagonalGaussian(jnp.zeros(5), jnp.zeros(1))},
            ValueError,
            "same shape",
        ),
        (
            {"encode": lambda x: gaussian(jnp.where(third_image(x), jnp.nan, 0.0), 0.0)},
            ValueError,
            "image 2 a mean that is NaN",
        ),
        (
            {"encode": lambda x: gaussian(0.0, jnp.where(third_image(x), -jnp.inf, 0.0))},
            ValueError,
            "image 2 a standard deviation of 0",
        ),
        (
            {"encode": lambda x: gaussian(0.0, jnp.where(third_image(x), jnp.nan, 0.0))},
            ValueError,
            "image 2 a standard deviation of nan",
        ),
        ({"decode": lambda z: jnp.zeros((1, *SHAPE))}, ValueError, "decode must map"),
        ({"decode": lambda z: jnp.zeros(SHAPE, jnp.bfloat16)}, TypeError, "float32 or float64"),
        ({"decode": lambda z: (jnp.zeros(SHAPE),)}, TypeError, "one image as an array"),
        ({"decode": lambda z: jnp.full(SHAPE, jnp.nan)}, ValueError, "latent mean of image 0"),
    ],
)
def test_bad_input_is_named(changes, error, message):
    arguments = {
        "encode": lambda x: gaussian(x.mean(), 0.0),
        "decode": lambda z: jnp.zeros(SHAPE),
        "images": BATCH,
        "radius": 1.0,
        "key": KEY,
        "num_samples": 10,
        "batch_size": 2,
    }
    with pytest.raises(error, match=message):
        bounds.certify(**(arguments | changes))


def test_minimal_robust_radius_checks_its_input_too():
    arguments = {"encode": lambda x: gaussian(x.mean(), 0.0), "decode": lambda z: jnp.zeros(SHAPE)}
    arguments |= {"images": BATCH, "key": KEY, "num_samples": 10}
    for changes, error, message in (
        ({"num_samples": 0}, ValueError, "num_samples must be at least 1"),
        ({"alpha": 1.0}, ValueError, "alpha must lie strictly between"),
        ({"risk": 0.0}, ValueError, "risk must lie strictly between"),
        ({"key": 0}, TypeError, "typed key"),
        ({"images": BATCH[:0]}, ValueError, "at least one image"),
        ({"encode": lambda x: gaussian(0.0, -jnp.inf)}, ValueError, "image 0 a standard deviation"),
        ({"decode": lambda z: z}, ValueError, "decode must map"),
        ({"decode": lambda z: jnp.full(SHAPE, jnp.nan)}, ValueError, "latent mean of image 0"),
    ):
        with pytest.raises(error, match=message):
            bounds.minimal_robust_radius(**(arguments | changes))


def encode_to_mean(x):
    return gaussian(x.mean(), 0.0)


def decode_to_sum(z):
    return jnp.zeros(SHAPE) + z.sum()


def certify(**changes):
    settings = {"encode": encode_to_mean, "decode": decode_to_sum}
    settings |= {"images": BATCH, "radius": 4.0, "key": KEY, "num_samples": 20}
    settings |= changes
    return bounds.certify(settings.pop("encode"), settings.pop("decode"), settings.pop("images"), **settings)


def empirical_margin(encode, decode, **changes):
    settings = {"radius": 4.0, "key": KEY, "num_samples": 100, "search_samples": 8, "restarts": 1, "steps": 2}
    return bounds.empirical_margin(encode, decode, BATCH, norms=[1.0], **(settings | changes))


@pytest.mark.slow
def test_a_mean_that_is_the_same_for_all_images_is_said():
    def batch_norm_in_training(x):
        batch = x[None].reshape(1, -1)
        return gaussian(((batch - batch.mean(axis=0)) / jnp.sqrt(batch.var(axis=0) + 1e-5)).sum(), 0.0)

    with pytest.warns(UserWarning, match="does not depend on the image at 3 of 3 images.*BatchNorm"):
        certify(encode=batch_norm_in_training)
    with pytest.warns(UserWarning, match="encode's mean does not depend on the image at 3 of 3 images.*BatchNorm"):
        empirical_margin(batch_norm_in_training, decode_to_sum)
    with pytest.warns(UserWarning, match="the mean of every layer does not depend on the image at 3 of 3 images"):
        empirical_margin(None, lambda path: decode_to_sum(path[0]), levels=[lambda x, below: batch_norm_in_training(x)])
    with pytest.warns(UserWarning, match="encode's mean does not depend on the image at 1 of 1 images"):
        bounds.jacobian_norms(batch_norm_in_training, BATCH[0])


def test_functions_that_fail_are_named_with_the_likely_reason():
    weights = np.ones((24, LATENT), np.float32)

    def of_batches(x):
        return gaussian(x.reshape(x.shape[0], 24) @ weights, 0.0)

    for call in (lambda: certify(encode=of_batches), lambda: bounds.jacobian_norms(of_batches, BATCH[0])):
        with pytest.raises(ValueError, match=r"encode fails on one example of shape \(4, 3, 2\).*encode\(x\[None\]\)"):
            call()
    keys = [KEY]

    def split_inside(x):
        keys[0], noise = jax.random.split(keys[0])
        return gaussian(x.mean() + jax.random.normal(noise), 0.0)

    with pytest.raises(ValueError, match="encode is not deterministic"):
        certify(encode=split_inside)


class InTraining(nnx.Module):
    """A VAE whose hidden layer has what behaves otherwise in training."""

    def __init__(self, layer):
        rngs = nnx.Rngs(0)
        self.encoder, self.layer = nnx.Linear(24, 2 * LATENT, rngs=rngs), layer(rngs)
        self.decoder = nnx.Linear(LATENT, 24, rngs=rngs)

    def encode(self, x):
        return DiagonalGaussian(*jnp.split(self.layer(self.encoder(x.ravel()[None]))[0], 2))

    def decode(self, z):
        return self.decoder(z).reshape(SHAPE)


@pytest.mark.parametrize(
    "layer",
    [lambda rngs: nnx.BatchNorm(2 * LATENT, rngs=rngs), lambda rngs: nnx.Dropout(0.5, rngs=rngs)],
    ids=["BatchNorm", "Dropout"],
)
def test_a_module_of_nnx_must_be_in_inference_mode(layer):
    model = InTraining(layer)
    settings = {"images": BATCH, "key": KEY, "num_samples": 20}
    doors = {
        "certify": lambda: bounds.certify(model.encode, model.decode, radius=4.0, **settings),
        "certify_dataset": lambda: bounds.certify_dataset(model.encode, model.decode, radius=4.0, **settings),
        "hierarchical_margin": lambda: bounds.hierarchical_margin(
            [lambda x, below: model.encode(x)], lambda path: model.decode(path[0]), radius=4.0, **settings
        ),
    }
    for door in doors.values():
        with pytest.raises(
            ValueError, match=r"(encode|levels\[0\]) changes the state .*\.eval\(\) on the module first"
        ):
            door()
    model.eval()
    for name, door in doors.items():
        assert door(), name


def test_half_precision_images_are_taken_and_a_bad_pixel_is_named():
    assert certify(images=jnp.asarray(BATCH, jnp.bfloat16)).radius.shape == (3,)
    broken = BATCH.copy()
    broken[1, 2, 1, 0] = np.inf
    with pytest.raises(ValueError, match=r"image 1 .*inf at pixel \(2, 1, 0\); repair"):
        certify(images=broken)


def test_an_operation_without_bounds_is_named_with_its_line():
    def function(x):
        return jnp.sort(x)

    with pytest.raises(ValueError, match=r"'sort' .*test_bounds_input.py:\d+"):
        bounds.local_lipschitz(function, np.ones(3, np.float32), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("images", ["float32", "float64", "bfloat16"])
def test_types_mix_under_x64(images):
    weights = np.linspace(-1.0, 1.0, 24 * LATENT).reshape(24, LATENT)

    def encode(x):
        return DiagonalGaussian(x.reshape(-1) @ weights, np.zeros(LATENT, np.float32))

    def level(x, below):
        return encode(x)

    with jax.enable_x64(True):
        batch = jnp.asarray(BATCH, images)
        settings = {"radius": 4.0, "key": KEY, "num_samples": 20}
        methods = ("antithetic", "lipschitz", "hybrid")
        made = [bounds.certify(encode, decode_to_sum, batch, method=method, **settings) for method in methods]
        made.append(bounds.hierarchical_margin([level], lambda path: decode_to_sum(path[0]), batch, **settings))
        assert all(np.isfinite(certificate.radius).all() for certificate in made)
        least = bounds.minimal_robust_radius(encode, decode_to_sum, batch, key=KEY, num_samples=20)
        assert np.isfinite(least.lower).all()
        search = {"radius": 0.1, "key": KEY, "num_samples": 20, "search_samples": 20, "restarts": 1, "steps": 2}
        found = bounds.empirical_margin(encode, decode_to_sum, batch, **search)
        assert np.all(found.upper >= 0.0)


def decode_sum(z):
    return jnp.zeros(SHAPE, jnp.float32) + z.sum() / np.float32(50.0)
