import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import models

SMALL = {"widths": (4, 4, 4, 4), "feature_size": 8, "hidden_sizes": (8, 8, 8, 8)}


def small_model(latent_sizes=(4, 3), image_shape=(32, 32, 1), **config):
    model = models.build({"latent_sizes": latent_sizes, **SMALL, **config}, image_shape)
    return model, model.init(jax.random.key(0))


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("image_shape", [(32, 32, 1), (64, 64, 3)])
def test_every_function_of_the_record_has_its_shape(depth, image_shape):
    sizes = tuple(range(depth + 1, 1, -1))
    model, variables = small_model(sizes, image_shape)
    vae = model.bind(variables)
    images = jnp.zeros((2, *image_shape))
    encoding = vae.encode(images, vae.mean_path(2))
    assert len(encoding.posteriors) == len(encoding.latents) == depth
    for size, posterior, latent, prior in zip(
        sizes, encoding.posteriors, encoding.latents, vae.prior(encoding.latents), strict=True
    ):
        chex.assert_shape([posterior.mean, posterior.log_std, latent, prior.mean, prior.log_std], (2, size))
    chex.assert_shape([vae.decode(encoding.latents), vae.reconstruct(images)], (2, *image_shape))
    chex.assert_shape(vae.generate(vae.sample_noise(jax.random.key(0), 3)), (3, *image_shape))


def test_paper_networks_have_the_paper_widths():
    model = models.build({"latent_sizes": (6,)}, (64, 64, 1))
    parameters = model.init(jax.random.key(0))["params"]
    kernels = [parameters["encoder"][f"Conv_{i}"]["kernel"].shape for i in range(4)]
    assert kernels == [(4, 4, 1, 32), (4, 4, 32, 32), (4, 4, 32, 64), (4, 4, 64, 64)]
    assert parameters["encoder"]["Dense_0"]["kernel"].shape == (4 * 4 * 64, 512)
    decoder = parameters["decoder"]
    assert decoder["Dense_0"]["kernel"].shape == (6, 512)
    assert decoder["Dense_1"]["kernel"].shape == (512, 4 * 4 * 64)
    kernels = [decoder[f"ConvTranspose_{i}"]["kernel"].shape for i in range(4)]
    assert kernels == [(4, 4, 64, 64), (4, 4, 64, 32), (4, 4, 32, 32), (4, 4, 32, 1)]


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
    _, updated = model.forward_train(variables, images, noise)
    chex.assert_trees_all_equal_shapes(updated["batch_stats"], variables["batch_stats"])
    moved = {**variables, **updated}
    one = model.bind(moved).encode(images[:1], tuple(z[:1] for z in noise)).posteriors[0].mean
    many = model.bind(moved).encode(images, noise).posteriors[0].mean
    np.testing.assert_allclose(one[0], many[0], rtol=1e-4, atol=1e-5)


def test_without_batch_norm_there_are_no_running_averages():
    _, variables = small_model(batch_norm=False)
    assert "batch_stats" not in variables


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
        ({"latent_sizes": (3, 2.5)}, (32, 32, 1), "latent_sizes must list positive whole numbers"),
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
