"""Means over pooled attacks: against all attacks laid out one by one."""

import numpy as np
import pytest
from scipy import stats

from seatbelt_jax import metrics
from tests import annotations


def attacks(seed=0):
    """Attacks of 4 pairs on 3 models, 5 to 9 each."""
    rng = np.random.default_rng(seed)
    groups, pairs = [], []
    for pair in range(4):
        for _ in range(3):
            groups.append(np.exp(rng.normal(pair, 1.0, rng.integers(5, 10))))
            pairs.append(f"pair {pair}")
    return groups, pairs


def moments(groups):
    return [len(group) for group in groups], [group.mean() for group in groups], [group.std() for group in groups]


def test_pooled_moments_are_those_of_all_attacks_together():
    groups, pairs = attacks()
    everything = np.concatenate(groups)
    found = metrics.pooled_mean(*moments(groups), pairs)
    low, high = stats.t.interval(0.95, len(everything) - 1, everything.mean(), stats.sem(everything))
    assert (found.mean, found.low, found.high) == pytest.approx((everything.mean(), low, high))
    assert (found.attacks, found.pairs) == (len(everything), 4)


def test_the_interval_over_pairs_draws_pairs_with_all_that_is_theirs():
    groups, pairs = attacks()
    of_pairs = [
        np.concatenate([group for group, of in zip(groups, pairs, strict=True) if of == pair])
        for pair in dict.fromkeys(pairs)
    ]
    expected = metrics.bootstrap_interval(lambda drawn: np.concatenate([of_pairs[i] for i in drawn]).mean(), 4)
    found = metrics.pooled_mean(*moments(groups), pairs)
    assert (found.low_over_pairs, found.high_over_pairs) == pytest.approx(expected)
    # Pairs differ by factors of e here, attacks on one pair far less.
    assert found.high_over_pairs - found.low_over_pairs > 2.0 * (found.high - found.low)


def test_groups_without_attacks_count_for_nothing():
    groups, pairs = attacks()
    counts, means, stds = moments(groups)
    found = metrics.pooled_mean([*counts, 0], [*means, np.nan], [*stds, np.nan], [*pairs, "lost"])
    assert found == metrics.pooled_mean(counts, means, stds, pairs)
    assert metrics.pooled_mean([], [], [], []).attacks == 0
    with pytest.raises(ValueError, match="groups differ in number: 1, 1, 1 and 2"):
        metrics.pooled_mean([1], [1.0], [0.0], ["a", "b"])


def test_a_median_may_be_infinite_and_leaves_out_what_is_undefined():
    found = metrics.median_over_pairs([1.0, 2.0, np.inf, np.nan], ["a", "b", "c", "d"])
    assert found.value == 2.0 and found.low == 1.0 and found.high == np.inf
    assert np.isnan(metrics.median_over_pairs([1.0, 3.0], ["a", "a"])[1:]).all()


def test_the_interval_of_a_median_draws_pairs_with_all_that_is_theirs():
    rng = np.random.default_rng(2)
    # Pairs on one, two or three models.
    of_pairs = [rng.normal(pair, 0.1, 1 + pair % 3) for pair in range(6)]
    values = np.concatenate(of_pairs)
    labels = [pair for pair, members in enumerate(of_pairs) for _ in members]
    expected = metrics.bootstrap_interval(lambda drawn: np.median(np.concatenate([of_pairs[i] for i in drawn])), 6)
    found = metrics.median_over_pairs(list(values), labels)
    assert found.value == np.median(values)
    assert (found.low, found.high) == pytest.approx(expected)
    even = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    expected = metrics.bootstrap_interval(lambda drawn: np.median(even[drawn]), 6, level=0.5)
    assert metrics.median_over_pairs(list(even), range(6), level=0.5)[1:] == expected


def test_the_mean_over_models_has_students_interval_where_there_are_several():
    low, high = stats.t.interval(0.95, 2, 2.0, stats.sem([1.0, 2.0, 3.0]))
    assert metrics.mean_over_models([1.0, 2.0, 3.0, np.nan]) == pytest.approx((2.0, low, high))
    assert metrics.mean_over_models([5.0])[0] == 5.0 and np.isnan(metrics.mean_over_models([5.0])[1:]).all()


@annotations.unchecked()
def test_a_ratio_draws_the_pairs_of_both_models_together():
    second = np.array([1.0, 2.0, 4.0, 8.0, 100.0])
    # The ratio for a model that is three times as good on every pair, whichever are drawn.
    np.testing.assert_allclose(metrics.ratio_over_pairs(3.0 * second, second), [3.0, 3.0, 3.0])
    first = np.array([5.0, 1.0, 3.0, 9.0, 2.0])
    found = metrics.ratio_over_pairs(first, second, np.mean)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(5, size=5) for _ in range(2000)]
    ratios = np.sort([np.sum(first[pairs]) / np.sum(second[pairs]) for pairs in drawn])
    np.testing.assert_allclose(found, [20.0 / 115.0, ratios[49], ratios[1950]], rtol=0.05)
    never = metrics.ratio_over_pairs(np.array([np.inf, np.inf, 1.0]), np.ones(3))
    assert (never.value, never.high) == (np.inf, np.inf) and never.low == 1.0
    # Where both models' medians may be infinite, their ratio may be anything.
    both = metrics.ratio_over_pairs(np.array([1.0, 2.0, np.inf, np.inf]), np.array([1.0, 1.0, 1.0, np.inf]))
    assert (both.low, both.high) == (0.0, np.inf)
    assert np.isnan(metrics.ratio_over_pairs(np.ones(1), np.ones(1)).low)
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3,\)"):
        metrics.ratio_over_pairs(np.ones(2), np.ones(3))
