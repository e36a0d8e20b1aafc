"""launch/train.py killed, terminated, forked and started from other runs' parameters."""

import json
import re
import signal

import chex
import jax
import numpy as np
import pytest

from seatbelt_jax import runs, storage, training
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.training import recipe, state
from tests.launchers import Forks

pytestmark = pytest.mark.slow

SMOKE = "--config=configs/sprites_seatbelt.py:smoke,L2"
# Dense networks, for little tracing: what survives does not depend on them.
DENSE = "--config.model.network=mlp"
SCHEDULE = ("--config.train.steps=60", "--config.train.checkpoint_every=10", "--config.train.evaluate_every=20")


@pytest.fixture(scope="module")
def forks():
    with Forks() as forks:
        yield forks


@pytest.fixture(scope="module")
def train(forks):
    def train(path, *options, strike=None, schedule=SCHEDULE):
        return forks.run(["launch/train.py", SMOKE, DENSE, f"--workdir={path}", *schedule, *options], strike=strike)

    return train


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """A run that nobody disturbed."""
    path = tmp_path_factory.mktemp("whole") / "run"
    assert train(path).returncode == 0
    return path


def saved(path, step):
    """All the arrays of a checkpoint, whatever they are."""
    opened = runs.open(path)
    made = recipe.make_recipe(opened.model, training.parse_settings(opened.config), 231)
    fresh = jax.eval_shape(lambda: state.create(made, jax.random.key(0)))
    with Checkpoints(path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step == step
        return checkpoints.load(step, variables=fresh.variables, training=fresh.training)


def rows(path):
    found = training.read_metrics(path)
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in found]


def assert_same_run(ours, theirs):
    chex.assert_trees_all_equal(saved(ours, 60), saved(theirs, 60))
    assert rows(ours) == rows(theirs)
    shown, expected = (storage.read_npz(path / "samples.npz") for path in (ours, theirs))
    chex.assert_trees_all_equal(shown, expected)


@pytest.mark.parametrize(
    "moment",
    ["checkpoints/30/digests.json", "checkpoints/30.orbax-checkpoint-tmp", "figures/reconstructions_00000040.png"],
    ids=["between two steps", "during a checkpoint", "during an evaluation"],
)
def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(train, whole, tmp_path, moment):
    path = tmp_path / "run"
    assert train(path, strike=(signal.SIGKILL, str(path / moment))).returncode == -signal.SIGKILL
    assert (runs.open(path).latest_step or 0) in (20, 30, 40)
    done = train(path)
    assert done.returncode == 0 and "goes on from step" in done.stdout
    assert_same_run(path, whole)
    assert not list((path / "checkpoints").glob("*tmp*"))


def test_sigterm_saves_and_the_same_command_goes_on(train, whole, tmp_path):
    path = tmp_path / "run"
    done = train(path, strike=(signal.SIGTERM, str(path / "checkpoints" / "20")))
    assert done.returncode == 143
    assert done.stderr.strip().splitlines()[-1].startswith("terminated; what is on disk is whole")
    assert 20 <= runs.open(path).latest_step < 60
    assert train(path).returncode == 0
    assert_same_run(path, whole)


def test_a_full_disk_is_one_line_and_loses_nothing(forks, train, whole, tmp_path):
    path = tmp_path / "run"
    moment = path / "checkpoints" / "30.orbax-checkpoint-tmp"
    assert train(path, strike=(signal.SIGKILL, str(moment))).returncode == -signal.SIGKILL
    files = [file.stat().st_size for file in (path / "checkpoints").rglob("training/**/d/*")]
    with forks.full_disk(max(files) // 2):
        done = train(path)
    assert done.returncode == 1
    reason = (
        r"the checkpoint of step \d+ could not be written to \S+ \(File too large\); the checkpoint of .* is intact"
    )
    assert re.fullmatch(f"error: {reason}\n", done.stderr)
    assert train(path).returncode == 0
    assert_same_run(path, whole)


def test_another_configuration_is_forked_where_that_is_wanted(train, whole, tmp_path):
    done = train(whole, "--config.objective.beta=3")
    assert done.returncode == 1
    assert "objective.beta was 8.0 and is 3" in done.stderr and f"--fork={whole} --workdir=ANOTHER" in done.stderr

    path = tmp_path / "fork"
    options = (f"--fork={whole}", "--config.objective.beta=3", "--config.train.steps=80")
    schedule = SCHEDULE[1:]
    # Killed before it has saved anything of its own, it begins with the same checkpoint again; also without the flag.
    killed = train(path, *options, schedule=schedule, strike=(signal.SIGKILL, str(path / "config.json")))
    assert killed.returncode == -signal.SIGKILL
    done = train(path, *options[1:], schedule=schedule)
    assert done.returncode == 0, done.stderr
    assert f"goes on from step 60 of {whole}" in done.stdout
    assert rows(path)[: len(rows(whole))] == rows(whole)
    later = [row["step"] for row in rows(path) if row["step"] > 60 and row["split"] == "train"]
    assert later[-1] == 80 and min(later) > 60
    assert json.loads((path / "config.json").read_text())["origin"] == {"run": str(whole), "step": 60, "kind": "fork"}
    assert train(path, *options, schedule=schedule).returncode == 0  # is trained, and the flag is no mistake
    refused = train(path, f"--warm_start={whole}", *options[1:], schedule=schedule)
    assert refused.returncode == 1 and f"began with a fork of {whole}, not with a warm_start" in refused.stderr


def test_a_warm_start_takes_the_parameters_alone(train, whole, tmp_path):
    path = tmp_path / "warm"
    done = train(
        path, f"--warm_start={whole}", "--config.optimizer.schedule=constant", "--config.optimizer.learning_rate=1e-30"
    )
    assert done.returncode == 0 and f"starts with the parameters of {whole}" in done.stdout
    assert rows(path)[0]["step"] == 2
    # With no learning rate to speak of, they stay what they were, and only BatchNorm's running averages go on.
    (ours, optimizer), (theirs, _) = (saved(where, 60) for where in (path, whole))
    chex.assert_trees_all_equal(ours["params"], theirs["params"])
    assert ours["batch_stats"].keys() == theirs["batch_stats"].keys()
    assert any(np.any(leaf == 60) for leaf in jax.tree.leaves(optimizer))
