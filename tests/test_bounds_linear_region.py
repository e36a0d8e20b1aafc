import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax.bounds.linear_region import linear_region_radius
from seatbelt_jax.bounds.lipschitz import LipschitzBound


def network(seed):
    """Two hidden layers, of ReLU and leaky ReLU, with a skip connection; and the inputs of both."""
    rng = np.random.default_rng(seed)
    first, second, third = (rng.normal(size=shape).astype(np.float32) for shape in ((7, 5), (6, 7), (3, 12)))

    def inputs(x):
        below = first @ x + 0.3
        hidden = jnp.concatenate([jax.nn.relu(below), x])
        return jnp.concatenate([below, second @ hidden[:7] - 0.2])

    def function(x):
        both = inputs(x)
        hidden = jnp.concatenate([jax.nn.leaky_relu(both[7:]), jax.nn.relu(both[:7])[:1], x])
        return third @ hidden

    return function, inputs, rng.normal(size=5).astype(np.float32)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("seed", range(3))
def test_no_kink_inside_and_one_just_outside(seed, norm):
    function, inputs, x = network(seed)
    radius = LipschitzBound(function, x, norm=norm).linear_region_radius()
    assert 0.0 < radius < np.inf
    values, gradients = np.asarray(inputs(x)), np.asarray(jax.jacobian(inputs)(x))
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(2000, 5))
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True) if norm == "l2" else np.sign(directions)
    inside = jax.vmap(inputs)((x + 0.999 * radius * directions).astype(np.float32))
    assert (np.sign(inside) == np.sign(values)).all()
    # Along the gradient of the input that is nearest to its kink, the kink is met at the radius, which rounding lowers.
    dual = np.linalg.norm(gradients, axis=1) if norm == "l2" else np.abs(gradients).sum(axis=1)
    nearest = np.argmin(np.abs(values) / dual)
    gradient = -np.sign(values[nearest]) * gradients[nearest]
    step = gradient / np.linalg.norm(gradient) if norm == "l2" else np.sign(gradient)
    for factor, same in ((0.999, True), (1.003, False)):
        moved = np.asarray(inputs((x + factor * radius * step).astype(np.float32)))
        assert (np.sign(moved[nearest]) == np.sign(values[nearest])) == same


def test_by_hand():
    def function(x):
        return jax.nn.relu(2.0 * x[0] - 1.0) + jnp.abs(x[1] + 3.0) + jnp.minimum(x[0] + x[1], 4.0)

    # Kinks at distances 0.5 from x_0 = 1, 3 from x_1 = 0 and 3 / sqrt(2), or 3 / 2, of the sum.
    x = np.array([1.0, 0.0], np.float32)
    assert linear_region_radius(function, x) == pytest.approx(0.5, rel=1e-4)
    assert linear_region_radius(lambda v: function(v + jnp.array([9.0, 0.0])), x, norm="linf") == pytest.approx(
        3.0, rel=1e-4
    )
    assert linear_region_radius(lambda v: jnp.minimum(v[0] + v[1], 4.0), x) == pytest.approx(
        3.0 / np.sqrt(2.0), rel=1e-4
    )


def test_affine_functions_and_kinks():
    x = np.array([1.0, 0.0, -2.0], np.float32)
    assert linear_region_radius(lambda v: 3.0 * v - 1.0, x) == np.inf
    assert linear_region_radius(jax.nn.relu, x) == 0.0
    # No movement of x reaches a kink of what does not depend on x, or of what has none.
    assert linear_region_radius(lambda v: jax.nn.relu(0.0 * v) + v, x) == np.inf
    assert linear_region_radius(lambda v: jax.nn.leaky_relu(v, 1.0), x) == np.inf


def test_smooth_activations_have_no_linear_region():
    x = np.ones(2, np.float32)
    with pytest.raises(ValueError, match="smooth activation, tanh"):
        linear_region_radius(jnp.tanh, x)
    with pytest.raises(ValueError, match="norm must be one of"):
        linear_region_radius(jax.nn.relu, x, norm="l1")
