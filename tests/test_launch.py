"""The launchers as a user runs them: other processes, their output and exit status."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from seatbelt_jax import training
from tests import launchers

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]


def start(*arguments):
    """Runs `python ARGUMENTS`, all of it as a user does, in the project's folder."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def forks():
    """The same in forked processes: for all but the first run of each launcher."""
    with launchers.Forks() as forks:
        yield forks


@pytest.fixture
def launch(forks):
    def launched(*arguments):
        done = forks.run([*arguments])
        assert done.returncode == 0, done.stderr
        return done

    return launched


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory):
    """A sprites Seatbelt smoke run of two layers, trained, attacked and certified by the launchers."""
    path = tmp_path_factory.mktemp("runs") / "seatbelt"
    start("launch/train.py", "--config=configs/sprites_seatbelt.py:smoke,L2", f"--workdir={path}")
    start("launch/attack.py", f"--run={path}", "--pairs=2", "--penalties=3", "--iterations=5")
    start("launch/certify.py", f"--run={path}", "--images=2", "--samples=12", "--radius=50")
    return path


def test_a_run_is_trained_attacked_certified_and_shown(smoke_run):
    start("launch/report.py", f"--run={smoke_run}")
    made = {str(file.relative_to(smoke_run)) for file in smoke_run.rglob("*") if file.is_file()}
    assert {
        "config.json",
        "metrics.jsonl",
        "samples.npz",
        "attacks/latent_kl_all.npz",
        "attacks/latent_kl_all.csv",
        "certificates/hierarchical.npz",
        "certificates/margins.csv",
        "figures/reconstructions_00000004.png",
        "report.html",
    } <= made
    assert [row["step"] for row in training.read_metrics(smoke_run)] == [2, 4, 4]
    assert len((smoke_run / "attacks" / "latent_kl_all.csv").read_text().splitlines()) == 1 + 2 * 3
    assert "<html" in (smoke_run / "report.html").read_text()


def test_results_of_an_earlier_step_are_not_shown_as_the_models(launch, smoke_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(smoke_run, copy)
    shutil.rmtree(copy / "checkpoints" / "4")
    done = launch("launch/report.py", f"--run={copy}")
    for name in ("attacks/latent_kl_all.npz", "certificates/hierarchical.npz"):
        assert f"left out: {copy / name} was made at step 4, and the model is at step 2" in done.stderr


def test_the_same_command_again_changes_nothing(launch, smoke_run):
    before = (smoke_run / "metrics.jsonl").read_text()
    launch("launch/train.py", "--config=configs/sprites_seatbelt.py:smoke,L2", f"--workdir={smoke_run}")
    assert (smoke_run / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize("config", ["sprites_vae", "celeba_seatbelt"])
def test_every_other_smoke_variant_runs(launch, config, tmp_path):
    launch("launch/train.py", f"--config=configs/{config}.py:smoke", f"--workdir={tmp_path / 'run'}")
    assert training.read_metrics(tmp_path / "run")[-1]["split"] == "validation"


SMOKE = "--config=configs/sprites_vae.py:smoke"


@pytest.mark.parametrize("seconds", [4.0, 6.0])
def test_ctrl_c_at_any_time_ends_quietly(seconds, tmp_path):
    command = [
        sys.executable,
        "launch/train.py",
        SMOKE,
        f"--workdir={tmp_path / 'run'}",
        "--config.train.steps=100000",
        "--config.train.evaluate_every=100000",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in errors and "Traceback" not in errors


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path):
    command = [
        sys.executable,
        "launch/train.py",
        SMOKE,
        f"--workdir={tmp_path / 'run'}",
        "--config.train.steps=100000",
        "--config.train.evaluate_every=100000",
        "--config.train.checkpoint_every=100000",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    for _ in range(600):
        if metrics.exists() and metrics.stat().st_size:
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors and "Traceback" not in errors
    saved = [int(folder.name) for folder in (tmp_path / "run" / "checkpoints").iterdir()]
    assert len(saved) == 1 and saved[0] >= 2


def test_a_diverging_run_stops_in_one_line(forks, tmp_path):
    done = forks.run(
        [
            "launch/train.py",
            SMOKE,
            f"--workdir={tmp_path / 'run'}",
            "--config.model.network=mlp",
            "--config.optimizer.learning_rate=1e30",
            "--config.train.max_skipped_in_a_row=2",
        ]
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert "training diverged" in line
    assert "2 steps in a row were not finite" in line and "is the first term that is not finite" in line
