"""The first-order pathwise margin of hierarchies and boxes, on linear models, where it is exact."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import bounds
from seatbelt_jax.bounds.confidence import sufficient_hits
from seatbelt_jax.gaussian import DiagonalGaussian
from tests.reference.linear_paths import LinearPaths

IMAGE = np.random.default_rng(1).normal(size=(3, 2, 1)).astype(np.float32)
NOISE = np.random.default_rng(2).normal(size=(40, 5)).astype(np.float32)
ALPHA = 0.01


def margin_of(radii):
    return np.sort(radii)[::-1][sufficient_hits(len(radii), ALPHA, 0.5) - 1]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(5,), (3, 2), (2, 1, 2)])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_linear_models_of_any_depth_and_both_norms(sizes, norm):
    model = LinearPaths(sizes, IMAGE.shape)
    found = bounds.pathwise_margin(
        None, model.decode, IMAGE, NOISE, levels=model.levels, radius=8.0, norm=norm, alpha=ALPHA
    )
    exact = margin_of(model.radii(NOISE, 8.0, norm))
    assert exact > 0.0
    # In a box the norm of the Jacobian is bounded by weights of the pixels, never from below.
    least = {"l2": 1.0 - 1e-5, "linf": 0.8}[norm]
    assert least * exact <= found <= exact
    if len(sizes) == 1:
        again = bounds.pathwise_margin(
            lambda x: model.levels[0](x, ()),
            lambda z: model.decode((z,)),
            IMAGE,
            NOISE,
            radius=8.0,
            norm=norm,
            alpha=ALPHA,
        )
        assert float(again) == pytest.approx(float(found), rel=1e-6)


def test_the_exact_box_is_the_largest_corner():
    model = LinearPaths((3, 2), IMAGE.shape)
    corners = np.array(list(itertools.product([-1.0, 1.0], repeat=6)))
    largest = np.linalg.norm(corners @ model.jacobian.T, axis=1).max()
    assert model.norm("linf") == pytest.approx(largest) and largest > model.norm("l2")


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_follows_the_parameters_of_a_hierarchy(norm):
    rng = np.random.default_rng(3)
    weights = {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32)
        for name, shape in {"first": (3, 6), "second": (2, 6), "on": (2, 3), "back": (6, 5)}.items()
    }

    def margin(weights):
        def second(x, below):
            mean = jnp.tanh(weights["second"] @ x.reshape(-1) + weights["on"] @ below[0])
            return DiagonalGaussian(mean, 0.1 * mean - 1.0)

        levels = (lambda x, below: DiagonalGaussian(weights["first"] @ x.reshape(-1), jnp.full(3, -1.0)), second)

        def decode(latents):
            return jnp.tanh(weights["back"] @ jnp.concatenate(latents)).reshape(IMAGE.shape)

        return bounds.pathwise_margin(None, decode, IMAGE, NOISE, levels=levels, radius=2.0, norm=norm, alpha=ALPHA)

    direction = jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape), jnp.float32), weights)

    def along(t):
        return float(jax.jit(margin)(jax.tree.map(lambda w, d: w + t * d, weights, direction)))

    slope = (along(1e-3) - along(-1e-3)) / 2e-3
    gradient = jax.grad(margin)(weights)
    total = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)))
    np.testing.assert_allclose(total, slope, rtol=1e-2)


def test_encode_or_levels_and_noise_that_fits():
    model = LinearPaths((3, 2), IMAGE.shape)
    with pytest.raises(ValueError, match="either encode"):
        bounds.pathwise_margin(None, model.decode, IMAGE, NOISE, radius=1.0)
    with pytest.raises(ValueError, match=r"noise must be \[draw, 5\]"):
        bounds.pathwise_margin(None, model.decode, IMAGE, NOISE[:, :4], levels=model.levels, radius=1.0)
    with pytest.raises(ValueError, match="norm must be one of l2, linf"):
        bounds.pathwise_margin(None, model.decode, IMAGE, NOISE, levels=model.levels, radius=1.0, norm="l1")
