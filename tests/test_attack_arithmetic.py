"""Every solver in every mix of float types, and on objectives of every unit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import attacks
from seatbelt_jax.attacks import LBFGSB
from seatbelt_jax.attacks.adam import Adam
from seatbelt_jax.attacks.arithmetic import l2_norm, power_of_two
from seatbelt_jax.attacks.projected_gradient import ProjectedGradient
from seatbelt_jax.attacks.region import L2Ball, optimality_error, project
from seatbelt_jax.attacks.sigmoid_lbfgs import SigmoidLBFGS
from tests.reference import linear_vae

SOLVERS = {
    "lbfgsb": attacks.BoxLBFGS(maxiter=50),
    "projected_gradient": ProjectedGradient(maxiter=50),
    "adam": Adam(maxiter=200, learning_rate=0.02),
    "sigmoid_lbfgs": SigmoidLBFGS(maxiter=50),
}
# Float types: the start's, a constant's in the objective, and the bounds'.
KINDS = (
    (jnp.float32, jnp.float64, jnp.float32),
    (jnp.float32, jnp.float32, jnp.float64),
    (jnp.bfloat16, jnp.bfloat16, jnp.bfloat16),
)


def off_centre(x, target, unit):
    return unit * jnp.sum(jnp.square(x - target) * jnp.asarray([1.0, 3.0], x.dtype))


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_compute_in_the_common_type(solver):
    """Fails where a loop's carry has the type of params alone."""
    found = {}
    with jax.enable_x64(True):
        for start, target, bound in KINDS:
            params, state = SOLVERS[solver].run(
                off_centre,
                jnp.zeros(2, start),
                (jnp.asarray(-1.0, bound), jnp.asarray(1.0, bound)),
                jnp.full(2, 0.25, target),
                1.0,
            )
            expected = jnp.promote_types(jnp.promote_types(jnp.promote_types(start, target), bound), jnp.float32)
            assert params.dtype == state.value.dtype == expected, (start, target, bound)
            found[start, target, bound] = params
    np.testing.assert_allclose(list(found.values()), 0.25, atol=2e-3)


def test_lbfgsb_takes_trees_of_mixed_types_warm_starts_and_narrow_values():
    def fun(params):
        return (jnp.sum((params["a"] - 0.5) ** 2) + jnp.sum((params["b"] + 0.5) ** 2)).astype(jnp.float32)

    with jax.enable_x64(True):
        start = {"a": jnp.zeros(2, jnp.bfloat16), "b": jnp.zeros(3, jnp.float64)}
        solver = LBFGSB(fun, maxiter=30)
        step = solver.run(start, (-1.0, 1.0))
        assert {leaf.dtype for leaf in jax.tree.leaves(step.params)} == {jnp.dtype("float64")}
        np.testing.assert_allclose(step.params["a"], 0.5, atol=1e-3)
        narrow = LBFGSB(lambda x: jnp.sum((x - 0.3) ** 2), maxiter=3).run(jnp.zeros(2, jnp.float32))
        wide = LBFGSB(lambda x: jnp.sum((x - jnp.asarray([0.3, 0.3])) ** 2)).run(narrow)
        assert wide.params.dtype == jnp.float64


@pytest.mark.slow
@pytest.mark.parametrize("norm", [None, "l2", "linf"])
def test_a_sweep_on_float32_images_of_a_model_in_float64(norm):
    """Fails where a block of lanes keeps the images' type."""
    images = np.random.default_rng(0).uniform(-0.2, 0.2, (2, 1, *linear_vae.SHAPE))
    threat = attacks.Penalty([0.3]) if norm is None else attacks.Ball([0.1], norm)
    with jax.enable_x64(True):
        solver = attacks.ProjectedGradient(maxiter=20) if norm == "l2" else attacks.BoxLBFGS(maxiter=20)
        result = attacks.sweep(linear_vae.vae(), *images, threat=threat, solver=solver, exchanges=1)
    assert result.objective[0, 0] < result.objective_at_source[0]


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_do_not_depend_on_the_objectives_unit(solver):
    """Fails where squares of gradients, 1e40 and more, are formed in float32."""
    run = jax.jit(lambda unit: SOLVERS[solver].run(off_centre, jnp.zeros(2), (-1.0, 1.0), jnp.full(2, 0.3), unit))
    for unit in (1.0, 1e8, 1e16, 1e20, 1e24, 1e30):
        params, state = run(unit)
        np.testing.assert_allclose(params, 0.3, atol=2e-2, err_msg=f"{unit} {state.status}")


@pytest.mark.parametrize("unit", [1e-20, 1e-10, 1e-28])
@pytest.mark.parametrize("start", [0.0, 0.7])
def test_lbfgsb_on_small_objectives(unit, start):
    params, state = LBFGSB(off_centre, tol=0.0).run(jnp.full(2, start), (-1.0, 1.0), jnp.full(2, 0.3), unit)
    np.testing.assert_allclose(params, 0.3, atol=1e-2, err_msg=str(state.status))


def test_projected_gradient_in_a_ball_of_a_large_objective():
    ball = L2Ball(jnp.zeros(2), 0.1, -1.0, 1.0)
    params, _ = ProjectedGradient().run(off_centre, jnp.zeros(2), ball, jnp.asarray([0.3, 0.0]), 1e24)
    np.testing.assert_allclose(params, [0.1, 0.0], atol=1e-3)


def test_projection_in_the_common_type():
    with jax.enable_x64(True):
        ball = L2Ball(jnp.zeros(3, jnp.float64), jnp.float32(0.5), -1.0, 1.0)
        inside = project(ball, jnp.ones(3, jnp.float32))
        assert inside.dtype == jnp.float64
        np.testing.assert_allclose(np.linalg.norm(inside), 0.5, rtol=1e-12)
        assert project((-1.0, 1.0), jnp.ones(3, jnp.bfloat16)).dtype == jnp.float32


def test_a_small_gradient_is_not_lost_beside_x():
    assert optimality_error((-1.0, 1.0), jnp.asarray([0.3]), jnp.asarray([1e-20])) == np.float32(1e-20)


def test_powers_of_two_are_exact():
    for kind in (np.float32, np.float64):
        with jax.enable_x64(True):
            values = [0.0, 1.0, 1.5, 3e-30, 7e24, np.inf, np.nan]
            found = [float(power_of_two(jnp.asarray([value, 0.0], kind))) for value in values]
            expected = [2.0 ** np.floor(np.log2(value)) if 0 < value < np.inf else 1.0 for value in values]
            assert found == expected
    assert l2_norm(jnp.asarray([3e30, 4e30])) == pytest.approx(5e30)
    assert l2_norm(jnp.asarray([3e-30, 4e-30])) == pytest.approx(5e-30)
