"""Several trainings in one program: each is the run that it would have been alone."""

import dataclasses
import shutil
import signal

import chex
import jax
import numpy as np
import pytest

from seatbelt_jax import data, models, training
from seatbelt_jax.runs.checkpoint import Checkpoints
from tests.compilations import counted

BETAS, SEEDS = (1.0, 4.0, 4.0), (0, 0, 1)


def settings(seed=0, beta=1.0, **changes):
    train = {"steps": 8, "batch_size": 16, "log_every": 2, "evaluate_every": 4, "checkpoint_every": 4}
    return training.parse_settings(
        {
            "seed": seed,
            "objective": {"beta": beta, "beta_start": 0.5, "beta_annealing_steps": 4},
            "optimizer": {"learning_rate": 1e-2},
            "train": {**train, "evaluation_images": 10, **changes},
        }
    )


@pytest.fixture(scope="module")
def splits():
    return data.load({"name": "mock", "image_size": 8, "num_images": 60}, (-1.0, 1.0))


@pytest.fixture(scope="module")
def model(splits):
    config = {"latent_sizes": (3, 2), "network": "mlp", "widths": (16,), "hidden_sizes": (8,)}
    return models.build(config, splits.train.image_shape)


def grid(**changes):
    return [settings(seed, beta, **changes) for seed, beta in zip(SEEDS, BETAS, strict=True)]


def folders(path):
    return [path / str(number) for number in range(len(BETAS))]


def rows(path):
    return [
        {name: value for name, value in row.items() if name not in ("images_per_second", "split")}
        for row in training.read_metrics(path)
    ]


@pytest.fixture(scope="module")
def whole(model, splits, tmp_path_factory):
    path = tmp_path_factory.mktemp("grid")
    return path, training.train_grid(model, splits, grid(), folders(path))


@pytest.fixture(scope="module")
def alone(model, splits, tmp_path_factory):
    path = tmp_path_factory.mktemp("alone")
    states = [training.train(model, splits, each, folder) for each, folder in zip(grid(), folders(path), strict=True)]
    return path, states


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_dispatch", [0, 3])
def test_each_training_is_what_it_is_alone(model, splits, whole, alone, tmp_path, steps_per_dispatch):
    path, states = whole
    if steps_per_dispatch:
        path = tmp_path
        states = training.train_grid(model, splits, grid(steps_per_dispatch=3), folders(path))
    for folder, ours, of_one, expected in zip(folders(path), states, folders(alone[0]), alone[1], strict=True):
        chex.assert_trees_all_close(ours, expected, rtol=1e-3, atol=1e-4)
        for row, other in zip(rows(folder), rows(of_one), strict=True):
            assert row.keys() == other.keys()
            np.testing.assert_allclose(list(row.values()), [other[name] for name in row], rtol=1e-3, atol=1e-3)
        with Checkpoints(folder / "checkpoints") as checkpoints:
            step, variables, _ = checkpoints.load_newest(variables=ours.variables, training=ours.training)
        assert step == 8
        chex.assert_trees_all_equal(variables, ours.variables)


def test_trainings_differ_by_seed_and_beta(whole):
    first, second, third = (jax.tree.leaves(state.variables)[0] for state in whole[1])
    assert not np.allclose(first, second) and not np.allclose(second, third)


def test_a_grid_of_other_seeds_and_betas_shares_what_is_compiled(model, splits, whole, tmp_path):
    others = [settings(seed, beta) for seed, beta in ((5, 1.0), (6, 2.0), (7, 3.0))]
    with counted() as programs:
        training.train_grid(model, splits, others, folders(tmp_path))
    assert not programs


@pytest.mark.slow
def test_an_interrupted_grid_goes_on_to_the_same_bits(model, splits, whole, tmp_path):
    def interrupt(number, step, found):
        if (number, step) == (1, 4):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        training.train_grid(model, splits, grid(), folders(tmp_path), on_evaluation=interrupt)
    # As after a kill between two saves: the first is ahead of the others, whose newest is another step.
    for folder in folders(tmp_path)[1:]:
        (folder / "checkpoints" / "5").rename(tmp_path / f"{folder.name}_5")
    resumed = training.train_grid(model, splits, grid(), folders(tmp_path))
    chex.assert_trees_all_equal(resumed, whole[1])
    assert [rows(folder) for folder in folders(tmp_path)] == [rows(folder) for folder in folders(whole[0])]


def test_a_damaged_checkpoint_of_one_takes_all_a_step_back(model, splits, whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "grid")
    shutil.rmtree(tmp_path / "grid" / "1" / "checkpoints" / "8" / "variables")
    with pytest.warns(UserWarning, match=r"step 8 .*is damaged"):
        resumed = training.train_grid(model, splits, grid(), folders(tmp_path / "grid"))
    chex.assert_trees_all_equal(resumed, whole[1])
    assert [rows(folder) for folder in folders(tmp_path / "grid")] == [rows(folder) for folder in folders(whole[0])]
    assert {path.name for path in (tmp_path / "grid" / "1" / "checkpoints").iterdir()} == {"4", "8"}


def test_trainings_without_a_step_in_common_are_refused(model, splits, whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "grid")
    there = folders(tmp_path / "grid")[:2]
    # What they share is damaged, which only those find who read it.
    shutil.rmtree(there[0] / "checkpoints" / "8")
    shutil.rmtree(there[1] / "checkpoints" / "4" / "variables")
    before = [rows(folder) for folder in there]
    with (
        pytest.warns(UserWarning, match=r"step 4 .*is damaged"),
        pytest.raises(ValueError, match="no checkpoint of one step, but of 4; 8: train them one by one"),
    ):
        training.train_grid(model, splits, grid()[:2], there)
    assert (there[1] / "damaged" / "4").is_dir() and [rows(folder) for folder in there] == before


def test_one_that_diverges_stays_where_it_is_and_the_others_go_on(model, splits, whole, tmp_path):
    changed = grid()
    changed[1] = settings(0, 1e38)
    states = training.train_grid(model, splits, changed, folders(tmp_path))
    assert [int(state.skipped) > 0 for state in states] == [False, True, False]
    chex.assert_trees_all_close(states[2], whole[1][2], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_where_all_diverge_it_ends(model, splits, tmp_path):
    ones = [
        settings(seed, 1e38, steps=400, max_skipped_in_a_row=2, log_every=5, steps_per_dispatch=1) for seed in (0, 1)
    ]
    with pytest.raises(training.DivergenceError, match="all 2 trainings diverged by step 4;"):
        training.train_grid(model, splits, ones, folders(tmp_path)[:2])


def test_what_cannot_share_a_program_is_refused(model, splits, tmp_path):
    other = dataclasses.replace(settings(), optimizer=dataclasses.replace(settings().optimizer, learning_rate=1.0))
    with pytest.raises(ValueError, match=r"differ in seed and objective.beta alone; number 1 in more"):
        training.train_grid(model, splits, [settings(), other], folders(tmp_path)[:2])
    with pytest.raises(ValueError, match="needs a directory of its own"):
        training.train_grid(model, splits, grid(), [tmp_path] * 3)
    assert not any(tmp_path.iterdir())
