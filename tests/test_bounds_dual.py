"""The reconstruction radius that holds at a given perturbation, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from seatbelt_jax import bounds
from seatbelt_jax.gaussian import DiagonalGaussian

SHAPE = (3, 2, 1)
PIXELS = 6
KEY = jax.random.key(0)
ROW = np.random.default_rng(0).normal(size=PIXELS)


def encode(x):
    return DiagonalGaussian((jnp.asarray(ROW, jnp.float32) @ x.reshape(-1))[None], jnp.zeros(1))


def decode(z):
    """||Delta|| = |z - mean|, the draw's distance in standard deviations."""
    return jnp.zeros(PIXELS).at[0].set(z[0]).reshape(SHAPE)


@pytest.mark.parametrize(("risk", "eps"), [(0.5, 0.3), (0.8, 0.1)])
def test_the_radius_is_the_quantile_that_the_shift_asks_for(risk, eps):
    count, alpha = 400, 0.05
    pictures = np.zeros((count, *SHAPE), np.float32)
    result = bounds.certified_reconstruction_radius(
        encode, decode, pictures, eps=eps, key=KEY, num_samples=500, alpha=alpha, risk=risk, batch_size=200
    )
    shift = eps * np.linalg.norm(ROW)
    required = special.ndtr(special.ndtri(risk) + shift)
    np.testing.assert_allclose(result.required, required, rtol=1e-5)
    quantile = special.ndtri(0.5 + 0.5 * required)  # of |N(0, 1)|
    missed = np.mean(result.radius < quantile)
    assert 0.2 * alpha < missed <= alpha + 4.0 * np.sqrt(alpha / count)
    assert np.median(result.radius) < 1.15 * quantile
    # What is claimed: at the largest shift, reconstructions within the radius, more likely than the risk.
    for radius in result.radius[result.radius >= quantile]:
        assert special.ndtr(radius - shift) - special.ndtr(-radius - shift) > risk
    assert result.soundness == "first_order" and result.confidence == 1.0 - alpha


def test_it_is_the_dual_of_the_margin():
    picture = np.zeros((1, *SHAPE), np.float32)
    settings = {"key": KEY, "num_samples": 4000}
    margin = bounds.certify(encode, decode, picture, radius=2.0, **settings).radius[0]
    inside, beyond = (
        bounds.certified_reconstruction_radius(encode, decode, picture, eps=factor * margin, **settings).radius[0]
        for factor in (0.97, 1.03)
    )
    assert inside <= 2.0 < beyond


def test_methods_that_assume_less_give_larger_radii():
    def moving(x):
        return DiagonalGaussian(encode(x).mean, 0.5 * x.reshape(-1)[:1])

    picture = np.zeros((1, *SHAPE), np.float32)
    settings = {"eps": 0.2, "key": KEY, "num_samples": 4000}
    frozen, first_order, sound = (
        bounds.certified_reconstruction_radius(moving, decode, picture, method=method, **settings)
        for method in ("spectral", "moving_std", "lipschitz")
    )
    assert frozen.radius[0] < first_order.radius[0]
    np.testing.assert_allclose(sound.required, first_order.required, rtol=1e-4)  # the encoder is affine
    assert sound.soundness == "sound"


def test_perturbations_beyond_what_the_draws_can_tell_have_no_radius():
    picture = np.zeros((1, *SHAPE), np.float32)
    for eps in (2.0, 100.0):
        result = bounds.certified_reconstruction_radius(encode, decode, picture, eps=eps, key=KEY, num_samples=50)
        assert result.radius[0] == np.inf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": 0.0}, "eps must be a positive"),
        ({"method": "camuto"}, "method must be one of spectral"),
        ({"alpha": 1.0}, "alpha must lie"),
        ({"risk": 0.0}, "risk must lie"),
        ({"norm": "l1"}, "norm must be one of"),
    ],
)
def test_bad_input(changes, message):
    arguments = {"eps": 0.1, "key": KEY, "num_samples": 20}
    with pytest.raises(ValueError, match=message):
        bounds.certified_reconstruction_radius(encode, decode, np.zeros((1, *SHAPE)), **(arguments | changes))
