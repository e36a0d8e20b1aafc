import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import attacks, bounds, concrete, data, elbo, gaussian, models, runs, training
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.total_correlation import log_aggregate_posterior
from seatbelt_jax.vae import Encoding
from tests.reference import concrete as reference
from tests.reference import gaussian as gaussian_reference

SHAPE = (8, 8, 1)
SIZES, LATENT, BATCH, DATASET = (3, 2), 4, 6, 40
CONFIG = {
    "latent_sizes": (LATENT,),
    "discrete_sizes": SIZES,
    "temperature": 0.5,
    "network": "mlp",
    "widths": (16,),
    "batch_norm": False,
    "likelihood": "bernoulli",
}


@pytest.fixture(scope="module")
def model():
    return models.build(CONFIG, SHAPE)


@pytest.fixture(scope="module")
def variables(model):
    """Not fresh ones, whose log_std reads nothing."""
    fresh = model.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(fresh)
    rng = np.random.default_rng(0)
    moved = [leaf + rng.normal(scale=0.2, size=leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, moved)


@pytest.fixture(scope="module")
def vae(model, variables):
    return model.bind(variables)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(1).uniform(size=(BATCH, *SHAPE)), jnp.float32)


@pytest.fixture(scope="module")
def noise(vae):
    return vae.sample_noise(jax.random.key(1), BATCH)


@pytest.fixture(scope="module")
def outputs(vae, images, noise):
    """log-likelihood, encoding and prior: what `decompose` takes."""
    encoding = vae.encode(images, noise)
    return vae.likelihood.log_prob(vae.decode(encoding.latents), images), encoding, vae.prior(encoding.latents)


@pytest.fixture(scope="module")
def terms(outputs):
    return elbo.decompose(*outputs, dataset_size=DATASET, estimator="mss")


def test_every_function_of_the_record_has_its_shape(model, vae, images, outputs):
    log_likelihood, encoding, prior = outputs
    assert model.latent_sizes == vae.latent_sizes == (5, LATENT)
    for discrete, continuous in (encoding.posteriors, prior):
        assert isinstance(discrete, Concrete) and isinstance(continuous, DiagonalGaussian)
        assert (discrete.sizes, discrete.temperature) == (SIZES, 0.5)
        chex.assert_shape(discrete.logits, (BATCH, 5))
        chex.assert_shape([continuous.mean, continuous.log_std], (BATCH, LATENT))
    chex.assert_shape(encoding.latents, [(BATCH, 5), (BATCH, LATENT)])
    chex.assert_shape(log_likelihood, (BATCH,))
    chex.assert_shape([vae.decode(encoding.latents), vae.reconstruct(images)], (BATCH, *SHAPE))
    np.testing.assert_array_equal(prior[0].logits, 0.0)
    np.testing.assert_array_equal([prior[1].mean, prior[1].log_std], 0.0)


def test_each_latent_is_the_sample_of_its_own_posterior(outputs, noise):
    _, encoding, _ = outputs
    (q_discrete, q_continuous), (discrete, continuous) = encoding
    expected = reference.sample(q_discrete.logits, noise[0], SIZES, 0.5)
    np.testing.assert_allclose(discrete, expected, rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(continuous, q_continuous.mean + q_continuous.std * noise[1], rtol=1e-5)
    # The posteriors read the image.
    assert np.ptp(q_discrete.logits, axis=0).min() > 1e-3
    assert min(np.ptp(leaf, axis=0).min() for leaf in (q_continuous.mean, q_continuous.log_std)) > 1e-3


def test_neither_kind_of_latent_depends_on_the_noise_of_the_other(vae, images, noise, outputs):
    _, encoding, _ = outputs
    encode = jax.jit(vae.encode)
    other_discrete = encode(images, (noise[0] + 1.0 + noise[0] ** 2, noise[1]))
    other_continuous = encode(images, (noise[0], noise[1] + 1.0))
    for other in (other_discrete, other_continuous):
        chex.assert_trees_all_close(other.posteriors, encoding.posteriors, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(other_discrete.latents[1], encoding.latents[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(other_continuous.latents[0], encoding.latents[0], rtol=1e-5, atol=1e-6)
    assert not np.allclose(other_discrete.latents[0], encoding.latents[0])
    assert not np.allclose(other_continuous.latents[1], encoding.latents[1])


def test_the_decoder_reads_both(vae, outputs):
    _, encoding, _ = outputs
    discrete, continuous = encoding.latents
    decoded = vae.decode((discrete, continuous))
    assert not np.allclose(vae.decode((discrete[:, ::-1], continuous)), decoded, atol=1e-3)
    assert not np.allclose(vae.decode((discrete, continuous + 1.0)), decoded, atol=1e-3)


def test_both_divergences_are_the_closed_forms(outputs, terms):
    _, encoding, _ = outputs
    discrete, continuous = encoding.posteriors
    to_uniform = reference.kl_divergence(discrete.logits, np.zeros((BATCH, 5)), SIZES)
    np.testing.assert_allclose(terms.kl[:, 0], to_uniform, rtol=1e-4)
    mean, std = np.asarray(continuous.mean, np.float64), np.exp(np.asarray(continuous.log_std, np.float64))
    to_normal = [gaussian_reference.kl_divergence(mean[i], std[i], np.zeros(LATENT), 1.0) for i in range(BATCH)]
    np.testing.assert_allclose(terms.kl[:, 1], to_normal, rtol=1e-4)
    np.testing.assert_allclose(terms.elbo, outputs[0] - to_uniform - np.array(to_normal), rtol=1e-5)


def test_the_decomposition_is_that_of_the_gaussian_latents(outputs, terms):
    _, encoding, prior = outputs
    ratio = gaussian.log_prob(encoding.posteriors[1], encoding.latents[1]) - gaussian.log_prob(
        prior[1], encoding.latents[1]
    )
    parts = terms.mutual_information + terms.total_correlation + terms.dimension_wise_kl
    np.testing.assert_allclose(parts, ratio, rtol=1e-4, atol=1e-4)
    joint, product = log_aggregate_posterior(encoding.latents[1], encoding.posteriors[1], DATASET, estimator="mss")
    np.testing.assert_allclose(terms.total_correlation, joint - product, rtol=1e-5, atol=1e-5)
    assert np.all(np.abs(terms.total_correlation) > 0.0)


def test_concrete_latents_on_top_are_refused(outputs):
    log_likelihood, encoding, prior = outputs
    upside_down = Encoding(encoding.posteriors[::-1], encoding.latents[::-1])
    with pytest.raises(TypeError, match="top layer must be Gaussian, got Concrete; put Concrete layers below it"):
        elbo.decompose(log_likelihood, upside_down, prior[::-1], dataset_size=DATASET)


def test_the_capacity_objective_and_its_gradient(outputs):
    """mean log p - gamma sum_i |mean KL_i - C_i|, one layer above its capacity and one below.

    Both are near it, so that single examples lie on either side of both.
    """
    log_likelihood, encoding, prior = outputs
    before = elbo.decompose(log_likelihood, encoding, prior, dataset_size=DATASET)
    gamma, capacity = 7.0, np.mean(before.kl, axis=0) + np.array([0.01, -0.01])
    assert np.all(np.any(before.kl > capacity, axis=0) & np.any(before.kl < capacity, axis=0))
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        start = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (log_likelihood, *encoding.posteriors))
        direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), start)

        def objective(step):
            log_p, q_c, q_z = jax.tree.map(lambda leaf, along: leaf + step * along, start, direction)
            prior = concrete.uniform(q_c), gaussian.standard_normal(q_z.mean)
            terms = elbo.decompose(log_p, Encoding((q_c, q_z), (q_c.logits, q_z.mean)), prior, dataset_size=DATASET)
            return elbo.objective(terms, beta=gamma, penalty="capacity", capacity=capacity), terms

        values, terms = jax.jit(objective)(0.0)
        distance = jnp.mean(terms.kl, axis=0) - jnp.asarray(capacity)
        assert distance[0] < 0.0 < distance[1]
        expected = np.mean(start[0]) - gamma * np.abs(distance).sum()
        np.testing.assert_allclose(jnp.mean(values), expected, rtol=1e-12)

        mean = jax.jit(lambda step: jnp.mean(objective(step)[0]))
        slope = (mean(1e-6) - mean(-1e-6)) / 2e-6
        np.testing.assert_allclose(jax.jit(jax.grad(mean))(0.0), slope, rtol=1e-6)


def test_capacity_zero_pulls_every_divergence_down(terms):
    """|KL - 0| = KL: then the objective is beta-VAE's."""
    with_capacity = elbo.objective(terms, beta=3.0, penalty="capacity", capacity=0.0)
    np.testing.assert_allclose(with_capacity, elbo.objective(terms, beta=3.0, penalty="kl"), rtol=1e-5)
    # One number is one for each layer.
    np.testing.assert_allclose(
        elbo.objective(terms, beta=3.0, penalty="capacity", capacity=1.0),
        elbo.objective(terms, beta=3.0, penalty="capacity", capacity=(1.0, 1.0)),
        rtol=1e-6,
    )
    with pytest.raises(ValueError, match="capacity must be one number or 2, one per layer; got 3"):
        elbo.objective(terms, penalty="capacity", capacity=(1.0, 1.0, 1.0))


def test_generated_images_are_decoded_from_samples_of_the_priors(vae, noise):
    uniform = reference.sample(np.zeros((BATCH, 5)), noise[0], SIZES, 0.5)
    expected = vae.likelihood.mean(vae.decode((jnp.asarray(uniform, jnp.float32), noise[1])))
    np.testing.assert_allclose(vae.generate(noise), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def hard_model():
    return models.build({**CONFIG, "hard_samples": True}, SHAPE)


def test_hard_samples_decode_the_arg_max_of_the_logits_in_evaluation(hard_model, variables, vae, images, noise):
    """Sootla 2018, Sec. 3.3 and 4, on the mean path; categorical samples elsewhere."""
    hard = hard_model.bind(variables)
    logits = vae.encode(images, noise).posteriors[0].logits
    for given, where in ((noise, "noise"), (vae.mean_path(BATCH), "mean path")):
        relaxed, one_hot = vae.encode(images, given).latents, hard.encode(images, given).latents
        np.testing.assert_array_equal(one_hot[0], reference.hard_sample(logits, given[0], SIZES), err_msg=where)
        np.testing.assert_array_equal(one_hot[1], relaxed[1])
    largest = np.argmax(logits[:, :3], axis=1), 3 + np.argmax(logits[:, 3:], axis=1)
    code = np.zeros((BATCH, 5), np.float32)
    code[np.arange(BATCH), largest[0]] = code[np.arange(BATCH), largest[1]] = 1.0
    mean = vae.encode(images, vae.mean_path(BATCH)).posteriors[1].mean
    expected = vae.likelihood.mean(vae.decode((jnp.asarray(code), mean)))
    np.testing.assert_allclose(hard.reconstruct(images), expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(hard.reconstruct(images), vae.reconstruct(images), atol=1e-3)
    # What latent attacks compare is the same: the posteriors.
    chex.assert_trees_all_equal(
        jax.tree.leaves(hard.encode(images, noise).posteriors), jax.tree.leaves(vae.encode(images, noise).posteriors)
    )
    # Generated images have one-hot classes as well.
    drawn = reference.hard_sample(np.zeros((BATCH, 5)), noise[0], SIZES)
    generated = vae.likelihood.mean(vae.decode((jnp.asarray(drawn, jnp.float32), noise[1])))
    np.testing.assert_allclose(hard.generate(noise), generated, rtol=1e-4, atol=1e-5)


def test_training_decodes_relaxed_samples_whatever_evaluation_does(model, hard_model, variables, images, noise):
    for one in (model, hard_model):
        forward, _ = one.forward_train(variables, images, noise)
        expected = reference.sample(forward.encoding.posteriors[0].logits, noise[0], SIZES, 0.5)
        np.testing.assert_allclose(forward.encoding.latents[0], expected, rtol=2e-4, atol=1e-6)


def test_no_noise_is_chosen_for_given_concrete_samples(vae, images, outputs):
    _, encoding, _ = outputs
    chex.assert_trees_all_close(vae.posterior(images, ()), encoding.posteriors[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="layer 1 is Concrete: many noises give the same sample of it"):
        vae.posterior(images, encoding.latents[:1])


def test_a_run_of_a_joint_vae_opens_from_its_json(model, variables, vae, images, tmp_path):
    config = {"model": CONFIG, "data": {"name": "mock"}, "seed": 0}
    opened = runs.prepare(tmp_path / "a", config, SHAPE)
    with Checkpoints(opened.path / "checkpoints") as checkpoints:
        checkpoints.save(1, variables=variables, training={"count": np.zeros(1)})
    reopened = runs.open(tmp_path / "a").load_vae()
    np.testing.assert_allclose(reopened.reconstruct(images), vae.reconstruct(images), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A JointVAE trained with a low and a high capacity, and its learning curve."""
    splits = data.load({"name": "mock", "image_size": 8, "num_images": 200}, (0.0, 1.0))
    model = models.build(CONFIG, SHAPE)
    capacity = {"penalty": "capacity", "beta": 30.0, "capacity": (0.4, 3.0), "capacity_annealing_steps": 100}
    settings = training.parse_settings(
        {
            "seed": 0,
            "objective": capacity,
            "optimizer": {"learning_rate": 2e-2},
            "train": {"steps": 200, "batch_size": 64, "log_every": 25, "evaluate_every": 200, "checkpoint_every": 200},
        }
    )
    path = tmp_path_factory.mktemp("joint")
    state = training.train(model, splits, settings, path)
    rows = [row for row in training.read_metrics(path) if row["split"] == "train"]
    return model.bind(state.variables), np.asarray(splits.validation.images(np.arange(4))), rows


@pytest.mark.slow
def test_training_brings_each_divergence_to_its_capacity(trained):
    _, _, rows = trained
    np.testing.assert_allclose([rows[-1]["kl_1"], rows[-1]["kl_2"]], [0.4, 3.0], atol=0.25)
    # On the way there, too: at step 50 half of it is allowed.
    half_way = next(row for row in rows if row["step"] == 50)
    np.testing.assert_allclose([half_way["kl_1"], half_way["kl_2"]], [0.2, 1.5], atol=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("layers", ["all", "bottom"])
def test_latent_attacks_bring_the_posteriors_closer(trained, layers):
    vae, images, _ = trained
    sources, targets = images[:2], images[2:4]
    penalties = np.array([1e-3, 1e6])
    result = attacks.sweep(
        vae,
        sources,
        targets,
        objective=attacks.latent(vae, layers=layers),
        threat=attacks.Penalty(penalties),
        solver=attacks.BoxLBFGS(maxiter=20),
        lanes_at_once=2,
    )
    encode = jax.jit(functools.partial(vae.encode, noise=vae.mean_path(2)))
    target = encode(jnp.asarray(targets)).posteriors

    def divergence(images):
        c, z = encode(jnp.asarray(images)).posteriors
        categorical = reference.kl_divergence(c.logits, target[0].logits, SIZES)
        normal = gaussian.kl_divergence(z, target[1])
        return {"all": categorical + normal, "bottom": categorical}[layers]

    clean = divergence(sources)
    np.testing.assert_allclose(result.distance[:, 1], clean, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(result.distortion_norm[:, 1], 0.0)
    np.testing.assert_allclose(result.distance[:, 0], divergence(result.adversarial[:, 0]), rtol=1e-3, atol=1e-5)
    assert np.all(result.distance[:, 0] < 0.5 * clean)
    assert np.all(result.objective[:, 0] < clean)


def test_margins_of_concrete_latents_are_refused(vae):
    with pytest.raises(ValueError, match=r"margins are for Gaussian latents; this model has Concrete ones") as error:
        bounds.Model.of_vae(vae)
    assert "\n" not in str(error.value)


def test_what_the_latents_can_hold_is_the_logarithm_of_their_states(model):
    assert model.largest_kl == (pytest.approx(math.log(6)), math.inf)
    assert models.build({"latent_sizes": (3, 2), "network": "mlp", "widths": (8,)}, SHAPE).largest_kl == (math.inf,) * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_sizes": (4, 2)}, "one layer of Gaussian latents, but model.latent_sizes names 2"),
        ({"discrete_sizes": (3, 0)}, "discrete_sizes must list positive whole numbers"),
        ({"temperature": 0.0}, "temperature must be a positive number, got 0.0"),
        ({"temperature": math.inf}, "temperature must be a finite number, got inf"),
    ],
)
def test_bad_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        models.build({**CONFIG, **change}, SHAPE)
