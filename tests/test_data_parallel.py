"""A training step means the same on any number of devices (tests/data_parallel_worker.py does the work)."""

import fcntl
import json
import math
import os
import pathlib
import subprocess
import sys

import pytest

from tests.data_parallel_worker import DEVICES, LARGE_BATCH, LARGE_LATENT, OBJECTIVES

pytestmark = pytest.mark.slow

XLA_FLAGS = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}"
# Tolerances of the loss, the gradient's norm, the norm of each array in it, and the change of running averages.
TOLERANCE = 1e-5
# Tolerances of each metric, relative, and of each entry of the variables, which six steps of Adam move by up to 0.06.
RUN_TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the worker found; processes that share the tests among them wait for the first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    out = folder / "data_parallel.json"
    with (folder / "data_parallel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            # Jaxopt says on import that it is not maintained.
            warnings = ("-W", "error", "-W", "ignore:JAXopt:DeprecationWarning")
            command = [sys.executable, *warnings, "-m", "tests.data_parallel_worker", str(out)]
            environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": XLA_FLAGS}
            root = pathlib.Path(__file__).parents[1]
            done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
            if done.returncode:
                pytest.fail(done.stderr[-3000:])
    return json.loads(out.read_text())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_on_eight_devices_is_that_on_one(found, name):
    differences = found["objectives"][name]
    assert {"loss", "gradient", "gradient, worst array", "running averages", "metrics"} <= differences.keys()
    assert {key: value for key, value in differences.items() if not value < TOLERANCE} == {}


def test_the_discriminator_learns_from_the_whole_batch(found):
    differences = found["objectives"]["FactorVAE"]
    assert differences["discriminator's gradient"] < TOLERANCE
    assert differences["discriminator's gradient, worst array"] < TOLERANCE


@pytest.mark.parametrize("coupling", ["mws", "mss", "BatchNorm"])
def test_averaging_what_each_device_makes_of_its_part_would_be_found_out(found, coupling):
    assert found["local"][coupling]["loss"] > 5 * TOLERANCE
    assert found["local"][coupling]["gradient"] > 500 * TOLERANCE


def test_without_what_couples_a_batch_averaging_would_be_right(found):
    # So what the test above finds is the coupling.
    assert found["local"]["beta-VAE without BatchNorm"]["gradient"] < TOLERANCE


def test_the_work_of_a_large_batch_is_split(found):
    one, each = found["split"]["1"], found["split"][str(DEVICES)]
    assert each["loops"] == one["loops"]
    assert each["flops"] == pytest.approx(one["flops"] / DEVICES, rel=0.1)
    # The means and log_stds that every device needs are whole on each.
    gathered = LARGE_BATCH * LARGE_LATENT
    largest = max(map(math.prod, one["shapes"]))
    assert max(map(math.prod, each["shapes"])) <= max(largest / DEVICES, gathered)
    assert each["temporary_bytes"] < one["temporary_bytes"] / 2


def test_no_program_holds_an_array_over_all_pairs(found):
    for program in found["split"].values():
        assert [shape for shape in program["shapes"] if sum(size >= LARGE_BATCH for size in shape) > 1] == []


def test_what_devices_exchange_is_no_more_than_means_and_log_stds(found):
    exchanged = found["split"][str(DEVICES)]["collectives"]
    gathered = [math.prod(shape) for kind, shapes in exchanged if kind == "all-gather" for shape in shapes]
    assert gathered and max(gathered) <= LARGE_BATCH * LARGE_LATENT
    assert max(math.prod(shape) for _, shapes in exchanged for shape in shapes) <= LARGE_BATCH * LARGE_LATENT
    assert found["split"]["1"]["collectives"] == []


@pytest.mark.parametrize(
    "run",
    [
        "on all",
        "split over all",
        "gone on with on all",
        "gone on with on one",
        "gone on with, from four to all, split",
        "gone on with, from four to one",
    ],
)
def test_a_run_is_the_same_on_any_number_of_devices(found, run):
    differences = found["runs"][run]
    assert {key: value for key, value in differences.items() if not value < RUN_TOLERANCE} == {}


def test_a_run_on_all_devices_resumes_to_the_very_metrics_of_an_uninterrupted_one(found):
    assert found["runs"]["interrupted_at"] == 4
    assert found["runs"]["resumed_rows_are_the_same"]


def test_of_split_parameters_each_device_has_its_part_and_fetches_the_rest(found):
    whole, split = found["parameters"]["whole"], found["parameters"]["split"]
    # All but the arrays too small, or that eight does not divide.
    assert split["argument_bytes"] < 0.3 * whole["argument_bytes"]
    assert whole["gathered"] == 0 < split["gathered"]


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_written(found):
    expected = "train.batch_size 20 cannot be split evenly over 8 devices; give a multiple of 8"
    assert found["runs"]["refusal"] == expected
    assert not found["runs"]["refused_wrote"]
