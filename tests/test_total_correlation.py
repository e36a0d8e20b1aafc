import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax.gaussian import DiagonalGaussian, log_prob, sample
from seatbelt_jax.total_correlation import log_aggregate_posterior
from tests import annotations
from tests.reference import total_correlation as reference

ROOT = pathlib.Path(__file__).parents[1]
ESTIMATORS = ["mws", "mss", "exact"]
BATCH, LATENT, DATASET = 7, 3, 40


def components(number, seed=0, latent=LATENT):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(number, latent))
    log_std = -1.0 + 0.3 * rng.normal(size=(number, latent))
    z = mean + np.exp(log_std) * rng.normal(size=(number, latent))
    return mean, log_std, z


def to_jax(mean, log_std, z):
    posterior = DiagonalGaussian(jnp.asarray(mean, jnp.float32), jnp.asarray(log_std, jnp.float32))
    return jnp.asarray(z, jnp.float32), posterior


@pytest.mark.parametrize("estimator", ["mws", "mss"])
@pytest.mark.parametrize("block_size", [None, 1, 3, 7, 100])
def test_minibatch_estimators_equal_the_double_loop(estimator, block_size):
    mean, log_std, z = components(BATCH)
    expected = reference.log_aggregate(mean, log_std, z, reference.weights(estimator, BATCH, DATASET))
    got = log_aggregate_posterior(*to_jax(mean, log_std, z), DATASET, estimator=estimator, block_size=block_size)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("block_size", [None, 16])
def test_exact_equals_the_mixture_of_all_components(block_size):
    mean, log_std, z = components(DATASET)
    expected = reference.log_aggregate(mean, log_std, z[:BATCH], reference.weights("exact", BATCH, DATASET))
    latents, posterior = to_jax(mean, log_std, z)
    got = log_aggregate_posterior(latents[:BATCH], posterior, DATASET, estimator="exact", block_size=block_size)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize(("dataset_size", "batch"), [(6, 3), (5, 2), (4, 4)])
def test_mss_averages_to_the_aggregate_over_all_minibatches(dataset_size, batch):
    mean, log_std, z = components(dataset_size, seed=1)
    exact = reference.weights("exact", 1, dataset_size)
    with jax.enable_x64(True):
        for member in range(dataset_size):
            densities = []
            for minibatch in reference.minibatches_with(member, dataset_size, batch):
                index, here = list(minibatch), minibatch.index(member)
                # The mixtures of all coordinates together, and of each alone: a posterior of one coordinate.
                coordinates = [slice(None), *(slice(k, k + 1) for k in range(LATENT))]
                logs = [
                    log_aggregate_posterior(
                        z[index, k], DiagonalGaussian(mean[index, k], log_std[index, k]), dataset_size, estimator="mss"
                    )
                    for k in coordinates
                ]
                densities.append(np.exp([logs[0][0][here], *(product[here] for _, product in logs[1:])]))
            one = slice(member, member + 1)
            joint, _ = reference.log_aggregate(mean, log_std, z[one], exact)
            marginals = [
                reference.log_aggregate(mean[:, k : k + 1], log_std[:, k : k + 1], z[one, k : k + 1], exact)[1]
                for k in range(LATENT)
            ]
            np.testing.assert_allclose(np.mean(densities, axis=0), np.exp([joint[0], *np.ravel(marginals)]), rtol=1e-9)


def one_array(latents, posterior, weights):
    """The equation over one array [batch, components, latent], differentiated by JAX."""
    standardised = (latents[:, None] - posterior.mean) / jnp.exp(posterior.log_std)
    density = -0.5 * standardised**2 - posterior.log_std - 0.5 * np.log(2 * np.pi)
    joint = jax.nn.logsumexp(jnp.log(weights) + jnp.sum(density, -1), axis=1)
    return joint, jnp.sum(jax.nn.logsumexp(jnp.log(weights)[..., None] + density, axis=1), axis=-1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_float64_values_and_gradients_equal_those_of_one_array(estimator):
    # Sizes that no block divides, and cotangents of both outputs that differ from latent to latent.
    number = 37 if estimator == "exact" else 19
    mean, log_std, z = components(number, seed=3)
    dataset_size = number if estimator == "exact" else DATASET
    weights = reference.weights(estimator, 19, dataset_size)
    cotangents = np.random.default_rng(4).normal(size=(2, 19))
    with jax.enable_x64(True):
        arguments = jnp.asarray(z[:19]), DiagonalGaussian(jnp.asarray(mean), jnp.asarray(log_std))

        def ours(latents, posterior):
            return log_aggregate_posterior(latents, posterior, dataset_size, estimator=estimator, block_size=4)

        value, pull_back = jax.vjp(ours, *arguments)
        expected, expected_pull_back = jax.vjp(lambda *a: one_array(*a, weights), *arguments)
        brute_force = reference.log_aggregate(mean, log_std, z[:19], weights)
        gradient, expected_gradient = (f(tuple(cotangents)) for f in (pull_back, expected_pull_back))
    leaves = jax.tree.leaves((value, gradient)), jax.tree.leaves((expected, expected_gradient))
    for got, wanted in zip(*leaves, strict=True):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(value, brute_force, rtol=1e-12)


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_top_layer_differentiates_through_the_components_of_a_hierarchy(estimator):
    # q(z^2 | z^1, x): component j depends on z_j^1, so the first layer moves every latent's mixture.
    rng = np.random.default_rng(5)
    first, noise, matrix = (rng.normal(size=shape) for shape in [(6, 4), (6, LATENT), (4, LATENT)])
    weights = reference.weights(estimator, 6, DATASET)

    def total_correlation(first, aggregate):
        hidden = jnp.tanh(first @ matrix)
        top = DiagonalGaussian(hidden, 0.5 * hidden - 1.0)
        joint, product = aggregate(sample(top, jnp.asarray(noise)), top)
        return jnp.mean(joint - product)

    with jax.enable_x64(True):
        ours, expected = (
            jax.value_and_grad(total_correlation)(jnp.asarray(first), aggregate)
            for aggregate in (
                lambda z, q: log_aggregate_posterior(z, q, DATASET, estimator=estimator),
                lambda z, q: one_array(z, q, weights),
            )
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), ours, expected)


def test_mws_total_correlation_is_that_of_the_batch_mixture_plus_a_constant():
    mean, log_std, z = components(BATCH)
    joint, product = log_aggregate_posterior(*to_jax(mean, log_std, z), DATASET, estimator="mws")
    plain = reference.log_aggregate(mean, log_std, z, np.full((BATCH, BATCH), 1.0 / BATCH))
    np.testing.assert_allclose((joint - product) - (plain[0] - plain[1]), (LATENT - 1) * np.log(DATASET), rtol=1e-4)


def test_total_correlation_of_a_factorised_aggregate_is_zero():
    # All combinations of two levels per coordinate: the mixture is a product by construction.
    grid = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), -1).reshape(-1, 3)
    latents, posterior = to_jax(grid, np.full_like(grid, -0.5), grid + 0.3)
    joint, product = log_aggregate_posterior(latents, posterior, len(grid), estimator="exact")
    np.testing.assert_allclose(joint - product, 0.0, atol=1e-5)


def test_total_correlation_of_a_correlated_gaussian_is_its_closed_form():
    # Means from a correlated normal and small noise: the aggregate is close to that normal.
    correlation, number = 0.8, 20_000
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])
    std = 0.3
    mean = rng.multivariate_normal(np.zeros(2), covariance - std**2 * np.eye(2), size=number)
    latents, posterior = to_jax(mean, np.full_like(mean, np.log(std)), mean + std * rng.normal(size=mean.shape))
    joint, product = log_aggregate_posterior(latents[:4000], posterior, number, estimator="exact")
    closed_form = -0.5 * np.log(1.0 - correlation**2)
    np.testing.assert_allclose(np.mean(joint - product), closed_form, rtol=0.03)


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_gradients_equal_finite_differences_and_do_not_depend_on_blocks(estimator):
    latents, posterior = to_jax(*components(5, seed=2))
    noise = jax.random.normal(jax.random.key(0), latents.shape)

    def total_correlation(q, block_size=None):
        joint, product = log_aggregate_posterior(
            sample(q, noise), q, DATASET, estimator=estimator, block_size=block_size
        )
        return jnp.mean(joint - product)

    whole = jax.grad(total_correlation)(posterior)
    blocks = jax.grad(lambda q: total_correlation(q, 2))(posterior)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), whole, blocks)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.float64(leaf)), posterior)
        noise = jnp.asarray(np.float64(noise))
        step = jax.tree.map(lambda leaf: 1e-5 * jnp.ones_like(leaf), wide)
        up = total_correlation(jax.tree.map(jnp.add, wide, step))
        down = total_correlation(jax.tree.map(jnp.subtract, wide, step))
        along_ones = sum(float(jnp.sum(leaf)) for leaf in jax.tree.leaves(whole))
        np.testing.assert_allclose((up - down) / 2e-5, along_ones, rtol=1e-3)


def extreme_posteriors(batch, latent):
    """log_stds of both ends, alone and mixed, with means and latents up to 1e3 and identical examples."""
    rng = np.random.default_rng(0)
    wide = rng.uniform(-1e3, 1e3, (batch, latent))
    for log_std in (
        -60.0,
        -20.0,
        10.0,
        rng.choice([-20.0, 10.0], (batch, latent)),
        rng.uniform(-20.0, 10.0, (batch, 1)),
    ):
        scale = np.broadcast_to(log_std, (batch, latent))
        near = np.clip(wide + np.exp(scale) * rng.normal(size=wide.shape), -1e3, 1e3)
        pairs = [(wide, wide), (wide, near), (wide, wide[::-1]), (0 * wide, 0 * wide), (0 * wide + 1e3, 0 * wide - 1e3)]
        for mean, latents in pairs:
            yield mean, scale, latents


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("batch", "latent"), [(1, 1), (1, 3), (4, 1), (5, 8)])
def test_extreme_posteriors_stay_finite(estimator, batch, latent):
    @jax.jit
    def value_and_gradient(latents, posterior):
        def total(*arguments):
            dataset_size = batch if estimator == "exact" else 200_000
            # In blocks of 2, the last one filled up.
            joint, product = log_aggregate_posterior(*arguments, dataset_size, estimator=estimator, block_size=2)
            return jnp.mean(joint - product), (joint, product)

        return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(latents, posterior)

    for mean, log_std, z in extreme_posteriors(batch, latent):
        latents, posterior = to_jax(mean, log_std, z)
        (value, sums), gradient = value_and_gradient(latents, posterior)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((value, sums, gradient)))
        if np.all(log_std >= -20.0):
            weights = reference.weights(estimator, batch, batch if estimator == "exact" else 200_000)
            exact = [np.float64(x) for x in (posterior.mean, posterior.log_std, latents)]
            np.testing.assert_allclose(sums, reference.log_aggregate(*exact, weights), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_identical_examples_give_their_own_density(estimator):
    latents, posterior = to_jax(*(np.repeat(x, 6, axis=0) for x in components(1)))
    dataset_size = 6 if estimator == "exact" else DATASET
    joint, product = log_aggregate_posterior(latents, posterior, dataset_size, estimator=estimator)
    constant = -np.log(DATASET) if estimator == "mws" else 0.0
    density = np.asarray(log_prob(posterior, latents))
    np.testing.assert_allclose(joint, density + constant, rtol=1e-5)
    np.testing.assert_allclose(product, density + LATENT * constant, rtol=1e-5)


def test_a_minibatch_of_the_whole_data_set_is_exact():
    latents, posterior = to_jax(*components(BATCH))
    mss, exact = (log_aggregate_posterior(latents, posterior, BATCH, estimator=e) for e in ("mss", "exact"))
    np.testing.assert_allclose(mss, exact, rtol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_jit_and_vmap_agree_with_the_plain_call(estimator):
    stacked = [to_jax(*components(BATCH, seed)) for seed in range(3)]
    dataset_size = BATCH if estimator == "exact" else DATASET

    def value_and_gradient(latents, posterior):
        def total(*arguments):
            joint, product = log_aggregate_posterior(*arguments, dataset_size, estimator=estimator)
            return jnp.sum(joint * jnp.arange(BATCH) - product)

        return jax.value_and_grad(total, argnums=(0, 1))(latents, posterior)

    plain = [value_and_gradient(*one) for one in stacked]
    jitted = [jax.jit(value_and_gradient)(*one) for one in stacked]
    mapped = jax.vmap(value_and_gradient)(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *stacked))
    for number, one in enumerate(plain):
        for other in (jitted[number], jax.tree.map(lambda leaf: leaf[number], mapped)):  # noqa: B023
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), one, other)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("estimator", ["mws", "mss"])
@pytest.mark.parametrize("wide", [False, True])
def test_densities_are_float32_whatever_the_networks_compute_in(dtype, estimator, wide):
    latents, posterior = jax.tree.map(lambda leaf: leaf.astype(dtype), to_jax(*components(BATCH)))
    with jax.enable_x64(wide):
        sums, pull_back = jax.vjp(
            lambda z, q: log_aggregate_posterior(z, q, DATASET, estimator=estimator), latents, posterior
        )
        gradient = pull_back(sums)
    assert {leaf.dtype for leaf in sums} == {np.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {np.dtype(dtype)}


def mean_total_correlation(latents, posterior):
    joint, product = log_aggregate_posterior(latents, posterior, 200_000, estimator="mss")
    return jnp.mean(joint - product)


def test_no_array_grows_with_the_square_of_the_batch():
    # The largest array is [block, latent, batch], 16 x 4 x batch; a square one would be the larger at these sizes.
    # Below a thousand the memory of XLA's own fusions, which differ between its versions, is the larger part.
    temporary = []
    for batch in (1024, 4096):
        arguments = to_jax(*components(batch, latent=4))
        compiled = jax.jit(jax.value_and_grad(mean_total_correlation, argnums=(0, 1))).lower(*arguments).compile()
        shapes = re.findall(r"[a-z]+[0-9]+\[([0-9,]+)\]", compiled.as_text())
        assert max(np.prod([int(n) for n in shape.split(",")]) for shape in shapes) <= 16 * 4 * batch < batch**2
        temporary.append(compiled.memory_analysis().temp_size_in_bytes)
    assert temporary[1] < 5 * temporary[0]


SHARDED = """
import json, re, sys
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tests.test_total_correlation import components, mean_total_correlation, to_jax

arguments = to_jax(*components(256, latent=8))
split = NamedSharding(Mesh(jax.devices(), ("data",)), PartitionSpec("data"))
results, flops = [], []
for inputs in (arguments, jax.device_put(arguments, split)):
    compiled = jax.jit(jax.value_and_grad(mean_total_correlation, argnums=(0, 1))).lower(*inputs).compile()
    results.append([np.asarray(leaf).tolist() for leaf in jax.tree.leaves(compiled(*inputs))])
    flops.append(compiled.cost_analysis()["flops"])
inside, elements = 0, [0]
for computation in re.split(r"\\n(?=%|ENTRY)", compiled.as_text()):
    if not computation.startswith("ENTRY"):
        inside += len(re.findall(r" (?:all-[a-z]+|collective-[a-z]+|reduce-scatter)(?:-start)?\\(", computation))
    for shape in re.findall(r"[a-z]+[0-9]+\\[([0-9,]+)\\]", computation):
        elements.append(int(np.prod([int(n) for n in shape.split(",")])))
print(json.dumps([jax.device_count(), results, flops, inside, max(elements)]))
"""


@pytest.mark.slow
def test_a_batch_divided_over_devices_gives_the_same_and_divides_the_work():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run([sys.executable, "-c", SHARDED], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    devices, results, flops, collectives_inside_loops, elements = json.loads(run.stdout.splitlines()[-1])
    assert devices == 8
    for one, eight in zip(*results, strict=True):
        np.testing.assert_allclose(eight, one, rtol=1e-5, atol=1e-7)
    # Each device computes an eighth, without waiting for others inside the loops, and forms no square array.
    assert flops[1] < 0.15 * flops[0]
    assert collectives_inside_loops == 0
    assert elements < 256**2


def test_large_products_of_sizes_do_not_overflow():
    latents, posterior = to_jax(*components(4))
    joint, _ = log_aggregate_posterior(latents, posterior, 2**40, estimator="mws")
    small, _ = log_aggregate_posterior(latents, posterior, 4, estimator="mws")
    np.testing.assert_allclose(small - joint, np.log(2.0**38), rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "estimator", "message"),
    [
        (3, "mws", "smaller than the minibatch"),
        (3, "mss", "smaller than the minibatch"),
        (float("inf"), "mws", "not a finite number"),
        (float("nan"), "mss", "not a finite number"),
        (40, "exact", "takes all 40"),
        (40, "best", "estimator must be one of mws, mss, exact"),
    ],
)
@annotations.unchecked()
def test_bad_sizes_are_refused(size, estimator, message):
    latents, posterior = to_jax(*components(BATCH))
    with pytest.raises(ValueError, match=message):
        log_aggregate_posterior(latents, posterior, size, estimator=estimator)


@annotations.unchecked()
def test_bad_shapes_are_refused():
    latents, posterior = to_jax(*components(BATCH))
    with pytest.raises(ValueError, match="got 0 latents and 0 components; give at least one of each"):
        log_aggregate_posterior(latents[:0], jax.tree.map(lambda leaf: leaf[:0], posterior), DATASET)
    with pytest.raises(ValueError, match=r"minibatch's own posteriors: got 7 components for 3 latents"):
        log_aggregate_posterior(latents[:3], posterior, DATASET)
    with pytest.raises(ValueError, match=r"do not fit: got \(7, 1\), \(7, 3\) and \(7, 3\)"):
        log_aggregate_posterior(latents[:, :1], posterior, DATASET)
    with pytest.raises(ValueError, match=r"do not fit: got \(3,\)"):
        log_aggregate_posterior(latents[0], posterior, DATASET)
    with pytest.raises(ValueError, match="block_size must be a whole number of at least 1"):
        log_aggregate_posterior(latents, posterior, DATASET, block_size=0)
