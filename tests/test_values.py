"""Models and functions as values: pytrees whose code is compared, so that what is compiled for one serves all."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import attacks, models, program
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.vae import VAE
from tests.compilations import counted

SHAPE = (8, 8, 1)
IMAGES = np.linspace(-1.0, 1.0, 128, dtype=np.float32).reshape(2, *SHAPE)


@jax.jit
def reconstruct(vae, images):
    return vae.reconstruct(images)


@jax.jit
def call(function, *arguments):
    return function(*arguments)


def hierarchy(seed, batch_norm=True):
    config = {"latent_sizes": (3, 2), "network": "mlp", "widths": (6,), "hidden_sizes": (5,), "batch_norm": batch_norm}
    model = models.build(config, SHAPE)
    return model.bind(model.init(jax.random.key(seed)))


def closures_of(vae):
    return VAE(vae.encode, vae.decode, vae.prior, vae.likelihood, vae.latent_sizes, vae.image_shape, vae.inference)


def linear(seed, scale=1.0):
    """Functions of one example that close over their weights, one of them jitted by its user."""
    weights = jax.random.normal(jax.random.key(seed), (4, 2))
    std = jnp.float32(seed + 1)
    project = jax.jit(lambda x: scale * (jax.nn.relu(x.ravel()) @ weights) / std)
    return lambda x: DiagonalGaussian(project(x), project(x) - 1.0), lambda z: jnp.tanh(weights @ z).reshape(2, 2, 1)


def test_models_of_one_architecture_share_what_is_compiled():
    reconstruct(hierarchy(0), IMAGES)
    other = hierarchy(1)
    expected = other.reconstruct(IMAGES)
    with counted() as programs:
        found = reconstruct(other, IMAGES)
    assert not programs
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    another = hierarchy(1, batch_norm=False)
    with counted() as programs:
        reconstruct(another, IMAGES)
    assert len(programs) == 1


def test_a_model_is_differentiated_like_its_parameters():
    vae = hierarchy(0)
    gradient = jax.grad(lambda vae: jnp.sum(vae.reconstruct(IMAGES)))(vae)
    assert jax.tree.structure(gradient) == jax.tree.structure(vae)
    assert any(np.any(np.asarray(leaf) != 0.0) for leaf in jax.tree.leaves(gradient.params))


def test_a_model_of_closures_becomes_a_value():
    for seed in range(2):
        vae = hierarchy(seed)
        value = closures_of(vae).traced()
        noise = vae.sample_noise(jax.random.key(7), 2)
        latents = vae.encode(IMAGES, noise).latents
        for method, arguments in (
            ("encode", (IMAGES, noise)),
            ("decode", (latents,)),
            ("prior", (latents,)),
            ("posterior", (IMAGES, ())),
            ("posterior", (IMAGES, latents[:1])),
        ):
            jax.tree.map(
                lambda found, expected: np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6),
                getattr(value, method)(*arguments),
                getattr(vae, method)(*arguments),
            )
        with counted() as programs:
            reconstruct(value, IMAGES)
        assert len(programs) == (0 if seed else 1)


def test_a_value_stays_what_it_is():
    vae = hierarchy(0)
    assert vae.traced() is vae
    for number in (jnp.ones(2), 0.5):
        function = jax.tree_util.Partial(jnp.add, number)
        assert program.as_value(function, jnp.ones(2)) is function
    assert program.as_value(vae, jnp.ones(2)) is vae


@pytest.mark.parametrize("other", [jax.nn.relu, 2])
def test_pytrees_of_more_than_numbers_are_traced(other):
    function = jax.tree_util.Partial(lambda what, x: what(x) if callable(what) else x**what, other)
    value = program.as_value(function, np.ones(2, np.float32))
    assert isinstance(value, program.Program)
    np.testing.assert_allclose(call(value, np.full(2, 3.0)), function(np.full(2, 3.0)))


def test_functions_with_parameters_share_what_is_compiled():
    def encode(weights, image):
        return DiagonalGaussian(image.ravel() @ weights, image.ravel() @ weights - 1.0)

    def decode(weights, latent):
        return (weights @ latent).reshape(2, 2, 1)

    for seed in range(2):
        weights = jax.random.normal(jax.random.key(seed), (4, 2))
        vae = VAE.from_functions(encode, decode, params=weights, image_shape=(2, 2, 1))
        with counted() as programs:
            found = reconstruct(vae, np.ones((3, 2, 2, 1), np.float32))
        assert len(programs) == (0 if seed else 1)
        expected = (weights @ (np.ones(4, np.float32) @ weights)).reshape(2, 2, 1)
        np.testing.assert_allclose(found, np.broadcast_to(expected, (3, 2, 2, 1)), rtol=1e-5)


def test_traced_closures_of_the_same_code_share_what_is_compiled():
    image = np.ones((2, 2, 1), np.float32)
    for seed in range(3):
        encode, _ = linear(seed)
        value = program.trace(encode, image)
        with counted() as programs:
            found = call(value, image)
        np.testing.assert_allclose(found.mean, encode(image).mean, rtol=1e-6)
        assert len(programs) == (0 if seed else 1)


@pytest.mark.parametrize(
    "other",
    [
        lambda x: 2.0 * jnp.tanh(x),  # another number in the code
        lambda x: 3.0 * jnp.sin(x),  # another step
        lambda x: 3.0 * jnp.tanh(x)[::-1],  # another order
        lambda x: (3.0 * jnp.tanh(x),),  # another structure of the results
        lambda x: jnp.tanh(x) * jax.lax.fori_loop(0, 3, lambda i, v: v + 1.0, 0.0),
    ],
)
def test_other_code_is_another_value(other):
    code = program.trace(lambda x: 3.0 * jnp.tanh(x), np.ones(2, np.float32)).code
    assert code == program.trace(lambda x: 3.0 * jnp.tanh(x), np.ones(2, np.float32)).code
    assert code != program.trace(other, np.ones(2, np.float32)).code
    assert code != program.trace(lambda x: 3.0 * jnp.tanh(x), np.ones(3, np.float32)).code


def test_functions_with_other_rules_of_derivation_are_other_code():
    def with_rule(slope):
        function = jax.custom_jvp(jnp.tanh)
        function.defjvp(lambda primals, tangents: (function(primals[0]), slope * tangents[0]))
        return program.trace(lambda x: function(x), np.ones(2, np.float32))

    assert with_rule(2.0).code == with_rule(2.0).code
    assert with_rule(2.0).code != with_rule(3.0).code
    np.testing.assert_allclose(jax.jacfwd(with_rule(3.0))(jnp.ones(2)), 3.0 * np.eye(2))


def test_arrays_of_numpy_are_put_on_the_device_once():
    weights = np.ones((2, 2))
    value = program.trace(lambda x: weights @ x, np.ones(2, np.float32))
    assert all(isinstance(array, jax.Array) for array in value.arrays)
    assert program.as_value(value, np.ones(2, np.float32)) is value


def test_arrays_within_loops_and_branches_are_found_or_compared():
    def looped(seed):
        weights = jax.random.normal(jax.random.key(seed), (2, 2))
        step = jax.jit(lambda i, x: jnp.tanh(weights @ x))
        return lambda x: jax.lax.cond(x[0] > 5.0, lambda: x, lambda: jax.lax.fori_loop(0, 3, step, x))

    for seed in range(2):
        value = program.trace(looped(seed), np.ones(2, np.float32))
        np.testing.assert_allclose(call(value, np.ones(2, np.float32)), looped(seed)(jnp.ones(2)), rtol=1e-6)


def test_what_a_function_closes_over_is_read_when_it_is_traced():
    network = {"weights": jnp.ones(2)}

    def function(x):
        return network["weights"] * x

    before = program.trace(function, np.ones(2, np.float32))
    network["weights"] = jnp.asarray([3.0, 3.0])
    after = program.trace(function, np.ones(2, np.float32))
    assert before.code == after.code
    np.testing.assert_array_equal(call(before, np.ones(2, np.float32)), 1.0)
    np.testing.assert_array_equal(call(after, np.ones(2, np.float32)), 3.0)


def test_a_value_refuses_other_shapes():
    value = program.trace(lambda x: 2.0 * x, np.ones(2, np.float32))
    with pytest.raises(ValueError, match=r"traced for arguments of shapes \[\(2,\)\], got \[\(3,\)\]"):
        value(np.ones(3, np.float32))


def attack(vae, objective=None, **settings):
    rng = np.random.default_rng(5)
    sources, targets = rng.uniform(-0.9, 0.9, (2, 3, *SHAPE)).astype(np.float32)
    objective = attacks.latent(vae) if objective is None else objective(vae)
    if not objective.targeted:
        targets = None
    settings = {"threat": attacks.Penalty([0.5, 2.0]), "solver": attacks.BoxLBFGS(maxiter=8), **settings}
    return attacks.sweep(vae, sources, targets, objective=objective, restarts=1, **settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [attacks.latent, attacks.output_elbo, attacks.output_l2, attacks.maximum_damage],
    ids=lambda f: f.__name__,
)
def test_a_second_sweep_of_an_architecture_compiles_nothing(objective):
    attack(hierarchy(0), objective)
    other = hierarchy(1)
    with counted() as programs:
        result = attack(other, objective)
    assert programs == []
    assert np.all(result.objective <= result.objective_at_source[:, None] + 1e-6)
    np.testing.assert_array_equal(result.objective, result.repeated_objective)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "threat"),
    [
        (attacks.ProjectedGradient(maxiter=5), attacks.Ball([1.0])),
        (attacks.Adam(maxiter=5), attacks.Ball([0.1], "linf")),
        (attacks.SigmoidLBFGS(maxiter=5), attacks.Penalty([1.0], squared=True)),
    ],
)
def test_every_solver_compiles_once(solver, threat):
    attack(hierarchy(0), solver=solver, threat=threat)
    other = hierarchy(1)
    with counted() as programs:
        attack(other, solver=solver, threat=threat)
    assert programs == []


@pytest.mark.slow
def test_a_sweep_of_closures_compiles_once_and_finds_what_that_of_values_finds():
    expected = attack(hierarchy(0))
    attack(closures_of(hierarchy(1)))
    other = closures_of(hierarchy(0))
    with counted() as programs:
        found = attack(other)
    assert programs == []
    np.testing.assert_allclose(found.objective, expected.objective, rtol=1e-3)


def test_an_objective_of_plain_functions_compiles_once():
    def objective(vae):
        return attacks.Objective(
            lambda sources, targets: targets,
            lambda image, target: jnp.sum(jnp.square(vae.reconstruct(image[None])[0] - target)),
            "plain",
            "squared pixel units",
        )

    attack(hierarchy(0), objective)
    other = hierarchy(1)
    with counted() as programs:
        attack(other, objective)
    assert programs == []


@pytest.mark.slow
def test_an_objective_that_draws_at_random_is_seen():
    seeds = itertools.count()

    def objective(vae):
        def distance(image, target):
            noise = jax.random.normal(jax.random.key(next(seeds)), target.shape)
            return jnp.sum(jnp.square(vae.reconstruct(image[None])[0] - target + noise))

        return attacks.Objective(lambda sources, targets: targets, distance, "random", "squared pixel units")

    result = attack(hierarchy(0), objective)
    assert np.all(result.objective != result.repeated_objective)


@pytest.mark.slow
def test_what_jax_has_forgotten_is_compiled_again():
    attack(hierarchy(0))
    jax.clear_caches()
    attack(hierarchy(1))
    other = hierarchy(2)
    with counted() as programs:
        attack(other)
    assert programs == []
