import dataclasses
import functools
import shutil
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import data, metrics, models, storage, training
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.runs.run import Origin
from seatbelt_jax.training import chunks, divergence, recipe, settings, state, step
from seatbelt_jax.training.settings import OptimizerConfig, make_optimizer
from seatbelt_jax.vae import sample_noise
from tests import drawn
from tests.compilations import counted
from tests.reference import adam

MODEL = {"latent_sizes": (3, 2), "network": "mlp", "widths": (16,), "hidden_sizes": (8,)}


def config(**train):
    return {
        "seed": 0,
        "objective": {"beta": 2.0},
        # Trainings of any length share what is compiled, and so do those with as many steps a dispatch.
        "optimizer": {"learning_rate": 1e-2, "schedule": "constant"},
        "train": {
            "steps": 8,
            "batch_size": 16,
            "log_every": 2,
            "evaluate_every": 4,
            "checkpoint_every": 3,
            "evaluation_images": 10,
            **train,
        },
    }


@pytest.fixture(scope="module")
def splits():
    return data.load({"name": "mock", "image_size": 8, "num_images": 60}, (-1.0, 1.0))


@pytest.fixture(scope="module")
def model(splits):
    return models.build(MODEL, splits.train.image_shape)


class Interruption:
    """Ctrl-C in the first evaluation: noted, as a signal is, or breaking the evaluation off."""

    def __init__(self, *, breaks_off=False):
        self.breaks_off = breaks_off
        self.struck = False

    def __call__(self, step, evaluation):
        if not self.struck:
            self.struck = True
            if self.breaks_off:
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)


def train(model, splits, directory, on_evaluation=None, **changes):
    settings = training.parse_settings(config(**changes))
    return training.train(model, splits, settings, directory, on_evaluation=on_evaluation)


def rows(path):
    """All that does not depend on the clock."""
    return [
        {key: value for key, value in row.items() if key != "images_per_second"} for row in training.read_metrics(path)
    ]


# A killed process that goes on, in tests/test_survival.py, takes one step a dispatch.
@pytest.mark.parametrize("steps_per_dispatch", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_an_interrupted_run_resumes_to_the_very_state_of_an_uninterrupted_one(
    model, splits, tmp_path, steps_per_dispatch
):
    changes = {"steps_per_dispatch": steps_per_dispatch, "checkpoint_every": 8, "steps": 12}
    whole = train(model, splits, tmp_path / "whole", **changes)
    interruption = Interruption()
    with pytest.raises(KeyboardInterrupt):
        train(model, splits, tmp_path / "broken", interruption, **changes)
    with Checkpoints(tmp_path / "broken" / "checkpoints") as checkpoints:
        # The evaluation of step 4 and the chunk after it are whole, and saved though no checkpoint was due.
        assert checkpoints.latest_step == (5 if steps_per_dispatch == 1 else 6)
    resumed = train(model, splits, tmp_path / "broken", interruption, **changes)
    chex.assert_trees_all_equal(resumed, whole)
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")
    assert [row["step"] for row in rows(tmp_path / "broken") if row["split"] == "validation"] == [4, 8, 12]


def test_chunks_end_where_something_is_written_wherever_they_begin():
    schedule = settings.TrainConfig(steps=20, batch_size=1, log_every=6, evaluate_every=10, checkpoint_every=9)
    ends = list(chunks.chunk_ends(0, schedule, 4))
    assert ends == [4, 6, 8, 9, 10, 12, 16, 18, 20]
    for place, end in enumerate(ends, 1):
        assert list(chunks.chunk_ends(end, schedule, 4)) == ends[place:]


@pytest.mark.slow
def test_a_training_with_another_seed_shares_what_is_compiled(tmp_path):
    def train(seed):
        splits = data.load({"name": "mock", "image_size": 8, "num_images": 60}, (-1.0, 1.0))
        model = models.build(MODEL, splits.train.image_shape)
        parsed = training.parse_settings(config(steps_per_dispatch=5) | {"seed": seed})
        return training.train(model, splits, parsed, tmp_path / str(seed))

    one = train(0)
    with counted() as programs:
        other = train(1)
    assert not programs
    leaves = zip(jax.tree.leaves(one.variables["params"]), jax.tree.leaves(other.variables["params"]), strict=True)
    assert all(np.any(np.asarray(first) != np.asarray(second)) for first, second in leaves)


def test_many_steps_in_one_dispatch_are_the_same_steps(model, splits, tmp_path):
    one = train(model, splits, tmp_path / "one", steps_per_dispatch=1)
    many = train(model, splits, tmp_path / "many", steps_per_dispatch=5)
    chex.assert_trees_all_close(many, one, rtol=1e-3, atol=1e-5)
    for ours, theirs in zip(rows(tmp_path / "many"), rows(tmp_path / "one"), strict=True):
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose(
            [ours[name] for name in ours if name != "split"],
            [theirs[name] for name in ours if name != "split"],
            rtol=1e-3,
            atol=1e-5,
        )


def latest_step(path):
    with Checkpoints(path / "checkpoints") as checkpoints:
        return checkpoints.latest_step


def test_an_origin_that_has_gone_is_said_to_be_gone(model, splits, tmp_path):
    origin = Origin(str(tmp_path / "gone"), 3, "fork")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 3 any more.*--fork=.*gone once more"):
        training.train(model, splits, training.parse_settings(config()), tmp_path / "run", origin=origin)
    assert not (tmp_path / "gone").exists()


def test_metrics_hold_every_term_at_the_configured_steps(model, splits, tmp_path):
    seen = []
    train(model, splits, tmp_path, lambda step, found: seen.append((step, found)))
    rows = training.read_metrics(tmp_path)
    assert [row["step"] for row in rows if row["split"] == "train"] == [2, 3, 4, 6, 8]
    assert [row["step"] for row in rows if row["split"] == "validation"] == [4, 8]
    assert {"elbo", "log_likelihood", "kl_1", "kl_2", "total_correlation_mws", "gradient_norm"} <= rows[0].keys()
    last = rows[0]
    np.testing.assert_allclose(last["elbo"], last["log_likelihood"] - last["kl_1"] - last["kl_2"], rtol=1e-5)
    np.testing.assert_allclose(-last["loss"], last["elbo"] - (2.0 - 1.0) * last["total_correlation_mws"], rtol=1e-5)
    assert [step for step, _ in seen] == [4, 8]
    found = seen[-1][1]
    assert found.images.shape == found.reconstructions.shape == (6, 8, 8, 1)
    assert found.samples.shape == (6, 8, 8, 1)


@pytest.mark.slow
def test_a_trace_is_written_where_there_are_steps_enough(model, splits, tmp_path, capsys):
    settings = training.parse_settings(config())
    training.train(model, splits, settings, tmp_path, profile=True)
    assert [*(tmp_path / "profile").rglob("*.xplane.pb")]
    shutil.rmtree(tmp_path / "profile")
    # Called again, no step is left to be traced.
    training.train(model, splits, settings, tmp_path, profile=True)
    assert not (tmp_path / "profile").exists()
    assert f"nothing was traced to {tmp_path / 'profile'}" in capsys.readouterr().out


def test_training_improves_the_elbo(model, splits, tmp_path):
    train(model, splits, tmp_path, steps=150, log_every=10, evaluate_every=150, checkpoint_every=150)
    rows = [row for row in training.read_metrics(tmp_path) if row["split"] == "train"]
    assert rows[-1]["elbo"] > rows[0]["elbo"] + 100.0


def poisoned(splits, bad):
    """The splits with NaN in the training images whose numbers `bad` picks."""
    images = splits.train.images
    broken = dataclasses.replace(
        splits.train,
        images=lambda index: jnp.where(bad(index)[:, None, None, None], jnp.nan, images(index)),
        traceable=True,
    )
    return dataclasses.replace(splits, train=broken)


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_counted_and_changes_nothing(model, splits):
    made = recipe.make_recipe(model, training.parse_settings(config()), 54)
    start = drawn.state(made)
    take = jax.jit(functools.partial(step.train_step, recipe=made))
    images = splits.train.images(np.arange(16))
    key = jax.random.key(1)
    first, _ = take(start, images, key)
    skipped, metrics = take(first, images.at[3, 2, 1, 0].set(jnp.inf), key)
    assert (int(skipped.step), int(skipped.skipped), int(skipped.skipped_in_a_row)) == (2, 1, 1)
    assert int(metrics["skipped_steps"]) == 1
    chex.assert_trees_all_equal((skipped.variables, skipped.optimizer), (first.variables, first.optimizer))
    third, metrics = take(skipped, images, key)
    assert (int(third.step), int(third.skipped), int(third.skipped_in_a_row)) == (3, 1, 0)
    assert np.isfinite(metrics["loss"])
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(third.variables, first.variables)


@pytest.mark.slow
def test_training_goes_on_over_steps_that_are_not_finite(model, splits, tmp_path):
    # One bad image of 54: some of the batches of 16 hold it.
    final = train(model, poisoned(splits, lambda index: index == 7), tmp_path, log_every=1)
    written = [row for row in training.read_metrics(tmp_path) if row["split"] == "train"]
    bad = [row["step"] for row in written if row["loss"] is None]
    assert 0 < len(bad) < 8 and int(final.skipped) == len(bad)
    assert [row["skipped_steps"] for row in written] == [sum(step <= row["step"] for step in bad) for row in written]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(final.variables))


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_dispatch", [1, 5])
def test_divergence_stops_and_keeps_what_reproduces_it(model, splits, tmp_path, steps_per_dispatch):
    changes = {
        "steps_per_dispatch": steps_per_dispatch,
        "max_skipped_in_a_row": 3,
        "log_every": 20,
        "evaluate_every": 20,
        "checkpoint_every": 20,
        "steps": 20,
    }
    train(model, splits, tmp_path, steps=6)
    before = rows(tmp_path)
    with pytest.raises(training.DivergenceError, match=r"step 7, images is .* of step 6 is intact"):
        train(model, poisoned(splits, lambda index: index >= 0), tmp_path, **changes)
    assert latest_step(tmp_path) == 6 and rows(tmp_path) == before

    made = recipe.make_recipe(model, training.parse_settings(config(**changes)), 54)
    fresh = jax.eval_shape(lambda: state.create(made, jax.random.key(0)))
    with Checkpoints(tmp_path / "diverged") as checkpoints:
        kept = state.restore(*checkpoints.load_newest(variables=fresh.variables, training=fresh.training))
    assert (int(kept.step), int(kept.skipped)) == (6, 0)
    batch = storage.read_npz(tmp_path / "diverged" / "batch_6.npz")["images"]
    after, metrics = jax.jit(functools.partial(step.train_step, recipe=made))(kept, batch, jax.random.key(1))
    assert int(after.skipped) == 1 and np.isnan(metrics["loss"])


@pytest.mark.slow
def test_the_first_term_that_is_not_finite_is_named(model, splits):
    made = recipe.make_recipe(model, training.parse_settings(config()), 54)
    start = drawn.state(made)
    images, key = splits.train.images(np.arange(16)), jax.random.key(1)

    def broken(change):
        def leaf(path, value):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            return value.at[(0,) * value.ndim].set(change[1]) if name.endswith(change[0]) else value

        return dataclasses.replace(start, variables=jax.tree_util.tree_map_with_path(leaf, start.variables))

    assert divergence.first_non_finite(start, images, key, made) is None
    assert divergence.first_non_finite(start, images.at[0].set(jnp.nan), key, made) == "images"
    found = divergence.first_non_finite(broken(("log_std.bias", jnp.nan)), images, key, made)
    assert found.startswith("parameter ") and found.endswith("log_std.bias")
    # A sample scaled by exp(200) is held at float32's largest number: what reads it is the first that is not finite.
    overflowing = divergence.first_non_finite(broken(("log_std.bias", 200.0)), images, key, made)
    assert overflowing == "posterior of layer 2 mean"


@pytest.mark.slow
def test_what_overflows_beside_the_terms_is_named(model, splits):
    images, key = splits.train.images(np.arange(16)), jax.random.key(1)

    def found(made, change=lambda path, leaf: leaf):
        start = drawn.state(made)
        changed = jax.tree_util.tree_map_with_path(
            lambda path, leaf: change(jax.tree_util.keystr(path, simple=True, separator="."), leaf), start
        )
        after, _ = jax.jit(functools.partial(step.train_step, recipe=made))(changed, images, key)
        assert int(after.skipped) == 1
        return divergence.first_non_finite(changed, images, key, made)

    # Each slope is a number of float32, the sum of their squares is not.
    steep = {**config(), "objective": {"beta": 1e25}}
    assert found(recipe.make_recipe(model, training.parse_settings(steep), 54)) == "norm of the gradient"
    # So with the variance of a layer whose normalised values are finite.
    made = recipe.make_recipe(model, training.parse_settings(config()), 54)
    name = found(made, lambda path, leaf: 1e19 * leaf if "params.encoder" in path and leaf.ndim == 2 else leaf)
    assert name.startswith("next batch_stats.encoder.") and name.endswith(".var")
    judged = {**config(), "objective": {"estimator": "density_ratio"}, "discriminator": {"width": 8, "layers": 2}}
    made = recipe.make_recipe(model, training.parse_settings(judged), 54)
    name = found(made, lambda path, leaf: 1e25 * leaf if "discriminator.parameters" in path else leaf)
    assert name == "total_correlation_density_ratio"


@pytest.mark.slow
def test_too_many_in_a_row_end_a_chunk_that_would_go_on(model, splits, tmp_path):
    # Three bad steps within one chunk, and good ones after them.
    order = [data.batch_indices(number, size=54, batch_size=16, seed=0) for number in range(5)]
    bad = sorted(set(np.concatenate(order[:3])) - set(np.concatenate(order[3:])))
    assert all(set(batch) & set(bad) for batch in order[:3])
    broken = poisoned(splits, lambda index: jnp.isin(index, jnp.asarray(bad)))
    changes = {"steps_per_dispatch": 5, "max_skipped_in_a_row": 3, "steps": 5}
    quiet = {"log_every": 5, "evaluate_every": 5, "checkpoint_every": 5}
    with pytest.raises(training.DivergenceError, match=r"3 steps in a row .* In the first of them, step 1, images is"):
        train(model, broken, tmp_path, **changes, **quiet)


def test_evaluation_measures_reconstructions_along_the_mean_path(model, splits):
    vae = model.bind(drawn.variables(model))
    images = splits.validation.images(np.arange(6))
    found = training.evaluate(vae, images, jax.random.key(1), dataset_size=54)
    errors = np.linalg.norm(np.reshape(images - vae.reconstruct(images), (6, -1)), axis=-1)
    np.testing.assert_allclose(found.metrics["reconstruction_error"], errors.mean(), rtol=1e-5)


def test_evaluation_counts_active_units_and_moves_those_of_the_top_layer(model, splits):
    variables = drawn.variables(model)
    vae = model.bind(variables)
    images = splits.validation.images(np.arange(6))
    found = training.evaluate(vae, images, jax.random.key(1), dataset_size=54)
    expected = metrics.active_units(vae, images).counts
    assert [int(found.metrics[f"active_units_{layer}"]) for layer in (1, 2)] == list(expected)
    assert found.traversals.shape == (2, 11, 8, 8, 1)
    np.testing.assert_allclose(found.traversals, metrics.latent_traversal(vae, 2), rtol=1e-5, atol=1e-6)
    # Without weights behind its means, no unit of the top layer tells images apart.
    still = model.bind(
        jax.tree_util.tree_map_with_path(
            lambda path, leaf: 0.0 * leaf if "mean" in jax.tree_util.keystr(path) else leaf, variables
        )
    )
    assert int(training.evaluate(still, images, jax.random.key(1), dataset_size=54).metrics["active_units_2"]) == 0


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("objective", {"beta": -1.0}, "objective.beta must be a finite number >= 0"),
        ("objective", {"estimator": "exact"}, "one of mws, mss, density_ratio"),
        ("objective", {"penalty": "tc"}, "objective.penalty must be one of total_correlation, kl, capacity"),
        ("objective", {"free_bits": -1.0}, "free_bits must be numbers >= 0"),
        ("optimizer", {"max_gradient_norm": -1.0}, "max_gradient_norm must be a finite number >= 0"),
        ("objective", {"gamma": 1.0}, "unknown objective fields gamma"),
        ("optimizer", {"learning_rate": 0.0}, "learning_rate must be a positive number"),
        ("optimizer", {"schedule": "linear"}, "one of cosine, constant"),
        ("optimizer", {"weight_decay": -0.5}, "weight_decay must be a finite number >= 0, got -0.5"),
        ("optimizer", {"weight_decay": float("inf")}, "weight_decay must be a finite number, got inf"),
        ("train", {"steps": 0}, "train.steps must be a whole number of at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(section, change, message):
    settings = config()
    settings[section] = {**settings[section], **change}
    with pytest.raises(ValueError, match=message):
        training.parse_settings(settings)


def test_a_batch_larger_than_the_data_is_refused(model, splits, tmp_path):
    with pytest.raises(ValueError, match="batch size 100 does not fit the 54 images of 'mock'"):
        train(model, splits, tmp_path, batch_size=100)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_weight_decay_is_an_l2_penalty_within_adam(weight_decay, schedule):
    """Three steps down a quadratic; of the first coordinate's two slopes the penalty's is the larger, and opposite."""
    target, start = np.array([10.0, -2.0, 0.5]), np.array([3.0, 0.2, -1.0])

    def gradient(parameters):
        return 0.1 * (parameters - target)

    # A cosine to zero in so many steps that three of them see the full rate, to 1e-7.
    config = OptimizerConfig(learning_rate=0.05, schedule=schedule, weight_decay=weight_decay)
    optimizer = make_optimizer(config, 10_000)
    parameters = jnp.asarray(start, jnp.float32)
    optimizer_state = optimizer.init(parameters)
    expected = adam.trajectory(gradient, start, steps=3, learning_rate=0.05, weight_decay=weight_decay)
    for there in expected:
        updates, optimizer_state = optimizer.update(gradient(parameters), optimizer_state, parameters)
        parameters = parameters + updates
        # In float32 Adam's bias corrections are good to 2e-5 of a step.
        np.testing.assert_allclose(parameters, there, atol=5e-6)
    # Adam forgets a slope's size but not its sign: beside it, as in AdamW, the decay would not turn it round.
    if weight_decay:
        without = adam.trajectory(gradient, start, steps=3, learning_rate=0.05, weight_decay=0.0)[-1]
        assert without[0] > start[0] + 0.1 > start[0] - 0.1 > expected[-1][0]


@pytest.mark.slow
def test_a_step_moves_by_the_gradient_with_the_decay_in_it(model, splits):
    settings = training.parse_settings({**config(), "optimizer": {"learning_rate": 1e-2, "weight_decay": 0.5}})
    made = recipe.make_recipe(model, settings, 54)
    images = splits.train.images(np.arange(16))
    key = jax.random.key(1)

    @jax.jit
    def one(start):
        noise = sample_noise(jax.random.fold_in(key, 0), model.latent_sizes, 16)
        params = start.variables["params"]
        gradient, _ = jax.grad(step.loss, has_aux=True)(params, start, images, noise, made)
        return step.train_step(start, images, key, recipe=made)[0], gradient

    start = drawn.state(made)
    after, gradient = one(start)
    # b1 = 0.9: Adam's first moment after a step is a tenth of what it was given.
    nodes = jax.tree.leaves(after.optimizer, is_leaf=lambda node: hasattr(node, "mu"))
    first = next(node.mu for node in nodes if hasattr(node, "mu"))
    given = jax.tree.map(lambda slope, leaf: 0.1 * (slope + 0.5 * leaf), gradient, start.variables["params"])
    chex.assert_trees_all_close(first, given, rtol=1e-3, atol=1e-5)
