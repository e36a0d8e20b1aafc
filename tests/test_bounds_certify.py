import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from seatbelt_jax import bounds
from seatbelt_jax.bounds.reconstruction import reconstruction_distances
from seatbelt_jax.gaussian import DiagonalGaussian
from tests.reference import bounds as reference

SHAPE = (4, 3, 2)
PIXELS = 24
LATENT = 5
RADIUS = 1.0
KEY = jax.random.key(0)


def linear_encoder(seed=0):
    """encode, its Jacobian and its constant sigma."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(LATENT, PIXELS)).astype(np.float32)
    log_std = rng.uniform(-2.0, 0.5, LATENT).astype(np.float32)

    def encode(x):
        return DiagonalGaussian(jnp.asarray(matrix) @ x.reshape(-1), jnp.asarray(log_std))

    return encode, matrix.astype(np.float64), np.exp(log_std.astype(np.float64))


def worst_directions(matrix, std):
    """Top singular vectors and value of W: left in whitened latents, right a unit perturbation."""
    left, values, right = np.linalg.svd(matrix / std[:, None], full_matrices=False)
    return left[:, 0], values[0], right[0]


def half_space_decoder(normal, offset):
    """0 up to the plane normal . z = offset, then rising: within r of 0 means below offset + r."""

    def decode(z):
        height = jax.nn.relu(jnp.dot(jnp.asarray(normal, jnp.float32), z) - offset)
        return jnp.zeros(SHAPE).at[0, 0, 0].set(height)

    return decode


def half_space_model(probability, seed=0):
    """A model whose A_r at the image 0 is a half-space of this probability, its plane across the
    worst direction: the decoder on which the Neyman-Pearson bound is attained."""
    encode, matrix, std = linear_encoder(seed)
    latent_direction, norm, direction = worst_directions(matrix, std)
    # normal . z has standard deviation 1, and mean 0 at the image 0.
    offset = special.ndtri(probability) - RADIUS
    decode = half_space_decoder(latent_direction / std, offset)
    # At the mean the height must be 0: the half-space of probability > Phi(RADIUS) ensures it.
    assert offset >= 0.0
    return encode, decode, norm, direction


def images(count=1, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize("risk", [0.5, 0.8])
def test_linear_encoder_gives_the_closed_form(risk):
    encode, matrix, std = linear_encoder()
    weights = np.random.default_rng(1).normal(size=(PIXELS, LATENT)).astype(np.float32)

    def decode(z):
        return (weights @ z).reshape(SHAPE)

    certificates = bounds.certify_dataset(
        encode,
        decode,
        images(3),
        radius=24.0,
        key=KEY,
        num_samples=400,
        risk=risk,
        methods=("camuto", "spectral"),
    )
    assert list(certificates) == ["camuto", "spectral"]
    oracles = {"camuto": reference.camuto_margin, "spectral": reference.spectral_margin}
    for method, oracle in oracles.items():
        certificate = certificates[method]
        p_lower = [reference.lower_confidence_bound(int(k), 400, 1e-3) for k in certificate.hits]
        np.testing.assert_allclose(certificate.p_lower, p_lower, rtol=1e-9)
        expected = np.array([oracle(p, matrix, std, risk) for p in p_lower])
        assert (expected > 0.0).all() and not certificate.abstained.any()
        np.testing.assert_allclose(certificate.radius, expected, rtol=1e-5)
        assert (certificate.radius <= expected).all()
    assert (certificates["spectral"].radius > certificates["camuto"].radius).all()


def test_half_space_is_certified_to_within_3_percent_and_no_further():
    probability = 0.95
    encode, decode, norm, direction = half_space_model(probability)
    certificate = bounds.certify(
        encode,
        decode,
        np.zeros((1, *SHAPE), np.float32),
        radius=RADIUS,
        key=KEY,
        num_samples=100_000,
        decode_batch=4096,
    )
    radius = certificate.radius[0]
    true = special.ndtri(probability) / norm
    assert 0.97 <= radius / true <= 1.0

    def probability_at(distance):
        return special.ndtr(special.ndtri(probability) - norm * distance)

    assert probability_at(0.999 * radius) > 0.5
    assert probability_at(1.05 * radius) < 0.5  # a margin inflated by 5 % is refuted

    # The closed form above is the model's: draw at the shifted image, with sigma as it is there.
    shifted = encode(jnp.asarray(1.05 * radius * direction, jnp.float32).reshape(SHAPE))
    noise = jax.random.normal(jax.random.key(7), (20_000, LATENT))
    heights = jax.vmap(decode)(shifted.mean + shifted.std * noise)[:, 0, 0, 0]
    np.testing.assert_allclose(np.mean(heights <= RADIUS), probability_at(1.05 * radius), atol=4 * 0.5 / 20_000**0.5)


def test_certified_statement_holds_for_balls_in_every_direction():
    encode, matrix, std = linear_encoder(3)

    def decode(z):  # whitens: ||Delta||^2 is chi-squared, shifted by ||W d||^2
        return jnp.zeros(PIXELS).at[:LATENT].set(z / jnp.asarray(std, jnp.float32)).reshape(SHAPE)

    certificate = bounds.certify(encode, decode, images(2), radius=4.0, key=KEY, num_samples=4000, risk=0.7)
    rng = np.random.default_rng(0)
    directions = [worst_directions(matrix, std)[2], *rng.normal(size=(50, PIXELS))]
    for radius in certificate.radius:
        assert radius > 0.0
        for direction in directions:
            shift = matrix @ (0.999 * radius * direction / np.linalg.norm(direction)) / std
            assert special.chndtr(4.0**2, LATENT, shift @ shift) > 0.7


def test_confidence_is_kept_over_many_images():
    probability, alpha, count = 0.9, 0.05, 2000
    encode, decode, _, _ = half_space_model(probability)
    # Every image is 0: the same true probability, draws of its own.
    certificate = bounds.certify(
        encode,
        decode,
        np.zeros((count, *SHAPE), np.float32),
        radius=RADIUS,
        key=KEY,
        num_samples=200,
        alpha=alpha,
        batch_size=1000,
    )
    misses = np.count_nonzero(certificate.p_lower > probability)
    assert certificate.expected_failures == alpha * count
    assert 0.3 * alpha * count < misses <= alpha * count + 4.0 * np.sqrt(alpha * count)


def test_draws_depend_on_key_and_index_alone():
    encode, _, _ = linear_encoder()

    def decode(z):
        return jnp.full(SHAPE, jnp.sin(z).sum())

    settings = {"radius": 2.0, "num_samples": 150}
    certificate = bounds.certify(encode, decode, images(7), key=KEY, **settings)
    other = {"batch_size": 3, "decode_batch": 7, "chunk_size": 2}
    again = bounds.certify(encode, decode, images(7), key=KEY, **settings, **other)
    np.testing.assert_array_equal(again.hits, certificate.hits)
    np.testing.assert_allclose(again.radius, certificate.radius, rtol=1e-6)
    fresh = bounds.certify(encode, decode, images(7), key=jax.random.key(1), **settings)
    assert (fresh.hits != certificate.hits).any()
    # And they are the draws of Camuto et al. 2021, Eq. 1, centred at the decoded mean.
    for index, x in enumerate(images(7)):
        q = encode(x)
        key = jax.random.fold_in(KEY, index)
        noise = jax.vmap(lambda j, k=key: jax.random.normal(jax.random.fold_in(k, j), (LATENT,)))(jnp.arange(150))
        shifts = jax.vmap(decode)(q.mean + q.std * noise) - decode(q.mean)
        hits = np.sum(np.linalg.norm(np.asarray(shifts).reshape(150, -1), axis=1) <= 2.0)
        assert certificate.hits[index] == hits


def test_one_compilation_however_many_batches():
    encode, _, _ = linear_encoder()

    def traces(count):
        calls = []

        def counted(x):
            calls.append(x.shape)
            return encode(x)

        certificate = bounds.certify(
            counted,
            lambda z: jnp.zeros(SHAPE),
            images(count),
            radius=1.0,
            key=KEY,
            num_samples=20,
            batch_size=4,
        )
        assert certificate.radius.shape == (count,)
        return len(calls)

    # 11 images in batches of 4: the last batch is filled up, not compiled anew.
    assert traces(11) == traces(4)


def test_memory_holds_one_block_of_reconstructions():
    weights = jax.random.normal(KEY, (4096, LATENT))

    def draw(std):
        noise = jax.ShapeDtypeStruct((LATENT,), jnp.float32)
        return reconstruction_distances(
            lambda eta: weights @ (std * eta), noise, KEY, num_samples=20_000, decode_batch=64
        )

    memory = jax.jit(draw).lower(jnp.ones(LATENT)).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 20e6  # all reconstructions at once: 328e6


def test_a_certificate_says_what_it_is():
    encode, decode, _, _ = half_space_model(0.9)
    certificate = bounds.certify(
        encode, decode, images(2), radius=RADIUS, key=KEY, num_samples=64, risk=0.6, progress=True
    )
    assert certificate.method == "spectral" and certificate.soundness == "first_order"
    assert certificate.centre == "mean" and "pixel" in certificate.units
    assert any("frozen" in sentence for sentence in certificate.assumptions)
    assert any("linearisation" in sentence for sentence in certificate.assumptions)
    assert certificate.confidence == 1.0 - 1e-3 and certificate.risk == 0.6
    assert certificate.reconstruction_radius == RADIUS and certificate.num_samples == 64
    for name in ("radius", "p_lower", "hits", "abstained"):
        assert getattr(certificate, name).shape == (2,)
    assert certificate.norms.whitened_spectral.shape == (2,)


def test_abstains_where_the_encoders_noise_alone_leaves_the_ball():
    encode, matrix, _ = linear_encoder()

    def decode(z):  # NaN on half of the draws: those are misses, never hits
        return jnp.where(z[0] > 0.0, jnp.nan, 0.0) + jnp.zeros(SHAPE)

    image = -np.linalg.pinv(matrix)[:, 0].reshape(1, *SHAPE).astype(np.float32) * 1e-3
    certificate = bounds.certify(encode, decode, image, radius=1.0, key=KEY, num_samples=2000)
    assert 850 < certificate.hits[0] < 1150
    assert certificate.abstained[0] and certificate.radius[0] == 0.0


def test_minimal_robust_radius_brackets_the_chi_quantile():
    count, alpha, risk = 300, 0.05, 0.7

    def encode(x):
        return DiagonalGaussian(x.reshape(-1)[:LATENT], jnp.full(LATENT, jnp.log(0.3)))

    def decode(z):  # an isometry: ||Delta|| is 0.3 times a chi variable
        return jnp.zeros(PIXELS).at[:LATENT].set(z).reshape(SHAPE)

    result = bounds.minimal_robust_radius(
        encode,
        decode,
        images(count),
        key=KEY,
        num_samples=400,
        alpha=alpha,
        risk=risk,
        batch_size=100,
    )
    true = 0.3 * np.sqrt(special.gammaincinv(LATENT / 2.0, risk) * 2.0)
    missed = (result.lower > true) | (result.upper < true)
    assert missed.sum() <= alpha * count + 4.0 * np.sqrt(alpha * count)
    assert ((result.lower < result.estimate) & (result.estimate < result.upper)).all()
    np.testing.assert_allclose(np.mean(result.estimate), true, rtol=5e-3)
    assert np.mean(result.upper - result.lower) < 0.15 * true
    few = bounds.minimal_robust_radius(encode, decode, images(1), key=KEY, num_samples=3)
    assert few.lower[0] == 0.0 < few.estimate[0] < few.upper[0] == np.inf


def test_the_minimal_radius_of_a_hierarchy_is_that_of_all_its_noise():
    """Two layers whose noise adds up: ||Delta|| is |N(0, 0.3^2 + 0.4^2)|."""
    levels = [
        lambda x, below: DiagonalGaussian(x.reshape(-1)[:1], jnp.full(1, jnp.log(0.3))),
        lambda x, below: DiagonalGaussian(below[0], jnp.full(1, jnp.log(0.4))),
    ]

    def decode(latents):
        return jnp.zeros(PIXELS).at[0].set(latents[1][0]).reshape(SHAPE)

    result = bounds.minimal_robust_radius(None, decode, images(20), levels=levels, key=KEY, num_samples=2000)
    np.testing.assert_allclose(np.mean(result.estimate), 0.5 * special.ndtri(0.75), rtol=0.02)
    assert ((result.lower < 0.5 * special.ndtri(0.75)) & (0.5 * special.ndtri(0.75) < result.upper)).all()
    with pytest.raises(ValueError, match="either encode"):
        bounds.minimal_robust_radius(None, decode, images(1), key=KEY)


@pytest.mark.parametrize("with_norms", [True, False])
def test_a_certificate_survives_a_file_that_cannot_run_code(tmp_path, with_norms):
    encode, decode, _, _ = half_space_model(0.9)
    made = bounds.certify(encode, decode, images(3), radius=RADIUS, key=KEY, num_samples=64, risk=0.6)
    if not with_norms:
        made = dataclasses.replace(made, norms=None)
    np.savez(tmp_path / "certificate.npz", **made.to_arrays())
    with np.load(tmp_path / "certificate.npz", allow_pickle=False) as arrays:
        read = bounds.Certificate.from_arrays(arrays)
    for field in dataclasses.fields(made):
        before, after = getattr(made, field.name), getattr(read, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == before.dtype
            np.testing.assert_array_equal(after, before)
        elif field.name != "norms":
            assert type(after) is type(before) and after == before, field.name
    assert (read.norms is None) == (not with_norms)
    if with_norms:
        for field in dataclasses.fields(made.norms):
            np.testing.assert_array_equal(getattr(read.norms, field.name), getattr(made.norms, field.name))
    assert read.confidence == made.confidence and read.rows() == made.rows()


@pytest.mark.parametrize("missing", ["radius", "alpha", "assumptions", "norm_bound", "norms_frobenius"])
def test_a_file_with_a_field_missing_is_no_certificate(missing):
    encode, decode, _, _ = half_space_model(0.9)
    arrays = bounds.certify(encode, decode, images(2), radius=RADIUS, key=KEY, num_samples=64).to_arrays()
    assert all(not array.dtype.hasobject for array in arrays.values())
    del arrays[missing]
    with pytest.raises(ValueError, match=f"not a certificate: {missing} missing"):
        bounds.Certificate.from_arrays(arrays)


def test_rows_hold_one_image_each():
    encode, decode, norm, _ = half_space_model(0.9)
    certificates = bounds.certify_dataset(
        encode, decode, images(3), radius=RADIUS, key=KEY, num_samples=64, methods=("camuto", "spectral")
    )
    for name, certificate in certificates.items():
        rows = certificate.rows()
        assert [row["image"] for row in rows] == [0, 1, 2]
        assert rows[0].keys() == certificates["camuto"].rows()[0].keys()
        assert {row["method"] for row in rows} == {name}
        for field, column in (("radius", "certified_radius_pixel_units"), ("p_lower", "probability_lower_bound")):
            np.testing.assert_array_equal([row[column] for row in rows], getattr(certificate, field))
        budget = special.ndtri(certificate.p_lower)
        bound = np.array([row["norm_bound_stds_per_pixel_unit"] for row in rows])
        np.testing.assert_allclose(certificate.radius, np.maximum(budget, 0.0) / bound, rtol=1e-12)
    np.testing.assert_allclose(certificates["spectral"].norm_bound, norm, rtol=1e-5)
