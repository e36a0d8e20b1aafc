"""Why a short trial failed: for the value's rounding, a kink, or a wrong gradient."""

import jax.numpy as jnp
import pytest

from seatbelt_jax.attacks.line_search import explained

ROUNDING = 1e-6


@pytest.mark.parametrize(
    ("value", "slope", "trusted", "expected"),
    [
        # From 0 with slope -1, a step of 1e-5.
        (-1e-5, -1.0, False, True),  # as promised
        (0.0, 1.0, False, True),  # a minimum between, as both slopes say
        (2e-5, -1.0, False, False),  # rises, though both slopes descend: a wrong gradient
        (2e-5, -0.9, True, True),  # the same where the gradient has been right before: noise
        (2e-5, -1.0, True, False),  # no other point than the start
        (9e-5, 10.0, True, False),  # a kink: the slope rises at once
    ],
)
def test_a_failed_trial_is_explained_by_slopes_or_by_noise(value, slope, trusted, expected):
    step, value, slope = (jnp.asarray(number, jnp.float32) for number in (1e-5, value, slope))
    start = (jnp.asarray(0.0), jnp.asarray(-1.0))
    found = explained(step, value, slope, *start, rounding=jnp.asarray(ROUNDING), trusted=jnp.asarray(trusted))
    assert bool(found) == expected
