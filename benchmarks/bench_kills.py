"""Trainings killed at random moments and started again: do they end with the bits of one that was left alone?

    python -m benchmarks.bench_kills [--kills 50]

A small Seatbelt-VAE on the embedded sprites is trained undisturbed, and again while SIGKILL strikes at moments drawn
uniformly over most of the time that takes; each time the same command starts it again. A training that came to its end
before the strike is followed by another one. Compared are all arrays of the last checkpoint (parameters, running
averages, the optimiser's state, counters), all rows of metrics.jsonl but the rates, and the pictures of the last
evaluation. The table says what each strike hit, as far as files tell. About half an hour on a busy core.
"""

import argparse
import collections
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from tqdm import tqdm

from benchmarks.hardware import describe, write_results
from seatbelt_jax import runs, storage, training
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.training import recipe, state

# Often enough that strikes hit checkpoints and evaluations too.
_TRAIN = ("steps=400", "batch_size=64", "log_every=10", "evaluate_every=40", "checkpoint_every=25")


def command(path: pathlib.Path) -> list[str]:
    schedule = [f"--config.train.{setting}" for setting in _TRAIN]
    config = "--config=configs/sprites_seatbelt.py:smoke,L2"
    return [sys.executable, "launch/train.py", config, f"--workdir={path}", *schedule]


def undisturbed(path: pathlib.Path) -> float:
    """Trains to the end; the seconds it took."""
    began = time.perf_counter()
    subprocess.run(command(path), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def struck(path: pathlib.Path, seconds: float) -> str | None:
    """Trains for so long and kills; what was going on then, or None where it was done before."""
    process = subprocess.Popen(command(path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if any((path / "checkpoints").glob("*tmp*")):
            return "during a checkpoint"
        metrics = path / "metrics.jsonl"
        if not metrics.exists():
            return "before the first step"
        pictures = [file.stat().st_mtime for file in (path / "figures").glob("*.png")]
        # An evaluation writes its pictures after the step's row, and before its own.
        return "during an evaluation" if max(pictures, default=0) > metrics.stat().st_mtime else "between steps"
    if process.returncode:
        raise RuntimeError(f"training failed: {errors}")
    return None


def rows(path: pathlib.Path) -> list[dict]:
    return [
        {name: value for name, value in row.items() if name != "images_per_second"}
        for row in training.read_metrics(path)
    ]


def last_arrays(path: pathlib.Path) -> list[np.ndarray]:
    opened = runs.open(path)
    with Checkpoints(path / "checkpoints") as checkpoints:
        step = checkpoints.latest_step
        made = recipe.make_recipe(opened.model, training.parse_settings(opened.config), 1)
        fresh = jax.eval_shape(lambda: state.create(made, jax.random.key(0)))
        saved = checkpoints.load(step, variables=fresh.variables, training=fresh.training)
    pictures = storage.read_npz(path / "samples.npz")
    return [np.asarray(leaf) for leaf in jax.tree.leaves((step, saved, pictures))]


def measure(kills: int, seed: int) -> dict[str, object]:
    """The benchmark's row."""
    draws = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        alone, broken = pathlib.Path(folder, "alone"), pathlib.Path(folder, "broken")
        # The first one compiles, and those after it find its programs.
        undisturbed(pathlib.Path(folder, "compiling"))
        seconds = undisturbed(alone)
        hits: collections.Counter[str] = collections.Counter()
        rounds = [broken]
        with tqdm(total=kills, unit="kill", disable=None) as bar:
            while hits.total() < kills:
                moment = struck(rounds[-1], draws.uniform(0.3, 0.9) * seconds)
                if moment is None:
                    rounds.append(pathlib.Path(folder, f"broken_{len(rounds)}"))
                else:
                    hits[moment] += 1
                    bar.update()
        undisturbed(rounds[-1])
        same = [
            rows(path) == rows(alone)
            and all(map(np.array_equal, last_arrays(path), last_arrays(alone)))
            and len(last_arrays(path)) == len(last_arrays(alone))
            for path in rounds
        ]
    return {
        "kills": kills,
        "trainings": len(rounds),
        "bit_identical": sum(same),
        "seconds_undisturbed": seconds,
        **{f"kills_{moment.replace(' ', '_')}": number for moment, number in sorted(hits.items())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(describe(), flush=True)
    row = measure(args.kills, args.seed)
    print(row, flush=True)
    print(write_results("kills", [row], settings=vars(args)))
    sys.exit(row["bit_identical"] != row["trainings"])


if __name__ == "__main__":
    main()
