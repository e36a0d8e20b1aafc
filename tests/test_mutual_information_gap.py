"""MIG on planted codes, and its mutual information against numerical integration."""

import jax
import numpy as np
import pytest

from seatbelt_jax import metrics
from seatbelt_jax.gaussian import DiagonalGaussian
from tests import annotations
from tests.reference import mutual_information as reference

KEY = jax.random.key(0)


def grid(*sizes, seed=0):
    """Every combination of levels once, in a random order."""
    levels = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).reshape(-1, len(sizes))
    return np.random.default_rng(seed).permutation(levels)


def posterior(mean, std):
    mean = np.asarray(mean, np.float32)
    return DiagonalGaussian(mean, np.broadcast_to(np.log(np.asarray(std, np.float32)), mean.shape))


def test_a_disentangled_code_has_a_gap_of_one():
    """Latents 1, 3 and 4 hold one factor each, its levels 20 standard deviations apart; the others hold none."""
    levels = grid(3, 4, 5)
    nothing = np.zeros(60)
    mean = np.stack([nothing, levels[:, 2], nothing, levels[:, 0], levels[:, 1]], axis=1)
    found = metrics.mutual_information_gap(posterior(mean, [1.0, 0.05, 1.0, 0.05, 0.05]), levels, KEY)
    np.testing.assert_allclose(found.factor_entropy, np.log([3.0, 4.0, 5.0]))
    np.testing.assert_array_equal(found.mutual_information.argmax(axis=1), [3, 4, 1])
    np.testing.assert_allclose(found.gaps, 1.0, atol=1e-4)
    assert abs(found.mig - 1.0) < 1e-4


def test_a_rotated_code_has_no_gap():
    """Turned by 45 degrees, both latents know as much of either factor."""
    levels = grid(7, 7)
    mean = levels @ np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2.0)
    found = metrics.mutual_information_gap(posterior(mean, 0.2), levels, KEY, num_samples=20_000)
    assert np.all(found.mutual_information > 0.3)
    assert found.mig < 6.0 * found.standard_error.max() / np.log(7.0) < 0.03


def test_the_gap_is_between_two_latents_of_one_factor():
    """Two latents hold factor 1: its gap is 0. The largest of each latent over factors would have a gap of 1."""
    levels = grid(4, 4)
    mean = np.stack([levels[:, 0], levels[:, 0], levels[:, 1]], axis=1)
    found = metrics.mutual_information_gap(posterior(mean, 0.05), levels, KEY)
    np.testing.assert_allclose(found.gaps, [0.0, 1.0], atol=1e-4)
    assert abs(found.mig - 0.5) < 1e-4


def test_mutual_information_is_that_of_numerical_integration():
    levels = grid(3, 4, 2)
    rng = np.random.default_rng(1)
    mean = np.concatenate([levels[:, :1] * 0.8, levels @ rng.normal(size=(3, 3))], axis=1) + 0.2 * rng.normal(
        size=(24, 4)
    )
    std = np.exp(rng.normal(-0.5, 0.7, size=(24, 4)))
    q = DiagonalGaussian(mean.astype(np.float32), np.log(std).astype(np.float32))
    expected = np.array([[reference.between(mean[:, j], std[:, j], levels[:, k]) for j in range(4)] for k in range(3)])
    assert expected.max() > 0.3 and expected.min() < 0.1
    found = metrics.mutual_information_gap(q, levels, KEY, num_samples=50_000)
    assert np.all(np.abs(found.mutual_information - expected) < 4.5 * found.standard_error)
    assert found.standard_error.max() < 5e-3
    # Fewer samples than images: some levels may have none.
    few = metrics.mutual_information_gap(q, levels, KEY, num_samples=3)
    assert np.all(np.isfinite(few.mutual_information))


def test_a_factor_of_one_level_is_left_out():
    levels = np.concatenate([grid(4, 4), np.full((16, 1), 7)], axis=1)
    found = metrics.mutual_information_gap(posterior(levels[:, :2], 0.05), levels, KEY)
    assert np.isnan(found.gaps[2]) and abs(found.mig - 1.0) < 1e-4


@annotations.unchecked()
def test_what_is_no_full_grid_is_refused():
    levels = grid(3, 4)
    q = posterior(levels, 0.1)
    with pytest.raises(ValueError, match="every combination of the 3 x 4 levels once; got 11 images"):
        metrics.mutual_information_gap(posterior(levels[:11], 0.1), levels[:11], KEY)
    twice = np.where(np.arange(12)[:, None] == 0, levels[1], levels)
    with pytest.raises(ValueError, match="full grid"):
        metrics.mutual_information_gap(q, twice, KEY)
    with pytest.raises(TypeError, match="factors must be whole numbers, got float64"):
        metrics.mutual_information_gap(q, levels / 2, KEY)
    with pytest.raises(ValueError, match="do not fit"):
        metrics.mutual_information_gap(q, levels[:, 0], KEY)
    with pytest.raises(ValueError, match="at least 2 of them"):
        metrics.mutual_information_gap(posterior(levels[:, :1], 0.1), levels, KEY)
    with pytest.raises(ValueError, match="not finite"):
        metrics.mutual_information_gap(posterior(levels * np.nan, 0.1), levels, KEY)
    with pytest.raises(ValueError, match="one level only"):
        metrics.mutual_information_gap(posterior([[0.0, 1.0]], 0.1), np.array([[3]]), KEY)
    with pytest.raises(TypeError, match="must be a DiagonalGaussian, got ndarray"):
        metrics.mutual_information_gap(np.zeros((12, 2)), levels, KEY)
