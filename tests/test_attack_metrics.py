"""Measures of attacks: planted answers, slow twins, coverage of the intervals, bad input."""

import numpy as np
import pytest
from scipy import stats

from seatbelt_jax import metrics
from seatbelt_jax.attacks.pairs import all_label_pairs
from tests import annotations
from tests.reference import attack_metrics as reference
from tests.reference.made_up_attacks import made_up_result

PLANTED = {
    "objective": np.array([[1.0, 2.0, 9.0], [5.0, 5.0, 5.0]]),
    "distance": np.array([[1.0, 2.0, 9.0], [5.0, 5.0, 5.0]]),
    "negative_log_likelihood": np.array([[11.0, 12.0, 19.0], [15.0, 15.0, 15.0]]),
    "clean_negative_log_likelihood": np.array([10.0, 10.0]),
    "distortion_norm": np.array([[4.0, 2.0, 0.0], [8.0, 6.0, 0.0]]),
    "distance_left": np.array([[0.05, 0.4, 1.0], [1.0, 1.5, 2.0]]),
    "distance_at_start": np.array([1.0, 2.0]),
}


@pytest.fixture
def planted():
    return made_up_result(**PLANTED)


def test_measures_of_a_sweep_on_a_planted_one(planted):
    np.testing.assert_array_equal(metrics.distortion_to_reach(planted, 0.5), [2.0, 8.0])
    np.testing.assert_array_equal(metrics.distortion_to_reach(planted, 0.9), [4.0, np.inf])
    # Pair 0: mean Delta 4, so the 2 is the largest below it. Pair 1: no Delta is below the mean, and all are one.
    np.testing.assert_array_equal(metrics.shown_budget(planted), [1, 2])
    with pytest.raises(ValueError, match="share must lie in"):
        metrics.distortion_to_reach(planted, 0.0)


def test_the_shown_attack_is_the_largest_of_those_below_the_mean():
    result = made_up_result(objective=np.array([[0.0, 9.0, 5.0, 1.0, 6.0]]))  # mean 4.2
    np.testing.assert_array_equal(metrics.shown_budget(result), [3])


@pytest.mark.parametrize("seed", range(5))
def test_the_shown_attack_is_the_reference_s(seed):
    rng = np.random.default_rng(seed)
    # Few values, so that ties are common, and some that are not finite.
    objective = rng.choice([0.0, 1.0, 2.0, 3.0, np.nan, np.inf], size=(40, 6))
    budgets = rng.permutation(6) + 1.0
    result = made_up_result(objective=objective, budgets=budgets)
    expected = [reference.shown_budget(row, budgets) for row in objective]
    np.testing.assert_array_equal(metrics.shown_budget(result), expected)


def test_of_several_such_the_one_under_the_largest_budget_is_shown():
    objective = np.array([[9.0, 5.0, 5.0, 5.0, 6.0], [0.1, 0.1, 0.1, 0.1, 0.1]])
    result = made_up_result(objective=objective, budgets=np.array([1.0, 2.0, 8.0, 4.0, 16.0]))
    np.testing.assert_array_equal(metrics.shown_budget(result), [2, 4])


def test_an_attack_without_a_finite_objective_is_not_shown_where_there_is_another():
    nan, inf = np.nan, np.inf
    result = made_up_result(
        # Means of what is finite: 4, 5, none.
        objective=np.array([[nan, 1.0, 9.0, 2.0, inf], [5.0, 5.0, nan, inf, nan], [nan, nan, nan, nan, inf]])
    )
    np.testing.assert_array_equal(metrics.shown_budget(result), [3, 1, 4])


def test_a_summary_of_a_planted_sweep(planted):
    summary = metrics.summarise(planted)
    assert summary["attacks"] == 6.0
    assert summary["median_objective"] == 5.0
    assert summary["median_excess_target_nll_nats"] == 5.0
    assert summary["median_distortion_l2"] == 3.0
    assert summary["median_distortion_half_way_l2"] == 5.0
    assert summary["median_distortion_nine_tenths_l2"] == np.inf
    assert summary["median_relative_likelihood_degradation"] == 1.0
    assert summary["share_reaching_nine_tenths"] == 0.5
    assert summary["share_reaching_half_way"] == 1.0
    assert summary["share_non_finite"] == 0.0
    # Pair 0 at lambda = 3: the distortion of norm 0 scores 9, that of norm 2 scores 2 + 3 * 2 = 8.
    assert summary["share_suspicious"] == 1 / 6
    # Two pairs, drawn twice: (0, 0), (0, 1), (1, 0), (1, 1), whose medians are 2, 5, 5, 5.
    assert (summary["median_objective_low"], summary["median_objective_high"]) == (2.0, 5.0)
    assert (summary["median_distortion_half_way_l2_low"], summary["median_distortion_half_way_l2_high"]) == (2.0, 8.0)
    nine_tenths = [summary[f"median_distortion_nine_tenths_l2_{bound}"] for bound in ("low", "high")]
    assert nine_tenths == [4.0, np.inf]
    # Clopper and Pearson's interval of 1 success in 2, in closed form: 1 - sqrt(0.975) to sqrt(0.975).
    np.testing.assert_allclose(summary["share_reaching_nine_tenths_low"], 1 - np.sqrt(0.975), rtol=1e-6)
    np.testing.assert_allclose(summary["share_reaching_nine_tenths_high"], np.sqrt(0.975), rtol=1e-6)
    # And of 2 in 2: sqrt(0.025) to 1.
    np.testing.assert_allclose(summary["share_reaching_half_way_low"], np.sqrt(0.025), rtol=1e-6)
    assert summary["share_reaching_half_way_high"] == 1.0
    # Source and target are one image here, so there is no distortion-distortion curve.
    assert not any("auddc" in name for name in summary)
    for name, value in summary.items():
        if f"{name}_low" in summary:
            assert summary[f"{name}_low"] <= value <= summary[f"{name}_high"]


def test_a_summary_of_one_pair_has_no_bounds_but_those_of_a_share():
    summary = metrics.summarise(made_up_result(objective=np.array([[1.0, 2.0]])))
    assert summary["median_objective"] == 1.5
    assert np.isnan(summary["median_objective_low"]) and np.isnan(summary["median_objective_high"])
    assert summary["share_reaching_nine_tenths"] == summary["share_reaching_nine_tenths_high"] == 1.0
    np.testing.assert_allclose(summary["share_reaching_nine_tenths_low"], 0.025)


def test_failed_attacks_do_not_spoil_a_summary(planted):
    def with_failures(values):
        """Another pair, of which nothing is known, and of every pair an attack that failed."""
        if values.ndim == 1:
            return np.append(values, np.nan)
        return np.pad(values, ((0, 1), (1, 0)), constant_values=np.nan)

    failed = made_up_result(
        **{name: with_failures(values) for name, values in PLANTED.items()},
        budgets=np.array([0.5, 1.0, 2.0, 3.0]),
        source_log_likelihood=with_failures(np.zeros((2, 3))),
    )
    failed.objective[2, 1] = np.inf
    summary, expected = metrics.summarise(failed), metrics.summarise(planted)
    assert (summary["attacks"], summary["share_non_finite"], summary["share_suspicious"]) == (12.0, 0.5, 7 / 12)
    assert not any(np.isnan(value) for value in summary.values())
    for name in set(expected) - {"attacks", "share_non_finite", "share_suspicious"}:
        assert summary[name] == expected[name], name


def test_a_failed_attack_is_left_out_of_the_measures_it_has_numbers_for():
    sources, targets = two_pixels([10.0])
    result = made_up_result(
        objective=np.array([[1.0, np.nan]]),
        sources=sources,
        targets=targets,
        distortion_norm=np.array([[4.0, 1.0]]),
        source_log_likelihood=np.array([[-3.0, -9.0]]),
        negative_log_likelihood=np.array([[2.0, 8.0]]),
        distance_left=np.array([[0.0, 0.0]]),
        adversarial_error=np.array([[1.0, 0.0]]),
    )
    summary = metrics.summarise(result)
    assert summary["median_distortion_l2"] == summary["median_distortion_nine_tenths_l2"] == 4.0
    assert summary["median_relative_likelihood_degradation"] == 2.0
    assert summary["median_excess_target_nll_nats"] == 2.0
    # The curve is flat from x = 0.4, where it begins.
    assert summary["median_auddc"] == pytest.approx(0.6)


def test_a_summary_of_failures_alone_says_so():
    nothing = np.full((2, 3), np.nan)
    summary = metrics.summarise(made_up_result(objective=nothing))
    assert (summary["share_non_finite"], summary["share_suspicious"]) == (1.0, 1.0)
    undefined = {name for name, value in summary.items() if np.isnan(value)}
    assert undefined == set(summary) - {"attacks", "share_non_finite", "share_suspicious"}
    assert {"median_objective", "share_reaching_half_way"} <= undefined


def test_a_likelihood_that_cannot_degrade_is_left_out_of_the_median():
    result = made_up_result(
        source_log_likelihood=np.array([[-2.0, -3.0], [-2.0, -2.0], [np.nan, -5.0]]),
        clean_source_log_likelihood=np.array([-1.0, 0.0, -1.0]),
    )
    summary = metrics.summarise(result)
    # Medians of 1 and 2, of nothing, and of 4.
    assert summary["median_relative_likelihood_degradation"] == 2.0
    assert summary["median_relative_likelihood_degradation_low"] == 1.5
    assert summary["median_relative_likelihood_degradation_high"] == 4.0


def test_attacks_without_targets_are_summarised_without_them():
    nothing = np.full((2, 3), np.nan)
    result = made_up_result(
        targeted=False,
        objective=np.array([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]]),
        distance=np.array([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]]),
        threat="l2_ball",
        distortion_norm=np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]),
        source_log_likelihood=np.full((2, 3), -4.0),
        distance_left=nothing,
        adversarial_error=nothing,
        negative_log_likelihood=nothing,
    )
    summary = metrics.summarise(result)
    assert summary["median_objective"] == -3.5
    assert summary["median_relative_likelihood_degradation"] == 3.0
    assert summary["share_suspicious"] == 0.0
    assert {name.removesuffix("_low").removesuffix("_high") for name in summary} == {
        *("attacks", "median_objective", "median_distortion_l2", "median_relative_likelihood_degradation"),
        *("share_suspicious", "share_non_finite"),
    }
    assert all(np.isfinite(value) for value in summary.values())
    assert np.all(np.isnan(metrics.auddc(result))) and np.all(np.isnan(metrics.distortion_to_reach(result, 0.5)))


def test_the_degradation_is_relative_and_never_negative():
    result = made_up_result(
        source_log_likelihood=np.array([[-100.0, -150.0, -300.0], [200.0, 100.0, -100.0], [0.0, 1.0, 2.0]]),
        clean_source_log_likelihood=np.array([-100.0, 200.0, 0.0]),
    )
    expected = [[0.0, 0.5, 2.0], [0.0, 0.5, 1.5], [np.nan] * 3]
    np.testing.assert_allclose(metrics.relative_likelihood_degradation(result), expected)


def two_pixels(distance):
    """Sources and targets, each pair `distance` apart."""
    sources = np.zeros((len(distance), 1, 2, 1), np.float32)
    return sources, sources + (np.asarray(distance)[:, None, None, None] / np.sqrt(2.0)).astype(np.float32)


def test_the_curve_and_its_area_on_curves_drawn_by_hand():
    sources, targets = two_pixels([10.0, 10.0, 10.0])
    # recon(x^t) is 2 from the target and recon(x) 12, so y = (error - 2) / 10.
    result = made_up_result(
        sources=sources,
        targets=targets,
        source_error=np.full(3, 12.0),
        target_error=np.full(3, 2.0),
        # A straight line to (0.5, 0) and then flat; a model that never moves; one point beyond x = 1, not kept.
        distortion_norm=np.array([[5.0, 0.0, 2.5], [0.0, 4.0, 8.0], [0.0, 5.0, 10.5]]),
        adversarial_error=np.array([[2.0, 12.0, 7.0], [12.0, 12.0, 12.0], [12.0, 4.0, 2.0]]),
    )
    first, still, beyond = metrics.distortion_curve(result)
    np.testing.assert_allclose(first, [[0.0, 1.0], [0.25, 0.5], [0.5, 0.0], [0.5, 0.0], [1.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(still[-2:], [[0.8, 1.0], [1.0, 1.0]], atol=1e-6)
    np.testing.assert_allclose(beyond, [[0.0, 1.0], [0.5, 0.2], [0.5, 0.2], [1.0, 0.2]], atol=1e-6)
    # 0.5 * 0.5; 1; and 0.5 * (1 + 0.2) / 2 + 0.5 * 0.2.
    np.testing.assert_allclose(metrics.auddc(result), [0.25, 1.0, 0.4], atol=1e-6)


def test_a_curve_that_rises_again_is_closed_at_its_least_y():
    sources, targets = two_pixels([10.0])
    result = made_up_result(
        sources=sources,
        targets=targets,
        distortion_norm=np.array([[0.0, 4.0, 8.0]]),
        adversarial_error=np.array([[1.0, 0.0, 0.5]]),
    )
    np.testing.assert_allclose(metrics.distortion_curve(result)[0][-2:], [[0.8, 0.0], [1.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(metrics.auddc(result), [0.2 + 0.1], atol=1e-6)


def test_the_area_agrees_with_the_slow_twin():
    rng = np.random.default_rng(1)
    apart = rng.uniform(5.0, 15.0, 30)
    sources, targets = two_pixels(apart)
    fields = {
        "distortion_norm": np.maximum(rng.uniform(-5.0, 20.0, (30, 12)), 0.0),  # some at x = 0, some beyond 1
        "adversarial_error": rng.uniform(0.0, 10.0, (30, 12)),
        "source_error": rng.uniform(6.0, 9.0, 30),
        "target_error": rng.uniform(1.0, 3.0, 30),
    }
    found = metrics.auddc(made_up_result(sources=sources, targets=targets, **fields))
    expected = [
        reference.auddc(norms, errors, distance, source, target)
        for norms, errors, distance, source, target in zip(
            *(fields[name] for name in ("distortion_norm", "adversarial_error")),
            *(apart, fields["source_error"], fields["target_error"]),
            strict=True,
        )
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_area_is_undefined_where_no_curve_is():
    sources, targets = two_pixels([0.0, 10.0, 10.0, 10.0, 10.0])
    result = made_up_result(
        sources=sources,
        targets=targets,
        source_error=np.array([5.0, 1.0, 0.5, 5.0, 5.0]),
        target_error=np.ones(5),
        distortion_norm=np.array([[0.0], [0.0], [0.0], [11.0], [0.0]]),
        adversarial_error=np.full((5, 1), 3.0),
    )
    np.testing.assert_allclose(metrics.auddc(result), [np.nan, np.nan, np.nan, np.nan, 0.5])
    # The median is that of the one pair that has a curve.
    assert metrics.summarise(result)["median_auddc"] == pytest.approx(0.5)


def labelled_result(attacked, clean):
    """A result whose reconstructions hold, as their pixel, the label that `by_pixel` will read."""
    attacked, clean = np.asarray(attacked, float), np.asarray(clean, float)
    return made_up_result(
        objective=np.zeros(attacked.shape),
        source_reconstructions=clean[:, None, None, None],
        adversarial_reconstructions=attacked[..., None, None, None],
    )


def by_pixel(images):
    return images[:, 0, 0, 0].astype(int)


def by_score(images):
    return np.eye(10)[by_pixel(images)]


@pytest.mark.parametrize("classify", [by_pixel, by_score])
def test_attack_success_on_planted_reconstructions(classify):
    result = labelled_result(
        # Stays; goes to the target; goes elsewhere; misread when clean; source and target have one label.
        attacked=[[3, 3], [7, 3], [5, 7], [7, 7], [3, 5]],
        clean=[3, 3, 3, 4, 3],
    )
    success = metrics.attack_success(result, classify, np.array([3, 3, 3, 3, 3]), np.array([7, 7, 8, 7, 3]))
    np.testing.assert_array_equal(success.counted, [True, True, True, False, False])
    np.testing.assert_array_equal(success.ignore_target[:3], [[False, False], [True, False], [True, True]])
    np.testing.assert_array_equal(success.target[:3], [[False, False], [True, False], [False, False]])
    rates = success.rates()
    # 3 to 7: one of two at the first budget, none at the second; 3 to 8: one of one at both, but not to the 8.
    np.testing.assert_allclose(rates["ignore_target"], [0.75, 0.5])
    np.testing.assert_allclose(rates["target"], [0.25, 0.0])
    np.testing.assert_allclose(rates["ignore_target_over_pairs"], [2 / 3, 1 / 3])
    np.testing.assert_allclose(rates["target_over_pairs"], [1 / 3, 0.0])
    # Only 3 to 7 and 3 to 8, of six ordered pairs, have a pair of images that counts.
    assert success.label_pairs() == {"label_pairs": 6, "label_pairs_left_out": 4}


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_success_rates_agree_with_the_slow_twin_whatever_the_batches(batch_size):
    rng = np.random.default_rng(2)
    source, target = rng.integers(4, size=(2, 60))
    source[source == 2] = 1  # a label that is never a source
    clean = np.where(rng.random(60) < 0.8, source, rng.integers(4, size=60))
    attacked = rng.integers(4, size=(60, 3))
    success = metrics.attack_success(labelled_result(attacked, clean), by_pixel, source, target, batch_size=batch_size)
    matrices, rates, marginals = success.matrix(5), success.rates(), success.marginals(5)
    assert {matrix.shape for matrix in matrices.values()} == {(3, 5, 5)}
    for budget in range(3):
        expected = reference.success_rates(attacked[:, budget], clean, source, target, 5)
        for name, (matrix, over_labels, over_pairs) in expected.items():
            np.testing.assert_allclose(matrices[name][budget], matrix)
            np.testing.assert_allclose(rates[name][budget], over_labels)
            np.testing.assert_allclose(rates[f"{name}_over_pairs"][budget], over_pairs)
            for kept, cells in (("source", matrix), ("target", zip(*matrix, strict=True))):
                means = [np.mean([x for x in row if x == x]) if any(x == x for x in row) else np.nan for row in cells]
                np.testing.assert_allclose(marginals[f"{name}_by_{kept}"][budget], means)
    counted = success.counted
    assert np.all(success.ignore_target[counted] >= success.target[counted])


def test_both_marginals_average_to_the_overall_rate_when_all_labels_meet():
    # As Table 4.1 of Sootla 2018 is the mean of its Tables 4.2 and 4.3.
    labels = np.repeat(np.arange(10), 30)
    pairs = all_label_pairs(labels, 4, seed=0)
    source, target = labels[pairs[:, 0]], labels[pairs[:, 1]]
    attacked = np.random.default_rng(3).integers(10, size=(len(pairs), 2))
    success = metrics.attack_success(labelled_result(attacked, source), by_pixel, source, target)
    for name in ("ignore_target", "target"):
        for kept in ("source", "target"):
            marginal = success.marginals(10)[f"{name}_by_{kept}"]
            np.testing.assert_allclose(marginal.mean(axis=1), success.rates()[name])
    assert success.label_pairs() == {"label_pairs": 90, "label_pairs_left_out": 0}


def test_rates_are_undefined_where_no_clean_reconstruction_is_classified_right():
    success = metrics.attack_success(labelled_result([[1], [1]], [1, 1]), by_pixel, np.array([0, 0]), np.array([1, 1]))
    assert success.label_pairs() == {"label_pairs": 2, "label_pairs_left_out": 2}
    assert all(np.isnan(rate).all() for rate in success.rates().values())
    assert np.isnan(success.marginals(2)["target_by_source"]).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"source_labels": np.array([0])}, ValueError, r"source_labels must hold one label for each of the 2 pairs"),
        ({"target_labels": np.array([[0], [1]])}, ValueError, r"target_labels must .* got shape \(2, 1\)"),
        ({"target_labels": np.array([0.0, 1.0])}, TypeError, "target_labels must be whole numbers"),
        ({"source_labels": np.array([0, -1])}, ValueError, "0 or above, got -1"),
        ({"classify": lambda images: np.zeros(1, int)}, ValueError, r"was given 2 images .* returned shape \(1,\)"),
        ({"classify": lambda images: np.zeros((2, 3, 1))}, ValueError, r"returned shape \(2, 3, 1\)"),
        ({"classify": lambda images: np.zeros(2)}, TypeError, "scores need an axis of classes"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"result": made_up_result(targeted=False)}, ValueError, "no targets"),
    ],
)
@annotations.unchecked()
def test_bad_input_to_attack_success_is_refused(change, error, message):
    labels = np.array([0, 1])
    arguments = {"result": made_up_result(), "classify": by_pixel, "source_labels": labels, "target_labels": labels}
    with pytest.raises(error, match=message):
        metrics.attack_success(**(arguments | change))


def test_a_matrix_too_small_for_the_labels_is_refused():
    success = metrics.attack_success(labelled_result([[1], [1]], [0, 0]), by_pixel, np.array([0, 0]), np.array([1, 7]))
    with pytest.raises(ValueError, match="num_classes must be at least 8"):
        success.matrix(7)


def test_the_interval_is_scipys():
    values = np.random.default_rng(4).lognormal(size=25)
    low, high = metrics.bootstrap_interval(lambda pairs: np.mean(values[pairs]), 25, resamples=20_000)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    width = expected.high - expected.low
    np.testing.assert_allclose([low, high], [expected.low, expected.high], atol=0.02 * width)


def test_the_interval_covers_the_truth_and_counts_a_pairs_attacks_once():
    rng = np.random.default_rng(5)
    trials, pairs, budgets = 400, 40, 10
    covered, covered_lanes = 0, 0
    for _ in range(trials):
        # Attacks on one pair share most of what makes them differ from those on another.
        values = rng.normal(size=(pairs, 1)) + 0.2 * rng.normal(size=(pairs, budgets))
        for resampled, numbers in (("pairs", values), ("lanes", values.ravel())):
            low, high = metrics.bootstrap_interval(
                lambda chosen, numbers=numbers: np.mean(numbers[chosen]), len(numbers), resamples=200
            )
            covered += resampled == "pairs" and low <= 0.0 <= high
            covered_lanes += resampled == "lanes" and low <= 0.0 <= high
    # Binomial(400, 0.95) has standard deviation 0.011; the percentile bootstrap of 40 is a point or two short.
    assert 0.91 <= covered / trials <= 0.98
    assert covered_lanes / trials < 0.6


def test_intervals_of_several_numbers_with_infinities_among_them():
    distortions = np.array([1.0, 2.0, 3.0, np.inf, np.inf, np.inf, np.inf])
    low, high = metrics.bootstrap_interval(
        lambda pairs: np.array([np.median(distortions[pairs]), np.mean(pairs < 3), np.nan]), 7
    )
    assert low.shape == high.shape == (3,)
    assert low[0] in (1.0, 2.0, 3.0) and high[0] == np.inf
    assert 0.0 <= low[1] < 3 / 7 < high[1] <= 1.0
    assert np.isnan(low[2]) and np.isnan(high[2])
    assert metrics.bootstrap_interval(lambda pairs: np.inf, 7) == (np.inf, np.inf)
    # Undefined in a few resamples, it is undefined: leaving these out would change what the interval is of.
    sometimes = metrics.bootstrap_interval(lambda pairs: np.nan if np.all(pairs != 0) else 1.0, 7)
    assert np.isnan(sometimes).all()


def test_an_interval_is_repeatable_and_widens_with_its_level():
    values = np.arange(30.0)

    def interval(**options):
        return metrics.bootstrap_interval(lambda pairs: np.mean(values[pairs]), 30, **options)

    assert interval() == interval() != interval(seed=1)
    at_once = metrics.bootstrap_interval(lambda pairs: np.mean(values[pairs], axis=-1), 30, vectorized=True)
    assert at_once == interval()
    assert interval(level=0.99)[0] < interval()[0] < interval(level=0.5)[0] < interval(level=0.5)[1] < interval()[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_pairs": 1}, "at least 2 pairs"),
        ({"level": 95}, "level must lie between 0 and 1, got 95"),
        ({"resamples": 0}, "resamples must be at least 1"),
    ],
)
def test_bad_input_to_an_interval_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.bootstrap_interval(np.mean, **({"num_pairs": 5} | arguments))
