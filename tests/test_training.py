import json
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import data, models, training
from seatbelt_jax.checkpoint import Checkpoints
from seatbelt_jax.training import recipe, state, step
from seatbelt_jax.training.settings import OptimizerConfig, make_optimizer
from seatbelt_jax.vae import sample_noise
from tests.reference import adam

MODEL = {"latent_sizes": (3, 2), "network": "mlp", "widths": (16,), "hidden_sizes": (8,)}


def config(**train):
    return {
        "seed": 0,
        "objective": {"beta": 2.0},
        "optimizer": {"learning_rate": 1e-2},
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
    """Ctrl-C at the first evaluation."""

    def __init__(self):
        self.struck = False

    def __call__(self, step, evaluation):
        if not self.struck:
            self.struck = True
            raise KeyboardInterrupt


def train(model, splits, directory, on_evaluation=None, **changes):
    settings = training.parse_settings(config(**changes))
    return training.train(model, splits, settings, directory, on_evaluation=on_evaluation)


def test_an_interrupted_run_resumes_to_the_very_state_of_an_uninterrupted_one(model, splits, tmp_path):
    whole = train(model, splits, tmp_path / "whole")
    interruption = Interruption()
    with pytest.raises(KeyboardInterrupt):
        train(model, splits, tmp_path / "broken", interruption)
    with Checkpoints(tmp_path / "broken" / "checkpoints") as checkpoints:
        assert checkpoints.latest_step == 4
    resumed = train(model, splits, tmp_path / "broken", interruption)
    chex.assert_trees_all_equal(resumed, whole)

    def rows(name):
        kept = training.read_metrics(tmp_path / name)
        return [{key: value for key, value in row.items() if key != "images_per_second"} for row in kept]

    # Interrupted in the evaluation of step 4, which is made again: every row, once.
    assert rows("broken") == rows("whole")
    assert [row["step"] for row in rows("broken") if row["split"] == "validation"] == [4, 8]


def test_an_interrupted_last_evaluation_is_made_up_for(model, splits, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(model, splits, tmp_path, Interruption(), evaluate_every=8)
    assert all(row["split"] == "train" for row in training.read_metrics(tmp_path))
    seen = []
    train(model, splits, tmp_path, lambda step, found: seen.append(step), evaluate_every=8)
    assert seen == [8]
    assert training.read_metrics(tmp_path)[-1]["split"] == "validation"


def test_a_broken_line_amid_the_metrics_is_named_and_nothing_is_rewritten(model, splits, tmp_path):
    train(model, splits, tmp_path, steps=6)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    broken = "\n".join([lines[0], lines[1][:10], *lines[2:]])
    (tmp_path / "metrics.jsonl").write_text(broken)
    with pytest.raises(ValueError, match=r"line 2 of .*metrics\.jsonl is not JSON"):
        train(model, splits, tmp_path, steps=6)
    assert (tmp_path / "metrics.jsonl").read_text() == broken


def test_rows_after_the_checkpoint_are_written_once(model, splits, tmp_path):
    train(model, splits, tmp_path, steps=6)
    rows = training.read_metrics(tmp_path)
    stray = {"step": 7, "split": "train", "elbo": 0.0}
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(stray) + '\n{"step": 8, "spl')  # and a line that a crash cut short
    train(model, splits, tmp_path, steps=6)
    assert training.read_metrics(tmp_path) == rows


def test_metrics_hold_every_term_at_the_configured_steps(model, splits, tmp_path):
    seen = []
    train(model, splits, tmp_path, lambda step, found: seen.append((step, found)))
    rows = training.read_metrics(tmp_path)
    assert [row["step"] for row in rows if row["split"] == "train"] == [2, 3, 4, 6, 8]
    assert [row["step"] for row in rows if row["split"] == "validation"] == [4, 8]
    assert {"elbo", "log_likelihood", "kl_1", "kl_2", "total_correlation_mws", "gradient_norm"} <= rows[0].keys()
    last = rows[0]
    np.testing.assert_allclose(last["elbo"], last["log_likelihood"] - last["kl_1"] - last["kl_2"], rtol=1e-5)
    np.testing.assert_allclose(last["objective"], last["elbo"] - (2.0 - 1.0) * last["total_correlation_mws"], rtol=1e-5)
    assert [step for step, _ in seen] == [4, 8]
    found = seen[-1][1]
    assert found.images.shape == found.reconstructions.shape == (6, 8, 8, 1)
    assert found.samples.shape == (6, 8, 8, 1)


def test_the_logged_rate_is_that_of_the_clock(model, splits, tmp_path):
    began = time.perf_counter()
    train(model, splits, tmp_path, steps=300, log_every=10, evaluate_every=300, checkpoint_every=300)
    elapsed = time.perf_counter() - began
    rows = [row for row in training.read_metrics(tmp_path) if row["split"] == "train"]
    accounted = sum(10 * 16 / row["images_per_second"] for row in rows)
    # All steps, with their compilation; not the fresh parameters, the checkpoint and the evaluation.
    assert 0.2 * elapsed < accounted < elapsed


def test_training_improves_the_elbo(model, splits, tmp_path):
    train(model, splits, tmp_path, steps=150, log_every=10, evaluate_every=150, checkpoint_every=150)
    rows = [row for row in training.read_metrics(tmp_path) if row["split"] == "train"]
    assert rows[-1]["elbo"] > rows[0]["elbo"] + 100.0


def test_divergence_stops_with_the_last_good_checkpoint_intact(model, splits, tmp_path):
    train(model, splits, tmp_path, steps=3)
    before = training.read_metrics(tmp_path)
    poisoned = data.Dataset(
        splits.train.name,
        splits.train.size,
        splits.train.image_shape,
        lambda index: jax.numpy.nan * splits.train.images(index),
        traceable=True,
    )
    with pytest.raises(training.NonFiniteLossError, match=r"is nan at step 4; the checkpoint of step 3 is intact"):
        train(model, data.Splits(poisoned, splits.validation), tmp_path)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step == 3
    assert training.read_metrics(tmp_path) == before


def test_evaluation_measures_reconstructions_along_the_mean_path(model, splits):
    vae = model.bind(model.init(jax.random.key(0)))
    images = splits.validation.images(np.arange(6))
    found = training.evaluate(vae, images, jax.random.key(1), dataset_size=54)
    errors = np.linalg.norm(np.reshape(images - vae.reconstruct(images), (6, -1)), axis=-1)
    np.testing.assert_allclose(found.metrics["reconstruction_error"], errors.mean(), rtol=1e-5)


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
        ("optimizer", {"weight_decay": float("inf")}, "weight_decay must be a finite number >= 0, got inf"),
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

    start = jax.jit(lambda root: state.create(made, root))(jax.random.key(0))
    after, gradient = one(start)
    # b1 = 0.9: Adam's first moment after a step is a tenth of what it was given.
    nodes = jax.tree.leaves(after.optimizer, is_leaf=lambda node: hasattr(node, "mu"))
    first = next(node.mu for node in nodes if hasattr(node, "mu"))
    given = jax.tree.map(lambda slope, leaf: 0.1 * (slope + 0.5 * leaf), gradient, start.variables["params"])
    chex.assert_trees_all_close(first, given, rtol=1e-3, atol=1e-5)
