"""Sweeps: closed-form optima, restarts and exchanges, interruptions, several devices, models that fail, bad input."""

import os
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

from seatbelt_jax import attacks, gaussian, models, storage
from seatbelt_jax.attacks import lanes, search
from seatbelt_jax.attacks.threat import scores_of_all
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.vae import VAE
from tests import annotations, attack_devices_worker, drawn
from tests.reference import linear_vae

NOISE = (np.random.default_rng(5).standard_normal((5, 1)).astype(np.float32),)
OBJECTIVES = {
    "kl": lambda vae: attacks.latent(vae),
    "w2": lambda vae: attacks.latent(vae, divergence="w2"),
    "output_l2": lambda vae: attacks.output_l2(vae),
    "output_elbo": lambda vae: attacks.output_elbo(vae),
    "maximum_damage": lambda vae: attacks.maximum_damage(vae),
}
DRAWN = {
    "output_elbo": lambda vae: attacks.output_elbo(vae, noise=NOISE),
    "maximum_damage": lambda vae: attacks.maximum_damage(vae, noise=NOISE),
}


def pairs(number=2, seed=1):
    """Sources and targets so far from the box that its bounds play no part."""
    return np.random.default_rng(seed).uniform(-0.2, 0.2, (2, number, *linear_vae.SHAPE)).astype(np.float32)


def closed_forms(sources, targets, threat, objective, noise=None):
    return np.array(
        [
            [
                linear_vae.optimum(s, t, budget, objective=objective, threat=threat.name, noise=noise)
                for budget in threat.budgets
            ]
            for s, t in zip(sources, targets, strict=True)
        ]
    )


def check_optimum(result, expected, rtol=2e-3):
    scale = np.maximum(np.abs(expected[..., 0]), 1e-2 * np.max(np.abs(expected[..., 0])))
    assert np.max((result.objective - expected[..., 0]) / scale) <= rtol
    # Nothing is better than the optimum, beyond rounding.
    assert np.min((result.objective - expected[..., 0]) / scale) >= -1e-4


@pytest.mark.parametrize(
    ("objective", "squared"),
    [("kl", False), ("w2", False), ("output_elbo", False), ("output_l2", True)],
)
def test_penalised_attacks_reach_the_closed_form_optimum(objective, squared):
    sources, targets = pairs()
    threat = attacks.Penalty([1e-2, 0.3, 2.0, 40.0], squared=squared)
    vae = linear_vae.vae()
    result = attacks.sweep(vae, sources, targets, objective=OBJECTIVES[objective](vae), threat=threat)
    check_optimum(result, closed_forms(sources, targets, threat, objective))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "norm"),
    [
        ("output_elbo", "l2"),
        ("maximum_damage", "l2"),
        ("kl", "linf"),
        ("maximum_damage", "linf"),
    ],
)
def test_attacks_in_balls_reach_the_closed_form_optimum_and_stay_inside(objective, norm):
    sources, targets = pairs()
    threat = attacks.Ball([0.0, 0.02, 0.1], norm)
    vae = linear_vae.vae()
    given = () if objective == "maximum_damage" else (targets,)
    result = attacks.sweep(vae, sources, *given, objective=OBJECTIVES[objective](vae), threat=threat)
    check_optimum(result, closed_forms(sources, targets, threat, objective))
    size = result.distortion_norm if norm == "l2" else result.distortion_max
    assert np.all(size <= threat.budgets * (1.0 + 1e-6) + 1e-9)
    np.testing.assert_array_equal(result.adversarial[:, 0], sources)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["output_elbo", "maximum_damage"])
def test_attacks_on_shared_draws_reach_the_closed_form_optimum(objective):
    sources, targets = pairs()
    threat = attacks.Ball([0.02, 0.1])
    vae = linear_vae.vae()
    given = () if objective == "maximum_damage" else (targets,)
    # Maximum damage of draws on both sides of 0 has several maxima.
    result = attacks.sweep(vae, sources, *given, objective=DRAWN[objective](vae), threat=threat, restarts=6)
    check_optimum(result, closed_forms(sources, targets, threat, objective, NOISE[0]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solver", "rtol"),
    [
        (attacks.Adam(maxiter=2000, learning_rate=1e-2), 0.05),
        (attacks.ProjectedGradient(), 2e-3),
        (attacks.SigmoidLBFGS(), 2e-3),
    ],
    ids=["adam", "projected_gradient", "sigmoid_lbfgs"],
)
def test_every_solver_reaches_the_optimum(solver, rtol):
    sources, targets = pairs()
    threat = attacks.Penalty([0.3, 2.0])
    result = attacks.sweep(linear_vae.vae(), sources, targets, threat=threat, solver=solver)
    check_optimum(result, closed_forms(sources, targets, threat, "kl"), rtol)


def test_an_attack_whose_optimum_lies_on_the_bounds():
    # From black and white sources, pixels may go one way only, and the cheapest way there leaves the box.
    rng = np.random.default_rng(4)
    sources = rng.choice([-1.0, 1.0], (3, *linear_vae.SHAPE)).astype(np.float32)
    targets = rng.uniform(-1.0, 1.0, (3, *linear_vae.SHAPE)).astype(np.float32)
    threat = attacks.Penalty([0.05, 1.0], squared=True)
    result = attacks.sweep(linear_vae.vae(), sources, targets, threat=threat)
    assert np.all(np.abs(result.adversarial) <= 1.0)
    weights = linear_vae.WEIGHTS.astype(np.float64).ravel()

    def delta(x, source, target, penalty):
        shift = weights @ (x - target)
        value = shift**2 / (2 * linear_vae.SIGMA**2) + penalty * np.sum((x - source) ** 2)
        return value, shift * weights / linear_vae.SIGMA**2 + 2 * penalty * (x - source)

    for pair in range(3):
        for column, penalty in enumerate(threat.budgets):
            given = (sources[pair].ravel().astype(np.float64), targets[pair].ravel().astype(np.float64), penalty)
            box = [(-1.0, 1.0)] * weights.size
            best = optimize.minimize(delta, 0 * weights, given, jac=True, bounds=box, options={"ftol": 1e-14})
            np.testing.assert_allclose(result.objective[pair, column], best.fun, rtol=1e-3)
            assert np.sum(np.abs(best.x) == 1.0) > 3


@pytest.mark.slow
def test_a_pixel_limit_holds_under_a_penalty():
    sources, targets = pairs()
    threat = attacks.Penalty([1e-3], pixel_limit=0.05)
    result = attacks.sweep(linear_vae.vae(), sources, targets, threat=threat)
    assert np.all(result.distortion_max <= 0.05 * (1.0 + 1e-6))
    free = attacks.sweep(linear_vae.vae(), sources, targets, threat=attacks.Penalty([1e-3]))
    assert np.all(free.distortion_max > 0.05) and np.all(result.objective > free.objective)


def test_the_attack_of_sootla_is_adam_from_a_noisy_start():
    sources, targets = pairs()
    result = attacks.sweep(
        linear_vae.vae(),
        sources,
        targets,
        objective=attacks.latent(linear_vae.vae(), divergence="joint_l2"),
        threat=attacks.Penalty([1.0]),
        solver=attacks.Adam(keep_best=False),
        start_std=0.2,
        exchanges=0,
    )
    assert np.all(result.iterations == 1000)
    assert np.all(result.status == attacks.Status.MAX_ITERATIONS)
    # Adam's last iterate rattles about the optimum by its step of 1e-3 a pixel.
    expected = closed_forms(sources, targets, attacks.Penalty([1.0]), "joint_l2")
    np.testing.assert_allclose(result.objective, expected[..., 0], atol=0.05)


# A valley at x = 0.9 that is deeper than the one near the source at x = -0.5, with a hill between.
def double_valley():
    def distance(image, goal):
        x = image[0, 0, 0]
        return jnp.square(jnp.square(x) - 0.5) * 4.0 + 0.5 * jnp.square(x - 0.8)

    return attacks.Objective(lambda sources, targets: targets, distance, "double_valley", "nats")


def valley_vae():
    return VAE.from_functions(
        lambda x: DiagonalGaussian(x.ravel(), jnp.zeros(1)), lambda z: z.reshape(1, 1, 1), image_shape=(1, 1, 1)
    )


def test_restarts_find_what_the_first_start_misses_and_the_diagnosis_says_so():
    sources, targets = np.full((1, 1, 1, 1), -0.6, np.float32), np.zeros((1, 1, 1, 1), np.float32)
    settings = {"objective": double_valley(), "threat": attacks.Penalty([1e-3]), "exchanges": 0}
    one = attacks.sweep(valley_vae(), sources, targets, **settings)
    many = attacks.sweep(valley_vae(), sources, targets, restarts=8, restart_std=0.8, seed=1, **settings)
    assert one.adversarial.item() < 0.0 < many.adversarial.item()
    assert many.objective.item() < 0.5 * one.objective.item()
    np.testing.assert_allclose(many.start_objectives[..., 0], one.objective, rtol=1e-5)
    np.testing.assert_allclose(many.start_objectives.min(axis=-1), many.objective, rtol=1e-4)
    assert many.start_objectives.shape == (1, 1, 9)
    assert attacks.diagnose(many).flags["restart_improved"].item()
    assert "restart_improved" in attacks.diagnose(one).untested


def test_restarts_also_leave_a_place_without_gradient():
    def distance(image, goal):
        x = image[0, 0, 0]
        return jnp.where(x < -0.5, 1.0, jnp.square(x - 0.5))

    flat = attacks.Objective(lambda sources, targets: targets, distance, "plateau", "nats")
    sources, targets = np.full((1, 1, 1, 1), -0.6, np.float32), np.zeros((1, 1, 1, 1), np.float32)
    settings = {"objective": flat, "threat": attacks.Penalty([1e-3]), "exchanges": 0}
    stuck = attacks.sweep(valley_vae(), sources, targets, **settings)
    assert stuck.objective.item() == 1.0 and attacks.diagnose(stuck).flags["zero_gradient"].item()
    freed = attacks.sweep(valley_vae(), sources, targets, restarts=4, restart_std=0.5, **settings)
    assert freed.objective.item() < 0.01 and attacks.diagnose(freed).flags["restart_improved"].item()


def test_an_attack_that_finds_less_than_nothing_is_flagged_and_an_exchange_mends_it():
    sources, targets = pairs()
    settings = {"threat": attacks.Penalty([2.0**20]), "solver": attacks.Adam(maxiter=5), "start_std": 0.2}
    worse = attacks.sweep(linear_vae.vae(), sources, targets, exchanges=0, **settings)
    assert np.all(worse.objective[:, 0] > worse.objective_at_source)
    assert attacks.diagnose(worse).flags["beaten_by_random_search"].all()
    mended = attacks.sweep(linear_vae.vae(), sources, targets, exchanges=1, **settings)
    np.testing.assert_allclose(mended.objective[:, 0], mended.objective_at_source, rtol=1e-6)


def test_an_exchange_that_improves_nothing_leaves_the_status():
    class Immovable(attacks.BoxLBFGS):
        """Ends where it starts: at the value 0.5 as STALLED, elsewhere as LINE_SEARCH_FAILED."""

        def init_state(self, fun, params, region, *args):
            state = super().init_state(fun, params, region, *args)
            at_half = jnp.all(params == 0.5)
            return state._replace(status=jnp.where(at_half, attacks.Status.STALLED, attacks.Status.LINE_SEARCH_FAILED))

    sources, targets = np.full((1, 1, 1, 1), 0.5, np.float32), np.full((1, 1, 1, 1), -0.5, np.float32)
    square = attacks.Objective(lambda _, targets: targets, lambda x, t: jnp.sum((x - t) ** 2), "square", "nats")
    settings = {"objective": square, "threat": attacks.Penalty([1e-3]), "solver": Immovable()}
    result = attacks.sweep(valley_vae(), sources, targets, exchanges=1, **settings)
    # The random search found something better, and the search from there nothing better yet.
    assert result.exchanged.item() and result.objective.item() < result.objective_at_source.item()
    assert result.status.item() == attacks.Status.STALLED


def test_an_attack_that_goes_back_to_a_source_at_rest_has_converged():
    sources, targets = pairs()
    # No reduction of the KL pays at this penalty, and one step from noise does not lead back to the source.
    settings = {"threat": attacks.Penalty([2.0**20]), "solver": attacks.BoxLBFGS(maxiter=1), "start_std": 0.2}
    before = attacks.sweep(linear_vae.vae(), sources, targets, exchanges=0, **settings)
    assert np.all(before.distortion_norm > 0.0)
    result = attacks.sweep(linear_vae.vae(), sources, targets, exchanges=1, **settings)
    np.testing.assert_array_equal(result.distortion_norm, 0.0)
    np.testing.assert_array_equal(result.status, attacks.Status.CONVERGED)
    np.testing.assert_array_equal(result.evaluations, before.evaluations)


def test_exchanges_give_every_budget_the_best_that_any_has_found():
    # The second of three attacks starts on the better side of the hill.
    sources, targets = np.full((1, 1, 1, 1), -0.6, np.float32), np.zeros((1, 1, 1, 1), np.float32)
    settings = {"objective": double_valley(), "threat": attacks.Penalty([1e-3, 2e-3, 4e-3])}

    def first_start(self, lane, start):
        return np.where(lane == 1, 0.6, -0.6).astype(np.float32)[:, None, None, None]

    with pytest.MonkeyPatch.context() as patch:
        lanes_of_a_sweep = search.Search
        patch.setattr(lanes_of_a_sweep, "_starts", first_start)
        patch.setattr(lanes_of_a_sweep, "_at_rest", lambda self: np.zeros((1, 3), bool))
        without = attacks.sweep(valley_vae(), sources, targets, exchanges=0, **settings)
        once = attacks.sweep(valley_vae(), sources, targets, exchanges=1, **settings)
    assert attacks.diagnose(without).flags["beaten_by_another_budget"].tolist() == [[True, False, True]]
    assert np.all(once.adversarial > 0.0)
    assert once.exchanged.tolist() == [[True, False, True]]
    assert not attacks.diagnose(once).flags["beaten_by_another_budget"].any()
    assert np.all(once.evaluations[0, [0, 2]] > without.evaluations[0, [0, 2]])


def test_a_ball_is_open_to_what_smaller_balls_have_found_only():
    budgets, distance = np.array([0.1, 0.2]), np.array([[5.0, 3.0]])
    norm, largest = np.array([[0.1, 0.2]]), np.array([[0.05, 0.1]])
    scores = scores_of_all("l2_ball", budgets, distance, norm, largest)
    np.testing.assert_array_equal(scores, [[[5.0, np.inf], [5.0, 3.0]]])
    np.testing.assert_array_equal(scores_of_all("linf_ball", budgets, distance, norm, largest), [[[5.0, 3.0]] * 2])
    penalised = scores_of_all("squared_penalty", np.array([0.0, 10.0]), np.array([[5.0, np.nan]]), norm, largest)
    np.testing.assert_allclose(penalised, [[[5.0, np.inf], [5.1, np.inf]]])


class Memory:
    """A store that keeps its groups, and may be told when to stop the work."""

    def __init__(self, writes_before_the_end=None):
        self.groups, self.seen, self.left = {}, [], writes_before_the_end

    def read(self, name):
        return self.groups.get(name)

    def write(self, name, arrays):
        self.groups[name] = {key: np.array(value) for key, value in arrays.items()}
        self.seen.append(self.groups[name])
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt


@pytest.fixture
def eager_snapshots(monkeypatch):
    monkeypatch.setattr(lanes, "_SECONDS_BETWEEN_SNAPSHOTS", 0.0)
    monkeypatch.setattr(lanes, "_LANES_PER_PART", 16)


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_to_the_same_bits(eager_snapshots):
    # Two layers of random parameters: attacks that would part for good where one bit is not the same.
    model = models.build(
        {"latent_sizes": (4, 3), "network": "mlp", "widths": (16,), "hidden_sizes": (8,), "batch_norm": False},
        (8, 8, 1),
    )
    vae = model.bind(drawn.variables(model))
    sources, targets = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 3, 8, 8, 1)).astype(np.float32)

    def sweep(store=None):
        return attacks.sweep(
            vae,
            sources,
            targets,
            threat=attacks.Penalty(2.0 ** np.linspace(-8.0, 6.0, 6)),
            solver=attacks.BoxLBFGS(maxiter=8),
            restarts=1,
            lanes_at_once=16,
            store=store,
        ).to_arrays()

    expected = sweep()
    uninterrupted = Memory()
    sweep(uninterrupted)
    assert {"exchange 1 0", "restart 1 16"} <= uninterrupted.groups.keys()
    assert len({group["lane_of_slot"].size for group in uninterrupted.seen if "lane_of_slot" in group}) > 1
    writes = len(uninterrupted.seen)
    for interruptions in ([3, writes // 2], [writes - 2]):
        store = Memory()
        for writes in interruptions:
            store.left = writes
            with pytest.raises(KeyboardInterrupt):
                sweep(store)
        store.left = None
        for name, array in sweep(store).items():
            np.testing.assert_array_equal(array, expected[name], err_msg=f"{name}, interrupted after {interruptions}")


def steps(rate):
    return attacks.Adam(maxiter=20, learning_rate=optax.constant_schedule(rate))


def other_objective(scale):
    """Alike at the source, its gradient too, and nowhere else."""
    distance = lambda image, goal: jnp.sum(image) + scale * jnp.sum(jnp.square(image - goal) ** 2)  # noqa: E731
    return attacks.Objective(lambda sources, targets: sources, distance, "mine", "nats")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"threat": attacks.Penalty([0.1, 1.1])},
        {"threat": attacks.Penalty([0.1, 1.0], pixel_limit=0.01)},
        {"solver": steps(1e-3)},
        {"objective": other_objective(5.0)},
        {"seed": 1, "start_std": 0.1},
        {"restart_std": 0.3},
    ],
    ids=["budgets", "pixel_limit", "schedule", "objective", "seed", "restart_std"],
)
def test_another_sweep_does_not_go_on_with_what_it_finds(eager_snapshots, change):
    sources, targets = pairs()
    settings = {"sources": sources, "targets": targets, "threat": attacks.Penalty([0.1, 1.0]), "exchanges": 0}
    settings |= {"solver": steps(1e-2)} if "solver" in change else {}
    settings |= {"objective": other_objective(0.0)} if "objective" in change else {}
    settings |= {"start_std": 0.1} if "seed" in change else {}
    # Adam is far from done: where an attack begins shows where it ends.
    settings |= {"restarts": 1, "solver": steps(1e-4)} if "restart_std" in change else {}
    store = Memory()
    first = attacks.sweep(linear_vae.vae(), **settings, store=store)
    left = dict(store.groups)
    found = attacks.sweep(linear_vae.vae(), **{**settings, **change}, store=store)
    # A restart that ends no lower than the first start leaves no other trace.
    told_by = "start_objectives" if "restart_std" in change else "adversarial"
    assert not np.array_equal(getattr(found, told_by), getattr(first, told_by))
    # And the same sweep does, without a step of its own.
    store.groups, store.seen = left, []
    again = attacks.sweep(linear_vae.vae(), **settings, store=store)
    np.testing.assert_array_equal(again.adversarial, first.adversarial)
    assert not store.seen


def test_a_folder_keeps_unfinished_work_on_disk(tmp_path, eager_snapshots):
    sources, targets = pairs()
    folder = storage.Folder(tmp_path / "unfinished")
    assert folder.read("attacks 0") is None
    first = attacks.sweep(linear_vae.vae(), sources, targets, threat=attacks.Penalty([0.1]), store=folder)
    assert {file.name for file in folder.path.iterdir()} >= {"attacks.npz", "attacks_0.npz"}
    again = attacks.sweep(linear_vae.vae(), sources, targets, threat=attacks.Penalty([0.1]), store=folder)
    np.testing.assert_array_equal(again.adversarial, first.adversarial)
    folder.remove()
    assert not folder.path.exists()
    folder.remove()


@pytest.mark.slow
def test_eight_devices_find_what_one_finds(tmp_path):
    out = tmp_path / "eight.npz"
    root = pathlib.Path(__file__).parents[1]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={attack_devices_worker.DEVICES}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "tests.attack_devices_worker", str(out)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    eight = attacks.AttackResult.from_arrays(storage.read_npz(out))
    one = attack_devices_worker.sweep()
    np.testing.assert_allclose(eight.objective, one.objective, rtol=1e-5)
    # Pixels move along flat valleys that the objective does not see.
    np.testing.assert_allclose(eight.adversarial, one.adversarial, atol=1e-4)
    finished = (attacks.Status.CONVERGED, attacks.Status.STALLED)
    assert np.isin(eight.status, finished).all() and np.isin(one.status, finished).all()


def test_a_lane_whose_model_fails_is_marked_and_the_others_unharmed():
    vae = linear_vae.vae()
    sound = attacks.latent(vae)

    def prepare(sources, targets):
        return sound.prepare(sources, targets), jnp.arange(len(sources)) == 1

    def distance(image, goal):
        posteriors, fails = goal
        return jnp.where(fails, jnp.nan, sound.distance(image, posteriors))

    sources, targets = pairs(3)
    threat = attacks.Penalty([0.1, 1.0])
    expected = attacks.sweep(vae, sources, targets, threat=threat)
    fragile = attacks.Objective(prepare, distance, "fragile", "nats")
    result = attacks.sweep(vae, sources, targets, objective=fragile, threat=threat, restarts=1)
    np.testing.assert_array_equal(result.status[1], attacks.Status.NON_FINITE)
    np.testing.assert_array_equal(attacks.diagnose(result).flags["non_finite"], [[False] * 2, [True] * 2, [False] * 2])
    np.testing.assert_array_equal(result.adversarial[1], [sources[1]] * 2)
    np.testing.assert_allclose(result.objective[[0, 2]], expected.objective[[0, 2]], rtol=1e-4)
    assert np.all(np.isfinite(result.objective[[0, 2]])) and np.all(np.isnan(result.objective[1]))


def test_a_model_that_fails_at_the_source_alone_is_attacked_from_elsewhere():
    def encode(x):
        mean = jnp.sum(x) * jnp.ones(1)
        return DiagonalGaussian(jnp.where(x[0, 0, 0] > 0.99, jnp.nan, mean), jnp.zeros(1))

    vae = VAE.from_functions(encode, lambda z: jnp.tanh(z) * jnp.ones((2, 2, 1)), image_shape=(2, 2, 1))
    sources, targets = np.ones((1, 2, 2, 1), np.float32), np.zeros((1, 2, 2, 1), np.float32)
    alone = attacks.sweep(vae, sources, targets, threat=attacks.Penalty([0.1]), exchanges=0)
    assert alone.status.item() == attacks.Status.NON_FINITE
    helped = attacks.sweep(vae, sources, targets, threat=attacks.Penalty([0.1]))
    assert np.isfinite(helped.objective.item()) and helped.exchanged.item()


@pytest.mark.slow
def test_the_search_without_gradients_is_right_and_respects_the_ball():
    sources, targets = pairs(3)
    vae = linear_vae.vae()
    threat = attacks.Penalty([1e-3, 1.0, 100.0])
    result = attacks.sweep(vae, sources, targets, threat=threat)
    # Handing in the target itself is among what it tries.
    norm = np.sqrt(np.sum((targets - sources) ** 2, axis=(1, 2, 3)))
    assert np.all(result.random_search_objective <= norm[:, None] * threat.budgets * (1 + 1e-5))
    assert np.all(result.random_search_objective >= result.objective * (1 - 1e-4))
    in_balls = attacks.sweep(vae, sources, targets, threat=attacks.Ball([0.0, 0.05]))
    np.testing.assert_allclose(in_balls.random_search_objective[:, 0], in_balls.objective[:, 0], rtol=1e-5)
    assert np.all(in_balls.random_search_objective[:, 1] < in_balls.random_search_objective[:, 0])


def test_a_solver_that_gives_up_is_beaten_by_the_search_without_gradients():
    sources, targets = pairs(3)
    result = attacks.sweep(
        linear_vae.vae(),
        sources,
        targets,
        threat=attacks.Penalty([1e-3]),
        solver=attacks.Adam(maxiter=1),
        exchanges=0,
    )
    flags = attacks.diagnose(result).flags
    assert flags["beaten_by_random_search"].all() and flags["iteration_limit"].all()


def test_what_a_user_wants_small_can_be_any_function():
    """The brightness of the reconstruction's left half, of a model of two plain functions."""
    weights = np.random.default_rng(2).normal(size=(3, 16)).astype(np.float32) / 4.0

    def encode(x):
        return DiagonalGaussian(weights @ x.ravel(), jnp.full(3, -1.0))

    def decode(z):
        return jnp.tanh(z @ weights).reshape(4, 4, 1)

    vae = VAE.from_functions(encode, decode, image_shape=(4, 4, 1))

    def distance(image, goal):
        return jnp.sum(decode(encode(image).mean)[:, :2])

    objective = attacks.Objective(lambda sources, targets: sources, distance, "dark_left", "brightness", targeted=False)
    sources, _ = pairs(2)
    result = attacks.sweep(vae, sources, objective=objective, threat=attacks.Ball([0.5], "linf"))
    before = [float(distance(jnp.asarray(source), None)) for source in sources]
    assert np.all(result.distance[:, 0] < np.array(before) - 0.5)
    np.testing.assert_allclose(result.distance[0, 0], distance(jnp.asarray(result.adversarial[0, 0]), None), rtol=1e-5)


@pytest.mark.slow
def test_chosen_layers_are_what_a_sweep_attacks():
    model = models.build(
        {"latent_sizes": (3, 2, 2), "network": "mlp", "widths": (8,), "hidden_sizes": (4, 4)}, (8, 8, 1)
    )
    vae = model.bind(drawn.variables(model, 1))
    sources, targets = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 2, 8, 8, 1)).astype(np.float32)
    result = attacks.sweep(
        vae,
        sources,
        targets,
        objective=attacks.latent(vae, layers=(1, 3)),
        threat=attacks.Penalty([0.1]),
        solver=attacks.BoxLBFGS(maxiter=20),
    )
    assert result.name == "latent_kl_layers_1_3"

    def posteriors(image):
        return vae.encode(image[None], vae.mean_path(1)).posteriors

    q, p = posteriors(result.adversarial[0, 0]), posteriors(targets[0])
    expected = sum(gaussian.kl_divergence(q[layer], p[layer])[0] for layer in (0, 2))
    np.testing.assert_allclose(result.distance[0, 0], expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": np.zeros((1, 8, 8, 1))}, r"sources must be images of shape \[pair, 4, 4, 1\]"),
        ({"targets": np.full((1, 4, 4, 1), 2.0)}, "targets must lie in the model's image range"),
        ({"targets": np.full((1, 4, 4, 1), np.nan)}, "targets must lie in the model's image range"),
        ({"targets": np.zeros((2, 4, 4, 1))}, "1 sources for 2 targets"),
        ({"targets": None}, "latent_kl_all needs targets"),
        ({"objective": "damage"}, "maximum_damage_both has no target"),
        ({"start_std": -1.0}, "start_std must be a finite number >= 0"),
        ({"restarts": -1}, "restarts must be"),
        ({"restarts": 1.5}, "restarts must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"sources": [[1.0]]}, "sources must be images"),
        ({"targets": np.zeros((1, 8, 8, 1))}, r"targets must be images of shape \[pair, 4, 4, 1\]"),
        ({"objective": "no_pairs"}, r"leading axis \[pair\]"),
        ({"objective": "no_number"}, "one number for one image"),
        ({"lanes_at_once": 0}, "lanes_at_once must be at least 1"),
    ],
)
@annotations.unchecked()
def test_bad_input_is_refused(change, message):
    vae = linear_vae.vae()
    arguments = {"sources": np.zeros((1, 4, 4, 1)), "targets": np.zeros((1, 4, 4, 1)), **change}
    objectives = {
        "damage": attacks.maximum_damage(vae),
        "no_pairs": attacks.Objective(lambda s, t: jnp.zeros(()), lambda image, goal: jnp.sum(image), "a", "nats"),
        "no_number": attacks.Objective(lambda s, t: s, lambda image, goal: image, "b", "nats"),
    }
    if "objective" in change:
        arguments["objective"] = objectives[change["objective"]]
    with pytest.raises(ValueError, match=message):
        attacks.sweep(vae, **arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: attacks.Penalty([]), "penalties must be a list of finite numbers >= 0"),
        (lambda: attacks.Penalty([1.0, -1.0]), "penalties must be a list of finite numbers >= 0"),
        (lambda: attacks.Penalty(["a"]), "penalties must be a list of finite numbers >= 0"),
        (lambda: attacks.Penalty([1e39]), "penalties must be a list of finite numbers >= 0"),
        (lambda: attacks.Penalty([1.0], pixel_limit=0.0), "pixel_limit must be positive"),
        (lambda: attacks.Ball([np.inf]), "radii must be a list of finite numbers >= 0"),
        (lambda: attacks.Ball([1.0], "l1"), "norm must be one of l2, linf"),
        (lambda: attacks.penalty_grid(0), "at least one penalty"),
    ],
)
def test_threats_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_solver_that_cannot_keep_to_the_ball_is_refused():
    sources, targets = pairs()
    for solver in (attacks.BoxLBFGS(), attacks.SigmoidLBFGS()):
        with pytest.raises(TypeError, match=r"projected_gradient|ProjectedGradient"):
            attacks.sweep(linear_vae.vae(), sources, targets, threat=attacks.Ball([0.1]), solver=solver)


def test_budgets_are_a_copy_that_stays():
    mine = np.array([1.0, 2.0])
    threat = attacks.Penalty(mine)
    mine[0] = -5.0
    np.testing.assert_array_equal(threat.budgets, [1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        threat.budgets[0] = -5.0


@pytest.mark.slow
def test_damage_through_a_constant_sigma_has_no_gradient_and_the_diagnosis_says_so():
    sources, _ = pairs()
    vae = linear_vae.vae()
    objective = attacks.maximum_damage(vae, through="std", noise=NOISE)
    result = attacks.sweep(vae, sources, objective=objective, threat=attacks.Ball([0.1]))
    assert attacks.diagnose(result).flags["zero_gradient"].all()
    through_mean = attacks.sweep(
        vae,
        sources,
        objective=attacks.maximum_damage(vae, through="mean", noise=NOISE),
        threat=attacks.Ball([0.1]),
        restarts=6,
    )
    check_optimum(through_mean, closed_forms(sources, sources, attacks.Ball([0.1]), "maximum_damage", NOISE[0]))


@pytest.mark.slow
def test_randomness_left_in_an_objective_is_found_out():
    rng = np.random.default_rng(0)

    def distance(image, goal):
        return jnp.sum(jnp.square(image)) + rng.uniform()  # drawn anew whenever it is compiled

    sources, targets = pairs()
    lottery = attacks.Objective(lambda sources, targets: targets, distance, "lottery", "nats")
    result = attacks.sweep(linear_vae.vae(), sources, targets, objective=lottery, threat=attacks.Penalty([0.1]))
    assert attacks.diagnose(result).flags["random_objective"].all()
    sound = attacks.sweep(linear_vae.vae(), sources, targets, threat=attacks.Penalty([0.1]))
    assert not attacks.diagnose(sound).flags["random_objective"].any()
