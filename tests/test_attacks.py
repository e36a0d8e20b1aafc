import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import optimize

from seatbelt_jax import attacks, data, gaussian, models, storage, training
from seatbelt_jax.attacks import lanes
from seatbelt_jax.norm import l2_norm
from tests.reference import linear_vae

PENALTIES = attacks.penalty_grid(9)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A two-layer Seatbelt-VAE trained for a few seconds on 16x16 sprites, and images to attack."""
    splits = data.load({"name": "sprites", "image_size": 16}, (-1.0, 1.0))
    model = models.build(
        {"latent_sizes": (6, 4), "network": "mlp", "widths": (64,), "hidden_sizes": (32,)}, splits.train.image_shape
    )
    settings = training.parse_settings(
        {
            "seed": 0,
            "objective": {"beta": 4.0},
            "optimizer": {"learning_rate": 3e-3},
            "train": {"steps": 400, "batch_size": 128, "evaluate_every": 400, "checkpoint_every": 400},
        }
    )
    state = training.train(model, splits, settings, tmp_path_factory.mktemp("trained"))
    return model.bind(state.variables), np.asarray(splits.validation.images(np.arange(8)))


@pytest.fixture(scope="module")
def result(trained):
    vae, images = trained
    return attacks.sweep(vae, images[:4], images[4:], threat=attacks.Penalty(PENALTIES), exchanges=0, lanes_at_once=8)


def scipy_objectives(vae, sources, targets, penalties):
    """The least Delta [pair, penalty] that SciPy's L-BFGS-B finds from the same start, one attack at a time."""
    objective = attacks.latent(vae)
    goals = objective.prepare(sources, targets)

    @jax.jit
    @jax.value_and_grad
    def delta(image, source, goal, penalty):
        return objective.distance(image, goal) + penalty * l2_norm(image - source)

    def least(pair, penalty):
        source, goal = sources[pair], jax.tree.map(lambda leaf: leaf[pair], goals)

        def flat(x):
            value, gradient = delta(np.float32(x.reshape(source.shape)), source, goal, np.float32(penalty))
            return float(value), np.asarray(gradient, np.float64).ravel()

        low, high = vae.likelihood.image_range
        return optimize.minimize(
            flat,
            source.ravel(),
            jac=True,
            method="L-BFGS-B",
            bounds=[(low, high)] * source.size,
            options={"maxiter": 200, "maxfun": 10_000, "maxcor": 10, "ftol": 0.0, "gtol": 1e-5},
        ).fun

    return np.array([[least(pair, penalty) for penalty in penalties] for pair in range(len(sources))])


@pytest.mark.slow
def test_objectives_are_as_good_as_scipys_on_a_trained_model(trained, result):
    vae, images = trained
    ratio = result.objective[:, :6] / scipy_objectives(vae, images[:4], images[4:], PENALTIES[:6])
    assert np.exp(np.mean(np.log(ratio))) <= 1.02
    assert np.mean(ratio <= 1.5) >= 0.95


def test_every_measure_is_what_its_name_says(trained, result):
    vae, images = trained
    sources, targets = images[:4], images[4:]
    pair, column = 1, 3
    adversarial = result.adversarial[pair, column]
    posteriors = [vae.encode(image[None], vae.mean_path(1)).posteriors for image in (adversarial, targets[pair])]
    divergence = sum(float(gaussian.kl_divergence(q, p)[0]) for q, p in zip(*posteriors, strict=True))
    np.testing.assert_allclose(result.distance[pair, column], divergence, rtol=1e-3)
    distortion = np.linalg.norm(adversarial - sources[pair])
    np.testing.assert_allclose(result.distortion_norm[pair, column], distortion, rtol=1e-5)
    np.testing.assert_allclose(result.objective[pair, column], divergence + PENALTIES[column] * distortion, rtol=1e-3)
    recon, recon_source, recon_target = (
        np.asarray(vae.reconstruct(image[None])[0]) for image in (adversarial, sources[pair], targets[pair])
    )
    np.testing.assert_allclose(result.adversarial_reconstructions[pair, column], recon, atol=1e-4)
    for got, between in (
        (result.adversarial_error[pair, column], recon - targets[pair]),
        (result.source_error[pair], recon_source - targets[pair]),
        (result.target_error[pair], recon_target - targets[pair]),
        (result.distance_to_target[pair, column], adversarial - targets[pair]),
        (result.distance_left[pair, column], recon - recon_target),
        (result.distance_at_start[pair], recon_source - recon_target),
    ):
        np.testing.assert_allclose(got, np.linalg.norm(between), rtol=1e-3)
    for got, parameters, image in (
        (-result.negative_log_likelihood[pair, column], recon, targets[pair]),
        (-result.clean_negative_log_likelihood[pair], recon_target, targets[pair]),
        (result.source_log_likelihood[pair, column], recon, sources[pair]),
        (result.clean_source_log_likelihood[pair], recon_source, sources[pair]),
    ):
        np.testing.assert_allclose(got, vae.likelihood.log_prob(parameters[None], image[None])[0], rtol=1e-3)
    np.testing.assert_allclose(result.distortion_max[pair, column], np.abs(adversarial - sources[pair]).max())
    np.testing.assert_allclose(result.cost[pair, column], PENALTIES[column] * distortion, rtol=1e-5)
    np.testing.assert_allclose(result.repeated_objective, result.objective, rtol=1e-5)


def test_no_attack_leaves_the_box_and_cheap_distortions_get_closer(trained):
    vae, images = trained
    # Exchanges leave no attack at a stationary point worse than what another penalty has led to.
    result = attacks.sweep(vae, images[:4], images[4:], threat=attacks.Penalty(PENALTIES), lanes_at_once=8)
    assert result.adversarial.min() >= -1.0 and result.adversarial.max() <= 1.0
    assert np.all(result.distance[:, 0] < 0.05 * result.distance[:, -1])
    # At lambda = 2^20 an attack keeps its source, and what only rounding finds better is no exchange.
    np.testing.assert_array_equal(result.status[:, -1], attacks.Status.CONVERGED)
    assert not result.exchanged[:, -1].any()
    # Where neither of two attacks is better under the other's penalty, the dearer distorts less.
    assert np.all(np.diff(result.distortion_norm, axis=1) <= 1e-3)


def test_an_expensive_distortion_is_not_made(result):
    # At lambda = 2^20 no reduction of KL pays; the lanes cost the one evaluation that shows it.
    np.testing.assert_array_equal(result.distortion_norm[:, -1], 0.0)
    np.testing.assert_array_equal(result.status[:, -1], attacks.Status.CONVERGED)
    np.testing.assert_array_equal(result.evaluations[:, -1], 1)


def test_at_rest_are_the_attacks_whose_penalty_exceeds_the_gradient():
    rng = np.random.default_rng(1)
    sources, targets = rng.uniform(-0.2, 0.2, size=(2, 2, *linear_vae.SHAPE)).astype(np.float32)
    threshold = [
        abs(np.sum(linear_vae.WEIGHTS * (t - s))) * np.linalg.norm(linear_vae.WEIGHTS) / linear_vae.SIGMA**2
        for s, t in zip(sources, targets, strict=True)
    ]
    threat = attacks.Penalty([0.98 * min(threshold), 1.02 * max(threshold)])
    result = attacks.sweep(linear_vae.vae(), sources, targets, threat=threat)
    np.testing.assert_allclose(result.gradient_norm, threshold, rtol=1e-4)
    np.testing.assert_array_equal(result.evaluations[:, -1], 1)
    assert np.all(result.evaluations[:, 0] > 1) and np.all(result.distortion_norm[:, 0] > 0.0)


def test_more_pairs_than_are_measured_at_once_keep_their_order():
    rng = np.random.default_rng(2)
    sources, targets = rng.uniform(-0.2, 0.2, size=(2, 70, *linear_vae.SHAPE)).astype(np.float32)
    result = attacks.sweep(linear_vae.vae(), sources, targets, threat=attacks.Penalty(np.array([0.1])))
    expected = [linear_vae.optimum(source, target, 0.1) for source, target in zip(sources, targets, strict=True)]
    np.testing.assert_allclose(np.stack([result.objective, result.distortion_norm], -1)[:, 0], expected, rtol=2e-2)


@pytest.mark.slow
def test_results_do_not_depend_on_how_many_lanes_run_at_once(trained, result):
    rng = np.random.default_rng(3)
    sources, targets = rng.uniform(-0.2, 0.2, size=(2, 5, *linear_vae.SHAPE)).astype(np.float32)
    penalties = np.array([1e-3, 0.1, 0.5, 1e6])
    few, many = (
        attacks.sweep(linear_vae.vae(), sources, targets, threat=attacks.Penalty(penalties), lanes_at_once=n)
        for n in (3, 100)
    )
    np.testing.assert_allclose(few.objective, many.objective, rtol=1e-3)
    np.testing.assert_array_equal(few.status, many.status)
    vae, images = trained
    one_block = attacks.sweep(vae, images[:4], images[4:], threat=attacks.Penalty(PENALTIES), lanes_at_once=100)
    # Rounding differs between block sizes. On a trained model L-BFGS amplifies it, where distortions cost little, until
    # iterates part; where they cost much, it leads to one optimum.
    costly = PENALTIES >= 2.0**10
    np.testing.assert_allclose(result.objective[:, costly], one_block.objective[:, costly], rtol=1e-3)


def test_freed_slots_are_refilled_with_every_waiting_problem():
    centres = np.linspace(-0.9, 0.9, 23, dtype=np.float32).reshape(23, 1, 1, 1)

    def distance(image, centre):
        return jnp.sum(jnp.square(image - centre))

    solver = attacks.BoxLBFGS(maxiter=50, tol=1e-5)
    block = lanes.Block(solver, Partial(distance), Partial(lambda centre: (-0.5, 1.0)), lanes_at_once=8, lanes=23)
    found = lanes.solve(block, lambda lane: (np.zeros((lane.size, 2, 1, 1), np.float32), centres[lane]), np.arange(23))
    expected = np.broadcast_to(np.clip(centres, -0.5, 1.0), found.images.shape)
    np.testing.assert_allclose(found.images, expected, atol=1e-4)
    assert np.all(found.status == attacks.Status.CONVERGED) and np.all(found.evaluations >= 1)


def test_a_result_survives_the_disk_and_gives_one_row_per_attack(result, tmp_path):
    storage.write_npz(tmp_path / "a.npz", result.to_arrays())
    loaded = attacks.AttackResult.from_arrays(storage.read_npz(tmp_path / "a.npz"))
    np.testing.assert_array_equal(loaded.adversarial, result.adversarial)
    rows = result.rows()
    assert len(rows) == 36
    assert loaded.name == "latent_kl_all" and loaded.targeted is True
    assert rows[10]["pair"] == 1 and rows[10]["penalty"] == PENALTIES[1]
    assert rows[10]["objective_nats"] == result.objective[1, 1]
    assert rows[35]["status"] == "converged"
    with pytest.raises(ValueError, match="name, unit, targeted, threat, budgets and 30 others missing"):
        attacks.AttackResult.from_arrays({})


def test_the_paper_grid_of_penalties():
    grid = attacks.penalty_grid()
    assert len(grid) == 50 and grid[0] == 2.0**-20 and grid[-1] == 2.0**20
    np.testing.assert_allclose(np.diff(np.log2(grid)), 40 / 49)
