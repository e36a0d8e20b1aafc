"""The methods of certify on linear encoders, where margins have closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from seatbelt_jax import bounds
from seatbelt_jax.gaussian import DiagonalGaussian
from tests.reference import bounds as reference

SHAPE = (4, 3, 2)
PIXELS = 24
LATENT = 3
KEY = jax.random.key(0)
ZERO = np.zeros((1, *SHAPE), np.float32)


def linear_encoder(seed=0, std_rate=0.0):
    """encode, the Jacobians of its mean and of log sigma, and sigma at the image 0."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(LATENT, PIXELS)).astype(np.float32)
    of_log_std = (std_rate * rng.normal(size=(LATENT, PIXELS))).astype(np.float32)
    log_std = rng.uniform(-1.0, 0.5, LATENT).astype(np.float32)

    def encode(x):
        flat = x.reshape(-1)
        return DiagonalGaussian(jnp.asarray(matrix) @ flat, jnp.asarray(log_std) + jnp.asarray(of_log_std) @ flat)

    return encode, matrix.astype(np.float64), of_log_std.astype(np.float64), np.exp(log_std.astype(np.float64))


def slab_decoder(normal, half_width):
    """Within 1 of 0 just where |normal . z| <= half_width."""

    def decode(z):
        height = jax.nn.relu(jnp.abs(jnp.dot(jnp.asarray(normal, jnp.float32), z)) - half_width + 1.0)
        return jnp.zeros(SHAPE).at[0, 0, 0].set(height)

    return decode


def worst_direction(matrix, std):
    left, values, right = np.linalg.svd(matrix / std[:, None], full_matrices=False)
    return left[:, 0] / std, values[0], right[0]


def test_a_slab_is_certified_by_pairs_to_within_4_percent_and_no_further():
    encode, matrix, _, std = linear_encoder()
    normal, norm, _ = worst_direction(matrix, std)
    half_width = 2.5
    settings = {"radius": 1.0, "key": KEY, "num_samples": 40_000, "decode_batch": 4096}
    made = bounds.certify_dataset(
        encode, slab_decoder(normal, half_width), ZERO, methods=("antithetic", "spectral"), **settings
    )
    # P = Phi(h - s) - Phi(-h - s) > 1/2 at a shift by s along the normal.
    true = half_width / norm
    assert 0.96 <= made["antithetic"].radius[0] / true <= 1.0
    # Half-spaces of the same probability would be lost sooner, and one-sided draws know no better.
    assert made["spectral"].radius[0] < 0.97 * made["antithetic"].radius[0]
    assert made["antithetic"].num_samples == 40_000 and made["antithetic"].soundness == "first_order"
    # The draws that are mirrored are those of the other methods; each bound has half of alpha.
    np.testing.assert_array_equal(made["antithetic"].hits, made["spectral"].hits)
    halved = bounds.lower_confidence_bound(made["spectral"].hits, 40_000, 0.5e-3)
    np.testing.assert_array_equal(made["antithetic"].p_lower, halved)


def test_pairs_do_not_certify_one_sided_events_as_slabs():
    """A half-space is hit by both of a pair only where a slab is: its one-sided bound counts, at alpha / 2."""
    encode, matrix, _, std = linear_encoder()
    normal, norm, _ = worst_direction(matrix, std)
    threshold = special.ndtri(0.9)

    def decode(z):
        return jnp.zeros(SHAPE).at[0, 0, 0].set(jax.nn.relu(jnp.dot(jnp.asarray(normal, jnp.float32), z) - 0.28))

    settings = {"radius": float(threshold - 0.28), "key": KEY, "num_samples": 20_000, "decode_batch": 4096}
    pairs = bounds.certify(encode, decode, ZERO, method="antithetic", **settings)
    one_sided = bounds.certify(encode, decode, ZERO, alpha=5e-4, **settings)
    np.testing.assert_allclose(pairs.radius, one_sided.radius, rtol=1e-9)
    assert pairs.radius[0] <= threshold / norm


@pytest.mark.parametrize("risk", [0.5, 0.7])
def test_a_moving_sigma_is_the_equation_and_holds_at_the_moved_encoder(risk):
    encode, matrix, of_log_std, std = linear_encoder(std_rate=0.6)
    decode = slab_decoder(np.ones(LATENT), 8.0)
    settings = {"radius": 1.0, "key": KEY, "num_samples": 2000, "risk": risk}
    made = bounds.certify_dataset(encode, decode, ZERO, methods=("moving_std", "spectral"), **settings)
    p_lower = made["moving_std"].p_lower[0]
    expected = reference.spectral_margin_with_moving_std(p_lower, matrix, std, of_log_std, risk)
    np.testing.assert_allclose(made["moving_std"].radius, expected, rtol=2e-5)
    assert made["moving_std"].radius[0] < 0.9 * made["spectral"].radius[0]
    rng = np.random.default_rng(0)
    for direction in [
        worst_direction(matrix, std)[2],
        *np.linalg.svd(of_log_std)[2][:2],
        *rng.normal(size=(8, PIXELS)),
    ]:
        d = 0.999 * made["moving_std"].radius[0] * direction / np.linalg.norm(direction)
        mean = np.ones(LATENT) @ matrix @ d
        spread = np.linalg.norm(std * np.exp(of_log_std @ d))
        assert special.ndtr((8.0 - mean) / spread) - special.ndtr((-8.0 - mean) / spread) > risk


def test_boxes_are_certified_soundly_and_nearly_tightly():
    """With one latent coordinate the norm from L-infinity is the sum of its weights' sizes."""
    rng = np.random.default_rng(0)
    row = rng.normal(size=PIXELS)

    def encode(x):
        return DiagonalGaussian((jnp.asarray(row, jnp.float32) @ x.reshape(-1))[None], jnp.zeros(1))

    def decode(z):
        return jnp.zeros(SHAPE).at[0, 0, 0].set(jax.nn.relu(z[0] - 1.0))

    settings = {"radius": 1.0, "key": KEY, "num_samples": 40_000, "decode_batch": 4096, "norm": "linf"}
    made = bounds.certify_dataset(encode, decode, ZERO, methods=("spectral", "moving_std"), **settings)
    certificate = made["spectral"]
    true = 2.0 / np.abs(row).sum()
    assert 0.96 <= certificate.radius[0] / true <= 1.0
    np.testing.assert_allclose(made["moving_std"].radius, certificate.radius, rtol=1e-6)
    assert certificate.norm == "linf" and "largest change of a pixel" in certificate.units
    in_l2 = bounds.certify(encode, decode, ZERO, **(settings | {"norm": "l2"}))
    assert certificate.radius[0] < in_l2.radius[0] < np.sqrt(PIXELS) * certificate.radius[0] * 1.05
    # With several coordinates: between the largest over corners, tried one by one, and 1.3 times that.
    encode, matrix, _, std = linear_encoder(4)
    norms = bounds.jacobian_norms(encode, ZERO[0], norm="linf")
    corners = np.sign(rng.normal(size=(20_000, PIXELS)))
    whitened = matrix / std[:, None]
    for _ in range(20):  # each corner climbs to one that no single sweep improves
        corners = np.sign(corners @ whitened.T @ whitened)
    largest = np.linalg.norm(corners @ whitened.T, axis=1).max()
    assert largest <= norms.whitened_spectral <= 1.3 * largest


def test_a_linear_encoder_is_certified_soundly_as_well_as_to_first_order():
    encode, _, _, _ = linear_encoder(std_rate=0.2)
    decode = slab_decoder(np.ones(LATENT), 8.0)
    methods = ("moving_std", "linear_region", "lipschitz")
    made = bounds.certify_dataset(encode, decode, ZERO, radius=1.0, key=KEY, num_samples=500, methods=methods)
    for name in methods[1:]:
        np.testing.assert_allclose(made[name].radius, made["moving_std"].radius, rtol=1e-4)
    assert [made[name].soundness for name in methods] == ["first_order", "locally_exact", "sound"]
    assert not any("linearisation" in sentence for sentence in made["lipschitz"].assumptions)


def relu_encoder(seed=0, hidden=32):
    rng = np.random.default_rng(seed)
    first = (rng.normal(size=(hidden, PIXELS)) / np.sqrt(PIXELS)).astype(np.float32)
    bias = (0.3 * rng.normal(size=hidden)).astype(np.float32)
    heads = (rng.normal(size=(2, LATENT, hidden)) / np.sqrt(hidden) * np.array([1.0, 0.2])[:, None, None]).astype(
        np.float32
    )

    def encode(x):
        hidden = jax.nn.relu(jnp.asarray(first) @ x.reshape(-1) + jnp.asarray(bias))
        mean, log_std = jnp.asarray(heads) @ hidden
        return DiagonalGaussian(mean, log_std - 0.5)

    return encode


def test_a_bent_encoder_is_certified_soundly_below_first_order():
    encode = relu_encoder()
    decode = slab_decoder(np.ones(LATENT), 8.0)
    images = np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32)
    made = bounds.certify_dataset(
        encode,
        decode,
        images,
        radius=4.0,
        key=KEY,
        num_samples=500,
        methods=("moving_std", "linear_region", "lipschitz"),
    )
    first, region, sound = (made[name].radius for name in ("moving_std", "linear_region", "lipschitz"))
    assert (region > 0.0).all() and (region <= first).all()
    assert (sound > 0.0).all() and (sound <= first * (1.0 + 1e-5)).all()
    # Where bounds hold over the ball, so does the statement: draws at attacked images, by the closed form of the slab.
    rng = np.random.default_rng(2)
    worst = 1.0
    for image, radius in zip(images, sound, strict=True):
        q = jax.vmap(encode)(_around(image, 0.999 * radius, rng))
        centre = np.maximum(np.abs(np.asarray(encode(image).mean).sum()) - 7.0, 0.0)
        low, high = (centre - 4.0 + 7.0, centre + 4.0 + 7.0)  # the slab's heights within r of the centre
        total, spread = np.asarray(q.mean).sum(axis=1), np.linalg.norm(np.asarray(q.std), axis=1)
        within = special.ndtr((high - total) / spread) - special.ndtr((-high - total) / spread)
        if low > 7.0:
            within -= special.ndtr((low - total) / spread) - special.ndtr((-low - total) / spread)
        worst = min(worst, within.min())
    assert worst > 0.5


def _around(image, radius, rng):
    directions = rng.normal(size=(500, *SHAPE))
    lengths = np.sqrt(np.sum(np.square(directions), axis=(1, 2, 3), keepdims=True))
    return (image + radius * directions / lengths).astype(np.float32)


def test_a_lipschitz_decoder_gives_a_margin_beyond_the_noise():
    """Where sigma is tiny, the budget in standard deviations is worth nothing, and the decoder's slope all."""
    matrix = np.random.default_rng(0).normal(size=(LATENT, PIXELS)).astype(np.float32)
    weights = np.linalg.qr(np.random.default_rng(1).normal(size=(PIXELS, LATENT)))[0].astype(np.float32)

    def encode(x):
        return DiagonalGaussian(jnp.asarray(matrix) @ x.reshape(-1), jnp.full(LATENT, -6.0))

    def decode(z):
        return (jnp.asarray(weights) @ z).reshape(SHAPE)

    settings = {"radius": 1.0, "key": KEY, "num_samples": 2000}
    made = bounds.certify_dataset(encode, decode, ZERO, methods=("hybrid", "lipschitz"), **settings)
    norm = np.linalg.norm(matrix, 2)
    # The reconstruction moves as the mean does: by r at 1 / ||J||, and the noise hardly matters.
    assert 0.97 / norm < made["hybrid"].radius[0] < 1.0 / norm
    assert made["lipschitz"].radius[0] < 0.05 * made["hybrid"].radius[0]
    given = bounds.LipschitzConstants(norm * np.exp(6.0), 0.0, mean=norm, decoder=1.0)
    by_hand = bounds.certify(encode, decode, ZERO, method="hybrid", lipschitz=given, **settings)
    np.testing.assert_allclose(by_hand.radius, made["hybrid"].radius, rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"method": "camuto", "norm": "linf"}, ValueError, "'camuto' has no bound for norm='linf'"),
        ({"norm": "l1"}, ValueError, "norm must be one of l2, linf"),
        ({"method": "exact"}, ValueError, "some of camuto, spectral, antithetic"),
        (
            {"method": "hybrid", "lipschitz": bounds.LipschitzConstants(1.0, 0.0)},
            ValueError,
            "needs the Lipschitz constants of mean and decoder",
        ),
    ],
)
def test_bad_methods(changes, error, message):
    encode, *_ = linear_encoder()
    arguments = {"radius": 1.0, "key": KEY, "num_samples": 20}
    with pytest.raises(error, match=message):
        bounds.certify(encode, slab_decoder(np.ones(LATENT), 3.0), ZERO, **(arguments | changes))


def test_hybrid_says_what_it_assumes_of_decode():
    assumed = {name: " ".join(method.assumptions) for name, method in bounds.METHODS.items()}
    assert "decode is what its code says in real arithmetic" in assumed["hybrid"]
    assert "decode is what its code says" not in assumed["lipschitz"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["linear_region", "lipschitz", "hybrid"])
@pytest.mark.parametrize("scale", [1.0, 1e-19, 1e-24])
def test_a_hidden_unit_of_tiny_scale_hides_nothing(method, scale):
    """The mean is relu(u.x - 0.3) whatever the unit's scale; squares of its weights vanish in float32."""
    scale = np.float32(scale)
    weights = np.full(4, 0.5 * scale, np.float32)

    def encode(x):
        hidden = jax.nn.relu(weights @ x - np.float32(0.3) * scale)
        return DiagonalGaussian((hidden / scale)[None], jnp.full(1, np.log(0.1), jnp.float32))

    def decode(z):
        return jnp.concatenate([z, jnp.zeros(3)])

    images = np.full((1, 4), 0.1, np.float32)  # u.x = 0.2: the unit is off, and on from a distance of 0.1
    with pytest.warns(UserWarning, match="does not depend on the image"):
        made = bounds.certify(encode, decode, images, radius=0.3, key=KEY, num_samples=2000, method=method)
    # More than half of the draws stay within 0.3 as long as the mean is below 0.3: up to a distance of 0.4.
    assert 0.05 < made.radius.item() <= 0.4
