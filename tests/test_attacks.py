import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from seatbelt_jax import attacks, data, gaussian, metrics, models, storage, training
from seatbelt_jax.attacks import lanes, objectives
from tests.reference import gaussian as reference
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
    return attacks.sweep(vae, images[:3], images[3:6], penalties=PENALTIES, lanes_at_once=8)


def scipy_objective(vae, source, target, penalty):
    """The least Delta that SciPy's L-BFGS-B finds from the same start, one attack at a time."""
    problem = objectives.Problem(
        jnp.asarray(source),
        jax.tree.map(lambda leaf: leaf[0], objectives.posteriors(vae, target[None])),
        jnp.float32(penalty),
    )
    fun = jax.jit(jax.value_and_grad(objectives.penalised(objectives.latent_divergence(vae))))

    def flat(x):
        value, gradient = fun(jnp.asarray(x.reshape(source.shape), jnp.float32), problem)
        return float(value), np.asarray(gradient, np.float64).ravel()

    low, high = vae.likelihood.image_range
    found = optimize.minimize(
        flat,
        source.ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=[(low, high)] * source.size,
        options={"maxiter": 200, "maxfun": 10_000, "maxcor": 10, "ftol": 0.0, "gtol": 1e-5},
    )
    return found.fun


def test_objectives_are_within_ten_percent_of_scipys_on_a_trained_model(trained, result):
    vae, images = trained
    scipys = np.array(
        [[scipy_objective(vae, images[pair], images[3 + pair], penalty) for penalty in PENALTIES] for pair in range(3)]
    )
    ratio = result.objective / scipys
    assert np.exp(np.mean(np.log(ratio))) <= 1.10
    assert np.median(ratio) <= 1.02


def test_the_divergence_is_the_sum_of_the_layers_kl(trained):
    vae, images = trained
    attacked, target = (objectives.posteriors(vae, images[k : k + 1]) for k in (0, 1))
    layers = [
        reference.kl_divergence(q.mean[0], q.std[0], p.mean[0], p.std[0]) for q, p in zip(attacked, target, strict=True)
    ]
    target = jax.tree.map(lambda leaf: leaf[0], target)
    for chosen, expected in (("all", sum(layers)), ("bottom", layers[0]), ("top", layers[1])):
        distance = objectives.latent_divergence(vae, layers=chosen)
        np.testing.assert_allclose(distance(images[0], target), expected, rtol=1e-4)


def test_every_measure_is_what_its_name_says(trained, result):
    vae, images = trained
    sources, targets = images[:3], images[3:6]
    pair, column = 1, 3
    adversarial = result.adversarial[pair, column]
    posteriors = [objectives.posteriors(vae, image[None]) for image in (adversarial, targets[pair])]
    divergence = sum(float(gaussian.kl_divergence(q, p)[0]) for q, p in zip(*posteriors, strict=True))
    np.testing.assert_allclose(result.divergence[pair, column], divergence, rtol=1e-3)
    distortion = np.linalg.norm(adversarial - sources[pair])
    np.testing.assert_allclose(result.distortion_norm[pair, column], distortion, rtol=1e-5)
    np.testing.assert_allclose(result.objective[pair, column], divergence + PENALTIES[column] * distortion, rtol=1e-3)
    recon, recon_source, recon_target = (
        np.asarray(vae.reconstruct(image[None])[0]) for image in (adversarial, sources[pair], targets[pair])
    )
    np.testing.assert_allclose(result.adversarial_reconstructions[pair, column], recon, atol=1e-4)
    for got, between in (
        (result.adversarial_error[pair, column], recon - targets[pair]),
        (result.target_error[pair], recon_target - targets[pair]),
        (result.distance_left[pair, column], recon - recon_target),
        (result.distance_at_start[pair], recon_source - recon_target),
    ):
        np.testing.assert_allclose(got, np.linalg.norm(between), rtol=1e-3)
    for got, parameters in (
        (result.negative_log_likelihood[pair, column], recon),
        (result.clean_negative_log_likelihood[pair], recon_target),
    ):
        np.testing.assert_allclose(got, -vae.likelihood.log_prob(parameters[None], targets[pair][None])[0], rtol=1e-3)


def test_no_attack_leaves_the_box_and_cheap_distortions_get_closer(result):
    assert result.adversarial.min() >= -1.0 and result.adversarial.max() <= 1.0
    assert np.all(result.divergence[:, 0] < 0.05 * result.divergence[:, -1])
    assert np.all(np.diff(np.median(result.distortion_norm, axis=0)[2:]) <= 1e-3)


def test_an_expensive_distortion_is_not_made(result):
    # At lambda = 2^20 no reduction of KL pays; the lanes cost the one evaluation that shows it.
    np.testing.assert_array_equal(result.distortion_norm[:, -1], 0.0)
    np.testing.assert_array_equal(result.status[:, -1], attacks.Status.CONVERGED)
    np.testing.assert_array_equal(result.evaluations[:, -1], 1)


def test_attacks_on_a_linear_encoder_reach_the_closed_form_optimum():
    rng = np.random.default_rng(1)
    sources = rng.uniform(-0.2, 0.2, size=(2, *linear_vae.SHAPE)).astype(np.float32)
    targets = rng.uniform(-0.2, 0.2, size=(2, *linear_vae.SHAPE)).astype(np.float32)
    threshold = [
        abs(np.sum(linear_vae.WEIGHTS * (t - s))) * np.linalg.norm(linear_vae.WEIGHTS) / linear_vae.SIGMA**2
        for s, t in zip(sources, targets, strict=True)
    ]
    penalties = np.array([1e-3, 0.1, 0.5, 0.9 * min(threshold), 1.02 * max(threshold)])
    result = attacks.sweep(linear_vae.vae(), sources, targets, penalties=penalties)
    for pair in range(2):
        for column, penalty in enumerate(penalties):
            objective, norm = linear_vae.optimum(sources[pair], targets[pair], penalty)
            np.testing.assert_allclose(result.objective[pair, column], objective, rtol=1e-3)
            np.testing.assert_allclose(result.distortion_norm[pair, column], norm, rtol=1e-2, atol=1e-4)
    np.testing.assert_array_equal(result.evaluations[:, -1], 1)
    assert np.all(result.evaluations[:, 0] > 1)


def test_more_pairs_than_are_measured_at_once_keep_their_order():
    rng = np.random.default_rng(2)
    sources, targets = rng.uniform(-0.2, 0.2, size=(2, 70, *linear_vae.SHAPE)).astype(np.float32)
    result = attacks.sweep(linear_vae.vae(), sources, targets, penalties=np.array([0.1]))
    expected = [linear_vae.optimum(source, target, 0.1) for source, target in zip(sources, targets, strict=True)]
    np.testing.assert_allclose(np.stack([result.objective, result.distortion_norm], -1)[:, 0], expected, rtol=2e-2)


def test_results_do_not_depend_on_how_many_lanes_run_at_once(trained, result):
    rng = np.random.default_rng(3)
    sources, targets = rng.uniform(-0.2, 0.2, size=(2, 5, *linear_vae.SHAPE)).astype(np.float32)
    penalties = np.array([1e-3, 0.1, 0.5, 1e6])
    few, many = (
        attacks.sweep(linear_vae.vae(), sources, targets, penalties=penalties, lanes_at_once=n) for n in (3, 100)
    )
    np.testing.assert_allclose(few.objective, many.objective, rtol=1e-3)
    np.testing.assert_array_equal(few.status, many.status)
    vae, images = trained
    one_block = attacks.sweep(vae, images[:3], images[3:6], penalties=PENALTIES, lanes_at_once=100)
    # Rounding differs between block sizes. On a trained model L-BFGS amplifies it, where distortions cost little, until
    # iterates part; where they cost much, it leads to one optimum.
    costly = PENALTIES >= 2.0**10
    np.testing.assert_allclose(result.objective[:, costly], one_block.objective[:, costly], rtol=1e-3)


def test_freed_slots_are_refilled_with_every_waiting_problem():
    centres = np.linspace(-0.9, 0.9, 23, dtype=np.float32).reshape(23, 1, 1, 1)

    def distance(image, centre):
        return jnp.sum(jnp.square(image - centre))

    solver = attacks.LBFGSB(distance, maxiter=50, tol=1e-5)
    starts = np.zeros((23, 2, 1, 1), np.float32)
    found = lanes.solve(solver, starts, centres, (-0.5, 1.0), lanes_at_once=4)
    expected = np.broadcast_to(np.clip(centres, -0.5, 1.0), found.images.shape)
    np.testing.assert_allclose(found.images, expected, atol=1e-4)
    assert np.all(found.status == attacks.Status.CONVERGED) and np.all(found.evaluations >= 1)


def test_the_norm_has_a_finite_gradient_at_zero():
    np.testing.assert_array_equal(jax.grad(objectives.l2_norm)(jnp.zeros((2, 2))), 0.0)
    np.testing.assert_allclose(jax.grad(objectives.l2_norm)(jnp.array([3.0, 4.0])), [0.6, 0.8])


def test_a_result_survives_the_disk_and_gives_one_row_per_attack(result, tmp_path):
    storage.write_npz(tmp_path / "a.npz", result.to_arrays())
    loaded = attacks.AttackResult.from_arrays(storage.read_npz(tmp_path / "a.npz"))
    np.testing.assert_array_equal(loaded.adversarial, result.adversarial)
    rows = result.rows()
    assert len(rows) == 27
    assert rows[10]["pair"] == 1 and rows[10]["penalty_nats_per_pixel_unit"] == PENALTIES[1]
    assert rows[26]["status"] == "converged"
    with pytest.raises(ValueError, match="penalties, sources"):
        attacks.AttackResult.from_arrays({})


def test_the_paper_grid_of_penalties():
    grid = attacks.penalty_grid()
    assert len(grid) == 50 and grid[0] == 2.0**-20 and grid[-1] == 2.0**20
    np.testing.assert_allclose(np.diff(np.log2(grid)), 40 / 49)


def test_pairs_are_distinct_and_repeatable():
    pairs = attacks.random_pairs(10, 20, seed=3)
    assert sorted(pairs.ravel().tolist()) == list(range(20))
    np.testing.assert_array_equal(pairs, attacks.random_pairs(10, 20, seed=3))
    with pytest.raises(ValueError, match="give 1 to 10"):
        attacks.random_pairs(11, 20, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"penalties": np.array([])}, "finite numbers >= 0"),
        ({"penalties": np.array([1.0, -1.0])}, "finite numbers >= 0"),
        ({"sources": np.zeros((1, 8, 8, 1))}, r"sources must be images of shape \[pair, 4, 4, 1\]"),
        ({"targets": np.full((1, 4, 4, 1), 2.0)}, "targets must lie in the model's image range"),
        ({"targets": np.zeros((2, 4, 4, 1))}, "1 sources for 2 targets"),
        ({"divergence": "js"}, "divergence must be one of kl"),
        ({"layers": "middle"}, "layers must be one of all, top, bottom"),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {"sources": np.zeros((1, 4, 4, 1)), "targets": np.zeros((1, 4, 4, 1)), **change}
    with pytest.raises(ValueError, match=message):
        attacks.sweep(linear_vae.vae(), **arguments)


def made_up_result(objective, distortion, left, start):
    """A result whose images do not matter."""
    pairs, penalties = objective.shape
    images = np.zeros((pairs, 1, 1, 1))
    lane_images = np.zeros((pairs, penalties, 1, 1, 1))
    return attacks.AttackResult(
        penalties=np.arange(1.0, penalties + 1),
        sources=images,
        targets=images,
        source_reconstructions=images,
        target_reconstructions=images,
        adversarial=lane_images,
        adversarial_reconstructions=lane_images,
        objective=objective,
        divergence=objective,
        distortion_norm=distortion,
        negative_log_likelihood=objective + 10.0,
        clean_negative_log_likelihood=np.full(pairs, 10.0),
        adversarial_error=left,
        target_error=np.zeros(pairs),
        distance_left=left,
        distance_at_start=start,
        status=np.full((pairs, penalties), attacks.Status.CONVERGED),
        iterations=np.ones((pairs, penalties), int),
        evaluations=np.ones((pairs, penalties), int),
    )


def test_measures_of_a_sweep_on_a_planted_one():
    result = made_up_result(
        objective=np.array([[1.0, 2.0, 9.0], [5.0, 5.0, 5.0]]),
        distortion=np.array([[4.0, 2.0, 0.0], [8.0, 6.0, 0.0]]),
        left=np.array([[0.05, 0.4, 1.0], [1.0, 1.5, 2.0]]),
        start=np.array([1.0, 2.0]),
    )
    np.testing.assert_array_equal(metrics.distortion_to_reach(result, 0.5), [2.0, 8.0])
    np.testing.assert_array_equal(metrics.distortion_to_reach(result, 0.9), [4.0, np.inf])
    # Pair 0: mean Delta 4, so the 9 is the smallest above it. Pair 1: no Delta is above the mean.
    np.testing.assert_array_equal(metrics.shown_penalty(result), [2, 0])
    summary = metrics.summarise(result)
    assert summary["median_objective_nats"] == 5.0
    assert summary["median_excess_target_nll_nats"] == 5.0
    assert summary["median_distortion_half_way_l2"] == 5.0
    assert summary["share_reaching_nine_tenths"] == 0.5
    assert summary["share_cut_short"] == 0.0
    # Pair 0 at lambda = 3: the distortion of norm 0 scores 9, that of norm 2 scores 2 + 3 * 2 = 8.
    np.testing.assert_array_equal(
        metrics.beaten_by_another_penalty(result), [[False, False, True], [False, False, False]]
    )
    assert summary["share_beaten"] == 1 / 6
    with pytest.raises(ValueError, match="share must lie in"):
        metrics.distortion_to_reach(result, 0.0)
