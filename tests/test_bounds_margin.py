import numpy as np
import pytest

from seatbelt_jax.bounds import JacobianNorms, camuto_margin, r_robustness_margin
from tests.reference import bounds as reference


def norms_of(jacobian, std):
    whitened = reference.whitened(jacobian, std)
    return JacobianNorms(
        spectral=np.linalg.norm(jacobian, 2),
        frobenius=np.linalg.norm(jacobian),
        whitened_spectral=np.linalg.norm(whitened, 2),
        whitened_frobenius=np.linalg.norm(whitened),
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


@pytest.mark.parametrize("margin", [camuto_margin, r_robustness_margin])
def test_bad_input(margin):
    norms = norms_of(np.ones((2, 3)), np.ones(2))
    for p_lower in (1.1, -0.1, float("nan"), [0.5, 2.0]):
        with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
            margin(p_lower, norms)
    for risk in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="risk must lie strictly between 0 and 1"):
            margin(0.9, norms, risk=risk)
