"""Proven radii of draws against attacks and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax.bounds import propagation
from seatbelt_jax.bounds.propagation import groups
from seatbelt_jax.bounds.propagation.spectral import joined, norm_above
from tests.compilations import counted
from tests.reference import crown

LATENT = 3


def dense(rng, rows, columns, scale=1.0):
    weight = scale * rng.normal(size=(rows, columns)) * np.sqrt(2.0 / rows)
    return weight.astype(np.float32), (0.1 * rng.normal(size=columns)).astype(np.float32)


def autoencoder(seed=0, activation=jax.nn.relu, squash=jax.nn.sigmoid, pixels=12, hidden=10):
    """(x, e) -> the reconstruction of a small VAE, sigma moving with x."""
    rng = np.random.default_rng(seed)
    first, mean, log_std = dense(rng, pixels, hidden), dense(rng, hidden, LATENT), dense(rng, hidden, LATENT, 0.5)
    second, last = dense(rng, LATENT, hidden), dense(rng, hidden, pixels)

    def reconstruct(x, noise):
        hidden = activation(x.reshape(-1) @ first[0] + first[1])
        std = jnp.exp(hidden @ log_std[0] + log_std[1] - 1.0)
        z = hidden @ mean[0] + mean[1] + std * noise
        return squash(activation(z @ second[0] + second[1]) @ last[0] + last[1]).reshape(x.shape)

    return reconstruct


def drawn(draws=6, shape=(3, 4), seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=shape).astype(np.float32), rng.normal(size=(draws, LATENT)).astype(np.float32)


def attacked(function, x, noise, centre, radius, norm, steps=60):
    """The largest distance that projected ascent finds in the ball, for each draw: from below."""

    def into_ball(d):
        if norm == "linf":
            return jnp.clip(d, -radius, radius)
        return d * jnp.minimum(1.0, radius / jnp.maximum(jnp.linalg.norm(d), 1e-30))

    def distance(d, e):
        return jnp.linalg.norm((function(x + d, e) - centre).reshape(-1))

    def ascend(d, e):
        def step(_, d):
            gradient = jax.grad(distance)(d, e)
            scale = jnp.sign(gradient) if norm == "linf" else gradient / (jnp.linalg.norm(gradient) + 1e-30)
            return into_ball(d + 0.2 * radius * scale)

        return distance(jax.lax.fori_loop(0, steps, step, d), e)

    starts = into_ball(radius * jax.random.normal(jax.random.key(0), (8, *x.shape)))
    found = jax.jit(jax.vmap(lambda e: jax.vmap(lambda d: ascend(d, e))(starts)))(noise)
    return np.asarray(found).max(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("relaxation", ["chords", "crown"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("activation", [jax.nn.relu, jax.nn.gelu])
def test_no_attack_beats_a_bound(activation, norm, relaxation):
    function = autoencoder(activation=activation)
    x, noise = drawn()
    centre = function(x, jnp.zeros(LATENT))
    for radius in (0.05, 0.5, 3.0):
        size = radius / (np.sqrt(x.size) if norm == "linf" else 1.0)
        bounds = propagation.deviation_bound(function, x, noise, centre, size, norm=norm, relaxation=relaxation)
        assert (attacked(function, x, noise, centre, size, norm) <= bounds).all()


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_radii_are_proven_and_near_to_what_attacks_reach(norm):
    function = autoencoder()
    x, noise = drawn()
    centre = function(x, jnp.zeros(LATENT))
    clean = np.array([float(jnp.linalg.norm(function(x, e) - centre)) for e in noise])
    radius = float(np.sort(clean)[3] * 1.01)
    found = propagation.radii(function, x, noise, centre, radius, norm=norm)
    assert ((found > 0.0) == (clean < radius)).all()
    for draw, size in enumerate(found):
        one = noise[draw : draw + 1]
        if size > 0.0:
            assert propagation.deviation_bound(function, x, one, centre, size, norm=norm)[0] <= radius * (1.0 + 1e-9)
            # The search ends near the largest radius that the bound proves.
            assert propagation.deviation_bound(function, x, one, centre, 1.05 * size, norm=norm)[0] > radius
            assert attacked(function, x, one, centre, size, norm)[0] <= radius
            assert attacked(function, x, one, centre, 4.0 * size, norm)[0] > radius


def test_bounds_are_exact_at_radius_zero_and_grow():
    function = autoencoder(activation=jnp.tanh)
    x, noise = drawn()
    centre = np.zeros_like(x)
    clean = np.array([float(jnp.linalg.norm(function(x, e))) for e in noise])
    before = propagation.deviation_bound(function, x, noise, centre, 0.0)
    assert (before >= clean * (1.0 - 1e-6)).all()
    np.testing.assert_allclose(before, clean, rtol=1e-4)
    for radius in (0.01, 0.1, 0.3, 1.0, 3.0):
        after = propagation.deviation_bound(function, x, noise, centre, radius)
        assert (after >= before).all()
        before = after


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_bound_of_an_affine_function(norm):
    rng = np.random.default_rng(0)
    weight, bias = dense(rng, 12, 5)
    x = rng.normal(size=12).astype(np.float32)
    noise = rng.normal(size=(2, 5)).astype(np.float32)
    centre = x @ weight + bias
    found = propagation.deviation_bound(lambda x, e: x @ weight + bias, x, noise, centre, 0.7, norm=norm)
    if norm == "l2":
        np.testing.assert_allclose(found, 0.7 * np.linalg.norm(weight, 2), rtol=0.03)
        assert (found >= 0.7 * np.linalg.norm(weight, 2)).all()
    else:
        signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * 12)).reshape(12, -1)
        exact = 0.7 * np.linalg.norm(weight.T.astype(np.float64) @ signs, axis=0).max()
        assert (found >= exact).all() and (found <= 1.3 * exact).all()


def test_the_same_architecture_compiles_once():
    x, noise = drawn()
    other, more = drawn(seed=2)
    centre = np.zeros_like(x)

    def both(function, x, noise, radius):
        propagation.radii(function, x, noise, centre, radius)
        propagation.deviation_bound(function, x, noise, centre, 0.1 * radius)

    both(autoencoder(), x, noise, 4.0)
    with counted() as compilations:
        both(autoencoder(seed=1), other, more, 5.0)
    assert not compilations


@pytest.mark.slow
def test_bad_input():
    function = autoencoder()
    x, noise = drawn()
    centre = np.zeros_like(x)
    with pytest.raises(ValueError, match="centre must have the output's shape"):
        propagation.radii(function, x, noise, np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="x holds NaN"):
        propagation.radii(function, np.full_like(x, np.nan), noise, centre, 1.0)
    with pytest.raises(ValueError, match="norm must be"):
        propagation.radii(function, x, noise, centre, 1.0, norm="l1")
    with pytest.raises(ValueError, match="radius must be positive"):
        propagation.radii(function, x, noise, centre, 0.0)
    with pytest.raises(ValueError, match=r"no bounds for 'sort'.*test_propagation_radii"):
        propagation.radii(lambda x, e: function(jnp.sort(x), e), x, noise, centre, 1.0)


def test_one_radius_for_all_draws_is_below_the_radius_of_its_rank():
    function = autoencoder()
    x, noise = drawn(draws=12)
    centre = function(x, jnp.zeros(LATENT))
    clean = np.array([float(jnp.linalg.norm(function(x, e) - centre)) for e in noise])
    radius = float(1.5 * np.sort(clean)[7])
    alone = np.sort(propagation.radii(function, x, noise, centre, radius))[::-1]
    found = propagation.common_radius(function, x, noise, centre, radius, 8)
    assert 0.8 * alone[7] <= found <= 1.01 * alone[7]
    assert np.sum(propagation.deviation_bound(function, x, noise, centre, found) <= radius) >= 8
    assert propagation.common_radius(function, x, noise, centre, float(0.9 * clean.min()), 1) == 0.0
    with pytest.raises(ValueError, match="count must be from 1 to the number of draws, 12, got 13"):
        propagation.common_radius(function, x, noise, centre, radius, 13)


@pytest.mark.parametrize("relaxation", ["chords", "crown"])
def test_bounds_cover_what_float32_rounds_off(relaxation):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5000, 4)).astype(np.float32)
    # In real arithmetic the sums cancel, all but the rounding of their last terms.
    weight[-1] = -weight[:-1].sum(axis=0, dtype=np.float64)
    x = np.full(5000, 3.7, np.float32)
    exact = x.astype(np.float64) @ weight
    rounded = np.asarray(jax.jit(lambda x: x @ weight)(x), np.float64)

    def function(x, e):
        return jnp.tanh(x @ weight) + e

    noise, centre = np.zeros((1, 4), np.float32), np.zeros(4, np.float32)
    found = propagation.deviation_bound(function, x, noise, centre, 0.0, relaxation=relaxation)[0]
    reached = float(np.linalg.norm(np.tanh(rounded)))
    assert np.linalg.norm(np.tanh(exact)) < 0.9 * reached <= found


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_backward_relaxation_against_the_paper(norm):
    rng = np.random.default_rng(3)
    layers = [dense(rng, rows, columns) for rows, columns in ((6, 8), (8, 7), (7, 5))]
    x = rng.normal(size=6).astype(np.float32)

    def function(x, e):
        for weight, bias in layers[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        return x @ layers[-1][0] + layers[-1][1] + e

    weights, biases = ([np.asarray(part, np.float64) for part in parts] for parts in zip(*layers, strict=True))
    for radius in (0.05, 0.3, 1.0):
        dual = 2 if norm == "l2" else 1
        low, high = crown.ranges([weight.T for weight in weights], biases, x.astype(np.float64), radius, dual)
        wanted = np.linalg.norm(np.maximum(np.abs(low), np.abs(high)))
        found = propagation.deviation_bound(
            function, x, np.zeros((1, 5), np.float32), np.zeros(5), radius, norm=norm, relaxation="crown"
        )[0]
        assert found <= 1.001 * wanted


def hierarchy(seed, hidden, pixels=12):
    """(x, e) -> the reconstruction of three latent layers, each of which reads features of the image, too."""
    rng = np.random.default_rng(seed)
    first = dense(rng, pixels, hidden)
    heads = [dense(rng, hidden + below, hidden, 0.7) for below in (0, 2, 2)]
    means = [dense(rng, hidden, 2, 0.7) for _ in range(3)]
    decoder = dense(rng, 6, hidden), dense(rng, hidden, pixels)

    def reconstruct(x, noise):
        features = jax.nn.relu(x.reshape(-1) @ first[0] + first[1])
        latents = []
        for level, (head, mean) in enumerate(zip(heads, means, strict=True)):
            read = jax.nn.leaky_relu(jnp.concatenate([features, *latents[-1:]]) @ head[0] + head[1])
            latents.append(read @ mean[0] + jnp.exp(0.3 * read[:2]) * noise[2 * level : 2 * level + 2])
        out = jax.nn.relu(jnp.concatenate(latents) @ decoder[0][0] + decoder[0][1])
        return jnp.tanh(out @ decoder[1][0]).reshape(x.shape)

    return reconstruct


# Settings are read when a function is compiled: each has a size of its own.
@pytest.mark.parametrize(
    ("hidden", "settings"),
    [
        (9, {}),
        (10, {"MOST_UNKNOWNS": 4}),
        (11, {"MOST_UNKNOWNS": 4, "_LONG": 8}),
        (13, {"_MOST_GROUPS": 2}),
    ],
)
def test_a_hierarchy_stays_within_its_bounds(hidden, settings, monkeypatch):
    for name, value in settings.items():
        monkeypatch.setattr(groups, name, value)
    function = hierarchy(0, hidden)
    rng = np.random.default_rng(1)
    x, noise = rng.uniform(size=(3, 4)).astype(np.float32), rng.normal(size=(6, 6)).astype(np.float32)
    centre = function(x, jnp.zeros(6))
    clean = np.array([float(jnp.linalg.norm(function(x, e) - centre)) for e in noise])
    for radius in (0.0, 0.05, 0.4):
        bounds = propagation.deviation_bound(function, x, noise, centre, radius)
        if radius == 0.0:
            np.testing.assert_allclose(bounds, clean, rtol=1e-4)
        else:
            reached = attacked(function, x, noise, centre, radius, "l2")
            assert (reached <= bounds).all() and (bounds - clean <= 20.0 * (reached - clean)).all()


@pytest.mark.parametrize("shape", [(5, 3), (70, 90), (120, 80)])
def test_norms_of_joined_groups(shape):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        flat = rng.normal(size=shape)
        for matrix in (flat, 1e-30 * flat, flat * 0.8 ** np.arange(shape[1]), np.outer(flat[:, 0], flat[0])):
            true = np.linalg.norm(matrix, 2)
            # A flat spectrum leaves 2^7-th roots of the number of singular values, and float32's rounding.
            assert true <= float(norm_above(matrix)) <= 1.02 * true
        assert float(norm_above(np.zeros(shape))) == 0.0
        assert np.isnan(float(norm_above(np.full(shape, np.nan))))
        members = np.repeat(np.eye(2), [2, shape[0] - 2], axis=1)
        found = np.linalg.svd(np.asarray(joined(flat, members)), compute_uv=False)[0]
        parts = [np.linalg.norm(flat[group > 0.0], 2) for group in members]
        # No sum of the groups is longer than the ellipsoid, which is not far longer than that of their norms.
        for _ in range(50):
            sides = [rng.normal(size=2), rng.normal(size=shape[0] - 2)]
            moved = np.concatenate([side / np.linalg.norm(side) for side in sides]) @ flat
            assert np.linalg.norm(moved) <= found
        assert found <= 1.01 * sum(parts)
