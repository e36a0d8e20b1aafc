import numpy as np
import pytest

from seatbelt_jax.bounds import JacobianNorms, LipschitzConstants, camuto_margin, r_robustness_margin
from seatbelt_jax.bounds.ball import largest_ball
from seatbelt_jax.bounds.tradeoff import shifted_symmetric
from tests.reference import bounds as reference


def norms_of(jacobian, std, log_std_jacobian=None):
    whitened = reference.whitened(jacobian, std)
    return JacobianNorms(
        spectral=np.linalg.norm(jacobian, 2),
        frobenius=np.linalg.norm(jacobian),
        whitened_spectral=np.linalg.norm(whitened, 2),
        whitened_frobenius=np.linalg.norm(whitened),
        log_std_spectral=0.0 if log_std_jacobian is None else np.linalg.norm(log_std_jacobian, 2),
        smallest_std=np.min(std),
    )


@pytest.mark.parametrize("risk", [0.5, 0.3, 0.9])
def test_margins_are_the_equations(risk):
    rng = np.random.default_rng(0)
    jacobian, std = rng.normal(size=(4, 20)), rng.uniform(0.05, 2.0, 4)
    norms = norms_of(jacobian, std)
    for p in (0.91, 0.99, 0.9999):
        np.testing.assert_allclose(
            camuto_margin(p, norms, risk=risk),
            reference.camuto_margin(p, jacobian, std, risk),
            rtol=1e-10,
        )
        np.testing.assert_allclose(
            r_robustness_margin(p, norms, risk=risk),
            reference.spectral_margin(p, jacobian, std, risk),
            rtol=1e-10,
        )


def test_spectral_is_never_below_camuto_and_equals_it_for_one_coordinate():
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(200):
        latent = rng.integers(1, 12)
        jacobian = rng.normal(size=(latent, 15)) * rng.uniform(0.01, 3.0, (latent, 1))
        norms = norms_of(jacobian, rng.uniform(0.01, 2.0, latent))
        ratio = r_robustness_margin(0.9, norms) / camuto_margin(0.9, norms)
        assert ratio >= 1.0 - 1e-12
        if latent == 1:
            np.testing.assert_allclose(ratio, 1.0, rtol=1e-12)
        ratios.append(ratio)
    assert np.median(ratios) > 1.5


def test_no_claim_at_or_below_the_risk_and_no_limit_where_nothing_moves():
    norms = norms_of(np.ones((2, 3)), np.ones(2))
    still = norms_of(np.zeros((2, 3)), np.ones(2))
    for margin in (camuto_margin, r_robustness_margin):
        p_lower = np.array([0.0, 0.2, 0.5, 0.6, 1.0])
        values = margin(p_lower, norms)
        np.testing.assert_array_equal(values[:3], 0.0)
        assert 0.0 < values[3] < np.inf and values[4] == np.inf
        np.testing.assert_array_equal(margin(p_lower, still), [0.0, 0.0, 0.0, np.inf, np.inf])
        assert margin(0.6, norms, risk=0.7) == 0.0


@pytest.mark.parametrize("risk", [0.5, 0.3, 0.9])
def test_a_sigma_that_moves_costs_what_the_equations_say(risk):
    rng = np.random.default_rng(2)
    jacobian, std, of_log_std = rng.normal(size=(4, 20)), rng.uniform(0.05, 2.0, 4), 0.3 * rng.normal(size=(4, 20))
    norms = norms_of(jacobian, std, of_log_std)
    for p in (0.91, 0.99, 0.999999):
        moving = r_robustness_margin(p, norms, risk=risk, frozen_std=False)
        expected = reference.spectral_margin_with_moving_std(p, jacobian, std, of_log_std, risk)
        np.testing.assert_allclose(moving, expected, rtol=1e-9)
        assert moving < r_robustness_margin(p, norms, risk=risk)
    still = norms_of(jacobian, std, 0.0 * of_log_std)
    np.testing.assert_allclose(
        r_robustness_margin(0.95, still, frozen_std=False), r_robustness_margin(0.95, still), rtol=1e-12
    )


def test_only_sigma_moves():
    norms = norms_of(np.zeros((2, 3)), np.ones(2), np.diag([0.5, 0.1]))
    expected = reference.spectral_margin_with_moving_std(0.99, np.zeros((2, 3)), np.ones(2), np.diag([0.5, 0.1]))
    np.testing.assert_allclose(r_robustness_margin(0.99, norms, frozen_std=False), expected, rtol=1e-9)


@pytest.mark.parametrize("risk", [0.5, 0.7])
def test_pairs_count_where_they_say_more(risk):
    norms = norms_of(np.random.default_rng(3).normal(size=(3, 9)), np.ones(3))
    p = np.array([0.9, 0.99, 0.99])
    pairs = np.array([0.9, 0.99, 0.4])
    radius = r_robustness_margin(p, norms, risk=risk, pair_p_lower=pairs)
    alone = r_robustness_margin(p, norms, risk=risk)
    # The bound of a slab meets the risk just there.
    np.testing.assert_allclose(shifted_symmetric(pairs[:2], norms.whitened_spectral * radius[:2]), risk, rtol=1e-9)
    assert (radius[:2] > 1.01 * alone[:2]).all()
    np.testing.assert_allclose(radius[2], alone[2], rtol=1e-9)


def test_lipschitz_constants_take_the_place_of_the_jacobian_and_slack_adds_to_it():
    constants = LipschitzConstants(whitened_mean=4.0, log_std=0.0, mean=0.5, decoder=3.0)
    budget = np.array([1.0, 2.5])
    p = np.vectorize(reference.NormalDist().cdf)(budget)
    np.testing.assert_allclose(r_robustness_margin(p, lipschitz=constants), budget / 4.0, rtol=1e-9)
    np.testing.assert_allclose(r_robustness_margin(p, lipschitz=constants, slack=0.6), budget / 4.0 + 0.4, rtol=1e-9)
    moving = LipschitzConstants(whitened_mean=4.0, log_std=0.3, mean=0.5, decoder=3.0)
    with_slack = r_robustness_margin(p, lipschitz=moving, slack=0.6)
    without = r_robustness_margin(p, lipschitz=moving)
    assert (without < with_slack).all() and (with_slack < budget / 4.0 + 0.4).all() and (without < budget / 4.0).all()


def test_the_hybrid_margin_is_never_below_the_bound_for_a_fixed_sigma():
    """Barrett et al. 2022's second bound: of draws by the tail of a chi-squared variable, for one sigma for all."""
    latent, sigma, a, b = 6, 0.5, 1.3, 0.7
    constants = LipschitzConstants(whitened_mean=b / sigma, log_std=0.0, mean=b, decoder=a)
    distances = np.linalg.norm(sigma * np.random.default_rng(0).normal(size=(200_000, latent)), axis=1) * a
    for radius in (4.0, 5.0, 7.0):
        ours = max(
            r_robustness_margin(np.mean(distances <= share * radius), lipschitz=constants, slack=(1 - share) * radius)
            for share in np.linspace(0.1, 0.99, 60)
        )
        theirs = reference.fixed_sigma_margin(radius, a, b, sigma, latent)
        assert 0.0 < theirs <= ours


def test_the_largest_ball_is_where_the_margin_meets_the_radius():
    calls = []

    def constants_in(radius):
        calls.append(radius)
        return LipschitzConstants(whitened_mean=min(1.0 + radius, 5.0), log_std=0.0)

    def margin_with(constants):
        return 2.0 / constants.whitened_mean

    # R (1 + R) = 2 at R = 1; the first tries are the reach and what it certifies.
    for reach in (2.0, 1.5, np.inf):
        calls.clear()
        radius, norm_bound = largest_ball(constants_in, margin_with, reach)
        assert 0.98 <= radius <= 1.0 and radius <= 2.0 / norm_bound
        assert calls[0] == reach and len(calls) <= 8
    assert largest_ball(constants_in, lambda constants: 0.0, 2.0)[0] == 0.0
    assert largest_ball(constants_in, lambda constants: np.inf, np.inf)[0] == np.inf


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"norms": None}, TypeError, "give norms"),
        ({"slack": -1.0}, ValueError, "slack must be zero or positive"),
        ({"slack": 1.0}, ValueError, "constants of mean and decoder"),
        ({"slack": 1.0, "lipschitz": LipschitzConstants(1.0, 0.0)}, ValueError, "constants of mean and decoder"),
        ({"pair_p_lower": 1.5}, ValueError, "pair_p_lower must hold probabilities"),
    ],
)
def test_bad_margins(changes, error, message):
    arguments = {"p_lower": 0.9, "norms": norms_of(np.ones((2, 3)), np.ones(2))}
    with pytest.raises(error, match=message):
        r_robustness_margin(**(arguments | changes))


def test_bad_constants():
    with pytest.raises(ValueError, match="whitened_mean must be zero or positive"):
        LipschitzConstants(-1.0, 0.0)
    with pytest.raises(ValueError, match="both, or neither"):
        LipschitzConstants(1.0, 0.0, mean=1.0)


@pytest.mark.parametrize("margin", [camuto_margin, r_robustness_margin])
def test_bad_input(margin):
    norms = norms_of(np.ones((2, 3)), np.ones(2))
    for p_lower in (1.1, -0.1, float("nan"), [0.5, 2.0]):
        with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
            margin(p_lower, norms)
    for risk in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="risk must lie strictly between 0 and 1"):
            margin(0.9, norms, risk=risk)
