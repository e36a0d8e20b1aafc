"""The confidence of pathwise certificates, and faults that must show: on bounds known in closed form.

The bounds here stand in for `propagation`, which has tests of its own: what is at issue is what is made of them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from seatbelt_jax import bounds
from seatbelt_jax.bounds import layers, pathwise_bounds
from seatbelt_jax.bounds.confidence import sufficient_hits
from seatbelt_jax.gaussian import DiagonalGaussian, sample
from tests.reference import linear_paths
from tests.reference.linear_paths import LinearPaths, jacobian_bound, values_of

SHAPE = (3, 2, 1)
PIXELS = 6
KEY = jax.random.key(0)
ALPHA, PATHS = 0.1, 20
RANK = sufficient_hits(PATHS, ALPHA, 0.5)
# What a certificate of these draws and this alpha fails with, where the draws' radii have no atoms.
EXPECTED = float(special.betainc(RANK, PATHS - RANK + 1, 0.5))


def first_coordinate(x, below):
    return DiagonalGaussian(x.reshape(-1)[:1], jnp.zeros(1))


def as_it_is(latents):
    return jnp.zeros(PIXELS).at[0].set(latents[0][0]).reshape(SHAPE)


def exact_bound(fun, x, noise, centre, size, *, norm, draw_batch=None):
    """||fun(x, e) - centre|| + R: of a reconstruction that moves as one pixel does."""
    moved = np.asarray(values_of(fun, x, noise)) - centre.reshape(-1)
    return np.linalg.norm(moved.reshape(len(noise), -1), axis=1) + size


def missed(count=600):
    """The share of images whose margin is above the R that half of all draws survive: certificates that fail.

    With r = 3, R_e = 3 - |e|, so P(R_e >= R) = 2 Phi(3 - R) - 1.
    """
    pictures = np.zeros((count, *SHAPE), np.float32)
    made = bounds.certify(
        None, as_it_is, pictures, levels=[first_coordinate], radius=3.0, key=KEY, num_paths=PATHS, alpha=ALPHA,
        method="pathwise", batch_size=count,
    )  # fmt: skip
    return np.mean(made.radius > 3.0 - special.ndtri(0.75))


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr(pathwise_bounds.propagation, "deviation_bound", exact_bound)


def test_confidence_is_kept_and_not_wasted(exact):
    # The search stops up to 0.5 % below, so some of the expected misses are none.
    assert 0.6 * EXPECTED < missed() < min(ALPHA, 1.5 * EXPECTED)


def test_k_off_by_one_is_caught(exact, monkeypatch):
    monkeypatch.setattr("seatbelt_jax.bounds.path_methods.sufficient_hits", lambda *given: sufficient_hits(*given) - 1)
    assert missed() > 1.1 * ALPHA


def test_draws_that_are_used_twice_are_caught(exact, monkeypatch):
    def shared(key, draw, like):
        return jax.random.normal(jax.random.fold_in(key, draw // 2), like.shape, like.dtype)

    monkeypatch.setattr("seatbelt_jax.bounds.evidence.noise_of", shared)
    # A number of images that nothing was compiled for.
    assert missed(599) > 1.1 * ALPHA


@pytest.mark.slow
def test_an_r_that_is_chosen_by_the_draws_that_certify_is_caught(monkeypatch):
    """Bounds that at each r depend on another coordinate of the noise: for every r the draws may be lucky anew.

    Beyond R = j the deviation is 10^(j + 1) (1 + Phi(e_{j + 1})), so at r_j = 1.5 10^j half of the draws survive R = j,
    and the margin is j - 1.
    """
    count, radii = 60, 1.5 * 10.0 ** np.arange(1, 6)

    def bound(fun, x, noise, centre, size, *, norm, draw_batch=None):
        step = int(np.ceil(size))
        if step > len(radii):
            return np.full(len(noise), np.inf)
        return 10.0**step * (1.0 + special.ndtr(noise[:, step - 1]))

    monkeypatch.setattr(pathwise_bounds.propagation, "deviation_bound", bound)

    def level(x, below):
        return DiagonalGaussian(1e-6 * x.reshape(-1), jnp.zeros(PIXELS))

    def decode(latents):
        return (1e-3 * latents[0]).reshape(SHAPE)

    settings = {
        "levels": [level], "key": KEY, "num_paths": 40, "method": "pathwise", "batch_size": count,
    }  # fmt: skip
    pictures = np.zeros((count, *SHAPE), np.float32)

    def any_fails(certificates):
        return np.any([made.radius > j + 0.01 for j, made in enumerate(certificates)], axis=0).mean()

    assert any_fails(bounds.margin_curve(None, decode, pictures, radii=radii, alpha=ALPHA, **settings)) <= ALPHA
    # Each at all of alpha, and the luckiest taken.
    reused = [bounds.certify(None, decode, pictures, radius=r, alpha=ALPHA, **settings) for r in radii]
    assert any_fails(reused) > 2.0 * ALPHA


def linear_margin(norm="l2", num_paths=48, alpha=1e-2):
    """A hierarchy's margin, and the order statistic of its draws' radii in closed form."""
    model = LinearPaths((3, 2), SHAPE)
    picture = np.random.default_rng(1).normal(size=(1, *SHAPE)).astype(np.float32)
    made = bounds.certify(
        None, model.decode, picture, levels=model.levels, radius=8.0, key=KEY, num_paths=num_paths, alpha=alpha,
        norm=norm, method="pathwise",
    )  # fmt: skip
    keys = [jax.random.fold_in(jax.random.fold_in(KEY, 0), draw) for draw in range(num_paths)]
    noise = np.stack([jax.random.normal(key, (5,)) for key in keys])
    return made.radius[0], np.sort(model.radii(noise, 8.0, norm))[-sufficient_hits(num_paths, alpha, 0.5)]


def afresh(function):
    return jax.jit(lambda *given: function.__wrapped__(*given))


def test_the_wrong_noise_in_one_layer_is_caught(monkeypatch):
    monkeypatch.setattr(pathwise_bounds.propagation, "deviation_bound", jacobian_bound)
    found, exact_margin = linear_margin()
    assert 0.99 * exact_margin <= found <= exact_margin

    def paths(self, x):
        def path(noise):
            latents = ()
            for level, size in zip(self.levels, self.sizes, strict=True):
                latents = (*latents, sample(level(x, latents), noise[:size]))  # of layer 1, for every layer
            return layers.Draw((), latents)

        return path

    monkeypatch.setattr(layers.Layers, "path", lambda self, x, noise: paths(self, x)(noise))
    # Traced anew, and for a number of draws that nothing was compiled for: the fault is in no program made before.
    monkeypatch.setattr(linear_paths, "values_of", afresh(linear_paths.values_of))
    monkeypatch.setattr(linear_paths, "jacobian_of", afresh(linear_paths.jacobian_of))
    found, exact_margin = linear_margin(num_paths=47)
    assert not 0.99 * exact_margin <= found <= exact_margin


def test_an_l2_dual_in_a_box_is_caught(monkeypatch):
    monkeypatch.setattr(pathwise_bounds.propagation, "deviation_bound", jacobian_bound)
    found, exact_margin = linear_margin("linf")
    assert 0.7 * exact_margin <= found <= exact_margin

    def without_norm(*given, norm, draw_batch):
        return jacobian_bound(*given, norm="l2")

    monkeypatch.setattr(pathwise_bounds.propagation, "deviation_bound", without_norm)
    found, exact_margin = linear_margin("linf")
    assert found > 1.2 * exact_margin
