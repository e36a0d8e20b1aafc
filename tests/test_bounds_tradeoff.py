"""What survives of a probability, against the worst sets, found cell by cell, and the definitions of divergences."""

import numpy as np
import pytest
from scipy import special

from seatbelt_jax import bounds
from seatbelt_jax.bounds import tradeoff
from tests.reference import bounds as reference

PROBABILITIES = np.array([0.55, 0.8, 0.97, 0.9995])


@pytest.mark.parametrize("shift", [0.3, 1.5])
def test_shifts_lose_what_the_worst_set_loses(shift):
    for p in PROBABILITIES:
        np.testing.assert_allclose(tradeoff.shifted(p, shift), reference.worst_probability(p, shift, 0.0), atol=2e-4)
        symmetric = tradeoff.shifted_symmetric(p, shift)
        np.testing.assert_allclose(symmetric, reference.worst_probability(p, shift, 0.0, symmetric=True), atol=2e-4)
        assert symmetric > tradeoff.shifted(p, shift)


def test_no_rescaled_gaussian_is_further_than_the_divergence_says():
    rng = np.random.default_rng(0)
    for length in (0.01, 0.4, 1.5):
        moves = rng.normal(size=(500, 4)) * rng.uniform(0.0, 1.0, (500, 4)) ** 4
        moves *= length / np.linalg.norm(moves, axis=1, keepdims=True)
        divergences = np.sum(np.exp(-2.0 * moves) - 1.0 + 2.0 * moves, axis=1) / 2.0
        bound = tradeoff.rescaling_divergence(length)
        assert (divergences <= bound * (1.0 + 1e-9)).all()
        # One coordinate that shrinks reaches it; KL(N(0, 1) || N(0, s^2)) = log s + 1 / (2 s^2) - 1 / 2.
        std = np.exp(-length)
        np.testing.assert_allclose(np.log(std) + 0.5 / std**2 - 0.5, bound, rtol=1e-9, atol=1e-12)
    assert tradeoff.rescaling_divergence(np.inf) == np.inf


@pytest.mark.slow
@pytest.mark.parametrize("risk", [0.5, 0.2, 0.9])
def test_what_is_said_to_survive_survives_the_worst_set(risk):
    held = checked = 0
    for p in PROBABILITIES:
        for shift in (0.0, 0.4, 1.2, 2.5):
            for move in (0.0, 0.1, 0.5):
                said = tradeoff.survives(np.float64(p), shift, move, risk=risk)
                worst = min(reference.worst_probability(p, shift, sign * move) for sign in (1.0, -1.0))
                assert not said or worst > risk - 2e-4
                held += bool(said)
                checked += worst > risk + 2e-3
    # And it is not said too rarely: of what survives in truth, most.
    assert 0.55 * checked < held <= checked + 3


def test_without_a_rescaling_the_bound_is_exact():
    for risk in (0.3, 0.5):
        for p in (0.7, 0.99):
            budget = special.ndtri(p) - special.ndtri(risk)
            assert tradeoff.survives(np.float64(p), 0.9999 * budget, risk=risk)
            assert not tradeoff.survives(np.float64(p), 1.0001 * budget, risk=risk)


@pytest.mark.parametrize("risk", [0.5, 0.8])
def test_required_probability_is_the_least_that_survives(risk):
    shift, move = np.array([0.1, 1.0, 3.0]), np.array([0.0, 0.2, 0.4])
    required = tradeoff.required_probability(shift, move, risk=risk)
    assert tradeoff.survives(required + 1e-9, shift, move, risk=risk).all()
    assert not tradeoff.survives(required - 1e-6, shift, move, risk=risk).any()
    np.testing.assert_allclose(required[0], special.ndtr(special.ndtri(risk) + 0.1), rtol=1e-7)
    # A shift too large for any probability that is not 1.
    assert tradeoff.required_probability(50.0, 0.0, risk=risk) == 1.0


def test_shifts_compose_to_the_shift_of_all_together():
    shifts = np.array([[3.0, 4.0], [0.0, 2.0]])
    np.testing.assert_array_equal(bounds.gdp_compose(shifts), [5.0, 2.0])
    np.testing.assert_array_equal(bounds.gdp_compose(shifts, axis=0), [3.0, np.sqrt(20.0)])
    # Two coordinates shifted by 3 and 4: the half-space across the joint shift is the worst event.
    noise = np.random.default_rng(0).normal(size=(200_000, 2))
    threshold = special.ndtri(0.9999)
    share = np.mean((noise + shifts[0]) @ (shifts[0] / 5.0) <= threshold)
    np.testing.assert_allclose(share, tradeoff.shifted(0.9999, bounds.gdp_compose(shifts[0])), atol=4e-3)
    with pytest.raises(ValueError, match="zero or positive"):
        bounds.gdp_compose([1.0, -0.1])
    with pytest.raises(ValueError, match="zero or positive"):
        bounds.gdp_compose([np.nan])
