import functools

import chex
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import models, training
from seatbelt_jax.models.networks import GaussianHead
from seatbelt_jax.training import recipe, state, step

SMALL = {"widths": (4, 4, 4, 4), "feature_size": 8, "hidden_sizes": (8, 8, 8, 8)}


def small_model(latent_sizes=(4, 3), image_shape=(32, 32, 1), **config):
    model = models.build({"latent_sizes": latent_sizes, **SMALL, **config}, image_shape)
    return model, model.init(jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("image_shape", [(32, 32, 1), (64, 64, 3)])
def test_every_function_of_the_record_has_its_shape(depth, image_shape):
    sizes = tuple(range(depth + 1, 1, -1))
    model = models.build({"latent_sizes": sizes, **SMALL}, image_shape)

    def call(key):
        vae = model.bind(model.init(key))
        images = jnp.zeros((2, *image_shape))
        encoding = vae.encode(images, vae.mean_path(2))
        generated = vae.generate(vae.sample_noise(key, 3))
        return encoding, vae.prior(encoding.latents), vae.decode(encoding.latents), vae.reconstruct(images), generated

    encoding, priors, decoded, reconstructed, generated = jax.eval_shape(call, jax.random.key(0))
    assert len(encoding.posteriors) == len(encoding.latents) == depth
    for size, posterior, latent, prior in zip(sizes, encoding.posteriors, encoding.latents, priors, strict=True):
        chex.assert_shape([posterior.mean, posterior.log_std, latent, prior.mean, prior.log_std], (2, size))
    chex.assert_shape([decoded, reconstructed], (2, *image_shape))
    chex.assert_shape(generated, (3, *image_shape))


def test_paper_networks_have_the_paper_widths():
    model = models.build({"latent_sizes": (6,)}, (64, 64, 1))
    parameters = jax.eval_shape(model.init, jax.random.key(0))["params"]
    kernels = [parameters["encoder"][f"Conv_{i}"]["kernel"].shape for i in range(4)]
    assert kernels == [(4, 4, 1, 32), (4, 4, 32, 32), (4, 4, 32, 64), (4, 4, 64, 64)]
    assert parameters["encoder"]["Dense_0"]["kernel"].shape == (4 * 4 * 64, 512)
    decoder = parameters["decoder"]
    assert decoder["Dense_0"]["kernel"].shape == (6, 512)
    assert decoder["Dense_1"]["kernel"].shape == (512, 4 * 4 * 64)
    kernels = [decoder[f"ConvTranspose_{i}"]["kernel"].shape for i in range(4)]
    assert kernels == [(4, 4, 64, 64), (4, 4, 64, 32), (4, 4, 32, 32), (4, 4, 32, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("reads", "all_matter"), [("all", True), ("bottom", False)])
def test_only_a_seatbelt_decoder_reads_the_upper_layers(reads, all_matter):
    model, variables = small_model(decoder_reads=reads)
    vae = model.bind(variables)
    bottom, top = vae.sample_noise(jax.random.key(1), 2)
    changed = not np.allclose(vae.decode((bottom, top)), vae.decode((bottom, top + 1.0)))
    assert changed == all_matter
    assert not np.allclose(vae.decode((bottom, top)), vae.decode((bottom + 1.0, top)))


def test_layers_follow_the_chain():
    model, variables = small_model((4, 3, 2), network="mlp")
    # Fresh heads ignore their inputs for log_std; means are enough to follow the chain.
    vae = model.bind(variables)
    images = jax.random.normal(jax.random.key(2), (2, 32, 32, 1))
    noise = vae.mean_path(2)
    base = vae.encode(images, noise).posteriors
    moved = vae.encode(images, (noise[0], noise[1] + 1.0, noise[2])).posteriors
    assert np.allclose(base[0].mean, moved[0].mean)
    assert np.allclose(base[1].mean, moved[1].mean)
    assert not np.allclose(base[2].mean, moved[2].mean)
    latents = vae.encode(images, noise).latents
    prior = vae.prior(latents)
    shifted = vae.prior((latents[0] + 1.0, latents[1] + 1.0, latents[2]))
    assert not np.allclose(prior[0].mean, shifted[0].mean)
    assert np.allclose(prior[1].mean, shifted[1].mean)
    np.testing.assert_array_equal(prior[2].mean, 0.0)
    np.testing.assert_array_equal(prior[2].log_std, 0.0)


def test_generation_draws_each_layer_from_its_conditional():
    model, variables = small_model((4, 3, 2), network="mlp")
    vae = model.bind(variables)
    noise = vae.sample_noise(jax.random.key(3), 2)
    z3 = noise[2]
    zeros = vae.mean_path(2)
    p2 = vae.prior((zeros[0], zeros[1], z3))[1]
    z2 = p2.mean + p2.std * noise[1]
    p1 = vae.prior((zeros[0], z2, z3))[0]
    z1 = p1.mean + p1.std * noise[0]
    np.testing.assert_allclose(vae.generate(noise), vae.decode((z1, z2, z3)), rtol=1e-5)


def test_batch_norm_uses_the_batch_in_training_and_averages_in_evaluation():
    model, variables = small_model()
    images = jax.random.normal(jax.random.key(4), (8, 32, 32, 1))
    noise = model.bind(variables).sample_noise(jax.random.key(5), 8)
    _, updated = jax.jit(model.forward_train)(variables, images, noise)
    chex.assert_trees_all_equal_shapes(updated["batch_stats"], variables["batch_stats"])
    moved = {**variables, **updated}
    one = model.bind(moved).encode(images[:1], tuple(z[:1] for z in noise)).posteriors[0].mean
    many = model.bind(moved).encode(images, noise).posteriors[0].mean
    np.testing.assert_allclose(one[0], many[0], rtol=1e-4, atol=1e-5)


def test_without_batch_norm_there_are_no_running_averages():
    model = models.build({"latent_sizes": (4, 3), **SMALL, "batch_norm": False}, (32, 32, 1))
    assert "batch_stats" not in jax.eval_shape(model.init, jax.random.key(0))


def test_jit_and_vmap_agree_with_eager():
    model, variables = small_model()
    vae = model.bind(variables)
    images = jax.random.normal(jax.random.key(6), (3, 32, 32, 1))
    eager = vae.reconstruct(images)
    np.testing.assert_allclose(jax.jit(vae.reconstruct)(images), eager, rtol=1e-4, atol=1e-5)
    one_by_one = jax.vmap(lambda image: vae.reconstruct(image[None])[0])(images)
    np.testing.assert_allclose(one_by_one, eager, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "image_shape", "message"),
    [
        ({}, (48, 48, 1), "got 48x48"),
        ({}, (32, 64, 1), "got 32x64"),
        ({}, (128, 128, 1), "from 8 to 64 pixels"),
        ({"latent_sizes": ()}, (32, 32, 1), "latent_sizes must list positive whole numbers"),
        ({"latent_sizes": (3, 2.5)}, (32, 32, 1), "latent_sizes must be a list of whole numbers"),
        ({"latent_sizes": (3, 2), "hidden_sizes": ()}, (32, 32, 1), "need 1"),
        ({"decoder_reads": "top"}, (32, 32, 1), "must be one of all, bottom"),
        ({"network": "resnet"}, (32, 32, 1), "must be one of conv, mlp"),
        ({"depth": 3}, (32, 32, 1), "unknown model fields depth"),
    ],
)
def test_bad_configurations_are_refused(config, image_shape, message):
    with pytest.raises(ValueError, match=message):
        models.build({"latent_sizes": (2,), **config}, image_shape)


def test_the_posterior_at_given_latents_is_that_of_a_path_through_them():
    model, variables = small_model((4, 3, 2), network="mlp")
    vae = model.bind(variables)
    images = jax.random.normal(jax.random.key(7), (2, 32, 32, 1))
    encoding = vae.encode(images, vae.sample_noise(jax.random.key(8), 2))
    for layer in range(3):
        found = vae.posterior(images, encoding.latents[:layer])
        chex.assert_trees_all_close(found, encoding.posteriors[layer], rtol=1e-4, atol=1e-5)
    # The image has its own part in an upper layer, beside the latents below.
    other = vae.posterior(images + 0.5, encoding.latents[:1])
    assert not np.allclose(other.mean, encoding.posteriors[1].mean)


TWO_LAYERS = {"latent_sizes": (4, 3), "network": "mlp", "widths": (8,), "hidden_sizes": (6,), "batch_norm": False}


def moved(variables, seed=0):
    """Parameters that are not fresh: a fresh log_std ignores its input."""
    leaves, tree = jax.tree.flatten(variables)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(
        tree, [leaf + rng.normal(scale=0.3, size=leaf.shape).astype(np.float32) for leaf in leaves]
    )


def encoded(config, variables=None):
    """Posteriors and priors of two images under a model, moved parameters unless some are given."""
    model = models.build({**TWO_LAYERS, **config}, (8, 8, 1))
    variables = moved(model.init(jax.random.key(0))) if variables is None else variables
    vae = model.bind(variables)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 8, 8, 1)), jnp.float32)
    encoding = vae.encode(images, vae.mean_path(2))
    return encoding.posteriors, vae.prior(encoding.latents), variables


@pytest.fixture(scope="module")
def learned():
    return encoded({})


def test_a_constant_sigma_is_constant_and_has_no_parameters(learned):
    posteriors, prior, variables = encoded({"posterior_std": 0.3})
    for q in posteriors:
        np.testing.assert_allclose(q.std, 0.3, rtol=1e-6)
    heads = variables["params"]
    for name in ("bottom_posterior", "upper_posteriors_0"):
        assert "log_std" not in heads[name] and "log_std" in learned[2]["params"][name]
    # The generative conditional goes on learning its own.
    assert "log_std" in heads["conditionals_0"]
    assert np.ptp(prior[0].log_std, axis=0).min() > 1e-4


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_the_offset_is_added_to_every_learned_posterior_sigma(learned, tau):
    posteriors, prior, variables = learned
    offset, offset_prior, _ = encoded({"posterior_std_offset": tau}, variables)
    for q, shifted in zip(posteriors, offset, strict=True):
        np.testing.assert_allclose(shifted.mean, q.mean, rtol=1e-5)
        np.testing.assert_allclose(shifted.std, q.std + tau, rtol=1e-5)
        assert np.ptp(q.std, axis=0).min() > 1e-4
    chex.assert_trees_all_close(offset_prior, prior, rtol=1e-5)


@pytest.mark.parametrize("log_std", [-46.0, -20.0, 0.0, 20.0])
def test_the_offset_is_exact_and_differentiable_whatever_the_learned_sigma(log_std):
    """exp(-46) is 1e-20, which no sum with 0.1 in float32 shows: the offset alone is left, and no NaN."""
    head = GaussianHead(2, std_offset=0.1)
    inputs = jnp.ones((1, 3))
    variables = head.init(jax.random.key(0), inputs, train=False)
    variables["params"]["log_std"]["bias"] = jnp.full(2, log_std)

    def total(bias):
        params = {**variables["params"], "log_std": {**variables["params"]["log_std"], "bias": bias}}
        return jnp.sum(head.apply({"params": params}, inputs, train=False).log_std)

    found = head.apply(variables, inputs, train=False)
    np.testing.assert_allclose(found.std, np.exp(np.float64(log_std)) + 0.1, rtol=1e-5)
    # d log(sigma + tau) / d log sigma = sigma / (sigma + tau)
    sigma = np.exp(np.float64(log_std))
    np.testing.assert_allclose(jax.grad(total)(jnp.full(2, log_std)), sigma / (sigma + 0.1), rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"posterior_std": -0.1}, "posterior_std must be a finite number >= 0, got -0.1"),
        ({"posterior_std_offset": float("inf")}, "posterior_std_offset must be a finite number, got inf"),
        ({"posterior_std": 0.3, "posterior_std_offset": 0.1}, "posterior_std_offset must be 0 with it"),
        ({"compute_dtype": "float16"}, "compute_dtype must be one of float32, bfloat16; got 'float16'"),
    ],
)
def test_bad_standard_deviations_and_dtypes_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        models.build({**TWO_LAYERS, **config}, (8, 8, 1))


def operations(jaxpr, kinds=("dot_general", "conv_general_dilated")):
    """The dtypes of the inputs of every product and convolution, in nested programs too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in kinds:
            yield tuple(variable.aval.dtype for variable in equation.invars)
        for inner in jax.tree.leaves(
            equation.params, is_leaf=lambda leaf: isinstance(leaf, jax.extend.core.ClosedJaxpr | jax.extend.core.Jaxpr)
        ):
            if isinstance(inner, jax.extend.core.ClosedJaxpr):
                inner = inner.jaxpr
            if isinstance(inner, jax.extend.core.Jaxpr):
                yield from operations(inner, kinds)


BRAIN = {"widths": (4, 4), "feature_size": 8, "hidden_sizes": (8,), "latent_sizes": (4, 3)}


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_bfloat16_is_for_hidden_layers_alone(network, monkeypatch):
    # On a CPU, convolutions are products in float32 between conversions.
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    config = {**BRAIN, "network": network, "compute_dtype": "bfloat16"}
    model = models.build(config, (16, 16, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}

    def whole(variables, images, noise):
        forward, _ = model.forward_train(variables, images, noise)
        return forward

    images = jnp.zeros((2, 16, 16, 1))
    traced, shapes = jax.make_jaxpr(whole, return_shape=True)(variables, images, model.bind(variables).mean_path(2))
    # Posteriors, latents, prior and decoded images.
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    found = list(operations(traced.jaxpr))
    half, full = (jnp.dtype(name) for name in ("bfloat16", "float32"))
    assert set(found) == {(half, half), (full, full)}
    # In float32: mean and log_std of two posteriors and one conditional, and the decoder's last layer.
    assert found.count((full, full)) == 3 * 2 + 1
    # Encoder 2 + 1 (conv) or 2, decoder 2 + 1 or 2, and two hidden layers of two MLPs.
    assert found.count((half, half)) == {"conv": 6, "mlp": 4}[network] + 4


@pytest.mark.slow
def test_a_bfloat16_step_is_close_to_the_one_in_float32():
    settings = training.parse_settings(
        {"seed": 0, "objective": {"beta": 4.0}, "optimizer": {}, "train": {"steps": 1, "batch_size": 16}}
    )
    images = jnp.asarray(np.random.default_rng(3).uniform(-1.0, 1.0, size=(16, 16, 16, 1)), jnp.float32)
    start, losses, gradients = None, [], []
    for dtype in ("float32", "bfloat16"):
        model = models.build({**BRAIN, "network": "mlp", "compute_dtype": dtype}, (16, 16, 1))
        made = recipe.make_recipe(model, settings, 100)
        # Their parameters are of one type.
        start = start or jax.jit(functools.partial(state.create, made))(jax.random.key(0))
        after, metrics = jax.jit(
            lambda start, made=made: step.train_step(start, images, jax.random.key(1), recipe=made)
        )(start)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((after.variables, after.optimizer, metrics)))
        assert {leaf.dtype for leaf in jax.tree.leaves(after.variables)} == {jnp.dtype("float32")}
        losses.append(metrics["loss"])
        gradients.append(metrics["gradient_norm"])
    # bfloat16 has 8 bits: a unit of its last place is 0.4 % of a hidden value.
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.01)
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=0.1)
