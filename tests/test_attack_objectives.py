import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from seatbelt_jax import attacks, elbo, gaussian, models, posterior
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.likelihood import BernoulliLikelihood, GaussianLikelihood
from seatbelt_jax.norm import l2_norm
from seatbelt_jax.vae import VAE, Encoding
from tests import annotations, drawn
from tests.reference import concrete as concrete_reference
from tests.reference import divergences, linear_vae
from tests.reference import gaussian as gaussian_reference

SHAPE = (4, 4, 1)
SIZES = (3, 2)
NETWORK = {"network": "mlp", "widths": (8,), "batch_norm": False}
DISTANCES = {
    "kl": posterior.kl_divergence,
    "symmetric_kl": posterior.symmetric_kl,
    "w2": posterior.wasserstein2,
    "l2": posterior.location_distance,
}


def random_vae(config):
    """A model with every parameter random: fresh ones start with constant standard deviations."""
    model = models.build({**config, **NETWORK}, SHAPE)
    return model.bind(drawn.variables(model, seed=4))


@pytest.fixture(scope="module")
def hierarchy():
    return random_vae({"latent_sizes": (4, 3, 2), "hidden_sizes": (6, 5)})


@pytest.fixture(scope="module")
def joint():
    return random_vae({"latent_sizes": (3,), "discrete_sizes": SIZES, "temperature": 0.7, "likelihood": "bernoulli"})


@pytest.fixture(params=["hierarchy", "joint"])
def any_vae(request):
    return request.getfixturevalue(request.param)


def random_images(number, seed=0):
    return np.random.default_rng(seed).uniform(0.0, 1.0, size=(number, *SHAPE)).astype(np.float32)


def first(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


def compiled(objective):
    """(image, source, target) -> distance, the pair's goal prepared in a batch of one."""
    return jax.jit(lambda image, *pair: objective.distance(image, first(objective.prepare(*(x[None] for x in pair)))))


def value(objective, *images):
    return compiled(objective)(*images)


def one_draw(noise, draw):
    return tuple(layer[draw : draw + 1] for layer in noise)


def values_of_draws(make, noise, *images):
    """The objective's value under each draw alone."""
    of_draw = jax.jit(lambda draw, *images: value(make(noise=draw), *images))
    return [of_draw(one_draw(noise, draw), *images) for draw in range(len(noise[0]))]


def reference_divergence(name, q, p):
    """The divergence of one example's posteriors, in float64."""
    location = posterior.location
    if name == "l2":
        return np.linalg.norm(np.float64(location(q)) - np.float64(location(p)))
    if isinstance(q, Concrete):
        by_name = {
            "kl": concrete_reference.kl_divergence,
            "symmetric_kl": divergences.categorical_symmetric_kl,
            "w2": divergences.categorical_wasserstein2,
        }
        return by_name[name](np.float64(q.logits), np.float64(p.logits), q.sizes)
    by_name = {
        "kl": gaussian_reference.kl_divergence,
        "symmetric_kl": divergences.gaussian_symmetric_kl,
        "w2": divergences.gaussian_wasserstein2,
    }
    return by_name[name](*(np.float64(values) for values in (q.mean, q.std, p.mean, p.std)))


def random_posteriors(kind, batch, seed=0):
    rng = np.random.default_rng(seed)
    first_values, second_values = (jnp.asarray(rng.normal(size=(2, batch, 5)), jnp.float32) for _ in range(2))
    if kind is Concrete:
        return Concrete(2.0 * first_values[0], SIZES, 0.3), Concrete(second_values[0], SIZES, 0.3)
    return DiagonalGaussian(first_values[0], 0.5 * first_values[1]), DiagonalGaussian(*second_values)


@pytest.mark.parametrize(("name", "kind"), [*itertools.product(DISTANCES, [DiagonalGaussian, Concrete])])
def test_a_divergence_is_its_definition_in_float64(name, kind):
    q, p = random_posteriors(kind, batch=6)
    found = jax.jit(DISTANCES[name])(q, p)
    pairs = [jax.tree.map(lambda leaf: leaf[n], (q, p)) for n in range(6)]  # noqa: B023
    expected = [reference_divergence(name, one, other) for one, other in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(jax.jit(jax.vmap(DISTANCES[name]))(q, p), found, rtol=1e-5)


def test_divergences_agree_with_sampling():
    rng = np.random.default_rng(0)
    q, p = first(random_posteriors(DiagonalGaussian, batch=1))
    arrays = [np.float64(values) for values in (q.mean, q.std, p.mean, p.std)]
    sampled = divergences.gaussian_symmetric_kl_by_sampling(*arrays, rng, 200_000)
    np.testing.assert_allclose(posterior.symmetric_kl(q, p), sampled, rtol=0.02)
    sampled = divergences.gaussian_wasserstein2_by_sampling(*arrays, rng, 200_000)
    np.testing.assert_allclose(posterior.wasserstein2(q, p), sampled, rtol=0.01)
    q, p = first(random_posteriors(Concrete, batch=1))
    sampled = divergences.categorical_symmetric_kl_by_sampling(
        np.float64(q.logits), np.float64(p.logits), SIZES, rng, 200_000
    )
    np.testing.assert_allclose(posterior.symmetric_kl(q, p), sampled, rtol=0.02)


@pytest.mark.parametrize(("name", "kind"), [*itertools.product(DISTANCES, [DiagonalGaussian, Concrete])])
def test_a_divergence_of_equals_is_zero_with_gradient_zero_and_of_neighbours_positive(name, kind):
    q, _ = random_posteriors(kind, batch=20)
    found, gradient = jax.value_and_grad(lambda q, p: jnp.sum(DISTANCES[name](q, p)))(q, q)
    assert found == 0.0
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_allclose(leaf, 0.0, atol=1e-6)
    near = jax.tree.map(lambda leaf: leaf + 1e-3 * jnp.arange(5.0), q)
    assert np.all(DISTANCES[name](near, q) > 0.0)


@pytest.mark.parametrize("name", DISTANCES)
def test_no_divergence_between_kinds(name):
    q, p = random_posteriors(Concrete, batch=1)[0], random_posteriors(DiagonalGaussian, batch=1)[0]
    with pytest.raises(TypeError, match="no divergence between DiagonalGaussian and Concrete"):
        DISTANCES[name](p, q)
    with pytest.raises(TypeError, match="no divergence between Concrete and DiagonalGaussian"):
        DISTANCES[name](q, p)


@pytest.mark.slow
@pytest.mark.parametrize("divergence", DISTANCES)
def test_the_latent_attack_sums_the_chosen_layers(any_vae, divergence):
    image, source, target = random_images(3)
    attacked, goal = (first(any_vae.encode(x[None], any_vae.mean_path(1)).posteriors) for x in (image, target))
    layers = [reference_divergence(divergence, q, p) for q, p in zip(attacked, goal, strict=True)]
    assert np.min(layers) > 1e-3 and len(set(np.round(layers, 4))) == len(layers)
    choices = {"all": range(len(layers)), "top": [-1], "bottom": [0], (2,): [1], (2, 1): [0, 1]}
    if len(layers) == 3:
        choices |= {(1, 3): [0, 2], (3,): [2], (1, 2, 3): [0, 1, 2]}
    for chosen, indices in choices.items():
        objective = attacks.latent(any_vae, divergence=divergence, layers=chosen)
        expected = sum(layers[index] for index in indices)
        distance = compiled(objective)
        np.testing.assert_allclose(distance(image, source, target), expected, rtol=1e-3)
        np.testing.assert_allclose(distance(target, source, target), 0.0, atol=1e-6)


def test_one_norm_over_all_layers(any_vae):
    image, source, target = random_images(3)
    attacked, goal = (
        np.concatenate([posterior.location(q)[0] for q in any_vae.encode(x[None], any_vae.mean_path(1)).posteriors])
        for x in (image, target)
    )
    found = value(attacks.latent(any_vae, divergence="joint_l2"), image, source, target)
    np.testing.assert_allclose(found, np.linalg.norm(attacked - goal), rtol=1e-4)
    assert found < value(attacks.latent(any_vae, divergence="l2"), image, source, target)
    top = [attacks.latent(any_vae, divergence=name, layers="top") for name in ("l2", "joint_l2")]
    np.testing.assert_allclose(*(value(objective, image, source, target) for objective in top), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("divergence", [*DISTANCES, "joint_l2"])
def test_source_and_target_share_every_draw_and_draws_are_averaged(any_vae, divergence):
    image, source, target = random_images(3)
    noise = any_vae.sample_noise(jax.random.key(2), 5)
    found = value(attacks.latent(any_vae, divergence=divergence, noise=noise), image, source, target)
    make = functools.partial(attacks.latent, any_vae, divergence=divergence)
    each = values_of_draws(make, noise, image, source, target)
    np.testing.assert_allclose(found, np.mean(each), rtol=1e-4)
    if divergence == "kl":
        posteriors = [
            [any_vae.encode(x[None], one_draw(noise, draw)).posteriors for draw in range(5)] for x in (image, target)
        ]
        by_hand = [
            sum(reference_divergence("kl", first(q), first(p)) for q, p in zip(*pair, strict=True))
            for pair in zip(*posteriors, strict=True)
        ]
        np.testing.assert_allclose(each, by_hand, rtol=1e-3)
        if len(any_vae.latent_sizes) == 3:
            assert np.std(each) > 1e-4


def test_the_output_attack_is_the_targets_negative_elbo_under_the_attacked_codes(any_vae):
    image, source, target = random_images(3)
    noise = any_vae.sample_noise(jax.random.key(3), 4)
    terms = []
    for draw in range(4):
        encoding = any_vae.encode(image[None], one_draw(noise, draw))
        log_likelihood = any_vae.likelihood.log_prob(any_vae.decode(encoding.latents), target[None])
        prior = any_vae.prior(encoding.latents)
        terms.append(elbo.decompose(log_likelihood, encoding, prior, dataset_size=100).elbo[0])
    found = value(attacks.output_elbo(any_vae, noise=noise), image, source, target)
    np.testing.assert_allclose(found, -np.mean(terms), rtol=1e-4)

    posteriors, latents = any_vae.encode(image[None], any_vae.mean_path(1))
    divergence = sum(
        reference_divergence("kl", first(q), first(p)) for q, p in zip(posteriors, any_vae.prior(latents), strict=True)
    )
    expected = divergence - any_vae.likelihood.log_prob(any_vae.decode(latents), target[None])[0]
    found = value(attacks.output_elbo(any_vae), image, source, target)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["output_elbo", "output_l2"])
def test_minimising_an_output_attack_brings_the_target_about(any_vae, name):
    objective = getattr(attacks, name)(any_vae)
    source, target = random_images(2)

    @jax.jit
    def descend(x):
        gradient = jax.grad(objective.distance)(x, target)
        return x - 0.02 * gradient / l2_norm(gradient)

    def log_likelihood(x):
        return any_vae.likelihood.log_prob(
            any_vae.decode(any_vae.encode(x[None], any_vae.mean_path(1)).latents), target[None]
        )

    moved = functools.reduce(lambda x, _: descend(x), range(20), source)
    assert log_likelihood(moved)[0] > log_likelihood(source)[0] + 1e-2


def test_the_output_distance_is_that_of_mean_images(any_vae):
    image, source, target = random_images(3)
    noise = any_vae.sample_noise(jax.random.key(4), 4)
    for draws, paths in ((None, [any_vae.mean_path(1)]), (noise, [one_draw(noise, draw) for draw in range(4)])):
        expected = np.mean([np.sum((any_vae.reconstruct(image[None], path) - target) ** 2) for path in paths])
        found = value(attacks.output_l2(any_vae, noise=draws), image, source, target)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def plain_vae(latent_sizes):
    """A VAE of any depth whose layers are also given one at a time: mean and std of (image, latents below)."""
    rng = np.random.default_rng(7)
    inputs = [np.prod(SHAPE) + below for below in (0, *latent_sizes[:-1])]
    weights = [rng.normal(size=(2, m, n)) / np.sqrt(m) for m, n in zip(inputs, latent_sizes, strict=True)]
    of_image = rng.normal(size=(sum(latent_sizes), np.prod(SHAPE)))

    def layer(images, below):
        features = [images.reshape(len(images), -1), *below[-1:]]
        mean, log_std = (jnp.concatenate(features, axis=-1) @ weight for weight in weights[len(below)])
        return DiagonalGaussian(jnp.sin(2.0 * mean), jnp.tanh(2.0 * log_std) - 0.5)

    def encode(images, noise):
        posteriors, latents = (), ()
        for eta in noise:
            posteriors = (*posteriors, layer(images, latents))
            latents = (*latents, gaussian.sample(posteriors[-1], eta))
        return Encoding(posteriors, latents)

    def decode(latents):
        return (jnp.concatenate(latents, axis=-1) @ of_image).reshape(-1, *SHAPE)

    vae = VAE(encode, decode, lambda latents: (), BernoulliLikelihood(), tuple(latent_sizes), SHAPE)
    return vae, layer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("through", "latent_sizes", "draws"),
    [
        *itertools.product(["mean", "std", "both"], [(3,), (4, 3, 2)], [5]),
        ("mean", (4, 3, 2), None),
        ("both", (3,), None),
    ],
)
def test_maximum_damage_is_its_equation(through, latent_sizes, draws):
    vae, layer = plain_vae(latent_sizes)
    image, source, target = random_images(3)
    noise = None if draws is None else vae.sample_noise(jax.random.key(5), draws)
    clean = vae.reconstruct(source[None])
    damages = []
    for draw in range(draws or 1):
        latents = ()
        for eta in vae.mean_path(1) if noise is None else one_draw(noise, draw):
            attacked, kept = layer(image[None], latents), layer(source[None], latents)
            mean = (kept if through == "std" else attacked).mean
            std = (kept if through == "mean" else attacked).std
            latents = (*latents, mean + std * eta)
        damages.append(np.linalg.norm(vae.likelihood.mean(vae.decode(latents)) - clean))
    objective = attacks.maximum_damage(vae, through=through, noise=noise)
    assert not objective.targeted and objective.random_start
    found = value(objective, image, source, target)
    np.testing.assert_allclose(found, -np.mean(damages), rtol=1e-4)
    assert found < 0.0
    np.testing.assert_array_equal(value(objective, image, source, random_images(1, seed=9)[0]), found)


def test_maximum_damage_passes_through_concrete_layers_as_a_whole(joint):
    image, source, target = random_images(3)
    noise = joint.sample_noise(jax.random.key(6), 3)
    clean = joint.reconstruct(source[None])
    damages = [np.linalg.norm(joint.reconstruct(image[None], one_draw(noise, draw)) - clean) for draw in range(3)]
    found = value(attacks.maximum_damage(joint, noise=noise), image, source, target)
    np.testing.assert_allclose(found, -np.mean(damages), rtol=1e-4)
    for through in ("mean", "std"):
        with pytest.raises(TypeError, match=r"layer 1 is Concrete .* pass through='both'"):
            attacks.maximum_damage(joint, through=through, noise=noise)


def every_objective(vae):
    noise = vae.sample_noise(jax.random.key(8), 3)
    made = [attacks.latent(vae, divergence=divergence) for divergence in [*DISTANCES, "joint_l2"]]
    made += [attacks.latent(vae, noise=noise), attacks.output_elbo(vae), attacks.output_elbo(vae, noise=noise)]
    made += [attacks.output_l2(vae, noise=noise), attacks.maximum_damage(vae)]
    if vae.likelihood.image_range[0] < 0:
        made.append(attacks.maximum_damage(vae, through="std", noise=noise))
    return made


@pytest.mark.slow
def test_lanes_have_the_values_of_single_attacks_and_finite_gradients_where_they_start_and_end(any_vae):
    sources, targets = random_images(3, seed=1), random_images(3, seed=2)
    moved = np.clip(sources + 0.1 * random_images(3, seed=3), 0.0, 1.0)
    for objective in every_objective(any_vae):

        @jax.jit
        def lanes(images, *pairs, objective=objective):
            goals = objective.prepare(*pairs)
            assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(goals)), objective.name
            return jax.vmap(jax.value_and_grad(objective.distance))(images, goals)

        values, gradients = lanes(moved, sources, targets)
        singles = list(map(compiled(objective), moved, sources, targets))
        np.testing.assert_allclose(values, singles, rtol=1e-4, err_msg=objective.name)
        assert np.all(np.linalg.norm(gradients.reshape(3, -1), axis=-1) > 0.0), objective.name
        for images in (sources, targets):
            values, gradients = lanes(images, sources, targets)
            assert np.all(np.isfinite(values)) and np.all(np.isfinite(gradients)), objective.name


def test_an_evaluation_reads_the_image_once_whatever_the_draws(hierarchy):
    reads = []

    def encode(params, images, noise):
        reads.append(images.shape[0])
        return hierarchy.functions.encode(params, images, noise)

    functions = hierarchy.functions._replace(encode=encode)
    vae = VAE.of(functions, hierarchy.params, hierarchy.likelihood, hierarchy.latent_sizes, SHAPE)
    noise = vae.sample_noise(jax.random.key(0), 7)
    image, source, target = random_images(3)
    for objective in (
        attacks.latent(vae, noise=noise),
        attacks.output_elbo(vae, noise=noise),
        attacks.output_l2(vae, noise=noise),
        attacks.maximum_damage(vae, noise=noise),
    ):
        goal = first(objective.prepare(source[None], target[None]))
        reads.clear()
        lowered = jax.jit(objective.distance).lower(image, goal)
        assert reads == [1], objective.name
        # The encoder's first layer multiplies one row of pixels, not one per draw.
        assert "tensor<7x16xf32>, tensor<16x8xf32>" not in lowered.as_text(), objective.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"divergence": "js"}, "divergence must be one of kl, symmetric_kl, w2, l2, joint_l2; got 'js'"),
        ({"layers": "middle"}, r"different layer numbers from 1 \(nearest the data\) to 3; got 'middle'"),
        ({"layers": ()}, r"got \(\)"),
        ({"layers": (0, 1)}, r"got \(0, 1\)"),
        ({"layers": (4,)}, r"got \(4,\)"),
        ({"layers": (2, 2)}, r"got \(2, 2\)"),
        ({"layers": (1.0,)}, r"got \(1.0,\)"),
        ({"layers": 2}, "got 2"),
    ],
)
def test_bad_divergences_and_layers_are_refused(hierarchy, arguments, message):
    with pytest.raises(ValueError, match=message):
        attacks.latent(hierarchy, **arguments)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ((np.zeros((2, 4)), np.zeros((2, 3))), r"got shapes \(2, 4\), \(2, 3\)"),
        ((np.zeros((2, 4)), np.zeros((2, 3)), np.zeros((3, 2))), r"\[draw, 4\], \[draw, 3\], \[draw, 2\].*\(3, 2\)"),
        ((np.zeros((2, 4)), np.zeros((2, 3)), np.zeros((2, 5))), r"got shapes .*\(2, 5\)"),
        ((np.zeros((0, 4)), np.zeros((0, 3)), np.zeros((0, 2))), r"at least one; got shapes \(0, 4\)"),
        ((np.zeros(4), np.zeros(3), np.zeros(2)), r"got shapes \(4,\), \(3,\), \(2,\)"),
        ((), "got shapes none"),
        (np.zeros((3, 2, 4)), "got ndarray"),
    ],
)
@annotations.unchecked()
def test_noise_of_other_layers_is_refused(hierarchy, noise, message):
    for make in (
        attacks.latent,
        attacks.output_elbo,
        attacks.output_l2,
        functools.partial(attacks.maximum_damage, through="std"),
    ):
        with pytest.raises(ValueError, match=message):
            make(hierarchy, noise=noise)


def test_damage_through_the_std_alone_needs_noise(hierarchy):
    with pytest.raises(ValueError, match="pass noise"):
        attacks.maximum_damage(hierarchy, through="std")
    with pytest.raises(ValueError, match="through must be one of mean, std, both; got 'sigma'"):
        attacks.maximum_damage(hierarchy, through="sigma")


def test_names_and_units_tell_objectives_apart(hierarchy):
    noise = hierarchy.sample_noise(jax.random.key(0), 8)
    objective = attacks.latent(hierarchy, divergence="w2", layers=(3, 1), noise=noise)
    assert (objective.name, objective.unit) == ("latent_w2_layers_1_3_8_draws", "latent units")
    objective = attacks.latent(hierarchy)
    assert (objective.name, objective.unit, objective.targeted) == ("latent_kl_all", "nats", True)
    objective = attacks.maximum_damage(hierarchy, through="mean", noise=noise)
    assert (objective.name, objective.unit) == ("maximum_damage_mean_8_draws", "pixel units")


def linear_objective(name, vae, noise):
    if name.startswith("output"):
        return getattr(attacks, name)(vae, noise=noise)
    return attacks.latent(vae, divergence=name, noise=noise)


def float64_attack(objective, source, target):
    """x' -> (value, gradient) in float64, of the objective as the library has it."""
    goal = first(objective.prepare(source[None], target[None]))
    compiled = jax.jit(jax.value_and_grad(objective.distance))
    return lambda image: tuple(np.asarray(found, np.float64) for found in compiled(image, goal))


@pytest.mark.parametrize("name", ["kl", "symmetric_kl", "w2", "l2", "joint_l2", "output_l2", "output_elbo"])
def test_the_closed_form_optima_of_a_linear_vae_are_those_that_scipy_finds(name):
    rng = np.random.default_rng(0)
    smooth = name not in ("w2", "l2", "joint_l2")
    noise = (rng.normal(size=(3, 1)),) if name.startswith("output") else None
    direction = linear_vae.WEIGHTS.astype(np.float64) / np.linalg.norm(linear_vae.WEIGHTS.astype(np.float64))
    with jax.enable_x64(True):
        for _ in range(3):
            source, target = rng.uniform(-0.2, 0.2, size=(2, *linear_vae.SHAPE))
            attack = float64_attack(linear_objective(name, linear_vae.vae(), noise), source, target)
            slope = np.linalg.norm(attack(source)[1])
            for threat, budget in (
                ("penalty", 0.3 * slope),
                ("penalty", 0.9 * slope),
                ("penalty", 1.1 * slope),
                ("squared_penalty", 1.0 * slope),
                ("squared_penalty", 0.01),
            ):
                power = 1 if threat == "penalty" else 2

                def along(t, price=budget, power=power, attack=attack, source=source):
                    return float(attack(source + t * direction)[0] + price * np.abs(t) ** power)

                # The grid brackets the minimum, on either side of which the objective is unimodal.
                grid = np.linspace(-3.0, 3.0, 61)
                at = int(np.argmin([along(t) for t in grid]))
                found = optimize.minimize_scalar(
                    along, bounds=(grid[at] - 0.1, grid[at] + 0.1), method="bounded", options={"xatol": 1e-10}
                )
                best, norm = linear_vae.optimum(
                    source, target, budget, objective=name, threat=threat, noise=None if noise is None else noise[0]
                )
                np.testing.assert_allclose(best, min(found.fun, along(0.0)), rtol=1e-6, atol=1e-7)
                np.testing.assert_allclose(norm, abs(found.x), atol=1e-4)
                if smooth:
                    # No direction is better than that of the weights.
                    def whole(d, price=budget, power=power, attack=attack, source=source):
                        shaped = d.reshape(source.shape)
                        cost, gradient = attack(source + shaped)
                        length = np.linalg.norm(d)
                        outer = price * power * length ** (power - 2) * d
                        return cost + price * length**power, gradient.ravel() + outer

                    start = rng.normal(size=source.size)
                    free = optimize.minimize(whole, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
                    np.testing.assert_allclose(free.fun, best, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["kl", "symmetric_kl", "w2", "output_l2", "output_elbo", "maximum_damage"])
def test_the_closed_form_optima_within_balls_are_those_that_scipy_finds(name):
    rng = np.random.default_rng(1)
    noise = None if name in ("kl", "symmetric_kl", "w2") else (rng.normal(size=(4, 1)),)
    vae = linear_vae.vae()
    with jax.enable_x64(True):
        source, target = rng.uniform(-0.2, 0.2, size=(2, *linear_vae.SHAPE))
        objective = (
            attacks.maximum_damage(vae, through="mean", noise=noise)
            if name == "maximum_damage"
            else linear_objective(name, vae, noise)
        )
        attack = float64_attack(objective, source, target)

        def fun(d):
            cost, gradient = attack(source + d.reshape(source.shape))
            return float(cost), gradient.ravel()

        for threat, budget in (("l2_ball", 0.05), ("l2_ball", 5.0), ("linf_ball", 0.01), ("linf_ball", 1.0)):
            linf = threat == "linf_ball"
            ball = {"type": "ineq", "fun": lambda d, c=budget: c**2 - d @ d, "jac": lambda d: -2.0 * d}
            found = [
                optimize.minimize(
                    fun,
                    side * 0.5 * budget * linear_vae.WEIGHTS.ravel().astype(np.float64) / linear_vae.WEIGHTS.size,
                    jac=True,
                    method="L-BFGS-B" if linf else "SLSQP",
                    bounds=[(-budget, budget)] * source.size if linf else None,
                    constraints=() if linf else (ball,),
                )
                for side in (-1.0, 1.0)
            ]
            closest = min(found, key=lambda end: end.fun)
            best, norm = linear_vae.optimum(
                source, target, budget, objective=name, threat=threat, noise=None if noise is None else noise[0]
            )
            # The kink of |u - c| stops SciPy short.
            np.testing.assert_allclose(best, closest.fun, rtol=1e-5, atol=5e-3 if name == "w2" else 1e-6)
            if np.isfinite(norm):
                np.testing.assert_allclose(norm, np.linalg.norm(closest.x), rtol=1e-4)


def test_an_attack_has_no_bound_where_the_closed_form_says_so():
    with pytest.raises(ValueError, match="give l2_ball or linf_ball"):
        linear_vae.optimum(np.zeros(SHAPE), np.zeros(SHAPE), 1.0, objective="maximum_damage")
    with pytest.raises(ValueError, match="no closed form for chi2"):
        linear_vae.optimum(np.zeros(SHAPE), np.zeros(SHAPE), 1.0, objective="chi2")


def test_a_norm_has_a_finite_gradient_at_zero():
    np.testing.assert_array_equal(jax.grad(l2_norm)(jnp.zeros((2, 2))), 0.0)
    np.testing.assert_allclose(jax.grad(l2_norm)(jnp.array([3.0, 4.0])), [0.6, 0.8])


def encode_one(image):
    return DiagonalGaussian(jnp.sum(image, axis=(1, 2))[:3], 0.1 * jnp.mean(image, axis=(0, 2))[:3])


def decode_one(z):
    return jnp.outer(jnp.append(z, 1.0), jnp.arange(4.0))[:, :, None]


def test_a_vae_is_made_of_two_functions_of_one_example():
    vae = VAE.from_functions(encode_one, decode_one, image_shape=SHAPE)
    assert vae.latent_sizes == (3,) and vae.image_shape == SHAPE and vae.likelihood == GaussianLikelihood()
    images = random_images(2)
    noise = vae.sample_noise(jax.random.key(0), 2)
    (q,), (z,) = vae.encode(images, noise)
    for n in range(2):
        one = encode_one(images[n])
        np.testing.assert_allclose(q.mean[n], one.mean, rtol=1e-6)
        np.testing.assert_allclose(z[n], one.mean + one.std * noise[0][n], rtol=1e-6)
        np.testing.assert_allclose(vae.decode((z,))[n], decode_one(z[n]), rtol=1e-6)
    (prior,) = vae.prior((z,))
    np.testing.assert_array_equal(prior.mean, jnp.zeros((2, 3)))
    np.testing.assert_array_equal(prior.std, jnp.ones((2, 3)))
    assert VAE.from_functions(
        encode_one, decode_one, image_shape=SHAPE, likelihood=BernoulliLikelihood()
    ).likelihood == (BernoulliLikelihood())
    found = value(attacks.latent(vae), images[0], images[0], images[1])
    expected = reference_divergence("kl", encode_one(images[0]), encode_one(images[1]))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"encode": lambda x: x[:, 0, 0]},
            TypeError,
            "encode must return a .*DiagonalGaussian .* got ShapeDtypeStruct",
        ),
        ({"encode": lambda x: (x, x)}, TypeError, "got tuple"),
        ({"encode": lambda x: DiagonalGaussian(x, x)}, ValueError, r"got mean \(4, 4, 1\) and log_std \(4, 4, 1\)"),
        (
            {"encode": lambda x: DiagonalGaussian(x[0, :, 0], x[0, :2, 0])},
            ValueError,
            r"mean \(4,\) and log_std \(2,\)",
        ),
        (
            {"decode": lambda z: z},
            ValueError,
            r"latent of shape \(3,\) to an image of shape \(4, 4, 1\), got shape \(3,\)",
        ),
        ({"decode": lambda z: (z, z)}, TypeError, "decode must return one image as an array, got tuple"),
        ({"image_shape": (4, 4)}, ValueError, r"three positive whole numbers; got \(4, 4\)"),
        ({"image_shape": 16}, ValueError, "three positive whole numbers; got 16"),
        ({"image_shape": (4, 0, 1)}, ValueError, r"got \(4, 0, 1\)"),
    ],
)
def test_functions_of_other_shapes_make_no_vae(change, error, message):
    with pytest.raises(error, match=message):
        VAE.from_functions(**{"encode": encode_one, "decode": decode_one, "image_shape": SHAPE, **change})
