"""Whether weak attacks are noticed: each sign planted in a result that has no other, and slow twins."""

import numpy as np
import pytest

from seatbelt_jax import attacks
from seatbelt_jax.attacks import Status, diagnose
from seatbelt_jax.results import MEANING, NOT_CHECKED
from tests.reference import attack_metrics as reference
from tests.reference import linear_vae
from tests.reference.made_up_attacks import made_up_result

THREATS = ("penalty", "squared_penalty", "l2_ball", "linf_ball")
OBJECTIVE = np.array([[4.0, 5.0, 6.0], [4.0, 4.0, 4.0]])
# The norms with which each of these attacks is the best of its pair under its own penalty 1, 2 or 3.
BEST = {"objective": OBJECTIVE, "distance": OBJECTIVE - [[2.0, 2.0, 0.0], [0.0] * 3],
        "distortion_norm": np.array([[2.0, 1.5, 0.0], [0.0] * 3])}  # fmt: skip


def planted(name, value, *, at=(0, 1), **fields):
    """A clean result but for one number of one field."""
    result = made_up_result(**(BEST | fields))
    array = np.array(getattr(result, name), float)
    array[at] = value
    return made_up_result(**(BEST | fields | {name: array}))


def raised(result, **options):
    """The flags of each attack, and nothing for those without."""
    found = diagnose(result, **options)
    names = {
        (pair, column): found.names(pair, column)
        for pair in range(len(result.sources))
        for column in range(len(result.budgets))
    }
    return {attack: flags for attack, flags in names.items() if flags}


def test_a_clean_sweep_has_no_flag_and_every_check_was_made():
    found = diagnose(made_up_result(**BEST))
    assert list(found.flags) == list(MEANING)
    assert not found.suspicious.any() and found.suspicious.shape == (2, 3)
    assert found.untested == () and found.describe() == []


@pytest.mark.parametrize(
    ("field", "value", "at", "flag"),
    [
        ("status", Status.MAX_ITERATIONS, (0, 1), "iteration_limit"),
        ("status", Status.MAX_EVALUATIONS, (0, 1), "iteration_limit"),
        ("status", Status.LINE_SEARCH_FAILED, (0, 1), "line_search_failed"),
        ("status", Status.STOPPED_EARLY, (0, 1), "stopped_early"),
        ("status", Status.NON_FINITE, (0, 1), "non_finite"),
        ("start_objectives", 4.7, (0, 1, 1), "restart_improved"),
        ("start_objectives", 5.4, (0, 1, 0), "restart_improved"),
        ("repeated_objective", 5.01, (0, 1), "random_objective"),
        ("repeated_objective", np.nan, (0, 1), "random_objective"),
        ("random_search_objective", 4.7, (0, 1), "beaten_by_random_search"),
        ("random_search_objective", -1.0, (0, 1), "beaten_by_random_search"),
    ],
)
def test_each_sign_of_weakness_is_flagged_where_it_is(field, value, at, flag):
    assert raised(planted(field, value, at=at)) == {(0, 1): [flag]}


@pytest.mark.parametrize(
    ("field", "value", "at"),
    [
        ("status", Status.STALLED, (0, 1)),
        ("start_objectives", 4.8, (0, 1, 1)),
        ("start_objectives", np.nan, (0, 1, 1)),
        ("start_objectives", np.inf, (0, 1, 1)),
        ("repeated_objective", 5.001, (0, 1)),
        ("random_search_objective", 4.8, (0, 1)),
        ("random_search_objective", np.nan, (0, 1)),
        ("random_search_objective", -np.inf, (0, 1)),
    ],
)
def test_what_shows_no_weakness_is_not_flagged(field, value, at):
    assert raised(planted(field, value, at=at)) == {}


def test_a_start_that_was_lost_hides_no_other():
    starts = np.stack([OBJECTIVE, np.full_like(OBJECTIVE, np.nan), OBJECTIVE], axis=-1)
    starts[1, 2, 2] = 3.0
    assert raised(made_up_result(**BEST, start_objectives=starts)) == {(1, 2): ["restart_improved"]}


@pytest.mark.parametrize("norm", [0.0, np.nan])
def test_a_flat_start_taints_all_attacks_on_the_pair(norm):
    found = raised(planted("gradient_norm", norm, at=(1,)))
    assert found == {(1, column): ["zero_gradient"] for column in range(3)}


@pytest.mark.parametrize("objective", [np.nan, np.inf, -np.inf])
def test_an_objective_that_is_not_finite_taints_its_own_attack_alone(objective):
    changed = {name: BEST[name].copy() for name in ("objective", "distance")}
    for array in changed.values():
        array[0, 1] = objective
    found = raised(made_up_result(**(BEST | changed)))
    # The first attack of the same pair, 2 + 2 * 2, is better than NaN and infinity.
    assert found == {(0, 1): ["non_finite"] + ["beaten_by_another_budget"] * (objective != -np.inf)}


def test_a_share_counts_in_the_direction_of_lower_objectives_whatever_their_sign():
    on_surface = np.array([[1.0, 2.0, 3.0]] * 2)
    negative = {"threat": "l2_ball", "objective": -OBJECTIVE, "distance": -OBJECTIVE, "distortion_norm": on_surface}
    assert raised(made_up_result(**negative)) == {}
    assert raised(planted("random_search_objective", -5.2, **negative)) == {}
    assert raised(planted("random_search_objective", -5.3, **negative)) == {(0, 1): ["beaten_by_random_search"]}
    assert raised(planted("random_search_objective", -5.3, **negative), by=0.1) == {}


def test_differences_that_float32_cannot_hold_are_no_weakness():
    # Both reach the target; what is left is rounding.
    near = np.array([[8e-5, 1e-7, 100.0]])
    fields = {"objective": near, "distance": near, "threat": "l2_ball", "distortion_norm": np.array([[2.0, 1.0, 0.0]])}
    fields |= {"budgets": np.array([2.0, 1.0, 0.0]), "repeated_objective": near + 8e-5}
    assert raised(made_up_result(**fields)) == {}
    near = np.array([[2e-4, 1e-7, 100.0]])
    fields |= {"objective": near, "distance": near, "repeated_objective": near - [[0.0, 2e-4, 0.0]]}
    assert raised(made_up_result(**fields)) == {(0, 0): ["beaten_by_another_budget"], (0, 1): ["random_objective"]}


def test_what_was_not_tested_is_said():
    one_start = diagnose(made_up_result(**BEST, start_objectives=OBJECTIVE[..., None]))
    assert one_start.untested == ("restart_improved",)
    one_budget = diagnose(made_up_result(objective=OBJECTIVE[:, :1]))
    assert one_budget.untested == ("beaten_by_another_budget",)
    neither = diagnose(made_up_result(objective=OBJECTIVE[:, :1], start_objectives=OBJECTIVE[:, :1, None]))
    assert neither.untested == ("restart_improved", "beaten_by_another_budget")
    assert neither.describe() == [f"Not checked: {NOT_CHECKED[name]}." for name in neither.untested]


def test_the_description_counts_attacks():
    status = np.full((2, 3), Status.CONVERGED)
    status[0, :2], status[1, 0] = Status.MAX_ITERATIONS, Status.LINE_SEARCH_FAILED
    found = diagnose(made_up_result(**BEST, status=status))
    assert found.describe() == [
        f"2 of 6 attacks (33%): iteration_limit, {MEANING['iteration_limit']}",
        f"1 of 6 attacks (17%): line_search_failed, {MEANING['line_search_failed']}",
    ]
    np.testing.assert_array_equal(found.suspicious, [[True, True, False], [True, False, False]])


def beaten(result, by=0.05):
    return diagnose(result, by=by).flags["beaten_by_another_budget"]


@pytest.mark.parametrize("threat", THREATS)
def test_which_attacks_are_beaten_agrees_with_the_slow_twin(threat):
    rng = np.random.default_rng(0)
    budgets = np.array([0.3, 0.6, 0.9, 1.5, 2.0])
    norm = rng.uniform(0.0, 1.0, (20, 5)) * (budgets if "ball" in threat else 1.0)
    largest = norm if threat == "linf_ball" else 0.5 * norm
    norm = 3.0 * norm if threat == "linf_ball" else norm
    distance = rng.normal(0.0, 2.0, (20, 5))  # an ELBO or a damage may have either sign
    cost = {"penalty": budgets * norm, "squared_penalty": budgets * norm**2}.get(threat, 0.0)
    result = made_up_result(
        threat=threat, budgets=budgets, distance=distance, objective=distance + cost,
        distortion_norm=norm, distortion_max=largest,
    )  # fmt: skip
    found = beaten(result, by=0.2)
    expected = [reference.beaten(budgets, *lane, threat, 0.2) for lane in zip(distance, norm, largest, strict=True)]
    np.testing.assert_array_equal(found, expected)
    assert 0.1 < found.mean() < 0.9


def test_a_larger_distortion_does_not_count_in_a_smaller_ball():
    fields = {"budgets": np.array([1.0, 2.0]), "threat": "l2_ball", "distortion_norm": np.array([[1.0, 2.0]])}
    np.testing.assert_array_equal(beaten(made_up_result(objective=np.array([[5.0, 1.0]]), **fields)), [[False, False]])
    np.testing.assert_array_equal(beaten(made_up_result(objective=np.array([[1.0, 5.0]]), **fields)), [[False, True]])
    # On the surface, but for float32's rounding.
    fields["distortion_norm"] = np.array([[1.0, 1.000001]])
    np.testing.assert_array_equal(beaten(made_up_result(objective=np.array([[5.0, 1.0]]), **fields)), [[True, False]])


def test_an_attack_that_ended_in_nan_outdoes_none_and_hides_none():
    result = made_up_result(objective=np.array([[1.0, 5.0, np.nan]]))
    np.testing.assert_array_equal(beaten(result), [[False, True, True]])


def test_no_attack_outdoes_itself_whatever_the_sign_of_delta():
    for objective in (-3.0, 0.0, 3.0):
        assert raised(made_up_result(objective=np.full((1, 1), objective))) == {}


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="threat must be one of penalty, squared_penalty, l2_ball, linf_ball"):
        diagnose(made_up_result(threat="l1_ball"))
    for share in (-0.1, np.nan):
        with pytest.raises(ValueError, match="by must be a share >= 0"):
            diagnose(made_up_result(), by=share)


@pytest.mark.slow
@pytest.mark.parametrize("iterations", [1, 200])
def test_a_real_sweep_is_clean_unless_it_is_cut_short(iterations):
    images = np.random.default_rng(1).uniform(-0.5, 0.5, (4, *linear_vae.SHAPE)).astype(np.float32)
    result = attacks.sweep(
        linear_vae.vae(),
        images[:2],
        images[2:],
        threat=attacks.Penalty([0.1, 1.0, 10.0]),
        solver=attacks.BoxLBFGS(maxiter=iterations),
        restarts=1,
    )
    found = diagnose(result)
    assert found.untested == ()
    assert found.suspicious.any() == (iterations == 1)
