"""The search for the radius that enough draws survive, on bounds that are known in closed form."""

import numpy as np
import pytest

from seatbelt_jax.bounds.draw_radii import DrawRadii

DRAWS, RANK, RADIUS = 64, 45, 4.0


class Planted:
    """Draws whose bound at R is distance + slope R (1 + (bend R)^power), and not a number beyond `end`."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.distances = rng.uniform(1.0, 4.5, DRAWS)
        self.slopes = rng.uniform(0.5, 1.5, DRAWS) * 10.0 ** rng.uniform(-4.0, 3.0)
        self.bend = 10.0 ** rng.uniform(-3.0, 2.0) * self.slopes
        self.power = rng.choice([1.5, 2.0, 4.0])
        self.end = rng.choice([np.inf, 3.0 / self.slopes.mean()])

    def __call__(self, rows, size):
        bound = self.distances[rows] + self.slopes[rows] * size * (1.0 + (self.bend[rows] * size) ** self.power)
        return np.where(size > self.end, np.nan, bound)

    def exact(self, radius=RADIUS):
        """Each draw's largest radius."""
        low, high = np.zeros(DRAWS), np.full(DRAWS, 1e9)
        for _ in range(200):
            middle = 0.5 * (low + high)
            held = np.array([self(np.array([row]), size)[0] <= radius for row, size in enumerate(middle)])
            low, high = np.where(held, middle, low), np.where(held, high, middle)
        return low


@pytest.mark.parametrize("seed", range(12))
def test_the_rank_th_largest_radius_is_found_from_below_with_few_bounds(seed):
    planted = Planted(seed)
    draws = DrawRadii(planted, planted.distances)
    exact = np.sort(planted.exact())[-RANK]
    found = draws.largest(RADIUS, RANK)
    assert 0.99 * exact <= found <= exact
    # A bisection of every draw to this width takes 10 tests of each and more.
    assert draws.tests <= 10 * DRAWS


def test_tests_are_few_for_typical_bounds_and_shared_by_radii():
    planted = Planted(0)
    draws = DrawRadii(planted, planted.distances)
    draws.largest(RADIUS, RANK)
    first = draws.tests
    assert first <= 4 * DRAWS
    draws.largest(RADIUS, RANK)
    assert draws.tests == first
    smaller = draws.largest(0.9 * RADIUS, RANK)
    alone = DrawRadii(planted, planted.distances)
    exact = np.sort(planted.exact(0.9 * RADIUS))[-RANK]
    assert 0.99 * exact <= smaller <= exact
    alone.largest(0.9 * RADIUS, RANK)
    assert draws.tests - first < alone.tests


def test_what_is_claimed_was_proven_of_enough_draws_whatever_the_bounds_do():
    """Bounds that fall and rise at random: k draws must have passed at or beyond the radius."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        seen = []

        def bounds(rows, size, rng=rng, seen=seen):
            values = rng.uniform(0.0, 6.0, len(rows)) + size
            values[rng.uniform(size=len(rows)) < 0.1] = np.nan
            seen.extend(zip(rows, [size] * len(rows), values, strict=True))
            return values

        found = DrawRadii(bounds, np.full(DRAWS, 1.0)).largest(RADIUS, 20)
        passed = {row for row, size, value in seen if value <= RADIUS and size >= found}
        assert found == 0.0 or len(passed) >= 20


def test_draws_that_nothing_moves_and_draws_outside():
    still = DrawRadii(lambda rows, size: np.full(len(rows), 1.0), np.full(DRAWS, 1.0))
    assert still.largest(RADIUS, RANK) >= 2.0**20 * RADIUS
    distances = np.where(np.arange(DRAWS) < RANK - 1, 1.0, 5.0)
    outside = DrawRadii(lambda rows, size: distances[rows] + size, distances)
    assert outside.largest(RADIUS, RANK) == 0.0 and outside.tests == 0
    assert outside.largest(RADIUS, RANK - 1) == pytest.approx(3.0, rel=5e-3)
    # More ranks than draws: nothing can be claimed.
    assert outside.largest(9.0, DRAWS + 1) == 0.0
    broken = DrawRadii(lambda rows, size: np.full(len(rows), np.nan), np.full(DRAWS, 1.0))
    assert broken.largest(RADIUS, RANK) == 0.0
    assert np.isinf(broken.deviations_at(0.1)).all()


def test_a_draw_outside_passes_no_test_even_where_its_distance_was_given_wrong():
    """Distances guide the search alone: bounds decide."""
    honest = np.where(np.arange(DRAWS) < 10, 1.0, 5.0)
    draws = DrawRadii(lambda rows, size: honest[rows] + size, np.full(DRAWS, 1.0))
    assert draws.largest(RADIUS, RANK) == 0.0
    assert draws.largest(RADIUS, 10) == pytest.approx(3.0, rel=5e-3)
