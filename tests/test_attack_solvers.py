"""Regions and the solvers beside LBFGSB: against SciPy and closed forms, and the promises they share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seatbelt_jax.attacks.adam import Adam
from seatbelt_jax.attacks.projected_gradient import ProjectedGradient
from seatbelt_jax.attacks.region import L2Ball, project
from seatbelt_jax.attacks.sigmoid_lbfgs import SigmoidLBFGS
from seatbelt_jax.results import Status
from tests import annotations
from tests.compilations import counted
from tests.reference import adam as adam_twin
from tests.reference.ball_minimisation import ball_in_box, trust_region
from tests.reference.box_minimisation import scipy_lbfgsb
from tests.reference.box_problems import PROBLEMS, rosenbrock, starts

BOX = (-1.0, 1.0)


def _images(count, size, seed=0):
    """Half of the pixels on a bound."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(-1.0, 1.0, (count, size))
    return np.where(rng.random((count, size)) < 0.5, np.sign(images), images)


def _convex(size, condition, seed=0):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(size, size)))
    return (q * np.geomspace(1.0, condition, size)) @ q.T, rng.normal(size=size) * condition**0.5


# Regions.


def test_projection_onto_a_ball_in_a_box_against_slsqp():
    rng = np.random.default_rng(1)
    centres = _images(40, 7)
    points = centres + rng.normal(size=centres.shape) * rng.choice([0.1, 1.0, 10.0], (40, 1))
    radii = rng.uniform(0.1, 2.0, 40)
    with jax.enable_x64(True):
        onto = jax.jit(jax.vmap(lambda c, r, x: project(L2Ball(c, r, *BOX), x)))
        ours = np.asarray(onto(centres, radii, points))
    assert ours.dtype == np.float64
    on_ball = np.abs(np.linalg.norm(ours - centres, axis=1) - radii) < 1e-9
    on_box = np.any(np.abs(ours) == 1.0, axis=1)
    assert on_ball.sum() > 10 and (on_ball & on_box).sum() > 10 and (~on_ball).sum() > 2, "every case occurs"
    for y, c, r, x in zip(ours, centres, radii, points, strict=True):
        theirs = ball_in_box(lambda z, x=x: 0.5 * np.sum((z - x) ** 2), lambda z, x=x: z - x, c, c, r, *BOX)
        np.testing.assert_allclose(y, theirs, atol=2e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_feasible_point_is_nearer_than_the_projection(dtype):
    rng = np.random.default_rng(2)
    centre, radius = _images(1, 300)[0].astype(dtype), 3.0
    others = np.clip(centre + rng.normal(size=(500, 300)) * rng.choice([0.1, 1.0, 100.0], (500, 1)), -1.0, 1.0) - centre
    # Towards the centre, the box is not left.
    others = centre + others * np.minimum(1.0, radius / np.linalg.norm(others, axis=1))[:, None]
    with jax.enable_x64(dtype == np.float64):
        for scale in (0.1, 0.5, 1.0, 30.0):
            point = (centre + scale * rng.normal(size=300)).astype(dtype)
            y = np.asarray(project(L2Ball(centre, radius, *BOX), point), np.float64)
            # The variational inequality of a projection: <x - y, z - y> <= 0 for all z.
            assert np.max((others - y) @ (point - y)) <= 1e-5 * np.linalg.norm(point - y)


def test_projection_stays_in_ball_and_box_in_float32():
    radii = jnp.asarray([0.0, 1e-3, 1e-3, 1e-3, 0.01, 0.1, 2.0, 30.0])
    centres = _images(8, 12288).astype(np.float32).reshape(8, 64, 64, 3)
    onto = jax.jit(jax.vmap(lambda c, r, x: project(L2Ball(c, r, *BOX), x)))
    for scale in (1e-2, 1.0, 1e3, 1e30):
        points = (centres + scale * np.random.default_rng(3).normal(size=centres.shape)).astype(np.float32)
        ours = onto(centres, radii, points)
        assert np.all(np.abs(ours) <= 1.0)
        norms = np.linalg.norm((np.asarray(ours, np.float64) - centres).reshape(8, -1), axis=1)
        assert np.all(norms <= np.asarray(radii, np.float64) * (1.0 + 1e-6))
        np.testing.assert_array_equal(ours[0], centres[0])
        np.testing.assert_array_equal(onto(centres, radii, ours), ours)
        assert norms[6] >= 2.0 * (1.0 - 1e-5) or scale < 1.0, "no shorter than it must be"


def test_projection_without_bounds_and_onto_a_box():
    rng = np.random.default_rng(4)
    centre, point = jnp.asarray(rng.normal(size=(2, 4, 4, 3)), jnp.float32)
    away = point - centre
    free = L2Ball(centre, 0.7, -jnp.inf, jnp.inf)
    np.testing.assert_allclose(project(free, point), centre + 0.7 * away / jnp.linalg.norm(away), atol=1e-6)
    inside = centre + 0.01 * away
    np.testing.assert_array_equal(project(free, inside), inside)
    np.testing.assert_array_equal(
        project((centre - 0.1, centre + 0.1), point), jnp.clip(point, centre - 0.1, centre + 0.1)
    )


@annotations.unchecked()
def test_regions_that_do_not_fit_are_refused():
    solver, start = ProjectedGradient(), jnp.zeros(3)
    for method in (solver.run, solver.init_state, Adam().run):
        call = functools.partial(method, rosenbrock)
        with pytest.raises(ValueError, match="lower > upper"):
            call(start, (1.0, -1.0))
        with pytest.raises(ValueError, match="bound has shape"):
            call(start, (jnp.zeros(2), 1.0))
        with pytest.raises(ValueError, match="radius is -1"):
            call(start, L2Ball(start, -1.0, *BOX))
        with pytest.raises(ValueError, match="radius has shape"):
            call(start, L2Ball(start, jnp.ones(2), *BOX))
        with pytest.raises(ValueError, match="centre has shape"):
            call(start, L2Ball(jnp.zeros(2), 1.0, *BOX))
        with pytest.raises(ValueError, match="1 pixels of the ball's centre are outside"):
            call(start, L2Ball(jnp.asarray([0.0, 2.0, 0.0]), 1.0, *BOX))
        with pytest.raises(TypeError, match="one array"):
            call({"a": start}, BOX)
        with pytest.raises(TypeError, match="floating-point"):
            call(jnp.zeros(3, jnp.int32), BOX)


# Projected gradient.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["rosenbrock-64, active", "quadratic 1e4"])
def test_projected_gradient_in_a_box_against_scipy(name, dtype):
    fun, size, lower, upper, kind, count, tol = PROBLEMS[name]
    with jax.enable_x64(dtype == np.float64):
        points = starts(kind, size, lower, upper, count).astype(dtype)
        oracle = jax.jit(jax.value_and_grad(fun))
        theirs = [scipy_lbfgsb(oracle, x, lower, upper, history_size=10, tol=tol, maxiter=2000).value for x in points]
        solver = ProjectedGradient(tol=tol, maxiter=3000)
        run = jax.vmap(lambda x: solver.run(fun, x, (lower, upper)))
        params, state = jax.tree.map(np.asarray, run(jnp.asarray(points)))
    assert params.dtype == dtype
    assert np.all((params >= lower) & (params <= upper))
    if dtype == np.float64:
        assert np.all(state.status == Status.CONVERGED)
    else:
        assert np.all((state.status == Status.CONVERGED) | (state.status == Status.STALLED))
    excess = (np.asarray(state.value) - theirs) / np.abs(theirs)
    # Rosenbrock's function has several minima.
    assert np.median(excess) <= 1e-5 and excess[0] <= 1e-5
    assert np.median(state.num_fun_eval) < 500


def test_projected_gradient_in_balls_against_the_trust_region_solution():
    matrix, linear = _convex(40, 100.0)
    centre = np.random.default_rng(5).uniform(-0.5, 0.5, 40)
    radii = np.asarray([0.0, 0.01, 0.1, 0.3, 1.0, 100.0])
    steps = [trust_region(matrix, linear - matrix @ centre, r) for r in radii[1:]]
    assert np.linalg.norm(steps[-1]) < 50.0, "the last ball does not bind"
    with jax.enable_x64(True):
        a, b = jnp.asarray(matrix), jnp.asarray(linear)
        solver = ProjectedGradient(tol=1e-6, maxiter=2000)
        fun = lambda x: 0.5 * x @ (a @ x) - b @ x  # noqa: E731
        # The starts are outside of most balls.
        run = jax.vmap(lambda r: solver.run(fun, jnp.zeros(40), L2Ball(jnp.asarray(centre), r, -jnp.inf, jnp.inf)))
        params, state = jax.tree.map(np.asarray, run(jnp.asarray(radii)))
    assert np.all(state.status == Status.CONVERGED)
    np.testing.assert_array_equal(params[0], centre)
    np.testing.assert_allclose(params[1:] - centre, steps, atol=2e-6)
    np.testing.assert_allclose(state.value, [0.5 * x @ matrix @ x - linear @ x for x in params])


def test_projected_gradient_in_a_ball_in_a_box_against_slsqp():
    matrix, linear = _convex(8, 10.0, seed=1)
    centre = _images(1, 8, seed=1)[0]
    theirs = ball_in_box(
        lambda x: 0.5 * x @ matrix @ x - linear @ x, lambda x: matrix @ x - linear, centre, centre, 1.2, *BOX
    )
    assert abs(np.linalg.norm(theirs - centre) - 1.2) < 1e-6 and np.any(np.abs(np.abs(theirs) - 1) < 1e-6)
    fun = lambda x: 0.5 * x @ (matrix.astype(np.float32) @ x) - linear.astype(np.float32) @ x  # noqa: E731
    params, _ = ProjectedGradient().run(fun, jnp.asarray(centre, jnp.float32), L2Ball(centre, 1.2, *BOX))
    np.testing.assert_allclose(params, theirs, atol=2e-3)


def test_largest_damage_of_a_linear_map_is_its_top_singular_value():
    rng = np.random.default_rng(6)
    matrix = jnp.asarray(rng.normal(size=(20, 50)), jnp.float32)
    centre = jnp.asarray(rng.uniform(-0.2, 0.2, 50), jnp.float32)
    solver = ProjectedGradient(max_evaluations=60)
    fun = lambda x: -jnp.linalg.norm(matrix @ (x - centre))  # noqa: E731
    starts = centre + 0.1 * jnp.asarray(rng.normal(size=(6, 50)), jnp.float32)
    params, state = jax.vmap(lambda x: solver.run(fun, x, L2Ball(centre, 0.5, *BOX)))(starts)
    assert np.all(np.abs(params) < 1.0), "the box is not to bind"
    np.testing.assert_allclose(-state.value, 0.5 * np.linalg.norm(matrix, 2), rtol=1e-2)


def test_values_may_rise_but_the_best_is_returned():
    solver = ProjectedGradient(tol=1e-4, maxiter=400)
    update = jax.jit(functools.partial(solver.update, rosenbrock))
    params = jnp.full(20, 0.1)
    state = solver.init_state(rosenbrock, params, BOX)
    lowest, rises = state.value, 0
    while state.status == Status.RUNNING:
        before = state.current.value
        params, state = update(params, state, BOX)
        rises += int(state.current.value > before)
        lowest = min(lowest, state.current.value)
        assert state.value == lowest
        np.testing.assert_allclose(rosenbrock(params), state.value, rtol=1e-5)
    assert rises > 3
    monotone = ProjectedGradient(tol=1e-4, maxiter=400, history_size=1).run(rosenbrock, jnp.full(20, 0.1), BOX)
    assert monotone.state.num_fun_eval > state.num_fun_eval


def test_a_search_that_ends_in_a_worse_minimum_goes_on_from_the_best_point():
    def fun(x):
        return jnp.sum(jnp.square(x) / 20.0 - jnp.cos(3.0 * x))

    solver = ProjectedGradient(tol=1e-3)
    points = jnp.asarray(np.random.default_rng(7).uniform(-4.0, 4.0, (300, 2)), jnp.float32)
    update = jax.jit(jax.vmap(lambda x, s: solver.update(fun, x, s, (-4.0, 4.0))))
    params, state = points, jax.vmap(lambda x: solver.init_state(fun, x, (-4.0, 4.0)))(points)
    returns = np.zeros(300, int)
    for _ in range(200):
        before = state
        params, state = update(params, state)
        moved = np.any(state.current.x != before.current.x, axis=1)
        back = moved & np.all(state.current.x == before.best.x, axis=1)
        returns += back & np.asarray(before.current.value > before.best.value)
    assert np.sum(returns) > 0, "the case occurs"
    assert np.all(state.status == Status.CONVERGED)
    left = jnp.clip(params - jax.vmap(jax.grad(fun))(params), -4.0, 4.0) - params
    np.testing.assert_allclose(np.max(np.abs(left), axis=1), state.error, atol=1e-5)
    assert np.all(state.error <= 1e-3)


def test_statuses_of_the_projected_gradient():
    def run(fun, start=0.5, region=BOX, **settings):
        return ProjectedGradient(**settings).run(fun, jnp.full(4, start), region)

    params, state = run(lambda x: jnp.sum(jnp.square(x)), start=0.0)
    assert state.status == Status.CONVERGED and state.num_fun_eval == 1
    params, state = run(lambda x: jnp.sum(jnp.log(x)), start=-0.5)
    assert state.status == Status.NON_FINITE and np.all(params == -0.5)
    assert run(rosenbrock, start=-5.0, maxiter=0).state.status == Status.MAX_ITERATIONS
    assert np.all(run(rosenbrock, start=-5.0, maxiter=0).params == -1.0), "moved into the box"
    state = run(rosenbrock, maxiter=3).state
    assert state.status == Status.MAX_ITERATIONS and state.iter_num == 3
    state = run(rosenbrock, max_evaluations=7).state
    assert state.status == Status.MAX_EVALUATIONS and state.num_fun_eval == 7
    for history_size in (1, 10):
        params, state = run(lambda x: rosenbrock(x) + 10.0, tol=0.0, maxiter=5000, history_size=history_size)
        assert state.status == Status.STALLED, "converged as far as rounding shows"
        np.testing.assert_allclose(state.value, 10.0, rtol=1e-3)
    state = run(lambda x: 1e-9 * rosenbrock(x) + 1e3, tol=0.0).state
    assert state.status == Status.STALLED and state.iter_num == 10, "no step changes a value that is all rounding"

    @jax.custom_jvp
    def wrong(x):
        return jnp.sum(jnp.square(x))

    wrong.defjvp(lambda primals, tangents: (wrong(*primals), -2.0 * primals[0] @ tangents[0]))
    for region in (BOX, L2Ball(jnp.full(4, 0.5), 0.3, *BOX)):
        params, state = run(wrong, region=region)
        assert state.status == Status.LINE_SEARCH_FAILED and state.iter_num == 0
        assert np.all(params == 0.5)


def test_trials_that_are_not_finite_are_backtracked():
    # The first step overshoots into x < 0, where the logarithm is not a number.
    solver = ProjectedGradient(tol=1e-2)
    params, state = solver.run(lambda x: jnp.sum(100.0 * x - 0.1 * jnp.log(x)), jnp.full(3, 0.3), BOX)
    np.testing.assert_allclose(params, 1e-3, rtol=1e-2)
    assert state.status == Status.CONVERGED and state.num_fun_eval > state.iter_num + 1
    # Minus infinity is no decrease.
    params, state = ProjectedGradient(maxiter=5).run(lambda x: jnp.sum(jnp.log(x)), jnp.full(3, 0.3), (0.0, 1.0))
    assert np.all(params > 0.0) and np.isfinite(state.value) and state.num_fun_eval > state.iter_num + 1


# Adam.


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("keep_best", [False, True])
def test_adam_against_its_twin(accumulate, keep_best):
    matrix, linear = _convex(6, 10.0, seed=2)
    start, total = np.linspace(-1.0, 1.0, 6), np.zeros(6)

    def slope(x):
        nonlocal total
        total = matrix @ x - linear + (total if accumulate else 0.0)
        return total

    # Long steps, so that the best iterate is not the last.
    path = adam_twin.trajectory(slope, start, steps=25, learning_rate=0.9, weight_decay=0.0)
    values = [0.5 * x @ matrix @ x - linear @ x for x in [start, *path]]
    best = int(np.argmin(values))
    assert 0 < best < 25
    with jax.enable_x64(True):
        fun = lambda x: 0.5 * x @ (matrix @ x) - linear @ x  # noqa: E731
        solver = Adam(maxiter=25, learning_rate=0.9, keep_best=keep_best, accumulate_gradients=accumulate)
        params, state = solver.run(fun, jnp.asarray(start), (-100.0, 100.0))
    kept = best if keep_best else 25
    np.testing.assert_allclose(params, [start, *path][kept], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(state.value, values[kept], rtol=1e-6)
    np.testing.assert_allclose(state.current.x, path[-1], rtol=1e-6, atol=1e-9)
    assert state.status == Status.MAX_ITERATIONS and state.iter_num == 25 and state.num_fun_eval == 26


def test_how_adam_ends():
    def fun(x):
        return jnp.sum(jnp.square(x - 0.3))

    start = jnp.full(4, -0.5)
    state = Adam(maxiter=5).run(fun, start, BOX).state
    assert state.status == Status.MAX_ITERATIONS and state.iter_num == 5
    assert Adam(maxiter=5).run(fun, jnp.full(4, 0.3), BOX).state.status == Status.MAX_ITERATIONS, "tol=0 is never"
    params, state = Adam(learning_rate=0.01, tol=0.1).run(fun, start, BOX)
    assert state.status == Status.CONVERGED and state.iter_num < 200 and 0.0 < state.error <= 0.1
    assert Adam().run(lambda x: jnp.sum(jnp.log(x)), start, BOX).state.status == Status.NON_FINITE
    # Down into x < 0, where the logarithm is not a number: the last good iterate stands.
    for keep_best in (False, True):
        solver = Adam(learning_rate=0.1, keep_best=keep_best)
        params, state = solver.run(lambda x: jnp.sum(x + 1e-3 * jnp.log(x)), jnp.full(3, 0.55), BOX)
        assert state.status == Status.NON_FINITE and np.isfinite(state.value)
        assert state.iter_num == 5 and state.num_fun_eval == 7
        np.testing.assert_allclose(params, 0.05, atol=1e-3)
    # A schedule: after its first two steps, none.
    solver = Adam(maxiter=4, learning_rate=optax.piecewise_constant_schedule(0.1, {2: 0.0}))
    np.testing.assert_allclose(solver.run(fun, start, BOX).params, -0.3, atol=1e-3)


def test_adam_in_a_box_against_scipy():
    matrix, linear = _convex(10, 10.0, seed=3)
    fun = jax.jit(lambda x: 0.5 * x @ (matrix.astype(np.float32) @ x) - linear.astype(np.float32) @ x)
    oracle = jax.value_and_grad(fun)
    theirs = scipy_lbfgsb(oracle, np.zeros(10, np.float32), *BOX, history_size=10, tol=1e-6, maxiter=200)
    assert 0 < np.sum(np.abs(theirs.x) == 1.0) < 10
    solver = Adam(maxiter=500, learning_rate=optax.cosine_decay_schedule(0.05, 500))
    params, _ = solver.run(fun, jnp.zeros(10), BOX)
    np.testing.assert_allclose(params, theirs.x, atol=1e-3)


# Sigmoid L-BFGS.


def test_sigmoid_lbfgs_reaches_a_minimum_inside_and_on_the_bounds():
    matrix, linear = _convex(10, 10.0, seed=3)
    a, b = jnp.asarray(matrix, jnp.float32), jnp.asarray(linear, jnp.float32)
    fun = jax.jit(lambda x: 0.5 * x @ (a @ x) - b @ x)
    theirs = scipy_lbfgsb(
        jax.value_and_grad(fun), np.zeros(10, np.float32), *BOX, history_size=10, tol=1e-6, maxiter=200
    )
    on_bound = np.abs(theirs.x) == 1.0
    assert 0 < on_bound.sum() < 10
    params, state = SigmoidLBFGS(maxiter=500).run(fun, jnp.zeros(10), BOX)
    np.testing.assert_allclose(params, theirs.x, atol=2e-2)
    np.testing.assert_allclose(state.value, theirs.value, rtol=1e-3)
    np.testing.assert_allclose(fun(params), state.value, rtol=1e-5)
    assert np.all(np.abs(params) <= 1.0)


def test_sigmoid_lbfgs_from_the_bounds_with_fixed_pixels():
    lower = jnp.asarray([-1.0, -1.0, 0.25, -1.0, 0.0])
    upper = jnp.asarray([1.0, 1.0, 0.25, 1.0, 3.0])
    start = jnp.asarray([-1.0, 1.0, 0.25, 7.0, 1.5])
    solver = SigmoidLBFGS(margin=0.01, tol=1e-4)
    fun = lambda x: jnp.sum(jnp.square(x - 0.5))  # noqa: E731
    with jax.debug_nans(True):
        begun = solver.init_state(fun, start, (lower, upper))
    np.testing.assert_allclose(begun.params, [-0.98, 0.98, 0.25, 0.98, 1.5], rtol=1e-5)
    np.testing.assert_allclose(begun.value, jnp.sum(jnp.square(begun.params - 0.5)), rtol=1e-6)
    params, state = solver.run(fun, start, (lower, upper))
    np.testing.assert_allclose(params, [0.5, 0.5, 0.25, 0.5, 0.5], atol=1e-3)
    assert params[2] == 0.25
    assert state.status == Status.CONVERGED and np.all(np.isfinite(state.logits))
    # Pixels pressed against their bounds: the logits grow, nothing overflows, the box is kept.
    params, state = SigmoidLBFGS(tol=0.0).run(lambda x: 1e4 * jnp.sum(x), start, (lower, upper))
    assert np.all(np.isfinite(state.logits)) and np.isfinite(state.value)
    assert np.all((params >= lower) & (params <= upper))
    np.testing.assert_allclose(params, lower, atol=1e-3)


def test_sigmoid_lbfgs_refuses_what_it_cannot_keep_to():
    solver = SigmoidLBFGS()
    for method in (solver.run, solver.init_state):
        call = functools.partial(method, rosenbrock)
        with pytest.raises(TypeError, match="use ProjectedGradient or Adam"):
            call(jnp.zeros(3), L2Ball(jnp.zeros(3), 1.0, *BOX))
        with pytest.raises(ValueError, match="finite bounds"):
            call(jnp.zeros(3), (-jnp.inf, 1.0))
        with pytest.raises(ValueError, match="lower > upper"):
            call(jnp.zeros(3), (1.0, 0.0))


# What all share.

CENTRE = _images(1, 20, seed=8)[0].astype(np.float32)
REGIONS = {"box": (np.float32(-0.7), np.float32(0.8)), "ball": L2Ball(CENTRE, np.float32(1.5), *BOX)}
ALL = [
    (ProjectedGradient, "box", {}),
    (ProjectedGradient, "ball", {}),
    (Adam, "box", {"learning_rate": 0.1}),
    (Adam, "ball", {"learning_rate": 0.1}),
    (SigmoidLBFGS, "box", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "where", "settings"), ALL)
def test_every_update_is_one_evaluation_in_the_region(solver, where, settings):
    seen = []

    def fun(x):
        jax.debug.callback(lambda v: seen.append(np.array(v)), x)
        return rosenbrock(x)

    def inside(x):
        ball = where == "box" or np.linalg.norm(np.asarray(x, np.float64) - CENTRE) <= 1.5 * (1.0 + 1e-6)
        low, high = REGIONS["box"] if where == "box" else BOX
        return ball and np.all((x >= low) & (x <= high))

    made, region = solver(maxiter=60, **settings), REGIONS[where]
    update = jax.jit(functools.partial(made.update, fun))
    params = jnp.asarray(2.0 * CENTRE)  # outside
    state = jax.jit(functools.partial(made.init_state, fun))(params, region)
    first = None
    while state.status == Status.RUNNING and state.iter_num < 60:
        params, state = update(params, state, region)
        jax.effects_barrier()
        assert len(seen) == state.num_fun_eval
        assert inside(params) and params.dtype == jnp.float32
        np.testing.assert_allclose(state.value, rosenbrock(params), rtol=1e-5)
        first = state.value if first is None else first
    assert all(inside(x) for x in seen)
    assert len(seen) > 10 and state.value < first
    whole = solver(maxiter=60, **settings).run(rosenbrock, jnp.asarray(2.0 * CENTRE), region)
    assert whole.state.status == state.status
    np.testing.assert_allclose(whole.state.value, state.value, rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "where", "settings"), ALL)
def test_finished_lanes_are_frozen_beside_running_ones(solver, where, settings):
    tol = 0.3 if solver is Adam else 1e-2
    fun = lambda x, c: jnp.sum(c * jnp.square(x - 0.3))  # noqa: E731
    made = solver(tol=tol, maxiter=300, **settings)
    region = REGIONS["box"] if where == "box" else L2Ball(jnp.zeros(8), 0.6, *BOX)
    scales = jnp.asarray(np.stack([np.ones(8), np.geomspace(1, 1e3, 8), np.full(8, np.nan)]), jnp.float32)
    update = jax.jit(jax.vmap(lambda x, s, c: made.update(fun, x, s, region, c)))
    params = jnp.full((3, 8), -0.2)
    state = jax.jit(jax.vmap(lambda x, c: made.init_state(fun, x, region, c)))(params, scales)
    assert state.status[2] == Status.NON_FINITE and np.all(np.isfinite(state.params))
    frozen, others = None, np.asarray(state.params[2])
    for _ in range(40):
        params, state = update(params, state, scales)
        np.testing.assert_array_equal(params[2], others)
        first = jax.tree.map(lambda a: np.asarray(a[0]), (params, state))
        if frozen is not None:
            jax.tree.map(np.testing.assert_array_equal, first, frozen)
        elif first[1].status == Status.CONVERGED:
            frozen = first
            assert state.status[1] == Status.RUNNING
            running = np.asarray(params[1])
    assert frozen is not None
    assert np.any(params[1] != running)


@pytest.mark.parametrize("solver", [ProjectedGradient, Adam, SigmoidLBFGS])
def test_settings_are_checked_and_solvers_are_static_arguments(solver):
    wrong = {
        ProjectedGradient: ({"tol": -1.0}, {"history_size": 0}, {"maxls": 0}, {"max_evaluations": 0}),
        Adam: ({"learning_rate": 0.0}, {"tol": float("nan")}),
        SigmoidLBFGS: ({"margin": 0.5}, {"history_size": 0}, {"max_evaluations": 0}),
    }
    for settings in ({"maxiter": -1}, *wrong[solver]):
        with pytest.raises(ValueError, match=next(iter(settings))):
            solver(**settings)
    objectives = [lambda x, shift, c=c: c * jnp.sum(jnp.square(x - shift)) for c in jnp.asarray([1.0, 2.0, 3.0])]
    made = solver(maxiter=30)
    values = [
        made.run(fun, jnp.zeros(3), BOX, shift).state.value for fun, shift in zip(objectives, (0.1, 0.2), strict=False)
    ]
    assert values[0] != values[1]
    with counted() as programs:
        solver(maxiter=30).run(objectives[2], jnp.ones(3), BOX, 0.3)
    assert not any("run" in name for name in programs), "compiled once, for all settings and objectives that are alike"
    assert made == solver(maxiter=30) and made != solver(maxiter=31) and hash(made) == hash(solver(maxiter=30))
