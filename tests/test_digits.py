"""scikit-learn's digits: the real ones where it is installed, the path to them in any case."""

import sys
import types
from importlib import util

import numpy as np
import pytest

from seatbelt_jax import data

DIGITS = {"name": "digits", "image_size": 8, "held_out": 0.1}


def test_the_digits_are_real_and_whole():
    if util.find_spec("sklearn") is None:
        pytest.skip("scikit-learn is not installed")
    splits = data.load(DIGITS, (0.0, 16.0))
    assert (splits.train.size, splits.validation.size, splits.train.image_shape) == (1617, 180, (8, 8, 1))
    parts = (splits.train, splits.validation)
    images, labels = (
        np.concatenate([getattr(part, name)(np.arange(part.size)) for part in parts]) for name in ("images", "labels")
    )
    assert set(labels) == set(range(10)) and images.max() == 16.0
    # The first of the package's images, a zero, in whole numbers of dark pixels: bytes hold 17 levels apart.
    first = [0, 0, 5, 13, 9, 1, 0, 0]
    found = np.flatnonzero(np.all(np.rint(images[:, 0, :, 0]) == first, axis=-1))
    assert 0 in labels[found]
    np.testing.assert_allclose(images, np.rint(images), atol=0.04)
    assert data.load(DIGITS | {"image_size": 32}, (0.0, 1.0)).train.images(np.arange(3)).shape == (3, 32, 32, 1)


def test_digits_become_bytes_with_their_classes(monkeypatch):
    levels = np.arange(20 * 64).reshape(20, 8, 8) % 17.0
    package, datasets = types.ModuleType("sklearn"), types.ModuleType("sklearn.datasets")
    datasets.load_digits = lambda: types.SimpleNamespace(images=levels, target=np.arange(20))
    monkeypatch.setitem(sys.modules, "sklearn", package)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", datasets)
    splits = data.load(DIGITS, (0.0, 1.0))
    assert (splits.train.size, splits.validation.size) == (18, 2)
    for part in (splits.train, splits.validation):
        places = part.labels(np.arange(part.size))
        images = part.images(np.arange(part.size))
        np.testing.assert_allclose(images[..., 0], levels[places] / 16.0, atol=0.5001 / 255.0)
    padded = data.load(DIGITS | {"image_size": 32, "fit": "pad"}, (0.0, 1.0)).train
    assert not padded.images(np.arange(18))[:, :12].any() and padded.images(np.arange(18))[:, 12:20, 12:20].any()


def test_without_scikit_learn_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'seatbelt-jax\[digits\]'"):
        data.load(DIGITS, (0.0, 1.0))
