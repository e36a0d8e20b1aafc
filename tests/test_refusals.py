"""What launchers refuse, each in one line; in this process, where tests/test_launch.py starts others."""

import json

import pytest

from configs import sprites_vae
from seatbelt_jax import runs
from seatbelt_jax.jobs import train
from tests.launchers import refusal

SMOKE = "--config=configs/sprites_vae.py:smoke"
DENSE = ("--config.model.network=mlp", "--config.model.widths=(8,)")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A smoke run of four steps, of dense networks."""
    config = sprites_vae.get_config("smoke")
    config.model.update(network="mlp", widths=(8,))
    path = tmp_path_factory.mktemp("runs") / "vae"
    train.train(config.to_dict(), path)
    return path


def train_refused(path, *options):
    return refusal("train", SMOKE, *DENSE, f"--workdir={path}", *options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config=configs/sprites_va.py"],
            "no configuration configs/sprites_va.py; did you mean configs/sprites_vae",
        ),
        (["--config=configs/sprites_vae.py:paper"], "unknown variant 'paper'; there are demo, smoke"),
        ([f"--config=configs/{'x' * 5000}.py"], "File name too long"),
        ([SMOKE, "--config.train.step=3"], "unknown configuration field step; did you mean steps?"),
        ([SMOKE, "--config.train.steps=many"], "invalid literal for int"),
        ([SMOKE, "--config.data.image_size=48"], "got 48x48"),
        ([SMOKE, "--config.train.batch_size=1000"], "batch size 1000 does not fit the 231 images of 'mock'"),
        ([SMOKE, "--config.data.name=mnists"], "unknown data set 'mnists'"),
        (["--config=configs/celeba_seatbelt.py", "--config.data.data_dir=/nonexistent"], "--dataset=celeb_a"),
        ([], "--config"),
    ],
)
def test_training_refuses_bad_input_in_one_line_and_writes_nothing(arguments, message, tmp_path):
    line = refusal("train", *arguments, f"--workdir={tmp_path / 'run'}")
    assert message in line and len(line) < 2_100
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_runs_of_different_image_sizes_are_not_shown_together(trained, tmp_path):
    other = tmp_path / "celeba"
    runs.prepare(other, runs.open(trained).config, (16, 16, 3))
    line = refusal("report", f"--run={trained}", f"--run={other}")
    assert "32 x 32 x 1" in line and "16 x 16 x 3" in line


def test_a_run_of_another_configuration_is_left_alone(trained):
    line = train_refused(trained, "--config.objective.beta=3.0")
    assert "objective.beta was 1.0 and is 3.0" in line and f"--fork={trained} --workdir=ANOTHER" in line


@pytest.mark.parametrize("launcher", ["attack", "certify", "evaluate", "report"])
def test_what_is_not_a_whole_run_is_refused_in_one_line(launcher, trained, tmp_path):
    assert "does not exist" in refusal(launcher, f"--run={tmp_path / 'missing'}")
    assert "is empty or not a run directory" in refusal(launcher, f"--run={tmp_path}")
    half = tmp_path / "half"
    half.mkdir()
    (half / "config.json").write_text((trained / "config.json").read_text()[:100])
    assert "config.json is not valid JSON" in refusal(launcher, f"--run={half}")
    if launcher != "report":
        (half / "config.json").write_text((trained / "config.json").read_text())
        assert "has no checkpoint yet" in refusal(launcher, f"--run={half}")


def test_a_run_whose_config_and_checkpoint_disagree_is_refused(trained, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    record = json.loads((trained / "config.json").read_text())
    record["config"]["model"]["latent_sizes"][0] += 1
    (copy / "config.json").write_text(json.dumps(record))
    (copy / "checkpoints").symlink_to(trained / "checkpoints")
    line = refusal("attack", f"--run={copy}")
    assert "the checkpoint is of another architecture: params." in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fork={run}", "--warm_start={run}"], "--fork and --warm_start exclude each other"),
        (["--fork={path}"], "is the run directory itself"),
        (["--fork={path}/nothing"], "does not exist"),
        (
            ["--fork={run}", "--config.objective.beta=3"],
            "goes on from step 4, which leaves nothing of train.steps 4",
        ),
        (
            ["--fork={run}", "--config.train.steps=8", "--config.optimizer.schedule=constant"],
            "the checkpoint is of another optimiser",
        ),
        (["--warm_start={run}", "--config.model.widths=(4,)"], "the checkpoint is of another architecture: "),
        (["--config.objective.beta=-1"], "objective.beta must be a finite number >= 0"),
        (["--config.optimizer.schedule=linear"], "optimizer.schedule must be one of cosine, constant; got 'linear'"),
        (["--workdir=/proc/nothing"], "/proc/nothing"),
    ],
)
def test_another_runs_checkpoint_is_not_taken_where_it_makes_no_sense(trained, tmp_path, options, message):
    path = tmp_path / "run"
    assert message in train_refused(path, *(option.format(run=trained, path=path) for option in options))
