"""Lines through points and means of curves: NumPy, and planted answers."""

import numpy as np
import pytest

from seatbelt_jax import metrics
from tests import annotations


def test_a_line_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    y = 0.7 * x - 2.0 + 0.3 * rng.normal(size=40)
    slope, offset = np.polyfit(x, y, 1)
    # What is not finite, such as a margin of which nothing was shown, has no part.
    found = metrics.line_fit(np.append(x, [1.0, np.nan]), np.append(y, [np.inf, 0.0]))
    correlation, ranks = (np.corrcoef(*both)[0, 1] for both in ((x, y), (x.argsort().argsort(), y.argsort().argsort())))
    np.testing.assert_allclose(found, (slope, offset, correlation, ranks, 40), rtol=1e-10)


@pytest.mark.parametrize(("x", "y"), [([1.0, 2.0], [1.0, 2.0]), ([1.0] * 4, [1.0, 2.0, 3.0, 4.0]), ([], [])])
def test_without_a_line_there_are_no_numbers(x, y):
    found = metrics.line_fit(np.array(x), np.array(y))
    assert np.isnan(found[:4]).all() and found.points == len(x)


def test_a_mean_curve_is_that_of_the_curves_between_their_points():
    # 1 - t up to 1, and 1 - t / 2 up to 2; the first stays 0 beyond its end.
    curves = np.array([[1.0, 0.5, 0.0], [1.0, 0.5, 0.0]])
    found = metrics.mean_curve(np.array([1.0, 2.0]), curves, np.array([0.0, 0.5, 1.5, 3.0]))
    np.testing.assert_allclose(found.mean, [1.0, (0.5 + 0.75) / 2, (0.0 + 0.25) / 2, 0.0])
    np.testing.assert_allclose(found.std, [0.0, 0.125, 0.125, 0.0])


@annotations.unchecked()
def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="x and y must be numbers of the same points"):
        metrics.line_fit(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="curves must be"):
        metrics.mean_curve(np.zeros(2), np.zeros((3, 4)), np.zeros(2))
