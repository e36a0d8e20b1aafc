"""Types of a configuration's fields, whichever way it is given."""

import copy
import dataclasses
import math

import numpy as np
import pytest

from configs import sprites_seatbelt
from seatbelt_jax import data, models, sections, training
from seatbelt_jax.training.density_ratio import DiscriminatorConfig
from seatbelt_jax.training.objective import ObjectiveConfig
from seatbelt_jax.training.settings import OptimizerConfig, TrainConfig

CONFIG = sprites_seatbelt.get_config("smoke").to_dict()
# No value of any field.
NEVER = (None, object(), {"a": 1}, b"1", np.array([1.0, 2.0]), {1}, 1j)
NO_NUMBERS = ("4", True, [4], math.nan, math.inf, 10**400, 1e300, 1e-60)


def check(config):
    sections.check_sections(config)
    training.parse_settings(config)
    sections.parse(models.ModelConfig, "model", config["model"])
    sections.parse(data.DataConfig, "data", config["data"])


def fields():
    kinds = {
        "data": data.DataConfig,
        "model": models.ModelConfig,
        "objective": ObjectiveConfig,
        "optimizer": OptimizerConfig,
        "train": TrainConfig,
        "discriminator": DiscriminatorConfig,
    }
    return [(name, field.name, field.type) for name, kind in kinds.items() for field in dataclasses.fields(kind)]


@pytest.mark.parametrize(("section", "field", "kind"), fields(), ids=lambda value: str(value)[:30])
def test_a_value_of_another_type_is_refused_in_a_line_that_names_it(section, field, kind):
    wrong = list(NEVER)
    if field == "crop":
        wrong.remove(None)
    if kind in (int, float):
        wrong += NO_NUMBERS
    if kind is int:
        wrong += (4.0, np.int64(4), 2**31)
    if kind is str:
        wrong += (4, True, ["a"])
    if kind is bool:
        wrong += (0, 1, "True", 1.0)
    if kind == tuple[int, ...]:
        wrong += ([True], (4.0,), 4, "4", ["4"], [[4]], [math.nan], [10**400])
    if kind == tuple[float, ...]:
        wrong += ([True], 4.0, ["4"], [math.nan], [1e300])
    for value in wrong:
        config = copy.deepcopy(CONFIG)
        config.setdefault(section, {})[field] = value
        with pytest.raises(ValueError, match=rf"{section}\.{field} must ") as raised:
            check(config)
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sed": 1}, "a configuration has no section sed; known are seed, data, .*; did you mean seed?"),
        ({7: 1}, "a configuration has no section 7; known are"),
        ({"model": "conv"}, "the model section must map fields to their values, got 'conv'"),
        ({"discriminator": None}, "the discriminator section must map fields to their values, got None"),
        ({"seed": -1}, r"seed must be a whole number >= 0 and below 2\^32, got -1"),
        ({"seed": True}, "seed must be a whole number"),
        ({"seed": 2**32}, "seed must be a whole number"),
        ({"seed": 10**400}, "got a whole number of 1329 bits"),
        ({"seed": "0"}, "seed must be a whole number"),
        ({"objective": {"beta": "4"}}, "objective.beta must be a finite number, got '4'; write it without quotes"),
        ({"objective": {"bata": 4}}, "unknown objective fields bata; known are .*; did you mean beta?"),
        ({"objective": {"penalty": "x" * 5000}}, r"penalty must be one of .* got 'x{96}\.\.\."),
        ({"train": {"steps": 2**31, "batch_size": 1}}, "whole numbers go to 2147483647"),
        ({"optimizer": {"learning_rate": 1e-60}}, "in float32 numbers other than 0 go from 1.2e-38 to 3.4e[+]38"),
    ],
)
def test_sections_and_values_are_refused_with_what_is_allowed(changes, message):
    with pytest.raises(ValueError, match=message):
        check({**CONFIG, **changes})


def test_a_missing_section_is_named():
    with pytest.raises(ValueError, match="the configuration lacks model, train"):
        check({name: value for name, value in CONFIG.items() if name not in ("model", "train")})


def test_whole_numbers_lists_and_numbers_at_the_limits_pass():
    config = copy.deepcopy(CONFIG)
    config["objective"] |= {"beta": 4, "free_bits": [0.5, 1, 0, 2][: len(config["model"]["latent_sizes"])]}
    config["optimizer"] |= {"learning_rate": 1.2e-38, "max_gradient_norm": np.float64(3e38)}
    config["model"]["latent_sizes"] = list(config["model"]["latent_sizes"])
    config["seed"] = 2**32 - 1
    check(config)
