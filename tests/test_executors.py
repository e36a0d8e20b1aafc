"""Where a sweep's cells are worked on: in processes of which one is killed, and on a ray cluster that loses a node."""

import csv
import os
import pathlib
import signal
import sys
import threading
import time
import types
from collections import Counter
from typing import NamedTuple

import pytest

from seatbelt_jax.studies import cells, executors
from seatbelt_jax.studies import sweep as sweep_study
from seatbelt_jax.studies.executors import processes
from seatbelt_jax.studies.task import Event, Task
from tests import launchers, smoke_sweep


class Planted(NamedTuple):
    """A task with one stage, which ends as it says."""

    name: str
    ending: str = ""

    def run(self):
        yield Event(self.name, "train")
        if self.ending == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.ending == "error":
            raise RuntimeError("a bug\nof a plug-in")
        yield Event(self.name, "")
        if self.ending == "slow":
            sys.stdout = types.SimpleNamespace(flush=lambda: time.sleep(1.0))

    def lost(self, reason):
        return Task.lost(Task(None, [cells.Cell(self.name, {}, {})], pathlib.Path()), reason)


def table(folder):
    with (folder / "sweep.csv").open() as file:
        return {row["cell"]: row["status"] for row in csv.DictReader(file)}


@pytest.mark.slow
def test_a_process_that_fails_costs_its_own_task_alone():
    reasons = {"a": "", "b": "its process ended with status -9", "c": "", "d": "a bug of a plug-in"}
    tasks = [Planted("a"), Planted("b", "killed"), Planted("c", "slow"), Planted("d", "error")]
    found = list(executors.get("processes")(tasks, workers=2))
    for name, reason in reasons.items():
        failure = [Event(name, "process", reason)] if reason else []
        assert [event for event in found if event.cell == name] == [Event(name, "train"), *failure, Event(name, "")]


@pytest.mark.parametrize(
    "before", ["pass", "sys.stdin.buffer.read(1); os.write(int(sys.argv[1]), bytes([0, 0, 9, 9, 1]))"]
)
def test_a_process_that_dies_before_it_has_its_task_or_within_a_message_is_one_task_too(monkeypatch, before):
    monkeypatch.setattr(processes, "_COMMAND", f"import os, sys; {before}; os._exit(3)")
    # More than a pipe holds.
    tasks = [Planted("a" * 1_000_000), Planted("b" * 1_000_000)]
    found = list(executors.get("processes")(tasks, workers=2))
    lost = {event for task in tasks for event in task.lost("its process ended with status 3")}
    assert len(found) == len(lost) and set(found) == lost


def two_cells():
    grids = {"all": {"model": ("beta_vae",), "beta": (1.0, 4.0)}}
    found = smoke_sweep.config(grids=grids, evaluate={"measures": ("weight_norms",)}, together=1)
    return cells.parse({name: found[name] for name in found if name not in ("attacks", "certify")})


@pytest.mark.slow
def test_a_sweep_in_processes_is_that_in_turn(tmp_path):
    sweep_study.sweep(two_cells(), tmp_path, executor="processes", workers=2)
    assert table(tmp_path) == dict.fromkeys(smoke_sweep.CELLS[:2], "done")


def recorded(task, folder):
    """What ray does to a task, with a line for each attempt: the cell, and the node that it is on."""
    from seatbelt_jax.studies.executors import ray_cluster

    with (task.folder.parent / "attempts").open("a") as file:
        file.write(f"{task.cells[0].name} {ray_cluster.ray.get_runtime_context().get_node_id()}\n")
    return list(task.run())


@pytest.mark.slow
# Ray starts its nodes from this process, in which JAX has threads.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_a_node_of_a_ray_cluster_that_is_killed_loses_nothing(monkeypatch, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed (the extra seatbelt-jax[ray])")
    from ray.cluster_utils import Cluster

    from seatbelt_jax.studies.executors import ray_cluster

    monkeypatch.setattr(ray_cluster, "work", recorded)
    folder = tmp_path / "sweep"
    cluster = Cluster()
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80e6, include_dashboard=False) for _ in range(2)]
    killed = []

    def kill_one_node_mid_cell():
        """When both cells are begun, one on each node, and none is evaluated."""
        while not all((folder / name / "config.json").exists() for name in smoke_sweep.CELLS[:2]):
            time.sleep(0.05)
        killed.append([(folder / name / "evaluation.json").exists() for name in smoke_sweep.CELLS[:2]])
        cluster.remove_node(nodes[1], allow_graceful=False)

    killer = threading.Thread(target=kill_one_node_mid_cell, daemon=True)
    try:
        ray_cluster.ray.init(address=cluster.address, log_to_driver=False)
        killer.start()
        sweep_study.sweep(two_cells(), folder, executor="ray")
        killer.join()
    finally:
        ray_cluster.ray.shutdown()
        cluster.shutdown()
    assert killed == [[False, False]]
    assert table(folder) == dict.fromkeys(smoke_sweep.CELLS[:2], "done")
    attempts = [line.split() for line in (tmp_path / "attempts").read_text().splitlines()]
    # The cell of the lost node is begun again on the other one.
    again, _ = Counter(cell for cell, _ in attempts).most_common(1)[0]
    assert len(attempts) == 3 and len({node for cell, node in attempts if cell == again}) == 2


def test_an_executor_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"no executor 'slurm'; there are serial, processes, ray"):
        executors.get("slurm")


def test_ray_that_is_not_installed_is_named_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    monkeypatch.delitem(__import__("sys").modules, "seatbelt_jax.studies.executors.ray_cluster", raising=False)
    line = launchers.refusal("sweep", smoke_sweep.FILE, f"--workdir={tmp_path}", "--executor=ray")
    assert "--executor=ray needs ray: pip install 'seatbelt-jax[ray]'" in line
