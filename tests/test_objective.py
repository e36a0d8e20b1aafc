import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import data, models, training
from seatbelt_jax.training.objective import ObjectiveConfig, beta_at, capacity_at, check_layers, unreachable_capacities

CAPACITY = {"penalty": "capacity", "beta": 30.0, "capacity": (5.0, 5.0), "capacity_annealing_steps": 100}
# A JointVAE's ten classes and its Gaussian latents.
LARGEST = (math.log(10), math.inf)


@pytest.mark.parametrize(("step", "beta"), [(0, 0.5), (1, 0.575), (50, 4.25), (99, 7.925), (100, 8.0), (10_000, 8.0)])
def test_beta_goes_linearly_to_its_value_and_stays_there(step, beta):
    config = ObjectiveConfig(beta=8.0, beta_start=0.5, beta_annealing_steps=100)
    np.testing.assert_allclose(jax.jit(lambda step: beta_at(config, step))(step), beta, rtol=1e-6)


@pytest.mark.parametrize("step", [0, 7, 10_000])
def test_without_annealing_beta_is_constant(step):
    np.testing.assert_allclose(beta_at(ObjectiveConfig(beta=8.0, beta_start=0.5), jnp.asarray(step)), 8.0)


def test_beta_may_go_down():
    config = ObjectiveConfig(beta=1.0, beta_start=4.0, beta_annealing_steps=10)
    np.testing.assert_allclose(beta_at(config, jnp.asarray(5)), 2.5)


@pytest.mark.parametrize(
    ("step", "capacity"),
    [
        (0, (0.0, 0.0)),
        (20, (1.0, 1.0)),
        (50, (math.log(10), 2.5)),
        (100, (math.log(10), 5.0)),
        (200, (math.log(10), 5.0)),
    ],
)
def test_capacities_grow_from_zero_to_what_the_latents_can_hold(step, capacity):
    config = ObjectiveConfig(**CAPACITY)
    found = jax.jit(lambda step: capacity_at(config, step, LARGEST))(step)
    np.testing.assert_allclose(found, capacity, rtol=1e-6)


def test_without_annealing_capacities_are_constant():
    config = ObjectiveConfig(**{**CAPACITY, "capacity_annealing_steps": 0, "capacity": (0.5, 25.0)})
    np.testing.assert_allclose(capacity_at(config, jnp.asarray(0), LARGEST), (0.5, 25.0))


def test_a_capacity_that_cannot_be_reached_is_told():
    sentences = unreachable_capacities(ObjectiveConfig(**CAPACITY), LARGEST)
    assert len(sentences) == 1
    assert sentences[0].startswith("layer 1: a capacity of 5 nats is out of reach; 2.303 nats")
    within = ObjectiveConfig(**{**CAPACITY, "capacity": (2.3, 25.0)})
    assert unreachable_capacities(within, LARGEST) == []
    assert unreachable_capacities(ObjectiveConfig(), (math.inf,)) == []


@pytest.mark.parametrize("values", [(5.0,), (5.0, 5.0, 5.0)])
@pytest.mark.parametrize("name", ["capacity", "free_bits"])
def test_values_for_another_number_of_layers_are_refused(name, values):
    options = {**CAPACITY, "capacity": values} if name == "capacity" else {"free_bits": values}
    with pytest.raises(ValueError, match=f"objective.{name} lists {len(values)} numbers, but the model has 2 latent"):
        check_layers(ObjectiveConfig(**options), 2)


def test_one_value_for_all_layers_and_one_for_each_are_taken():
    check_layers(ObjectiveConfig(free_bits=0.5), 3)
    check_layers(ObjectiveConfig(free_bits=(0.5, 0.0, 1.0)), 3)
    check_layers(ObjectiveConfig(**CAPACITY), 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": math.nan}, "objective.beta must be a finite number, got nan"),
        ({"beta": math.inf}, "objective.beta must be a finite number, got inf"),
        ({"beta_start": -1.0}, "objective.beta_start must be a finite number >= 0, got -1.0"),
        ({"beta_annealing_steps": -1}, "objective.beta_annealing_steps must be a whole number >= 0, got -1"),
        ({"beta_annealing_steps": 0.5}, "objective.beta_annealing_steps must be a whole number, got 0.5"),
        ({"free_bits": (0.5, math.nan)}, "objective.free_bits must be a finite number or a list of finite numbers"),
        ({**CAPACITY, "capacity": (-1.0, 1.0)}, "objective.capacity must be numbers >= 0"),
        ({**CAPACITY, "capacity_annealing_steps": 1.5}, "capacity_annealing_steps must be a whole number, got 1.5"),
        ({**CAPACITY, "free_bits": 0.5}, "free_bits must be 0 with the penalty 'capacity'"),
        ({**CAPACITY, "capacity": ()}, "one number per layer; got .* with the penalty 'capacity'"),
        ({"capacity": (5.0, 5.0)}, "one number per layer; got .* with the penalty 'total_correlation'"),
        ({"capacity": (5.0,), "penalty": "kl"}, "one number per layer; got .* with the penalty 'kl'"),
        ({**CAPACITY, "estimator": "density_ratio"}, "'density_ratio' is for total correlation"),
        ({"estimator": "exact"}, "one of mws, mss, density_ratio; got 'exact'"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ObjectiveConfig(**changes)


def test_the_metrics_tell_the_annealed_beta_that_the_objective_was_made_with(tmp_path):
    splits = data.load({"name": "mock", "image_size": 8, "num_images": 60}, (-1.0, 1.0))
    model = models.build({"latent_sizes": (2,), "network": "mlp", "widths": (4,)}, splits.train.image_shape)
    schedule = {"log_every": 1, "evaluate_every": 6, "checkpoint_every": 6, "evaluation_images": 6}
    settings = training.parse_settings(
        {
            "seed": 0,
            "objective": {"beta": 3.0, "beta_start": 1.0, "beta_annealing_steps": 4, "penalty": "kl"},
            "optimizer": {},
            "train": {"steps": 6, "batch_size": 16, **schedule},
        }
    )
    training.train(model, splits, settings, tmp_path)
    rows = [row for row in training.read_metrics(tmp_path) if row["split"] == "train"]
    # The row of step 1 is of the step that was taken at step 0.
    np.testing.assert_allclose([row["beta"] for row in rows], [1.0, 1.5, 2.0, 2.5, 3.0, 3.0], rtol=1e-6)
    expected = [row["log_likelihood"] - row["beta"] * row["kl_1"] for row in rows]
    np.testing.assert_allclose([-row["loss"] for row in rows], expected, rtol=1e-5)
