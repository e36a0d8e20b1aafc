"""Large sprites: which ones they are, that they are the sprites seen from closer, and their parts."""

import numpy as np
import pytest

from seatbelt_jax import data
from seatbelt_jax.data import large_sprites, sprites


def test_they_are_upright_sprites_of_the_larger_scales_each_once():
    factors = large_sprites.FACTORS
    assert len(np.unique(sprites.index_from_factors(factors))) == len(factors) == 3 * 4 * 12 * 12
    assert set(factors[:, 1]) == {2, 3, 4, 5} and set(factors[:, 2]) == {0}
    middle = factors[:, 3:].mean(axis=0)
    np.testing.assert_array_equal(middle, [15.5, 15.5])


def test_they_are_the_middle_of_the_canvas_at_twice_the_size():
    factors = large_sprites.FACTORS[::97]
    whole = np.asarray(sprites.draw(factors, size=64))
    np.testing.assert_array_equal(sprites.draw(factors, size=32, zoom=large_sprites.ZOOM), whole[:, 16:48, 16:48])


def test_a_zoom_below_one_is_refused():
    with pytest.raises(ValueError, match=r"zoom must be a number of at least 1, got 0\.5"):
        sprites.draw(large_sprites.FACTORS[0], zoom=0.5)


def test_the_parts_are_disjoint_and_whole_and_know_their_factors():
    splits = data.load({"name": "large_sprites", "image_size": 32}, (-1.0, 1.0))
    assert (splits.train.size, splits.validation.size) == (1555, 173)
    seen = []
    for part in (splits.train, splits.validation):
        numbers = np.arange(part.size)
        factors = np.asarray(part.factors(numbers))
        np.testing.assert_array_equal(part.labels(numbers), factors[:, 0])
        drawn = 2.0 * np.asarray(sprites.draw(factors, size=32, zoom=2.0)) - 1.0
        np.testing.assert_array_equal(part.images(numbers), drawn)
        seen.append(np.asarray(sprites.index_from_factors(factors)))
    np.testing.assert_array_equal(
        np.sort(np.concatenate(seen)), np.sort(sprites.index_from_factors(large_sprites.FACTORS))
    )


def test_a_size_that_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="size must be an integer from 8 to 64 pixels, got 100"):
        data.load({"name": "large_sprites", "image_size": 100}, (0.0, 1.0))
