"""Every operation that programs are bounded through: no point outside, exact at radius 0, monotone in the radius."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax.bounds import propagation
from seatbelt_jax.bounds.propagation.composed import Composition, function_of
from seatbelt_jax.bounds.propagation.graph import Activated, Composed, Level, Piecewise
from seatbelt_jax.bounds.propagation.reading import Ground, read
from seatbelt_jax.program import trace

# Elementwise functions, and the least argument that they are tried at.
ELEMENTWISE = {
    "relu": (jax.nn.relu, -4.0),
    "leaky_relu": (jax.nn.leaky_relu, -4.0),
    "relu6": (jax.nn.relu6, -4.0),
    "abs": (jnp.abs, -4.0),
    "tanh": (jnp.tanh, -4.0),
    "hard_tanh": (jax.nn.hard_tanh, -4.0),
    "sigmoid": (jax.nn.sigmoid, -9.0),
    "softplus": (jax.nn.softplus, -4.0),
    "elu": (jax.nn.elu, -4.0),
    "celu": (lambda v: jax.nn.celu(v, 0.7), -4.0),
    "selu": (jax.nn.selu, -4.0),
    "gelu, erf": (lambda v: jax.nn.gelu(v, approximate=False), -4.0),
    "gelu, tanh": (lambda v: jax.nn.gelu(v, approximate=True), -4.0),
    "silu": (jax.nn.silu, -4.0),
    "swish of a slope": (lambda v: v * jax.nn.sigmoid(1.7 * v), -4.0),
    "hard_swish": (jax.nn.hard_swish, -4.0),
    "mish": (jax.nn.mish, -4.0),
    "soft_sign": (jax.nn.soft_sign, -4.0),
    "log_sigmoid": (jax.nn.log_sigmoid, -4.0),
    "exp": (jnp.exp, -4.0),
    "expm1": (jnp.expm1, -4.0),
    "log": (jnp.log, 0.1),
    "log1p": (jnp.log1p, -0.9),
    "sqrt": (jnp.sqrt, 0.1),
    "rsqrt": (jax.lax.rsqrt, 0.1),
    "reciprocal": (lambda v: 1.0 / v, 0.1),
    "reciprocal of what is negative": (lambda v: 1.0 / (v - 20.0), -4.0),
    "inverse square": (lambda v: v**-2, 0.1),
    "square": (jnp.square, -4.0),
    "cube": (lambda v: v**3, -4.0),
    "fourth power": (lambda v: v**4, -4.0),
    "power": (lambda v: v**1.7, 0.1),
    "sin": (jnp.sin, -7.0),
    "cos": (jnp.cos, -7.0),
    "arctan": (jnp.arctan, -4.0),
    "erf": (jax.lax.erf, -4.0),
    "clip": (lambda v: jnp.clip(v, -0.5, 0.8), -4.0),
    "bump": (lambda v: v * jnp.exp(-jnp.square(v)), -4.0),
    "where": (lambda v: jnp.where(v > 1.0, 3.0 * v - 2.0, v), -4.0),
}


def unary(program):
    """What a traced function is read as, of one variable."""
    graph = read(program.code)
    ground = Ground(graph.arguments, [*program.arrays, None, None]).__getitem__
    if [operand for operand in graph.output.operands if operand.level is Level.INPUT] == [graph.x] and isinstance(
        graph.output, Activated | Composed | Piecewise
    ):
        return function_of(graph.output, ground)
    return Composition(graph.output, graph.x, ground)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_ranges_of_elementwise_functions(name):
    function, least = ELEMENTWISE[name]
    rng = np.random.default_rng(0)
    program = trace(lambda v, e: function(v), jax.ShapeDtypeStruct((64,), jnp.float32), jnp.zeros(()))
    with jax.enable_x64(True):
        read_as = unary(program)
    for width in (0.0, 1e-6, 0.05, 1.0, 6.0):
        check_ranges(function, read_as, rng, least, width)


def check_ranges(function, read_as, rng, least, width):
    lower = rng.uniform(least, least + 8.0, 64)
    upper = lower + width * rng.uniform(size=64)
    anchor = np.clip(lower + (upper - lower) * rng.choice([0.0, 0.3, 0.7, 1.0], 64), lower, upper)
    points = lower + (upper - lower) * np.linspace(0.0, 1.0, 401)[:, None]
    with jax.enable_x64(True):
        found = read_as.values(lower, upper), read_as.chords(lower, upper, anchor), read_as.slopes(lower, upper)
        values, chords, slopes = jax.tree.map(np.asarray, found)
        exact, at_anchor = np.asarray(read_as.value(points)), np.asarray(read_as.value(anchor))
        np.testing.assert_allclose(exact, np.asarray(function(points), np.float64), rtol=1e-6, atol=1e-6)
        rounding = np.asarray(read_as.rounding(lower, upper))
    slack = 1e-9 * (1.0 + np.abs(exact))
    assert (exact >= values.lower - slack).all() and (exact <= values.upper + slack).all()
    assert (slopes.lower <= chords.lower + 1e-9).all() and (slopes.upper >= chords.upper - 1e-9).all()
    moved = points - anchor
    rise = exact - at_anchor
    assert (rise <= np.where(moved > 0, chords.upper, chords.lower) * moved + slack).all()
    assert (rise >= np.where(moved > 0, chords.lower, chords.upper) * moved - slack).all()
    # A float32 evaluation, of arguments that float32 has.
    inside = points.astype(np.float32).astype(np.float64)
    inside = np.where((inside >= lower) & (inside <= upper), inside, np.nan)
    with jax.enable_x64(True):
        wanted = np.asarray(read_as.value(inside))
    error = np.abs(np.asarray(jax.jit(function)(inside.astype(np.float32)), np.float64) - wanted)
    assert not (error > rounding).any()


def image(size, channels, seed=0):
    return np.random.default_rng(seed).normal(size=(size, size, channels)).astype(np.float32)


KERNEL = (0.3 * np.random.default_rng(0).normal(size=(3, 3, 2, 3))).astype(np.float32)
MATRIX = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
NUMBERS = ("NHWC", "HWIO", "NHWC")


def convolved(x, **options):
    return jax.lax.conv_general_dilated(x[None], KERNEL, dimension_numbers=NUMBERS, **options)[0]


def layer_norm(x):
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + 1e-3)


def group_norm(x):
    groups = x.reshape(-1, 2, x.shape[-1] // 2)
    mean = groups.mean(axis=(0, 2), keepdims=True)
    variance = jnp.maximum(jnp.square(groups).mean(axis=(0, 2), keepdims=True) - jnp.square(mean), 0.0)
    return ((groups - mean) / jnp.sqrt(variance + 1e-2)).reshape(x.shape)


def pooled(x, operation, start):
    return jax.lax.reduce_window(x, start, operation, (2, 2, 1), (2, 2, 1), "VALID")


def attention(x):
    query, key, value = x @ MATRIX[:4], x @ MATRIX[1:5], x @ MATRIX[2:6]
    return jax.nn.softmax(query @ key.T / 2.0, axis=-1) @ value


# Functions of an array, and its shape.
OPERATIONS = {
    "dense": (lambda x: jnp.tanh(x @ MATRIX), (6,)),
    "convolution": (lambda x: jax.nn.relu(convolved(x, window_strides=(1, 1), padding="SAME")), (4, 4, 2)),
    "strided convolution": (lambda x: jax.nn.relu(convolved(x, window_strides=(2, 2), padding="SAME")), (4, 4, 2)),
    "transposed convolution": (
        lambda x: jax.nn.relu(convolved(x, window_strides=(1, 1), padding=((1, 2), (1, 2)), lhs_dilation=(2, 2))),
        (3, 3, 2),
    ),
    "batch norm in inference": (lambda x: jax.nn.relu((x - 0.3) * (2.0 / jnp.sqrt(0.5 + 1e-5)) + 0.1), (6,)),
    "layer norm": (layer_norm, (2, 5)),
    "group norm": (group_norm, (3, 4)),
    "softmax": (lambda x: jax.nn.softmax(2.0 * x, axis=-1), (2, 4)),
    "softmax over the first axis": (lambda x: jax.nn.softmax(x, axis=0), (4, 2)),
    "attention": (attention, (3, 4)),
    "max pool": (lambda x: pooled(x, jax.lax.max, -jnp.inf), (4, 4, 2)),
    "average pool": (lambda x: jnp.tanh(pooled(x, jax.lax.add, 0.0) / 4.0), (4, 4, 2)),
    "padded max pool": (
        lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (3, 3), (2, 2), "SAME"),
        (4, 4),
    ),
    "maximum over an axis": (lambda x: jnp.max(x, axis=1), (2, 5)),
    "minimum over all": (lambda x: jnp.min(x)[None], (5,)),
    "product of two": (lambda x: (x @ MATRIX) * jnp.tanh(x[:5]), (6,)),
    "quotient of two": (lambda x: x[:3] / (10.0 + x[3:]), (6,)),
    "maximum of two": (lambda x: jnp.maximum(x[:3], jnp.tanh(x[3:])), (6,)),
    "minimum of two": (lambda x: jnp.minimum(x[:3], jnp.square(x[3:])), (6,)),
    "residual": (lambda x: x + 0.3 * jnp.tanh(x @ MATRIX @ MATRIX.T), (6,)),
    "concatenation": (lambda x: jnp.concatenate([jnp.tanh(x), jnp.exp(x)]), (4,)),
    "nearest": (lambda x: jnp.tanh(jax.image.resize(x, (6, 6), "nearest")), (3, 3)),
    "bilinear": (lambda x: jnp.tanh(jax.image.resize(x, (6, 6), "bilinear")), (3, 3)),
    "repeat": (lambda x: jnp.tanh(jnp.repeat(x, 2, axis=0)), (3, 3)),
    "dot products": (lambda x: x @ x.T, (3, 3)),
    "norm": (lambda x: jnp.sqrt(jnp.sum(jnp.square(x)) + 0.1)[None], (5,)),
    "softplus of exp": (lambda x: jax.nn.softplus(jnp.exp(x) - 1.0), (5,)),
}


# Operations that a backward pass treats by rules of their own.
BACKWARD = ["transposed convolution", "layer norm", "attention", "product of two", "softplus of exp"]


@pytest.mark.parametrize(
    ("name", "relaxation"), [*((name, "chords") for name in OPERATIONS), *((name, "crown") for name in BACKWARD)]
)
def test_deviations_through_operations(name, relaxation):
    function, shape = OPERATIONS[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    # Each draw moves the image elsewhere.
    noise = rng.normal(size=(4, *shape)).astype(np.float32)
    noise[0] = 0.0

    def of(x, e):
        return function(x + e)

    evaluate = jax.jit(jax.vmap(of, (0, None)))
    directions = rng.normal(size=(300, *shape))
    directions /= np.linalg.norm(directions.reshape(300, -1), axis=1).reshape(-1, *[1] * len(shape))
    centre = np.zeros(jax.eval_shape(of, x, noise[0]).shape, np.float32)
    before = np.zeros(len(noise))
    for radius in (0.0, 0.02, 0.2, 0.8):
        bounds = propagation.deviation_bound(of, x, noise, centre, radius, relaxation=relaxation)
        assert (bounds >= before).all()
        before = bounds
        for e, bound in zip(noise, bounds, strict=True):
            moved = (x + radius * directions).astype(np.float32)
            reached = np.asarray(evaluate(moved, e), np.float64).reshape(len(moved), -1)
            assert np.linalg.norm(reached, axis=1).max() <= bound
            if radius == 0.0:
                assert bound <= np.linalg.norm(reached[0]) * (1.0 + 1e-4) + 1e-4
            if radius == 0.02:
                assert np.isfinite(bound)


def test_deviations_from_the_clean_value_are_tight_in_a_small_ball():
    rng = np.random.default_rng(0)
    for name in ("softmax", "layer norm", "product of two", "attention"):
        function, shape = OPERATIONS[name]
        x = rng.normal(size=shape).astype(np.float32)
        clean = np.asarray(function(x))
        jacobian = np.asarray(jax.jacobian(function)(x), np.float64).reshape(clean.size, -1)
        found = propagation.deviation_bound(lambda x, e, f=function: f(x), x, np.zeros((1, 1)), clean, 1e-2)
        assert found[0] <= 1.2 * 1e-2 * np.linalg.norm(jacobian, 2) + 1e-4
