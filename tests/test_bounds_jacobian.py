import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax.bounds import hierarchical_margin, jacobian_norms, local_lipschitz
from seatbelt_jax.bounds.double import compiled_in_float64
from seatbelt_jax.bounds.jacobian import (
    ScaledRows,
    jacobian_rows,
    jacobians_in_float64,
    norms_from_jacobians,
    whitened_norms,
)
from seatbelt_jax.gaussian import DiagonalGaussian
from tests.reference import bounds as reference

FIELDS = ("spectral", "frobenius", "whitened_spectral", "whitened_frobenius", "log_std_spectral", "smallest_std")


def linear_encoder(matrix, log_std):
    return lambda x: DiagonalGaussian(jnp.asarray(matrix) @ x.reshape(-1), jnp.asarray(log_std))


def conv_encoder(key, latent):
    """Two strided convolutions and two dense heads, in the precision of x; sigma depends on x."""
    keys = jax.random.split(key, 4)
    shapes = ((4, 4, 2, 6), (4, 4, 6, 8), (latent, 128), (latent, 128))
    weights = [
        np.asarray(jax.random.normal(k, s)) * np.float32(0.1 if len(s) == 2 else 0.2)
        for k, s in zip(keys, shapes, strict=True)
    ]

    def encode(x):
        first, second, mean, log_std = (jnp.asarray(w, x.dtype) for w in weights)
        h = x[None]
        for kernel in (first, second):
            h = jax.nn.relu(
                jax.lax.conv_general_dilated(h, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            )
        h = h.reshape(-1)
        return DiagonalGaussian(jnp.tanh(mean @ h), log_std @ h - 1.0)

    return encode


def assert_never_below(norms, jacobian, std, tolerance=1e-5):
    """Each norm lies between the true one and (1 + tolerance) times it."""
    whitened = reference.whitened(jacobian, std)
    jacobian = np.asarray(jacobian, np.float64)
    expected = (
        np.linalg.norm(jacobian, 2),
        np.linalg.norm(jacobian),
        np.linalg.norm(whitened, 2),
        np.linalg.norm(whitened),
    )
    for name, true in zip(FIELDS[:4], expected, strict=True):
        assert true <= getattr(norms, name) <= true * (1.0 + tolerance), name
    np.testing.assert_allclose(norms.smallest_std, np.min(std), rtol=1e-6)


@pytest.mark.parametrize(("latent", "pixels"), [(5, 40), (40, 5), (7, 7), (1, 12), (12, 1)])
def test_linear_encoder_equals_the_svd(latent, pixels):
    rng = np.random.default_rng(latent)
    matrix = rng.normal(size=(latent, pixels)).astype(np.float32)
    log_std = rng.uniform(-3.0, 0.5, latent).astype(np.float32)
    norms = jacobian_norms(linear_encoder(matrix, log_std), jnp.ones(pixels))
    assert_never_below(norms, matrix, np.exp(log_std.astype(np.float64)))


@pytest.mark.parametrize("seed", range(2))
def test_conv_encoder_is_never_below_the_float64_svd(seed):
    key, image_key = jax.random.split(jax.random.key(seed))
    image = np.asarray(jax.random.normal(image_key, (16, 16, 2)))
    encode = conv_encoder(key, 12)
    norms = jacobian_norms(encode, image)
    with jax.enable_x64(True):
        # The same float32 numbers, carried in float64.
        image64 = jnp.asarray(image, jnp.float64)
        posterior = jax.jit(encode)(image64)
        jacobian = jax.jit(jax.jacfwd(lambda x: encode(x).mean))(image64)
        assert jacobian.dtype == jnp.float64
        jacobian, std = np.asarray(jacobian).reshape(12, -1), np.asarray(posterior.std)
    assert_never_below(norms, jacobian, std)


def test_power_iteration_falls_below_where_the_gram_matrix_does_not():
    # Many singular values just under the largest one: the hard case for iterations.
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.normal(size=(30, 30)))
    right, _ = np.linalg.qr(rng.normal(size=(200, 30)))
    matrix = (left * np.linspace(1.0, 0.95, 30) @ right.T).astype(np.float32)
    norms = jacobian_norms(linear_encoder(matrix, np.zeros(30, np.float32)), jnp.zeros(200))
    vector = rng.normal(size=200)
    for _ in range(50):
        vector = matrix.T @ (matrix @ (vector / np.linalg.norm(vector)))
    estimate = np.sqrt(np.linalg.norm(vector))
    assert estimate < 0.998 * np.linalg.norm(matrix.astype(np.float64), 2)
    assert_never_below(norms, matrix, np.ones(30))


@pytest.mark.parametrize("factor", [1e-25, 1e25])
def test_very_small_and_very_large_derivatives_keep_their_norms(factor):
    matrix = (np.random.default_rng(1).normal(size=(4, 9)) * factor).astype(np.float32)
    norms = jacobian_norms(linear_encoder(matrix, np.zeros(4, np.float32)), jnp.zeros(9))
    assert_never_below(norms, matrix, np.ones(4))


def test_constant_encoder_has_norms_of_zero():
    def encode(x):
        return DiagonalGaussian(jnp.zeros(3), jnp.zeros(3))

    with pytest.warns(UserWarning, match="does not depend on the image"):
        norms = jacobian_norms(encode, jnp.ones((2, 2)))
    assert [getattr(norms, name) for name in FIELDS] == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]


def test_chunks_and_batches_change_nothing():
    encode = conv_encoder(jax.random.key(0), 10)
    images = jax.random.normal(jax.random.key(1), (3, 16, 16, 2))
    whole = jacobian_norms(encode, images[1], chunk_size=64)
    chunked = jacobian_norms(encode, images[1], chunk_size=3)
    of_image = jacobians_in_float64(encode, images[0], 4)
    jacobians = jax.tree.map(lambda *each: np.stack(each), *map(of_image, images))
    batched = norms_from_jacobians(jacobians, jax.vmap(encode)(images).std)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(chunked, name), getattr(whole, name), rtol=2e-6)
        assert getattr(batched, name).shape == (3,)
        np.testing.assert_allclose(getattr(batched, name)[1], getattr(whole, name), rtol=2e-6)


def test_bad_encoders_and_images():
    good = linear_encoder(np.ones((2, 4), np.float32), np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        jacobian_norms(good, jnp.ones(4), chunk_size=0)
    with pytest.raises(ValueError, match="NaN or infinite pixels"):
        jacobian_norms(good, jnp.full(4, jnp.nan))
    with pytest.raises(TypeError, match="must be floating point"):
        jacobian_norms(good, jnp.ones(4, jnp.int32))
    with pytest.raises(TypeError, match="DiagonalGaussian"):
        jacobian_norms(lambda x: x, jnp.ones(4))
    with pytest.raises(TypeError, match="float32 or float64"):
        half = jnp.zeros(2, jnp.bfloat16)
        jacobian_norms(lambda x: DiagonalGaussian(half, half), jnp.ones(4))
    with pytest.raises(ValueError, match="Jacobian of encode's mean is NaN"):
        # sqrt has the value 0 and no derivative at 0.
        jacobian_norms(lambda x: DiagonalGaussian(jnp.sqrt(x * 0.0), x), jnp.ones(4))


def test_probabilistic_pca_has_the_singular_values_of_its_spectrum():
    """sqrt(1 - s^2 / lambda_i) / s of W: the posterior is N(M^-1 A^T x, s^2 M^-1) (Tipping and Bishop 1999)."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(20, 4)))[0]
    eigenvalues, noise = np.array([9.0, 4.0, 2.5, 1.2]), 0.7
    weights = axes * np.sqrt(eigenvalues - noise**2)
    inverse = np.linalg.inv(weights.T @ weights + noise**2 * np.eye(4))
    log_std = 0.5 * np.log(noise**2 * np.diag(inverse))
    norms = jacobian_norms(linear_encoder((inverse @ weights.T).astype(np.float32), log_std), jnp.ones((4, 5)))
    singular = np.sqrt(1.0 - noise**2 / eigenvalues) / noise
    np.testing.assert_allclose(norms.whitened_spectral, singular.max(), rtol=1e-5)
    np.testing.assert_allclose(norms.whitened_frobenius, np.linalg.norm(singular), rtol=1e-5)


def cancelling_products(rng, size, condition, scales):
    """Float32 factors A F whose products are smaller than either by up to the condition, and their norms in float64."""
    left, right = (np.linalg.qr(rng.normal(size=(len(condition), size, size)))[0] for _ in range(2))
    spread = np.ones((len(condition), 1, size))
    spread[:, 0, 0] = condition
    first = np.float32(scales[:, :1, None] * (left * spread) @ np.swapaxes(right, 1, 2))
    second = np.float32(scales[:, 1:, None] * np.swapaxes(left, 1, 2)[:, 1:3])
    return second, first, np.linalg.norm(second.astype(np.float64) @ first.astype(np.float64), 2, axis=(1, 2))


def test_norms_of_layers_that_cancel_or_are_tiny_are_never_below_the_truth():
    rng = np.random.default_rng(0)
    scales = 10.0 ** rng.uniform((-30.0, -30.0), (20.0, 20.0), (10_000, 2))
    second, first, true = cancelling_products(rng, 6, 10.0 ** rng.uniform(0.0, 7.0, 10_000), scales)

    def jacobian(a, f):
        return ScaledRows(*jacobian_rows(lambda x: a @ (f @ x), jnp.full(6, 0.01), 16))

    # One compilation: the weights are arguments, in a batch.
    of_weights = compiled_in_float64(jax.vmap(lambda a, f: (jacobian(a, f), jacobian(a, f).gram())), second, first)
    rows, gram = jax.tree.map(np.asarray, of_weights(second, first))
    found = whitened_norms(gram, np.ones_like(gram.scale))[0] / true
    assert found.min() >= 1.0 and found.max() <= 1.0 + 1e-5
    few = ScaledRows(*(array[:200] for array in rows))
    assert (whitened_norms(few, np.ones_like(few.scale))[0] >= true[:200]).all()


@pytest.mark.parametrize("condition, scales", [(1e7, (1.0, 1.0)), (1e3, (1e-25, 1e-10)), (1e5, (1e12, 1e15))])
def test_public_bounds_of_layers_that_cancel_or_are_tiny(condition, scales):
    drawn = cancelling_products(np.random.default_rng(1), 8, np.array([condition]), np.array([scales]))
    second, first, true = (array[0] for array in drawn)
    x = np.full(8, 0.01, np.float32)

    def encode(y):
        return DiagonalGaussian(second @ (first @ y), jnp.zeros(2))

    def through_relu(y):
        hidden = jax.nn.relu(first @ y + np.float32(condition * scales[0]))
        return second @ hidden

    assert true <= jacobian_norms(encode, x).whitened_spectral <= (1.0 + 1e-5) * true
    assert true <= local_lipschitz(through_relu, x, 0.1) <= (1.0 + 1e-4) * true
    for mode in ("path", "sup"):
        certificate = hierarchical_margin(
            [lambda y, below: encode(y)],
            lambda path: 1e-3 * jnp.tile(path[0], 4),
            x[None],
            radius=1.0,
            key=jax.random.key(0),
            num_samples=50,
            mode=mode,
        )
        assert true <= certificate.norm_bound.item() <= (1.0 + 1e-4) * true


def test_half_precision_inside_and_declared_derivatives():
    weights = np.random.default_rng(2).normal(size=(2, 3, 3)).astype(np.float32)

    @jax.custom_jvp
    def doubled_slope(v):
        return v

    doubled_slope.defjvp(lambda primals, tangents: (primals[0], 2.0 * tangents[0]))

    def encode(y):
        hidden = (weights[0].astype(jnp.bfloat16) @ y.astype(jnp.bfloat16)).astype(jnp.float32)
        return DiagonalGaussian(weights[1] @ doubled_slope(hidden), jnp.zeros(3))

    rounded = np.asarray(jnp.asarray(weights[0], jnp.bfloat16), np.float64)
    true = np.linalg.norm(2.0 * weights[1].astype(np.float64) @ rounded, 2)
    assert jacobian_norms(encode, jnp.ones(3)).spectral == pytest.approx(true, rel=1e-5)
