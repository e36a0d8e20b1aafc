"""Every public function of the ground rooms, composed with jit, vmap, grad and jacfwd, against the plain call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import attacks, bounds, concrete, elbo, gaussian
from seatbelt_jax.bounds import JacobianNorms
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.likelihood import BernoulliLikelihood, GaussianLikelihood
from seatbelt_jax.total_correlation import log_aggregate_posterior, log_mixture
from seatbelt_jax.vae import VAE, Encoding
from tests import annotations

A, B, C = jax.random.normal(jax.random.key(0), (3, 6, 4))
PIXELS = jax.random.uniform(jax.random.key(1), (6, 3, 3, 1))
OTHERS = jax.random.uniform(jax.random.key(2), (6, 3, 3, 1))


def q(x):
    return DiagonalGaussian(x, 0.3 * x - 0.5)


def p(y):
    return DiagonalGaussian(y, 0.1 * y)


def categories(x):
    return Concrete(x, (4,), 0.7)


def aggregate(estimator, **options):
    def call(x, size):
        joint, product = log_aggregate_posterior(x, q(B), size, estimator=estimator, block_size=4, **options)
        return joint - product

    return call


def elbo_terms(x, size, **options):
    encoding = Encoding((q(x),), (x + 0.1,))
    return elbo.decompose(jnp.sum(x, axis=-1), encoding, (p(B),), dataset_size=size, **options)


def objective_with(forward_mode=False, **options):
    def call(x, bits):
        return elbo.objective(elbo_terms(x, 100, forward_mode=forward_mode), beta=3.0, free_bits=bits, **options)

    return call


WEIGHTS = jax.random.normal(jax.random.key(3), (9, 2))


def vae():
    return VAE.from_functions(
        lambda x: DiagonalGaussian(x.reshape(-1) @ WEIGHTS, 0.1 * x.reshape(-1) @ WEIGHTS),
        lambda z: jnp.tanh(WEIGHTS @ z).reshape(3, 3, 1),
        image_shape=(3, 3, 1),
    )


def attack(make, **options):
    def call(image, target):
        objective = make(vae(), **options)
        goal = jax.tree.map(lambda leaf: leaf[0], objective.prepare(target[None], target[None]))
        return objective.distance(image, goal)

    return call


def norms(x):
    return JacobianNorms(*(jnp.exp(x[index % 4]) for index in range(6)))


DRAWS = (jax.random.normal(jax.random.key(4), (5, 2)),)
SIZE, BITS, STD = jnp.float32(50.0), jnp.float32(0.4), jnp.float32(0.3)
# name: function of two arrays, and the arrays.
CASES = {
    "gaussian.sample": (lambda x, y: gaussian.sample(q(x), y), A, B),
    "gaussian.log_prob": (lambda x, y: gaussian.log_prob(q(x), y), A, B),
    "gaussian.log_prob_per_coordinate": (lambda x, y: gaussian.log_prob_per_coordinate(q(x), y), A, B),
    "gaussian.entropy": (lambda x, y: gaussian.entropy(q(x + y)), A, B),
    "gaussian.kl_divergence": (lambda x, y: gaussian.kl_divergence(q(x), p(y)), A, B),
    "gaussian.symmetric_kl": (lambda x, y: gaussian.symmetric_kl(q(x), p(y)), A, B),
    "gaussian.wasserstein2": (lambda x, y: gaussian.wasserstein2(q(x), p(y)), A, B),
    "concrete.sample": (lambda x, y: concrete.sample(categories(x), y), A, B),
    "concrete.kl_divergence": (lambda x, y: concrete.kl_divergence(categories(x), categories(y)), A, B),
    "concrete.symmetric_kl": (lambda x, y: concrete.symmetric_kl(categories(x), categories(y)), A, B),
    "concrete.wasserstein2": (lambda x, y: concrete.wasserstein2(categories(x), categories(y)), A, B),
    "concrete.log_probabilities": (lambda x, y: concrete.log_probabilities(categories(x + y)), A, B),
    "likelihood.gaussian": (lambda x, y: GaussianLikelihood().log_prob(x, y), PIXELS, OTHERS),
    "likelihood.gaussian of a std": (lambda x, std: GaussianLikelihood(std).log_prob(x, OTHERS), PIXELS, STD),
    "likelihood.bernoulli": (lambda x, y: BernoulliLikelihood().log_prob(x, y), PIXELS, OTHERS),
    "likelihood.bernoulli mean": (lambda x, y: BernoulliLikelihood().mean(x + y), PIXELS, OTHERS),
    "total_correlation.mws": (aggregate("mws"), A, SIZE),
    "total_correlation.mss": (aggregate("mss"), A, SIZE),
    "total_correlation.exact": (lambda x, y: aggregate("exact")(x + y, 6), A, C),
    "total_correlation.log_mixture": (lambda x, y: log_mixture(x, q(y)).joint, A, B),
    "elbo.decompose": (lambda x, size: elbo_terms(x, size).total_correlation, A, SIZE),
    "elbo.objective": (objective_with(), A, BITS),
    "elbo.objective kl": (objective_with(penalty="kl"), A, BITS),
    "elbo.objective capacity": (
        lambda x, capacity: elbo.objective(elbo_terms(x, 100), penalty="capacity", capacity=capacity),
        A,
        BITS,
    ),
    "objectives.latent": (attack(attacks.latent), PIXELS[0], PIXELS[1]),
    "objectives.latent w2": (attack(attacks.latent, divergence="w2"), PIXELS[0], PIXELS[1]),
    "objectives.output_elbo": (attack(attacks.output_elbo), PIXELS[0], PIXELS[1]),
    "objectives.output_l2": (attack(attacks.output_l2), PIXELS[0], PIXELS[1]),
    "objectives.maximum_damage": (attack(attacks.maximum_damage, noise=DRAWS), PIXELS[0], PIXELS[1]),
    "bounds.camuto_margin": (lambda x, y: bounds.camuto_margin(jax.nn.sigmoid(1.0 + y), norms(x)), A[0], STD),
    "bounds.r_robustness_margin": (
        lambda x, y: bounds.r_robustness_margin(jax.nn.sigmoid(1.0 + y), norms(x), risk=y, frozen_std=False),
        A[0],
        STD,
    ),
    "bounds.lower_confidence_bound": (
        lambda x, y: bounds.lower_confidence_bound(90.0 + x, 100, 0.1 * y),
        A[0],
        STD,
    ),
    "bounds.upper_confidence_bound": (
        lambda x, y: bounds.upper_confidence_bound(90.0 + x, 100, 0.1 * y),
        A[0],
        STD,
    ),
    "bounds.gdp_compose": (lambda x, y: bounds.gdp_compose(jnp.abs(x) + y), A[0], STD),
}
# What is for reverse mode by default, and the same for both modes.
FORWARD = {
    "total_correlation.mws": aggregate("mws", forward_mode=True),
    "total_correlation.mss": aggregate("mss", forward_mode=True),
    "total_correlation.exact": lambda x, y: aggregate("exact", forward_mode=True)(x + y, 6),
    "elbo.decompose": lambda x, size: elbo_terms(x, size, forward_mode=True).total_correlation,
    "elbo.objective": objective_with(forward_mode=True),
    "elbo.objective kl": objective_with(forward_mode=True, penalty="kl"),
    "elbo.objective capacity": lambda x, capacity: elbo.objective(
        elbo_terms(x, 100, forward_mode=True), penalty="capacity", capacity=capacity
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_transforms_agree_with_the_plain_call(name):
    function, x, y = CASES[name]
    plain = np.asarray(function(x, y))
    assert np.isfinite(plain).all()
    close = {"rtol": 2e-4, "atol": 1e-5}
    np.testing.assert_allclose(jax.jit(function)(x, y), plain, **close)
    # Made by NumPy: operations of JAX would be compiled for the shapes of each case.
    xs, ys = (np.stack([values, values]) for values in map(np.asarray, (x, y)))
    xs[1], ys[1] = 0.9 * xs[1], 0.95 * ys[1]
    each = np.stack([np.asarray(function(jnp.asarray(a), jnp.asarray(b))) for a, b in zip(xs, ys, strict=True)])
    for form in (jax.vmap(function), jax.jit(jax.vmap(function)), jax.vmap(jax.jit(function))):
        np.testing.assert_allclose(form(jnp.asarray(xs), jnp.asarray(ys)), each, **close)

    def total(x, y):
        return jnp.sum(function(x, y))

    by_x, by_y = map(np.asarray, jax.jit(jax.grad(total, (0, 1)))(x, y))
    rng = np.random.default_rng(8)
    along_x, along_y = (rng.normal(size=values.shape).astype(np.float32) for values in (x, y))
    for gradient, move in (
        (by_x, lambda t: (jnp.asarray(np.asarray(x) + t * along_x), y)),
        (by_y, lambda t: (x, jnp.asarray(np.asarray(y) + t * along_y))),
    ):
        step = np.float32(3e-3)
        slope = (float(total(*move(step))) - float(total(*move(-step)))) / (2.0 * step)
        along = along_x if gradient is by_x else along_y
        np.testing.assert_allclose(np.sum(gradient * along), slope, rtol=2e-2, atol=2e-2)
    if name in FORWARD:
        with pytest.raises(TypeError, match="custom_vjp"):
            jax.jacfwd(total)(x, y)
    forward = jax.jacfwd(lambda x, y: jnp.sum(FORWARD.get(name, function)(x, y)), (0, 1))
    for found, gradient in zip(jax.jit(forward)(x, y), (by_x, by_y), strict=True):
        np.testing.assert_allclose(found, gradient, rtol=1e-3, atol=1e-4)


@annotations.unchecked()
def test_what_cannot_be_traced_says_so():
    with pytest.raises(TypeError, match="number of components with estimator 'exact'"):
        jax.jit(aggregate("exact"))(A, 6)
    with pytest.raises(TypeError, match="leave it out"):
        jax.jit(objective_with(penalty="capacity"))(A, 0.0)
    with pytest.raises(TypeError, match="dataset_size must be one number"):
        jax.jit(aggregate("mws"))(A, jnp.ones(2))
