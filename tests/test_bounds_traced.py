"""Margins, norms and confidence bounds inside jit, vmap and grad: their values against float64, their derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import bounds
from seatbelt_jax.bounds import JacobianNorms, LipschitzConstants
from seatbelt_jax.bounds.eigenvalue import largest_eigenvalue, largest_product_eigenvalue
from seatbelt_jax.bounds.float64_call import float64_call
from seatbelt_jax.bounds.margin import margin
from seatbelt_jax.bounds.pathwise import pathwise_radii
from seatbelt_jax.gaussian import DiagonalGaussian, sample
from seatbelt_jax.results import Certificate
from tests.reference import margins as reference

CASES = 10_000


def drawn(seed):
    """Float32 arguments of `margin`: probabilities from near the risk to near 1, norms over ten orders."""
    rng = np.random.default_rng(seed)
    risk = rng.uniform(0.05, 0.95, CASES)
    p = risk + (1.0 - risk) * rng.uniform(0.0, 1.0, CASES) ** 4
    p = np.where(rng.uniform(size=CASES) < 0.3, 1.0 - (1.0 - risk) * 10.0 ** -rng.uniform(0.0, 6.0, CASES), p)
    norm, rescaling = 10.0 ** rng.uniform(-5.0, 5.0, CASES), 10.0 ** rng.uniform(-5.0, 3.0, CASES)
    free = np.where(rng.uniform(size=CASES) < 0.5, 0.0, 10.0 ** rng.uniform(-4.0, 1.0, CASES))
    pair = np.clip(2.0 * p - 1.0 + (1.0 - p) * rng.uniform(0.0, 1.0, CASES), 0.0, 1.0)
    return [np.float32(array) for array in (p, norm, risk, rescaling, free, pair)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["frozen", "absorbed", "moving", "pairs"])
def test_traced_margins_are_never_above_float64_and_as_close_as_float32_allows(kind):
    p, norm, risk, rescaling, free, pair = drawn(len(kind))
    keywords = {
        "frozen": {},
        "absorbed": {"absorbed": free},
        "moving": {"log_std_bound": rescaling, "absorbed": free},
        "pairs": {"log_std_bound": rescaling, "pair_p_lower": pair},
    }[kind]

    @jax.jit
    @jax.vmap
    def traced(p, norm, risk, keywords):
        return margin(p, norm, risk=risk, **keywords)

    found = traced(p, norm, risk, keywords)
    assert found.dtype == jnp.float32
    wide = [np.float64(array) for array in (p, norm, risk)]
    given = [np.float64(keywords.get(name, 0.0 * p)) for name in ("log_std_bound", "absorbed")]
    true = reference.margin(*wide, *given, pair_p=np.float64(pair) if kind == "pairs" else None)
    assert (found <= true).all()
    np.testing.assert_allclose(found, true, rtol=1e-6)
    for index in range(0, CASES, 2000):
        plain = margin(p[index], norm[index], risk=float(risk[index]), **{k: v[index] for k, v in keywords.items()})
        assert plain.dtype == np.float64 and found[index] <= plain
        np.testing.assert_allclose(plain, true[index], rtol=1e-9)


@pytest.mark.slow
def test_derivatives_of_margins_are_those_of_the_reference():
    given = np.array([0.97, 3.0, 0.4, 0.2, 0.05, 0.95])

    def of(values):
        p, norm, risk, rescaling, free, pair = values
        return margin(p, norm, risk=risk, log_std_bound=rescaling, absorbed=free, pair_p_lower=pair)

    def slow(values):
        return float(reference.margin(*map(np.float64, values[:5]), pair_p=np.float64(values[5])))

    step = 1e-5
    expected = [(slow(given + step * e) - slow(given - step * e)) / (2.0 * step) for e in np.eye(6)]
    for derivative in (jax.jit(jax.jacfwd(of)), jax.grad(jax.jit(of))):
        np.testing.assert_allclose(derivative(jnp.asarray(given, jnp.float32)), expected, rtol=1e-4, atol=1e-6)
    # No claim, or no limit: nothing to follow.
    for p, norm in ((0.3, 3.0), (1.0, 3.0), (0.9, 0.0)):
        slopes = jax.grad(lambda p, norm: margin(p, norm), argnums=(0, 1))(jnp.float32(p), jnp.float32(norm))
        assert slopes == (0.0, 0.0)


def test_what_is_known_keeps_its_digits_beside_what_is_traced():
    """A probability of 1 - 1e-12 is 1 in float32, of which the margin would be infinite."""
    p, norm = 1.0 - 1e-12, 2.0
    found = jax.jit(lambda norm: margin(p, norm))(jnp.float32(norm))
    assert found <= margin(p, norm) and found == pytest.approx(float(margin(p, norm)), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("trials", [1, 50, 10_000, 200_000])
@pytest.mark.parametrize("alpha", [1e-3, 0.3, 0.9])
def test_traced_confidence_bounds_are_outside_of_scipys(trials, alpha):
    hits = np.unique(np.random.default_rng(trials).integers(0, trials + 1, 200))
    hits = np.unique([0, 1, trials, *hits]).astype(np.int32)
    both = bounds.lower_confidence_bound, bounds.upper_confidence_bound
    lower, upper = jax.jit(lambda k: [bound(k, trials, alpha) for bound in both])(hits)
    true = [bound(hits, trials, alpha) for bound in both]
    assert (lower <= true[0]).all() and (upper >= true[1]).all()
    np.testing.assert_allclose(lower, true[0], rtol=1e-5)
    np.testing.assert_allclose(upper, true[1], rtol=1e-5)


def test_derivatives_of_the_confidence_bound_and_soft_counts():
    def of(hits, alpha):
        return bounds.lower_confidence_bound(hits, 200, alpha)

    hits, alpha = jnp.float32(187.0), 0.01
    expected = (
        (of(hits + 0.5, alpha) - of(hits - 0.5, alpha)),
        (of(187, alpha + 1e-5) - of(187, alpha - 1e-5)) / 2e-5,
    )
    for derivative in (jax.grad(of, (0, 1)), jax.jacfwd(of, (0, 1))):
        np.testing.assert_allclose(derivative(hits, alpha), expected, rtol=1e-3)
    assert of(jnp.float32(186.5), alpha) == pytest.approx(0.5 * (of(186, alpha) + of(187, alpha)), rel=1e-3)
    # An image without a hit has a bound of 0, and no slope that is not a number.
    assert jax.grad(of)(jnp.float32(0.0), alpha) == 0.0
    assert np.isnan(jax.jit(lambda k: of(k, alpha))(201))
    with pytest.raises(TypeError, match="trials must be an integer"):
        jax.jit(lambda k: bounds.lower_confidence_bound(k, 10.5, 0.1))(3)


def test_eigenvalues_from_above_with_their_derivatives():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        for size in (1, 2, 9, 60):
            factor = rng.normal(size=(size, size + 3))
            for gram in (
                factor @ factor.T,
                np.eye(size),
                np.diag(np.linspace(0.99, 1.0, size)),
                np.zeros((size, size)),
            ):
                true, found = np.linalg.eigvalsh(gram)[-1], float(jax.jit(largest_eigenvalue)(gram))
                assert true * (1.0 - 1e-13) <= found <= true * (1.0 + 5e-6)
        factor = rng.normal(size=(6, 9))
        gram = factor @ factor.T
        leading = np.linalg.eigh(gram)[1][:, -1]
        np.testing.assert_allclose(jax.grad(largest_eigenvalue)(gram), np.outer(leading, leading), atol=1e-4)
        # B of rank 2: its Cholesky factor has pivots of 0.
        b = rng.normal(size=(6, 2))
        b = b @ b.T
        true = np.linalg.eigvals(gram @ b).real.max()
        assert true * (1.0 - 1e-12) <= largest_product_eigenvalue(gram, b) <= true * (1.0 + 1e-5)
        slopes = jax.grad(largest_product_eigenvalue, (0, 1))(gram, b)
        moves = [array @ array.T for array in rng.normal(size=(2, 6, 6))]

        def along(t):
            return np.linalg.eigvals((gram + t * moves[0]) @ (b + t * moves[1])).real.max()

        slope = sum(np.sum(s * m) for s, m in zip(slopes, moves, strict=True))
        np.testing.assert_allclose(slope, (along(1e-5) - along(-1e-5)) / 2e-5, rtol=1e-4)


def network(seed=0, pixels=12, latent=4):
    keys = jax.random.split(jax.random.key(seed), 4)
    shapes = {"first": (10, pixels), "mean": (latent, 10), "log_std": (latent, 10), "decode": (pixels, latent)}
    return {
        name: jax.random.normal(key, shape) / np.sqrt(shape[1])
        for (name, shape), key in zip(shapes.items(), keys, strict=True)
    }


def encoder(weights):
    def encode(x):
        hidden = jax.nn.relu(weights["first"] @ x.reshape(-1))
        return DiagonalGaussian(weights["mean"] @ hidden, 0.3 * weights["log_std"] @ hidden - 1.0)

    return encode


def decoder(weights):
    return lambda z: jax.nn.sigmoid(weights["decode"] @ z)


IMAGES = np.asarray(jax.random.uniform(jax.random.key(1), (3, 12)))
NOISE = np.asarray(jax.random.normal(jax.random.key(2), (24, 4)))


def norm_sum(weights, x):
    norms = bounds.jacobian_norms(encoder(weights), x)
    return norms.whitened_spectral + norms.frobenius + norms.log_std_spectral + norms.smallest_std


def whitened(weights, x):
    return bounds.r_robustness_margin(0.9, bounds.jacobian_norms(encoder(weights), x), frozen_std=False)


def pathwise(weights, x, radius=0.8, risk=0.5):
    return bounds.pathwise_margin(
        encoder(weights), decoder(weights), x, NOISE, radius=radius, risk=risk, alpha=0.05, draw_batch=8
    )


@pytest.mark.slow
@pytest.mark.parametrize("function", [norm_sum, whitened, pathwise])
def test_norms_and_margins_of_a_model_follow_its_parameters(function):
    weights, direction = network(), network(5)
    plain = [float(function(weights, x)) for x in IMAGES]
    assert min(plain) > 0.0
    many = functools.partial(jax.vmap(function, (None, 0)))
    for form in (
        many,
        jax.jit(many),
        jax.vmap(jax.jit(function), (None, 0)),
        jax.jit(jax.vmap(jax.jit(function), (None, 0))),
    ):
        np.testing.assert_allclose(form(weights, IMAGES), plain, rtol=1e-5)

    @jax.jit
    def along(t):
        return function(jax.tree.map(lambda w, d: w + t * d, weights, direction), IMAGES[0])

    slope = (float(along(1e-3)) - float(along(-1e-3))) / 2e-3
    by_weights, by_image = jax.grad(function, (0, 1))(weights, IMAGES[0])
    for found in (
        by_weights,
        jax.jit(jax.grad(function))(weights, IMAGES[0]),
        jax.grad(jax.jit(function))(weights, IMAGES[0]),
        jax.jit(jax.jacfwd(function))(weights, IMAGES[0]),
        jax.tree.map(lambda g: np.asarray(g)[0], jax.jit(jax.vmap(jax.grad(function), (None, 0)))(weights, IMAGES)),
        jax.grad(lambda w: jax.vmap(jax.jit(function), (None, 0))(w, IMAGES[:1]).sum())(weights),
    ):
        total = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(np.asarray(g) * np.asarray(d)), found, direction)))
        np.testing.assert_allclose(total, slope, rtol=5e-3)
    assert by_image.shape == (12,) and np.isfinite(by_image).all()


def test_traced_norms_of_cancelling_layers_are_not_below_the_truth():
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.normal(size=(8, 8)))[0] for _ in range(2))
    first = np.float32(left @ np.diag([1e6, *np.ones(7)]) @ right.T)
    second = np.float32(left.T[1:3])
    true = np.linalg.norm(second.astype(np.float64) @ first.astype(np.float64), 2)

    @jax.jit
    def norm(first, second):
        def encode(x):
            return DiagonalGaussian(second @ (first @ x), jnp.zeros(2))

        return bounds.jacobian_norms(encode, jnp.full(8, 0.01)).spectral

    assert true <= norm(first, second) <= (1.0 + 1e-5) * true


@pytest.mark.slow
def test_pathwise_radii_are_the_equation_and_the_margin_is_an_order_statistic():
    weights = network(7)
    image = jax.ShapeDtypeStruct(IMAGES.shape[1:], IMAGES.dtype)
    layers = bounds.Model.of(encoder(weights), decoder(weights)).layers(image)
    radii = np.asarray(pathwise_radii(layers, IMAGES[0], NOISE, radius=0.8))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda w: jnp.asarray(np.asarray(w), jnp.float64), weights)
        x, noise = (jnp.asarray(np.asarray(array), jnp.float64) for array in (IMAGES[0], NOISE))
        centre = decoder(wide)(encoder(wide)(x).mean)
        expected = []
        for eta in noise:

            def through(image, eta=eta):
                return decoder(wide)(sample(encoder(wide)(image), eta))

            norm = np.linalg.norm(np.asarray(jax.jacfwd(through)(x)), 2)
            expected.append(max(0.0, (0.8 - float(jnp.linalg.norm(through(x) - centre))) / norm))
    assert (radii <= expected).all()
    np.testing.assert_allclose(radii, expected, rtol=1e-5)
    # 17 of 24 draws must hit for a bound above 0.5 at alpha = 0.05.
    assert bounds.lower_confidence_bound(17, 24, 0.05) > 0.5 >= bounds.lower_confidence_bound(16, 24, 0.05)
    assert pathwise(weights, IMAGES[0]) == pytest.approx(np.sort(radii)[::-1][16])
    by_risk = jax.vmap(lambda risk: pathwise(weights, IMAGES[0], risk=risk))(jnp.array([0.1, 0.5, 0.9]))
    assert by_risk[0] > by_risk[1] > by_risk[2] == 0.0
    by_radius = jax.vmap(lambda radius: pathwise(weights, IMAGES[0], radius=radius))(jnp.array([0.4, 0.8]))
    assert by_radius[0] < by_radius[1] == pytest.approx(float(pathwise(weights, IMAGES[0])))


def test_bad_input_is_refused_inside_a_trace_as_far_as_it_is_known():
    weights = network()
    norms = jax.jit(lambda x: bounds.jacobian_norms(encoder(weights), x))
    with pytest.raises(TypeError, match="must be floating point"):
        norms(jnp.ones(12, jnp.int32))
    with pytest.raises(ValueError, match="encode fails on one example of shape"):
        norms(jnp.ones(5))
    with pytest.raises(ValueError, match=r"cannot be traced: call jacobian_norms\(norm='linf'\) outside"):
        jax.jit(lambda x: bounds.jacobian_norms(encoder(weights), x, norm="linf"))(IMAGES[0])
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
        jax.jit(lambda norm: margin(1.5, norm))(1.0)
    with pytest.raises(ValueError, match="risk must lie strictly between 0 and 1"):
        jax.jit(lambda norm: margin(0.9, norm, risk=1.0))(1.0)
    with pytest.raises(ValueError, match=r"noise must be \[draw, 4\]"):
        bounds.pathwise_margin(encoder(weights), decoder(weights), IMAGES[0], NOISE[:, :3], radius=0.8)
    with pytest.raises(ValueError, match="can never certify"):
        bounds.pathwise_margin(encoder(weights), decoder(weights), IMAGES[0], NOISE[:5], radius=0.8)
    with pytest.raises(TypeError, match="alpha must be a number that is known"):
        jax.jit(
            lambda alpha: bounds.pathwise_margin(
                encoder(weights), decoder(weights), IMAGES[0], NOISE, radius=0.8, alpha=alpha
            )
        )(0.1)


def test_records_of_bounds_are_pytrees():
    norms = bounds.jacobian_norms(encoder(network()), IMAGES[0])
    doubled = jax.jit(lambda n: jax.tree.map(lambda a: 2.0 * a, n))(norms)
    assert isinstance(doubled, JacobianNorms)
    np.testing.assert_allclose(doubled.spectral, 2.0 * norms.spectral, rtol=1e-6)
    constants = LipschitzConstants(whitened_mean=2.0, log_std=0.0)
    found = jax.jit(lambda c: bounds.r_robustness_margin(0.9, lipschitz=c))(constants)
    assert found == pytest.approx(float(bounds.r_robustness_margin(0.9, lipschitz=constants)), rel=1e-6)
    certificate = bounds.certify(
        encoder(network()), decoder(network()), IMAGES, radius=0.8, key=jax.random.key(0), num_samples=100
    )
    halved = jax.tree.map(lambda array: 0.5 * array, certificate)
    assert isinstance(halved, Certificate) and halved.assumptions == certificate.assumptions
    np.testing.assert_array_equal(halved.radius, 0.5 * certificate.radius)


def test_a_call_into_float64_transforms_as_its_body_does():
    def body(a, b):
        return [jnp.log(jnp.trace(a @ a)) + jnp.sum(b), jnp.sin(a) @ b]

    def call(a, b):
        return float64_call(body, lambda *results: [result.astype(jnp.float32) for result in results], a, b)

    def total(function, a, b):
        first, second = function(a, b)
        return first + jnp.sum(second**2)

    a, b = jax.random.uniform(jax.random.key(0), (5, 3, 3)), jax.random.uniform(jax.random.key(1), (3,))
    ours, plain = functools.partial(total, call), functools.partial(total, body)
    for transform in (
        lambda f: jax.vmap(f, (0, None)),
        lambda f: jax.vmap(jax.jit(f), (0, None)),
        lambda f: jax.grad(lambda a, b: jax.vmap(jax.jit(f), (0, None))(a, b).sum(), (0, 1)),
        lambda f: jax.vmap(jax.grad(jax.jit(f), (0, 1)), (0, None)),
        lambda f: lambda a, b: jax.jacfwd(f, (0, 1))(a[0], b),
        lambda f: lambda a, b: jax.jit(jax.hessian(f))(a[0], b),
        lambda f: lambda a, b: jax.grad(lambda b: jax.lax.scan(lambda c, x: (c + f(x, b), None), 0.0, a)[0])(b),
        lambda f: lambda a, b: jax.grad(jax.checkpoint(f))(a[0], b),
    ):
        for found, expected in zip(*(jax.tree.leaves(transform(f)(a, b)) for f in (ours, plain)), strict=True):
            assert found.dtype == jnp.float32
            np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
