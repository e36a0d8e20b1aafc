"""What drivers of bounds compile for one model serves every model of its code, shapes and settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import bounds
from seatbelt_jax.gaussian import DiagonalGaussian
from tests.compilations import counted

SHAPE = (3, 2, 1)
LATENT = 2
IMAGES = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
KEY = jax.random.key(0)
QUICK = {"key": KEY, "num_samples": 40}
EVERY_METHOD = ("camuto", "spectral", "antithetic", "moving_std")


def closures(seed):
    """encode and decode as users write them, around weights of their own."""
    rng = np.random.default_rng(seed)
    first, mean, log_std, last = (
        jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((6, 4), (4, LATENT), (4, LATENT), (LATENT, 6))
    )

    def encode(x):
        hidden = jax.nn.leaky_relu(x.reshape(-1) @ first, 0.1)
        return DiagonalGaussian(hidden @ mean, 0.1 * (hidden @ log_std))

    return encode, lambda z: (z @ last).reshape(SHAPE)


def hierarchy(seed):
    """levels, decode and features of two layers."""
    rng = np.random.default_rng(seed)
    inward, first, second_layer, coupling, last = (
        jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((6, 5), (5, 2), (5, 3), (2, 3), (5, 6))
    )

    def level(read, below):
        if below:
            return DiagonalGaussian(jnp.tanh(read @ second_layer + below[0] @ coupling), jnp.zeros(3))
        return DiagonalGaussian(read @ first, 0.1 * (read @ first))

    def features(x):
        return jax.nn.leaky_relu(x.reshape(-1) @ inward, 0.1)

    return [level] * 2, lambda latents: (jnp.concatenate(latents) @ last).reshape(SHAPE), features


def jitted(seed):
    return tuple(map(jax.jit, closures(seed)))


def second(call, make=closures, **more):
    """What a driver compiles for a second model, after a first; the two results must differ."""
    before = call(*make(0), **more)
    with counted() as programs:
        after = call(*make(1), **more)
    assert any(np.any(np.asarray(a) != np.asarray(b)) for a, b in zip(flat(before), flat(after), strict=True))
    return programs


def flat(result):
    """The arrays of a result of any of the drivers."""
    if isinstance(result, np.ndarray | float):
        return [result]
    parts = result.values() if isinstance(result, dict) else result if isinstance(result, tuple) else None
    if parts is None:
        return [value for value in vars(result).values() if isinstance(value, np.ndarray)]
    return [array for part in parts for array in flat(part)]


@pytest.mark.parametrize("make", [closures, jitted])
@pytest.mark.parametrize("method", EVERY_METHOD)
def test_certify(make, method):
    assert not second(bounds.certify, make, images=IMAGES, radius=8.0, method=method, **QUICK)


@pytest.mark.parametrize("method", ["spectral", "lipschitz"])
def test_certify_in_linf(method):
    assert not second(bounds.certify, images=IMAGES, radius=8.0, method=method, norm="linf", **QUICK)


@pytest.mark.parametrize("make", [closures, jitted])
@pytest.mark.parametrize("method", ["linear_region", "lipschitz", "hybrid"])
def test_certify_by_the_code_of_the_encoder(make, method):
    assert not second(bounds.certify, make, images=IMAGES, radius=8.0, method=method, num_pilot_samples=20, **QUICK)


def test_certify_dataset():
    assert not second(bounds.certify_dataset, images=IMAGES, radius=8.0, methods=EVERY_METHOD, batch_size=2, **QUICK)


def test_margin_curve():
    assert not second(bounds.margin_curve, images=IMAGES, radii=(1.0, 2.0), **QUICK)


@pytest.mark.parametrize("method", ["spectral", "moving_std", "lipschitz"])
def test_certified_reconstruction_radius(method):
    assert not second(bounds.certified_reconstruction_radius, images=IMAGES, eps=0.1, method=method, **QUICK)


def test_minimal_robust_radius():
    assert not second(bounds.minimal_robust_radius, images=IMAGES, **QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("norms", [None, (0.1, 0.5)])
def test_empirical_margin(norms):
    settings = {"search_samples": 16, "steps": 2, "restarts": 1, "norms": norms}
    assert not second(bounds.empirical_margin, images=IMAGES, radius=8.0, **QUICK, **settings)


def test_checks_of_soundness():
    counts = []

    def attack(encode, decode):
        certificate = bounds.certify(encode, decode, IMAGES, radius=8.0, **QUICK)
        attacked = bounds.soundness_attacks(encode, decode, IMAGES, certificate, key=KEY, trials_per_image=4, steps=2)
        report = bounds.check_soundness(
            certificate, attacked, encode=encode, decode=decode, images=IMAGES, key=jax.random.key(1), num_samples=40
        )
        counts.append(report.trials)
        return report

    assert not second(attack)
    assert min(counts) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "norm", "through_features"),
    [("path", "l2", True), ("sup", "l2", False), ("path", "linf", False), ("path", "linf", True)],
)
def test_hierarchical_margin(mode, norm, through_features):
    def margin(levels, decode, features):
        if not through_features:
            read, features = features, None
            levels = [lambda x, below, level=level: level(read(x), below) for level in levels]
        return bounds.hierarchical_margin(
            levels, decode, IMAGES, features=features, radius=8.0, mode=mode, norm=norm, num_pilot_samples=20, **QUICK
        )

    assert not second(margin, hierarchy)


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["minimal_robust_radius", "empirical_margin"])
def test_levels(driver):
    settings = {"radius": 8.0, "search_samples": 16, "steps": 2, "restarts": 1} if driver == "empirical_margin" else {}

    def call(levels, decode, features):
        levels = [lambda x, below, level=level: level(features(x), below) for level in levels]
        return getattr(bounds, driver)(None, decode, IMAGES, levels=levels, **QUICK, **settings)

    assert not second(call, hierarchy)
