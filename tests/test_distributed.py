"""Several processes train, and stop, as one (tests/distributed_worker.py does the work)."""

import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from seatbelt_jax import storage, training
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.runs.layout import newest_step
from tests import distributed_worker as worker

pytestmark = pytest.mark.slow

# Tolerances of each metric, relative, and of each parameter, which six steps of Adam move by up to 0.06.
TOLERANCE = 1e-5
ADVICE = "start all processes again with the same command to go on from the newest checkpoint"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the worker left; processes that share the tests among them wait for the first."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "distributed"
    with (shared / "distributed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            command = [sys.executable, "-m", "tests.distributed_worker", str(folder)]
            environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
            root = pathlib.Path(__file__).parents[1]
            done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same training by this process: its folder and the parameters it ends with."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, worker.train(folder).variables


def rows(folder):
    kept = training.read_metrics(folder)
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in kept]


def assert_same_rows(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for row, other in zip(ours, theirs, strict=True):
        assert row.keys() == other.keys()
        for key in row.keys() - {"split"}:
            assert abs(row[key] - other[key]) <= TOLERANCE * max(1.0, abs(other[key])), (key, row, other)


def assert_same_variables(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE)


def output(folder, group, number):
    return (folder / f"{group}.{number}.txt").read_text()


def last_line(folder, group, number):
    """The last line once it is an error: a companion speaks after its process has ended."""
    for _ in range(300):
        line = (output(folder, group, number).splitlines() or [""])[-1]
        if line.startswith("error: "):
            break
        time.sleep(0.1)
    return line


def test_two_processes_train_as_one(folder, found, alone):
    assert found["whole"] == [0, 0]
    there, variables = alone
    assert_same_rows(rows(folder / "resident"), rows(there))
    with Checkpoints(folder / "resident" / "checkpoints") as checkpoints:
        assert checkpoints.latest_step == worker.TRAIN["steps"]
        assert_same_variables(checkpoints.load_variables(6, variables), variables)


def test_the_launcher_trains_by_two_processes_as_by_one_and_the_first_writes(folder, found, tmp_path, capsys):
    assert found["launch"] == [0, 0]
    worker.launched_alone(tmp_path / "alone")
    said = capsys.readouterr().out.replace(str(tmp_path / "alone"), str(folder / "launched"))
    assert_same_rows(rows(folder / "launched"), rows(tmp_path / "alone"))
    left, expected = (
        {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
        for path in (folder / "launched", tmp_path / "alone")
    )
    named = {name for name in expected if not name.startswith(("checkpoints", "events"))}
    assert named == {name for name in left if not name.startswith(("checkpoints", "events"))}
    assert sum(name.startswith("events") for name in left) == 1
    spoken = [
        [line for line in output(folder, "launch", number).splitlines() if not line.startswith("[Gloo]")]
        for number in range(2)
    ]
    assert spoken == [said.splitlines(), []]


def test_every_process_hears_what_one_says(folder, found):
    for number in range(2):
        answers = json.loads((folder / f"whole.{number}.json").read_text())
        assert (answers["any of one"], answers["any of none"]) == (True, False)
        assert answers["votes"] == [False, False, True, False]
        assert "not have the same data: processes 1 differ from process 0" in answers["differences"]


def test_ctrl_c_at_one_stops_both_at_the_same_step_and_saves(folder, found, alone):
    assert found["stop"] == [130, 130]
    assert "error" not in output(folder, "stop", 0) + output(folder, "stop", 1)
    before = [row for row in rows(folder / "host") if row["step"] < 5]
    assert [row["step"] for row in before if row["split"] == "train"] == [1, 2, 3, 4]
    assert newest_step(folder / "host" / "checkpoints") == 4
    assert_same_rows(before, [row for row in rows(alone[0]) if row["step"] < 5])


def test_sigterm_at_one_stops_both_at_the_same_step_and_saves(folder, found):
    # To the one that had it the signal is delivered again; here nobody catches it.
    assert found["terminate"] == [-signal.SIGTERM, 130]
    assert "error" not in output(folder, "terminate", 0) + output(folder, "terminate", 1)
    assert newest_step(folder / "terminated" / "checkpoints") == newest_step(folder / "host" / "checkpoints")


def test_divergence_of_several_is_told_by_each_and_kept_once(folder, found):
    told = [json.loads((folder / f"whole.{number}.json").read_text())["diverged"] for number in range(2)]
    assert told[0] == told[1] and "In the first of them, step 1, loss is the first term that is not finite" in told[0]
    kept = storage.read_npz(folder / "diverging" / "diverged" / "batch_0.npz")["images"]
    assert kept.shape == (worker.TRAIN["batch_size"], 8, 8, 1)
    assert newest_step(folder / "diverging" / "diverged") == 0


def test_four_go_on_where_two_were_stopped_and_all_stop_where_one_dies(folder, found, alone):
    # The fifth step is the four's, their parameters split over them.
    assert_same_rows(rows(folder / "host"), [row for row in rows(alone[0]) if row["step"] <= 5])
    *others, killed = found["go on"]
    assert killed == -signal.SIGKILL
    assert others and all(status in (1, -signal.SIGABRT) for status in others)
    for number in range(3):
        last = last_line(folder, "go on", number)
        assert last.startswith(f"error: process {number} of 4") and "lost" in last and last.endswith(ADVICE)


def test_what_is_left_goes_on_alone_to_the_same_end(folder, found, alone, tmp_path):
    there, variables = alone
    shutil.copytree(folder / "host", tmp_path / "host")
    state = worker.train(tmp_path / "host", resident_mib=0)
    assert_same_rows(rows(tmp_path / "host"), rows(there))
    assert_same_variables(state.variables, variables)


def test_where_the_first_dies_the_others_say_what_that_means(folder, found):
    assert found["lose"] == [-signal.SIGKILL, -signal.SIGABRT]
    last = last_line(folder, "lose", 1)
    assert last.startswith("error: process 1 of 2 broke off: another process was lost") and last.endswith(ADVICE)


def test_an_error_at_one_ends_it_at_once_and_the_others_soon(folder, found):
    assert found["fail"] == [-signal.SIGABRT, 1]
    assert last_line(folder, "fail", 1) == "error: this one has no data"
    assert last_line(folder, "fail", 0).startswith("error: process 0 of 2 broke off")


def test_without_the_others_the_launcher_gives_up_in_time(folder, found):
    assert found["one of two"] == [-signal.SIGABRT]
    last = last_line(folder, "one of two", 0)
    assert last.startswith("error: process 1 of 2 could not join the others within 1 s: the coordinator at 127.0.0.1:1")


def test_where_nothing_tells_of_others_the_launcher_asks_for_them(folder, found):
    assert found["one of some"] == [1]
    assert "error: nothing here tells the processes of each other" in output(folder, "one of some", 0)
