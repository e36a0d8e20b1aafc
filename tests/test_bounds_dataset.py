"""Data sets in batches, interrupted and gone on with; what is said of all images; curves over r."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from seatbelt_jax import bounds, storage
from seatbelt_jax.gaussian import DiagonalGaussian

SHAPE = (3, 2, 1)
PIXELS = 6
KEY = jax.random.key(0)
MATRIX = np.random.default_rng(0).normal(size=(2, PIXELS)).astype(np.float32)


def encode(x):
    return DiagonalGaussian(jnp.asarray(MATRIX) @ x.reshape(-1), jnp.full(2, -0.5))


def decode(z):
    return jnp.zeros(PIXELS).at[:2].set(z + 0.1 * jnp.sin(3.0 * z)).reshape(SHAPE)


def images(count):
    return np.random.default_rng(1).normal(size=(count, *SHAPE)).astype(np.float32)


SETTINGS = {"radius": 1.2, "key": KEY, "num_samples": 100, "methods": ("camuto", "spectral"), "batch_size": 4}


def same(a, b):
    arrays, others = a.to_arrays(), b.to_arrays()
    return arrays.keys() == others.keys() and all(np.array_equal(arrays[name], others[name]) for name in arrays)


def test_a_function_of_indices_is_the_same_data_set():
    array = images(10)
    asked = []

    def fetch(indices):
        asked.append(indices.tolist())
        return array[indices]

    whole = bounds.certify_dataset(encode, decode, array, **SETTINGS)
    streamed = bounds.certify_dataset(encode, decode, fetch, count=10, **SETTINGS)
    assert all(same(whole[name], streamed[name]) for name in whole)
    assert whole["spectral"].n == 10 and max(map(len, asked)) <= 4
    alone = bounds.certify(encode, decode, array, radius=1.2, key=KEY, num_samples=100)
    assert same(alone, whole["spectral"])


class Interrupted(Exception):
    pass


class ForgetfulFolder(storage.Folder):
    """Raises when the third group is to be written, after it was: as a killed process would end."""

    writes = 0

    def write(self, name, arrays):
        super().write(name, arrays)
        ForgetfulFolder.writes += 1
        if ForgetfulFolder.writes == 2:
            raise Interrupted


def test_an_interrupted_data_set_goes_on_to_the_same_certificates(tmp_path, monkeypatch):
    array = images(10)
    whole = bounds.certify_dataset(encode, decode, array, **SETTINGS)
    monkeypatch.setattr(ForgetfulFolder, "writes", 0)
    with pytest.raises(Interrupted):
        bounds.certify_dataset(encode, decode, array, store=ForgetfulFolder(tmp_path), **SETTINGS)
    left = sorted(tmp_path.iterdir())
    assert len(left) == 2

    resumed = bounds.certify_dataset(encode, decode, array, store=storage.Folder(tmp_path), **SETTINGS)
    assert all(same(whole[name], resumed[name]) for name in whole)
    stamps = {path: path.stat().st_mtime_ns for path in left}
    again = bounds.certify_dataset(encode, decode, array, store=storage.Folder(tmp_path), **SETTINGS)
    assert all(same(whole[name], again[name]) for name in whole)
    # What was there was read, and not made anew.
    assert {path: path.stat().st_mtime_ns for path in left} == stamps


@pytest.mark.parametrize("change", ["radius", "key", "images", "model", "methods"])
def test_what_another_certification_left_is_not_taken_up(tmp_path, change):
    array = images(4)
    bounds.certify_dataset(encode, decode, array, store=storage.Folder(tmp_path), **SETTINGS)
    settings, model, pictures = dict(SETTINGS), decode, array
    if change == "radius":
        settings["radius"] = 1.3
    elif change == "key":
        settings["key"] = jax.random.key(1)
    elif change == "methods":
        settings["methods"] = ("spectral", "camuto")
    elif change == "images":
        pictures = np.concatenate([array[:-1], array[-1:] + 0.1])
    else:
        # The same at the first image, and to every digit of what a probe there would see.
        def model(z):
            return decode(z) + 5.0 * jax.nn.relu(jnp.abs(z[0]) - 100.0)

    fresh = bounds.certify_dataset(encode, model, pictures, **settings)
    (left,) = tmp_path.iterdir()
    before = left.stat().st_mtime_ns
    resumed = bounds.certify_dataset(encode, model, pictures, store=storage.Folder(tmp_path), **settings)
    assert all(same(fresh[name], resumed[name]) for name in fresh)
    # Certified anew, even where that comes to the same numbers.
    assert left.stat().st_mtime_ns > before


def test_what_is_said_of_all_images():
    certificate = bounds.certify_dataset(encode, decode, images(8), **SETTINGS)["spectral"]
    certificate = dataclasses.replace(
        certificate,
        radius=np.array([0.0, 1.0, 2.0, 3.0, 0.0, 0.5, 2.0, np.inf]),
        abstained=np.array([True, *[False] * 3, True, *[False] * 3]),
    )
    np.testing.assert_array_equal(certificate.certified_fraction([0.0, 0.5, 2.0, 9.0]), [0.75, 0.75, 0.5, 0.125])
    assert certificate.certified_fraction(0.6) == 0.625
    assert certificate.mean_margin == np.inf and certificate.expected_failures == 8e-3
    finite = dataclasses.replace(certificate, radius=np.minimum(certificate.radius, 4.0))
    assert finite.mean_margin == 12.5 / 8


def test_certificates_of_different_settings_are_not_one():
    made = bounds.certify_dataset(encode, decode, images(2), **SETTINGS)
    with pytest.raises(ValueError, match="different method"):
        bounds.Certificate.concatenate(list(made.values()))
    with pytest.raises(ValueError, match="no part of a certificate"):
        bounds.Certificate.concatenate([])


def test_a_curve_over_r_holds_at_all_its_points_at_once():
    """With an isometric decoder ||Delta|| is chi distributed: any margin whose p_lower is above that is a miss."""
    count, alpha = 1200, 0.05

    def isometry(z):
        return jnp.zeros(PIXELS).at[:2].set(z).reshape(SHAPE)

    radii = np.exp(-0.5) * np.sqrt(2.0 * special.gammaincinv(1.0, np.linspace(0.55, 0.97, 22)))
    pictures = np.zeros((count, *SHAPE), np.float32)
    settings = {"key": KEY, "num_samples": 60, "batch_size": 600}
    curve = bounds.margin_curve(encode, isometry, pictures, radii=radii, alpha=alpha, **settings)
    assert len(curve) == 22 and all(certificate.alpha == alpha / 22 for certificate in curve)
    assert [certificate.reconstruction_radius for certificate in curve] == radii.tolist()
    np.testing.assert_array_equal(np.diff([certificate.hits for certificate in curve], axis=0) >= 0, True)
    truth = special.gammainc(1.0, 0.5 * np.square(radii / np.exp(-0.5)))[:, None]
    missed = (np.stack([certificate.p_lower for certificate in curve]) > truth).any(axis=0)
    assert missed.mean() <= alpha
    # Picking r by the very draws that certify, at the full alpha, would miss far more often.
    reused = bounds.lower_confidence_bound(np.stack([certificate.hits for certificate in curve]), 60, alpha)
    assert (reused > truth).any(axis=0).mean() > 2.5 * alpha


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": lambda i: images(4)[i]}, TypeError, "say with count"),
        ({"images": lambda i: images(4)[i], "count": 0}, ValueError, "count must be at least 1"),
        ({"methods": "spectral"}, ValueError, "in a tuple"),
        ({"methods": ()}, ValueError, "some of camuto"),
        ({"images": lambda i: np.where(i == 3, np.nan, 1.0)[:, None, None, None] * images(4)[i], "count": 4,
          "batch_size": 2}, ValueError, "image 3 holds NaN"),
    ],
)  # fmt: skip
def test_bad_data_sets(arguments, error, message):
    given = {"images": images(2)} | SETTINGS | arguments
    with pytest.raises(error, match=message):
        bounds.certify_dataset(encode, decode, **given)


def test_a_curve_needs_radii():
    with pytest.raises(ValueError, match="at least one radius"):
        bounds.margin_curve(encode, decode, images(1), radii=[], key=KEY)
    with pytest.raises(ValueError, match="radius must be a positive"):
        bounds.margin_curve(encode, decode, images(1), radii=[1.0, 0.0], key=KEY)
