"""The compact matrix and the step in a box against dense linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax.attacks import compact_hessian
from seatbelt_jax.attacks.box import Box
from seatbelt_jax.attacks.box_step import minimise_model
from tests.reference.box_minimisation import bfgs_matrix

SIZE, HISTORY = 12, 4


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def _pairs(count):
    rng = np.random.default_rng(count)
    root = rng.normal(size=(SIZE, SIZE))
    hessian = root @ root.T + np.eye(SIZE)
    steps = rng.normal(size=(count, SIZE)) * 10.0 ** rng.uniform(-3, 1, (count, 1))
    return [(s, hessian @ s) for s in steps]


def _memory(pairs, theta=3.0):
    memory = compact_hessian.empty(HISTORY, jnp.asarray(theta), SIZE)
    for s, y in pairs:
        memory = compact_hessian.push(memory, jnp.asarray(s), jnp.asarray(y), jnp.asarray(True))
    return memory


@pytest.mark.parametrize("count", [1, 3, 4, 5, 6, 7, 8, 11])
def test_equals_bfgs_updates_in_time_order(count):
    """Fails if the ring is read in slot order: from five pairs on, slot order is not time order."""
    pairs = _pairs(count)
    memory = _memory(pairs)
    dense = bfgs_matrix(3.0, pairs[-HISTORY:])
    hessian = compact_hessian.factorise(memory)
    z = np.random.default_rng(1).normal(size=(5, SIZE))
    product = jax.vmap(lambda v: compact_hessian.multiply(hessian, memory, v))(jnp.asarray(z))
    np.testing.assert_allclose(product, z @ dense, rtol=1e-9, atol=1e-9 * np.abs(dense).max())
    form = compact_hessian.quadratic_form(hessian, memory, jnp.asarray(z))
    np.testing.assert_allclose(form, np.sum(z @ dense * z, axis=1), rtol=1e-9)


@pytest.mark.parametrize("count", [0, 2, 7])
@pytest.mark.parametrize("num_free", [0, 1, 6, SIZE])
def test_subspace_solution(count, num_free):
    pairs = _pairs(count)
    memory = _memory(pairs)
    dense = bfgs_matrix(3.0, pairs[-HISTORY:]) if pairs else 3.0 * np.eye(SIZE)
    rng = np.random.default_rng(2)
    free = np.zeros(SIZE, bool)
    free[rng.permutation(SIZE)[:num_free]] = True
    r = rng.normal(size=SIZE)
    expected = np.zeros(SIZE)
    expected[free] = np.linalg.solve(dense[np.ix_(free, free)], r[free])
    hessian = compact_hessian.factorise(memory)
    solved = compact_hessian.solve_subspace(hessian, memory, jnp.asarray(r), jnp.asarray(free))
    np.testing.assert_allclose(solved, expected, rtol=1e-8, atol=1e-10)


def test_push_and_forget_only_where_asked():
    memory = _memory(_pairs(3))
    s, y = jnp.ones(SIZE), jnp.ones(SIZE)
    kept = compact_hessian.push(memory, s, y, jnp.asarray(False))
    jax.tree.map(np.testing.assert_array_equal, kept, memory)
    kept = compact_hessian.forget(memory, jnp.asarray(9.0), jnp.asarray(False))
    jax.tree.map(np.testing.assert_array_equal, kept, memory)
    empty = compact_hessian.forget(memory, jnp.asarray(9.0), jnp.asarray(True))
    hessian = compact_hessian.factorise(empty)
    np.testing.assert_allclose(compact_hessian.multiply(hessian, empty, s), 9.0 * s)


def test_unconstrained_minimiser_is_the_newton_point():
    pairs = _pairs(6)
    gradient = np.random.default_rng(3).normal(size=SIZE)
    box = Box(jnp.full(SIZE, -jnp.inf), jnp.full(SIZE, jnp.inf))
    target, broke_down = minimise_model(jnp.zeros(SIZE), jnp.asarray(gradient), box, _memory(pairs))
    np.testing.assert_allclose(
        target, -np.linalg.solve(bfgs_matrix(3.0, pairs[-HISTORY:]), gradient), rtol=1e-6, atol=1e-9
    )
    assert not broke_down


def test_target_is_in_the_box_and_below_the_cauchy_decrease():
    """Half the variables start on their bounds; the model falls about as far as on the projected path, or farther."""
    pairs = _pairs(6)
    memory = _memory(pairs)
    dense = bfgs_matrix(3.0, pairs[-HISTORY:])
    rng = np.random.default_rng(4)
    for _ in range(20):
        x = np.where(rng.random(SIZE) < 0.5, np.sign(rng.normal(size=SIZE)), rng.uniform(-1, 1, SIZE))
        gradient = 10.0 * rng.normal(size=SIZE)
        box = Box(-jnp.ones(SIZE), jnp.ones(SIZE))
        target = np.asarray(minimise_model(jnp.asarray(x), jnp.asarray(gradient), box, memory)[0])
        assert np.all(np.abs(target) <= 1.0)
        path = np.clip(x - np.geomspace(1e-6, 1e2, 2000)[:, None] * gradient, -1, 1) - x
        best_on_path = np.min(path @ gradient + 0.5 * np.sum(path @ dense * path, axis=1))
        step = target - x
        assert step @ gradient < 0.0
        # The projected subspace step may lose a little of the Cauchy decrease, never most of it.
        assert step @ gradient + 0.5 * step @ dense @ step <= 0.9 * best_on_path


def test_broken_pairs_fall_back_to_steepest_descent():
    memory = _memory(_pairs(3))
    memory = memory._replace(gram=memory.gram.at[0, HISTORY].set(-1.0))
    box = Box(-jnp.ones(SIZE), jnp.ones(SIZE))
    target, broke_down = minimise_model(jnp.zeros(SIZE), jnp.full(SIZE, 0.25), box, memory)
    assert broke_down
    np.testing.assert_allclose(target, -0.25)
