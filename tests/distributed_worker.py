"""Trainings over several processes on loopback, for tests/test_distributed.py to read.

Run as `python -m tests.distributed_worker FOLDER`. Importing takes seconds, so one process imports, and the others are
forked from it: none of them has computed anything before. What the processes of a group write to their standard
streams is FOLDER/GROUP.NUMBER.txt, how they ended and what they found FOLDER/found.json.
"""

import contextlib
import json
import os
import pathlib
import runpy
import signal
import socket
import sys
import time
import traceback
import warnings

import numpy as np

from configs import sprites_vae
from seatbelt_jax import data, models, plots, runs, training  # noqa: F401
from seatbelt_jax.jobs import train as train_job
from seatbelt_jax.training import distributed, writers

MODEL = {"network": "mlp", "widths": (16,), "latent_sizes": (3,), "likelihood_std": 1.0}
# With fewer than 16 images a device, the exchanges of the total correlation are many small ones.
TRAIN = {"steps": 6, "batch_size": 64, "log_every": 1, "evaluate_every": 3, "checkpoint_every": 6}
LAUNCHED = {"model.network": "mlp", "train.batch_size": 32}
STOPPED_AT, KILLED_AT = 2, 5


def settings(beta=6.0, **train):
    return training.parse_settings(
        {
            "seed": 0,
            "objective": {"beta": beta},
            "optimizer": {"learning_rate": 1e-2},
            "train": {**TRAIN, **train},
        }
    )


def stored_splits():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (72, 8, 8, 1)).astype(np.uint8)
    part = data.Dataset.from_pixels("stored", 72, (8, 8, 1), lambda indices: pixels[indices], (-1.0, 1.0))
    return data.Splits(train=part, validation=part)


def train(directory, **changes):
    splits = stored_splits()
    model = models.build(MODEL, splits.train.image_shape)
    return training.train(model, splits, settings(**changes), directory)


@contextlib.contextmanager
def at_step(step, what):
    """Calls `what` once the process has taken so many steps: it logs each of them, and writes or not."""
    write = writers.MetricWriter.write

    def written(self, number, split, metrics):
        if number == step and split == "train":
            what()
        return write(self, number, split, metrics)

    writers.MetricWriter.write = written
    try:
        yield
    finally:
        writers.MetricWriter.write = write


# What each process of a group does; `number` is its own, the return value goes to found.json.


def whole(folder, number):
    """Two train on stored images that each has on its own device, diverge, and ask each other."""
    train(folder / "resident")
    try:
        train(folder / "diverging", beta=1e38, max_skipped_in_a_row=3)
    except training.DivergenceError as error:
        diverged = str(error)
    answers = {
        "diverged": diverged,
        "any of one": distributed.any_process(number == 1),
        "any of none": distributed.any_process(False),
    }
    vote = distributed.Vote()
    answers["votes"] = [vote(flag) for flag in (False, number == 1, False, False)]
    distributed.check_same({"configuration": "a", "data": "b"})
    try:
        distributed.check_same({"configuration": "a", "data": f"b{number}"})
    except ValueError as error:
        answers["differences"] = str(error)
    return answers


def stop(folder, number):
    """Two read their rows of each batch; the second gets Ctrl-C, and both end as if they had."""
    with at_step(STOPPED_AT, lambda: number == 1 and signal.raise_signal(signal.SIGINT)):
        train(folder / "host", resident_mib=0)


def terminate(folder, number):
    """The first of two is terminated, as by a scheduler; both save and end."""
    with at_step(STOPPED_AT, lambda: number == 0 and signal.raise_signal(signal.SIGTERM)):
        train(folder / "terminated")


def go_on(folder, number):
    """Four go on where two were stopped, the parameters split over them, until the last of them dies."""
    with at_step(KILLED_AT, lambda: number == 3 and os.kill(os.getpid(), signal.SIGKILL)):
        train(folder / "host", resident_mib=0, shard_parameters_mib=1e-4)


def lose_the_first(folder, number):
    """The first of two dies, and with it where JAX's processes meet."""
    distributed.wait_for_all("both are here")
    if number == 0:
        time.sleep(1)  # until the other has heard that both are
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def fail_alone(folder, number):
    """One of two has an error of its own, before the other has had anything of it."""
    if number == 1:
        raise ValueError("this one has no data")
    distributed.wait_for_all("never")


# Group: how many processes, what they do.
GROUPS = {
    "whole": (2, whole),
    "stop": (2, stop),
    "terminate": (2, terminate),
    "go on": (4, go_on),
    "lose": (2, lose_the_first),
    "fail": (2, fail_alone),
}


def launch(folder, _, number, count, port, timeout=60):
    """One process of launch/train.py, on images computed on the devices; does not return."""
    which = [f"--coordinator_address=127.0.0.1:{port}", f"--num_processes={count}", f"--process_id={number}"]
    run_launcher(folder, [*which, f"--join_timeout={timeout}"])


def launch_one_of_two(folder, group, *_):
    """A second process of launch/train.py without a first."""
    launch(folder, group, 1, 2, 1, timeout=1)


def launch_knowing_nothing(folder, *_):
    """A process of launch/train.py that is to find out about the others where nothing tells."""
    run_launcher(folder, ["--distributed"])


def run_launcher(folder, flags):
    changes = [f"--config.{field}={value}" for field, value in LAUNCHED.items()]
    config = ["--config=configs/sprites_vae.py:smoke", f"--workdir={folder / 'launched'}"]
    sys.argv = ["launch/train.py", *config, *changes, *flags]
    runpy.run_path(sys.argv[0], run_name="__main__")


def launched_alone(directory):
    """What `launch` trains, in this process alone."""
    config = sprites_vae.get_config("smoke")
    config.update_from_flattened_dict(LAUNCHED)
    train_job.train(config.to_dict(), directory)


def work(folder, group, number, count, port):
    """One process; returns its exit status."""
    try:
        with training.joined(f"127.0.0.1:{port}", count, number, timeout=60):
            found = GROUPS[group][1](folder, number)
        (folder / f"{group}.{number}.json").write_text(json.dumps(found))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def start(folder, group, count, work):
    """Forks the group's processes; returns what waits for them and gives their exit statuses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    children = []
    for number in range(count):
        with warnings.catch_warnings(action="ignore"):  # JAX's: here it has no threads yet
            child = os.fork()
        if child == 0:
            out = os.open(folder / f"{group}.{number}.txt", os.O_WRONLY | os.O_CREAT)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.exit(work(folder, group, number, count, port))
        children.append(child)
    return lambda: [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def main(folder):
    # Those that wait for others need no processor for it.
    waiting = {
        "fail": start(folder, "fail", 2, work),
        "one of two": start(folder, "one of two", 1, launch_one_of_two),
        "one of some": start(folder, "one of some", 1, launch_knowing_nothing),
    }
    found = {"launch": start(folder, "launch", 2, launch)()}
    found |= {group: start(folder, group, count, work)() for group, (count, _) in GROUPS.items() if group != "fail"}
    found |= {group: ended() for group, ended in waiting.items()}
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
