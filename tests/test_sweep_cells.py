"""The cells of a sweep: what its file makes of them, which are chosen, and what makes no sense."""

import importlib

import pytest

from configs.sweeps import w21_small
from seatbelt_jax import training
from seatbelt_jax.studies import cells as cells_study
from seatbelt_jax.studies import stages as stages_study
from tests import launchers
from tests.smoke_sweep import CELLS, FILE, config


@pytest.fixture(scope="module")
def cells():
    return cells_study


def test_cells_are_chosen_by_patterns_and_stay_in_their_groups(cells):
    groups = cells.parse(config()).groups
    for patterns, names in (
        (["*"], [CELLS[:2], CELLS[2:]]),
        (["*beta1"], [CELLS[:1], CELLS[2:3]]),
        (["seat*", "*vae_beta?"], [CELLS[:2], CELLS[2:]]),
        (["seatbelt_beta4"], [CELLS[3:]]),
    ):
        assert [[cell.name for cell in group] for group in cells.matching(groups, patterns)] == names
    with pytest.raises(ValueError, match="no cell is called beta8; the first of 4 is beta_vae_beta1"):
        cells.matching(groups, ["*", "beta8"])


def test_each_cell_is_in_one_shard(cells):
    groups = cells.parse(w21_small.get_config().to_dict()).groups
    for count in (1, 2, 5):
        shards = [cells.of_shard(groups, f"{number}/{count}") for number in range(1, count + 1)]
        names = sorted(cell.name for shard in shards for group in shard for cell in group)
        assert names == sorted(cell.name for group in groups for cell in group)


def test_axes_change_what_their_names_say(cells):
    axes = {"model": ("seatbelt",), "L": (1, 3), "d_z": (8,), "beta": (2.0,), "tau": (0.1,), "seed": (0, 7)}
    groups = cells.parse(config(grids={"all": axes})).groups
    assert [len(group) for group in groups] == [2, 2]  # the two seeds share a program
    cell = groups[1][1]
    assert cell.name == "seatbelt_L3_dz8_beta2_tau0.1_seed7"
    assert cell.config["model"]["latent_sizes"] == (8, 4, 2)
    assert (cell.config["objective"]["beta"], cell.config["seed"]) == (2.0, 7)
    assert cell.config["model"]["posterior_std_offset"] == 0.1
    listed = cells.parse(config(grids={"all": {"model": ("seatbelt",), "L": (1,)}})).cells[0]
    assert listed.config["model"]["latent_sizes"] == (2,)  # the last of those listed
    assert cells.parse(config(grids={"all": {"beta": (1.0,)}, "again": {"beta": (1.0, 2.0)}})).cells[0].name == "beta1"


def test_one_layer_is_not_attacked_by_its_top_and_bottom_again(cells):
    stages = stages_study
    found = cells.parse(w21_small.get_config().to_dict())
    names = {
        len(cell.config["model"]["latent_sizes"]): [stage.name for stage in stages.stages_of(found, cell)]
        for cell in found.cells
    }
    assert names[1] == ["attack all_layers", "certify", "evaluate"]
    assert names[4] == ["attack all_layers", "attack bottom_layer", "attack top_layer", "certify", "evaluate"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grids": {"all": {"beta": (1.0, 1.0000001)}}}, "two different cells would be called beta1; give them names"),
        ({"grids": {"all": {"gamma": (1.0,)}}}, "grids.all: there is no axis gamma; there are data, model, L"),
        ({"grids": {"all": {"beta": ()}}}, r"grids.all.beta must list one value or more, got \(\)"),
        ({"grids": {"all": {"beta": 3.0}}}, "grids.all.beta must list one value or more, got 3.0"),
        ({"grids": {"all": {}}}, "grids.all has no axes"),
        ({"grids": {"all": {"beta": (-1.0,)}}}, "grids.all, cell beta-1: objective.beta must be a finite number"),
        ({"grids": {"all": {"model": ("vae",)}}}, "there is no 'vae' in the sweep's section models, but beta_vae, sea"),
        ({"grids": {"all": {"data": ("mnist",)}}}, "there is no 'mnist' in the sweep's section data_sets, but none"),
        ({"grids": {"all": {"L": (3,)}}}, "model.latent_sizes has 1 layers, and L is 3; list more, or give d_z"),
        ({"grids": {"all": {"L": (0,)}}}, "L must be a whole number of at least 1, got 0"),
        ({"grids": {"all": {"seed": ("a/b",)}}}, "'seeda/b' becomes part of files' names"),
        ({"grids": {"all": {"seed": ("a" * 300,)}}}, "take at most 100 letters"),
        ({"models": {"seatbelt": {"objective": {"betta": 1}}}}, "unknown objective fields betta; known are"),
        ({"models": {"seatbelt": {"model": {"latents": 1}}}}, "unknown model fields latents; known are"),
        ({"models": {"seatbelt": {"modle": {}}}}, "a configuration has no section modle; known are seed, data"),
        ({"base": {"data": {"name": "mock", "size": 8}}}, "unknown data fields size; known are"),
        ({"attack": {}}, "a sweep has no section attack; there are base, models"),
        ({"grids": None}, "the sweep lacks grids"),
        ({"attacks": {"latent": {"pair": 3}}}, "attacks.latent has no field pair; there are attack, divergence"),
        (
            {"attacks": {"latent": {"pairs": "3"}}},
            "section attacks.latent, attack.pairs must be a whole number, got '3'",
        ),
        ({"certify": {"radius": "4"}}, "section certify, certify.radius must be a finite number, got '4'"),
        ({"evaluate": {"measures": ("elb",)}}, "measures: unknown measure elb; there are weight_norms"),
        ({"together": -1}, "together must be how many cells at most are trained together, 0 for all, got -1"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_before_anything_is_done(cells, changes, message):
    given = config()
    for name, value in changes.items():
        given[name] = {**given.get(name, {}), **value} if name in ("base", "models", "evaluate") else value
    with pytest.raises(ValueError, match=message):
        cells.parse(given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard=0/2"], "error: --shard=0/2 must be i/n, the i-th of n shards from 1 on, as in --shard=1/3"),
        (["--cells=seat*,vae"], "error: --cells: no cell is called vae; the first of 4 is beta_vae_beta1"),
        (["--sweep.base.train.stepz=3"], "error: unknown configuration field stepz; did you mean steps?"),
        (["--sweep.grids.all.beta=()"], "error: grids.all.beta must list one value or more, got ()"),
        (["--sweep=configs/sweeps/smok.py"], "did you mean configs/sweeps/smoke.py?"),
    ],
)
def test_a_wrong_command_is_one_line(tmp_path, options, message):
    assert message in launchers.refusal("sweep", FILE, f"--workdir={tmp_path / 'sweep'}", *options)
    assert not (tmp_path / "sweep").exists()


def test_every_shard_that_does_not_exist_is_refused(cells):
    for shard in ("", "1", "3/2", "0/0", "a/b", "-1/2", "1/2/3"):
        with pytest.raises(ValueError, match="must be i/n"):
            cells.of_shard([[], []], shard)
    with pytest.raises(ValueError, match="--shard=3/3 has nothing to do: the cells make 2 groups; take fewer shards"):
        cells.of_shard([[], []], "3/3")


def test_every_sweep_of_the_project_makes_sense(cells):
    files = sorted((launchers.ROOT / "configs" / "sweeps").glob("[!_]*.py"))
    assert {"smoke", "w21_small"} <= {file.stem for file in files}
    for file in files:
        found = cells.parse(importlib.import_module(f"configs.sweeps.{file.stem}").get_config().to_dict()).cells
        assert len({cell.name for cell in found}) == len(found)
        for cell in found:
            model = cell.config["model"]
            # Concrete latents are a layer of their own.
            layers = len(model["latent_sizes"]) + bool(model["discrete_sizes"])
            training.check_layers(training.parse_settings(cell.config).objective, layers)


def test_the_grid_in_small_is_that_of_willetts_2021(cells):
    found = cells.parse(w21_small.get_config().to_dict()).cells
    assert len(found) == 126
    assert {cell.axes["beta"] for cell in found} == {1.0, 2.0, 4.0, 6.0, 8.0, 10.0}
    assert {cell.axes["data"] for cell in found} == {"sprites", "mnist", "fashion_mnist"}
    for penalty in ("kl", "total_correlation"):
        of_penalty = [cell.config["model"] for cell in found if cell.config["objective"]["penalty"] == penalty]
        assert {len(model["latent_sizes"]) for model in of_penalty if model["decoder_reads"] == "all"} == {1, 2, 4}
