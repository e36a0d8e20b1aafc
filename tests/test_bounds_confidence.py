import numpy as np
import pytest

from seatbelt_jax.bounds import lower_confidence_bound, upper_confidence_bound
from seatbelt_jax.bounds.confidence import quantile_ranks, smallest_sufficient_trials
from tests.reference import bounds as reference

RUNS = 100_000


@pytest.mark.parametrize("trials", [1, 7, 60])
@pytest.mark.parametrize("alpha", [0.3, 0.05, 1e-3])
def test_lower_bound_inverts_the_binomial_tail(trials, alpha):
    hits = np.arange(trials + 1)
    expected = [reference.lower_confidence_bound(k, trials, alpha) for k in hits]
    np.testing.assert_allclose(lower_confidence_bound(hits, trials, alpha), expected, rtol=1e-9)


def test_the_whole_alpha_is_on_one_side():
    # A two-sided interval would give (alpha / 2) ** (1 / trials).
    for trials in (10, 1000, 100_000):
        bound = lower_confidence_bound(trials, trials, 1e-3)
        np.testing.assert_allclose(bound, 1e-3 ** (1.0 / trials), rtol=1e-12)


def test_bounds_end_at_0_and_1_and_mirror_each_other():
    hits = np.arange(21)
    lower, upper = lower_confidence_bound(hits, 20, 0.01), upper_confidence_bound(hits, 20, 0.01)
    assert lower[0] == 0.0 and upper[-1] == 1.0
    assert (lower[1:] > 0.0).all() and (upper[:-1] < 1.0).all()
    assert (lower < hits / 20 + 1e-12).all() and (upper > hits / 20 - 1e-12).all()
    assert (np.diff(lower) > 0.0).all() and lower.dtype == np.float64
    np.testing.assert_allclose(upper, 1.0 - lower[::-1], rtol=1e-12)


@pytest.mark.parametrize(("trials", "probability"), [(30, 0.5), (100, 0.93), (1000, 0.99), (1000, 0.5), (5000, 0.02)])
def test_simulated_miss_rates_stay_below_alpha(trials, probability):
    alpha = 0.02
    slack = 4.0 * np.sqrt(alpha / RUNS)
    hits = np.random.default_rng(trials).binomial(trials, probability, RUNS)
    lower_misses = np.mean(lower_confidence_bound(hits, trials, alpha) > probability)
    upper_misses = np.mean(upper_confidence_bound(hits, trials, alpha) < probability)
    assert lower_misses <= alpha + slack
    assert upper_misses <= alpha + slack
    if (trials, probability) == (1000, 0.5):  # fine enough steps to use most of alpha
        assert min(lower_misses, upper_misses) > 0.75 * alpha


@pytest.mark.parametrize("alpha", [0.4, 0.05, 1e-3, 1e-6])
@pytest.mark.parametrize("risk", [0.01, 0.5, 0.9, 0.99])
def test_fewest_trials_that_can_certify(alpha, risk):
    trials = smallest_sufficient_trials(alpha, risk)
    assert lower_confidence_bound(trials, trials, alpha) > risk
    assert trials == 1 or lower_confidence_bound(trials - 1, trials - 1, alpha) <= risk


@pytest.mark.parametrize("trials", [1, 5, 80])
@pytest.mark.parametrize("level", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("alpha", [0.2, 0.01])
def test_quantile_ranks_are_the_tightest_valid_ones(trials, level, alpha):
    assert quantile_ranks(trials, level, alpha) == reference.quantile_ranks(trials, level, alpha)


@pytest.mark.parametrize("levels", [None, 4], ids=["continuous", "with ties"])
def test_order_statistics_bound_the_quantile(levels):
    level, alpha, trials, runs = 0.7, 0.05, 60, 20_000
    draws = np.random.default_rng(0).uniform(size=(runs, trials))
    quantile = level
    if levels is not None:
        draws = np.ceil(draws * levels)
        quantile = 3.0  # P(D <= 2) = 0.5, P(D <= 3) = 0.75
    low, high = quantile_ranks(trials, level, alpha)
    ordered = np.sort(draws, axis=1)
    slack = 4.0 * np.sqrt(alpha / runs)
    too_high = np.mean(ordered[:, low - 1] > quantile)
    too_low = np.mean(ordered[:, high - 1] < quantile)
    assert too_high <= alpha + slack and too_low <= alpha + slack
    if levels is None:
        assert min(too_high, too_low) > 0.4 * alpha


@pytest.mark.parametrize(
    ("hits", "trials", "alpha", "error"),
    [
        (5, 0, 0.1, "trials must be at least 1"),
        (11, 10, 0.1, r"0\.\.10"),
        ([3, -1], 10, 0.1, r"0\.\.10"),
        (5, 10, 0.0, "alpha must lie strictly between 0 and 1"),
        (5, 10, 1.0, "alpha must lie strictly between 0 and 1"),
        (5, 10, float("nan"), "alpha must lie strictly between 0 and 1"),
    ],
)
def test_bad_values(hits, trials, alpha, error):
    for bound in (lower_confidence_bound, upper_confidence_bound):
        with pytest.raises(ValueError, match=error):
            bound(hits, trials, alpha)


def test_bad_types():
    with pytest.raises(TypeError, match="hits must be integers"):
        lower_confidence_bound(0.5, 10, 0.1)
    with pytest.raises(TypeError, match="trials must be an integer"):
        lower_confidence_bound(5, 10.0, 0.1)
    with pytest.raises(TypeError, match="alpha must be a real number"):
        lower_confidence_bound(5, 10, "small")
