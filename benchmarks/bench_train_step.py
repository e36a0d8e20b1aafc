"""One optimiser step of the paper's models against eager PyTorch: time, images a second, memory.

    python -m benchmarks.bench_train_step [--cases sprites_seatbelt ..] [--batches 128 1024] [--repeats 10]

A case is a configuration of `configs/`, with random images in place of its data. Ours is `training.step.train_step`,
jitted as in the training loop, on images that lie on the device; the reference is `benchmarks.torch_models`, the same
network and objective with Adam and a cosine schedule, from the same parameters, in the same process on as many cores,
eager and, as torch_compile, with forward pass, loss and their gradients through torch.compile. The process keeps the
memory that it frees, as the commands do, for both, unless --glibc_defaults is given.
The first step of both has the same noise: their losses and gradients are compared in the table. Compilation is
excluded. Peak memory is what the resident memory of a fresh process grows by over two steps.

All cases at batch 128 take about 18 minutes on 2 cores. The results of several runs add up in one file.
"""

import argparse
import dataclasses
import functools
import importlib
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import hardware
from seatbelt_jax import models, sections, training, vae
from seatbelt_jax.cli import freed_memory
from seatbelt_jax.models import ModelConfig
from seatbelt_jax.training.recipe import Recipe, make_recipe
from seatbelt_jax.training.state import TrainState, create
from seatbelt_jax.training.step import train_step

# Image shape and number of training images of the configurations' data.
CASES = {
    "sprites_seatbelt": ((64, 64, 1), 737_280),
    "sprites_beta_tcvae": ((64, 64, 1), 737_280),
    "celeba_seatbelt": ((64, 64, 3), 162_770),
    "celeba_beta_tcvae": ((64, 64, 3), 162_770),
}
# Ours by the networks' precision, and the reference, eager and compiled.
IMPLEMENTATIONS = ("float32", "bfloat16", "torch", "torch_compile")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")


@dataclasses.dataclass(frozen=True)
class Problem:
    """A step's inputs, the same for every implementation.

    Attributes:
      config: the configuration that it comes from.
      recipe, state, images, key: what `train_step` takes.
    """

    config: Any
    recipe: Recipe
    state: TrainState
    images: jax.Array
    key: jax.Array

    @property
    def noise(self) -> vae.Latents:
        """The noise of the first step."""
        step_key = jax.random.fold_in(self.key, self.state.step)
        return vae.sample_noise(step_key, self.recipe.model.latent_sizes, self.images.shape[0])


@dataclasses.dataclass(frozen=True)
class Step:
    """A prepared step.

    Attributes:
      run: takes the next step and waits for it.
      first: loss, total correlation and gradient, in PyTorch's layout, of the first step.
      compile_seconds: spent on compilation, 0 for eager PyTorch.
      temporary_mib: XLA's own count of the step's temporary memory.
    """

    run: Callable[[], None]
    first: Callable[[], dict[str, Any]]
    compile_seconds: float = 0.0
    temporary_mib: float | None = None


def make_problem(config: Any, image_shape: tuple[int, int, int], dataset_size: int, batch: int) -> Problem:
    """Random images, and parameters moved a little from where they start, away from special values."""
    model = models.build(config.model, image_shape)
    recipe = make_recipe(model, training.parse_settings(config), dataset_size)
    state = create(recipe, jax.random.key(0))
    rng = np.random.default_rng(0)
    moved = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(rng.normal(scale=0.02, size=leaf.shape), leaf.dtype), state.variables["params"]
    )
    state = dataclasses.replace(state, variables={**state.variables, "params": moved})
    images = jnp.asarray(rng.uniform(-1.0, 1.0, (batch, *image_shape)), jnp.float32)
    return Problem(config, recipe, state, images, jax.random.key(1))


def our_step(problem: Problem) -> Step:
    begin = time.perf_counter()
    step = jax.jit(functools.partial(train_step, recipe=problem.recipe))
    compiled = step.lower(problem.state, problem.images, problem.key).compile()
    seconds = time.perf_counter() - begin
    memory = compiled.memory_analysis()
    state = problem.state

    def run() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(compiled(state, problem.images, problem.key))

    def first() -> dict[str, Any]:
        after, metrics = jax.device_get(compiled(problem.state, problem.images, problem.key))
        # Adam's running mean after one step is a tenth of the gradient.
        gradient = jax.tree.map(lambda leaf: 10.0 * leaf, optax.tree.get(after.optimizer, "mu"))
        return {
            "loss": float(metrics["loss"]),
            "total_correlation": float(metrics[f"total_correlation_{problem.recipe.objective.estimator}"]),
            "gradient": gradient,
        }

    return Step(run, first, seconds, memory.temp_size_in_bytes / 2**20 if memory is not None else None)


def torch_step(problem: Problem, *, is_compiled: bool) -> Step:
    import torch

    from benchmarks import torch_models

    device = hardware.torch_device()
    model, objective = problem.recipe.model, problem.recipe.objective
    network = torch_models.HierarchicalVAE(
        sections.parse(ModelConfig, "model", problem.config.model), model.image_shape
    )
    network.load_state_dict(torch_models.from_flax(network, problem.state.variables["params"]), strict=False)
    network.to(device)
    images = torch.tensor(np.asarray(problem.images), device=device).permute(0, 3, 1, 2).contiguous()
    optimizer = torch.optim.Adam(network.parameters(), lr=problem.config.optimizer.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, problem.config.train.steps)

    def loss_and_terms(noise: list[Any]) -> tuple[Any, dict[str, Any]]:
        terms = network(images, noise, problem.recipe.dataset_size)
        return torch_models.loss(terms, objective), terms

    compile_seconds = 0.0
    if is_compiled:
        loss_and_terms = torch.compile(loss_and_terms)
        begin = time.perf_counter()
        # It compiles at the first call; the gradients are thrown away.
        loss_and_terms([torch.zeros(len(images), size, device=device) for size in model.latent_sizes])[0].backward()
        compile_seconds = time.perf_counter() - begin

    def take(noise: list[Any]) -> tuple[Any, dict[str, Any]]:
        optimizer.zero_grad(set_to_none=True)
        loss, terms = loss_and_terms(noise)
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss, terms

    def run() -> None:
        take([torch.randn(len(images), size, device=device) for size in model.latent_sizes])
        if device == "cuda":
            torch.cuda.synchronize()

    def first() -> dict[str, Any]:
        loss, terms = take([torch.tensor(np.asarray(layer), device=device) for layer in problem.noise])
        return {
            "loss": loss.item(),
            "total_correlation": terms["total_correlation"].mean().item(),
            "gradient": {name: value.grad.cpu().numpy().copy() for name, value in network.named_parameters()},
            "from_flax": functools.partial(torch_models.from_flax, network),
        }

    return Step(run, first, compile_seconds)


def prepare(case: str, batch: int, implementation: str) -> Step:
    image_shape, dataset_size = CASES[case]
    config = importlib.import_module(f"configs.{case}").get_config()
    is_torch = implementation.startswith("torch")
    config.model.compute_dtype = "float32" if is_torch else implementation
    problem = make_problem(config, image_shape, dataset_size, batch)
    return torch_step(problem, is_compiled=implementation == "torch_compile") if is_torch else our_step(problem)


def differences(ours: dict[str, Any], reference: dict[str, Any]) -> dict[str, float]:
    """How far our first step is from the reference's: relative, the gradient's over all parameters in L2."""
    gradient = {name: value.numpy() for name, value in reference["from_flax"](ours["gradient"]).items()}
    apart = sum(np.sum(np.square(gradient[name] - value)) for name, value in reference["gradient"].items())
    size = sum(np.sum(np.square(value)) for value in reference["gradient"].values())
    return {
        **{f"{name}_difference": abs(ours[name] / reference[name] - 1.0) for name in ("loss", "total_correlation")},
        "gradient_difference": float(np.sqrt(apart / size)),
    }


@dataclasses.dataclass(frozen=True)
class Timing:
    """What is kept of a step that has been timed."""

    seconds: float
    first: dict[str, Any]
    compile_seconds: float
    temporary_mib: float | None


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of one implementation of one case; None where it cannot be.

    Attributes:
      case, batch, implementation: what was measured.
      milliseconds_per_step, images_per_second: the median of the repeats.
      times_torch: PyTorch's time over this one's.
      peak_mib: growth of a fresh process's resident memory over two steps.
      temporary_mib: XLA's own count of the step's temporary memory.
      compile_seconds: before the first step.
      loss_difference, total_correlation_difference, gradient_difference: see `differences`.
    """

    case: str
    batch: int
    implementation: str
    milliseconds_per_step: float
    images_per_second: float
    times_torch: float | None
    peak_mib: float | None
    temporary_mib: float | None
    compile_seconds: float
    loss_difference: float | None = None
    total_correlation_difference: float | None = None
    gradient_difference: float | None = None


def measure(case: str, batch: int, implementations: Sequence[str], repeats: int, *options: str) -> list[Row]:
    """Times one case, compares with PyTorch and asks for each one's memory, in processes with these options."""
    timings = time_steps({name: prepare(case, batch, name) for name in implementations}, repeats)
    reference = timings.get("torch")
    rows = []
    for name, timing in timings.items():
        apart = differences(timing.first, reference.first) if reference and not name.startswith("torch") else {}
        rows.append(
            Row(
                case=case,
                batch=batch,
                implementation=name,
                milliseconds_per_step=1e3 * timing.seconds,
                images_per_second=batch / timing.seconds,
                times_torch=reference.seconds / timing.seconds if reference else None,
                # torch.compile has taken a step before its memory can be asked for.
                peak_mib=None if name == "torch_compile" else peak_memory(case, batch, name, *options),
                temporary_mib=timing.temporary_mib,
                compile_seconds=timing.compile_seconds,
                **apart,
            )
        )
    return rows


def time_steps(steps: dict[str, Step], repeats: int) -> dict[str, Timing]:
    """The first step of each, which warms up, and the median time of later ones.

    They take turns, so that what else the machine does meets all alike; of two steps in a row the second is timed,
    when the threads of the one before have come to rest.
    """
    first = {name: step.first() for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            step.run()
            begin = time.perf_counter()
            step.run()
            seconds[name].append(time.perf_counter() - begin)
    return {
        name: Timing(statistics.median(seconds[name]), first[name], step.compile_seconds, step.temporary_mib)
        for name, step in steps.items()
    }


def peak_memory(case: str, batch: int, implementation: str, *options: str) -> float | None:
    """MiB by which a fresh process grows over two steps, at its largest; None on an accelerator or without /proc."""
    command = [sys.executable, "-m", "benchmarks.bench_train_step", "--memory_of", implementation]
    command += ["--cases", case, "--batches", str(batch), *options]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(child.stdout)


def growth(step: Step) -> float | None:
    """What the child of `peak_memory` measures of itself; an accelerator's memory is not the process's."""
    process = pathlib.Path("/proc/self")
    if jax.default_backend() != "cpu" or not (process / "clear_refs").exists():
        return None
    # Compilation takes memory, too: 5 sets the high-water mark back to what is in use now.
    (process / "clear_refs").write_text("5")
    before = _resident_mib(process, "VmRSS")
    step.run()
    step.run()
    return _resident_mib(process, "VmHWM") - before


def _resident_mib(process: pathlib.Path, field: str) -> float:
    (line,) = (line for line in (process / "status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def report(rows: Sequence[Row], *, header: bool = True) -> None:
    """Prints the rows; `loss`, `TC` and `gradient` are how far they are from PyTorch's."""
    if header:
        print(
            f"{'case':20s} {'batch':>5s} {'':13s} {'ms/step':>9s} {'images/s':>9s} {'x torch':>8s} {'peak MiB':>9s} "
            f"{'XLA temp':>9s} {'compile s':>9s} {'loss':>8s} {'TC':>8s} {'gradient':>8s}"
        )
    for row in rows:
        apart = (row.loss_difference, row.total_correlation_difference, row.gradient_difference)
        print(
            f"{row.case:20s} {row.batch:5d} {row.implementation:13s} {row.milliseconds_per_step:9.1f} "
            f"{row.images_per_second:9.1f} {_number(row.times_torch, '8.2f')} {_number(row.peak_mib, '9.0f')} "
            f"{_number(row.temporary_mib, '9.0f')} {row.compile_seconds:9.1f} "
            + " ".join(_number(value, "8.1e") for value in apart)
        )


def _number(value: float | None, form: str) -> str:
    return f"{'-':>{form.split('.')[0]}s}" if value is None else f"{value:{form}}"


def merge(before: Sequence[dict[str, Any]], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of earlier runs and of this one, which replaces what it measured again, in the order of the cases."""

    def place(row: dict[str, Any]) -> tuple[int, int, int]:
        return list(CASES).index(row["case"]), row["batch"], IMPLEMENTATIONS.index(row["implementation"])

    found = {place(row): row for row in (*before, *map(dataclasses.asdict, rows))}
    return [found[key] for key in sorted(found)]


def rows_before(settings: dict[str, Any], directory: pathlib.Path = hardware.RESULTS) -> list[dict[str, Any]]:
    """The rows of the results file, where they are of this machine, these versions and these settings."""
    path = directory / f"train_step_{jax.devices()[0].platform}.json"
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    now = {"hardware": hardware.hardware(), "versions": hardware.versions(PACKAGES), "settings": settings}
    if any(content[name] != value for name, value in now.items()):
        print(f"{path.name} is of another machine, other versions or other settings: it is written anew")
        return []
    return content["rows"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--batches", nargs="+", type=int, default=[128])
    parser.add_argument("--implementations", nargs="+", choices=IMPLEMENTATIONS, default=list(IMPLEMENTATIONS))
    parser.add_argument("--repeats", type=int, default=10, help="timed steps of each, after the first one")
    parser.add_argument("--threads", type=int, default=2, help="CPU cores for both")
    parser.add_argument("--memory_of", choices=IMPLEMENTATIONS, help=argparse.SUPPRESS)
    parser.add_argument("--glibc_defaults", action="store_true", help="give freed memory back; no results are written")
    flags = parser.parse_args()
    if not flags.glibc_defaults:
        freed_memory.keep()
    # PyTorch, imported later, takes its threads from here, and XLA one for each core that it may use.
    os.environ["OMP_NUM_THREADS"] = str(flags.threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: flags.threads])
    if flags.memory_of:
        print(json.dumps(growth(prepare(flags.cases[0], flags.batches[0], flags.memory_of))))
        return
    implementations = flags.implementations
    if importlib.util.find_spec("torch") is None or hardware.torch_device() is None:
        implementations = [name for name in implementations if not name.startswith("torch")]
        print("no PyTorch for this device: there is no reference to compare with; pip install -e '.[benchmark]'")
    print(hardware.describe(PACKAGES))
    settings = {"repeats": flags.repeats, "threads": flags.threads}
    before = [] if flags.glibc_defaults else rows_before(settings)
    for batch in flags.batches:
        for case in flags.cases:
            options = ["--glibc_defaults"] if flags.glibc_defaults else []
            rows = measure(case, batch, implementations, flags.repeats, *options)
            report(rows, header=case == flags.cases[0])
            if not flags.glibc_defaults:
                # After each case: a long run that is interrupted keeps what it has.
                before = merge(before, rows)
                print(hardware.write_results("train_step", before, settings=settings, packages=PACKAGES))


if __name__ == "__main__":
    main()
