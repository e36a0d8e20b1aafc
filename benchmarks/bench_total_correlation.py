"""The total correlation's value and gradient against the direct code, PyTorch's broadcast, and the exponentials alone.

    python -m benchmarks.bench_total_correlation [--sizes 1024 4096 16384] [--latent 32] [--estimators mss mws]

Times value and gradient of the mean total correlation with respect to latents, means and log_stds, float32, at each
minibatch size M, compilation excluded:

    ours           log_aggregate_posterior
    direct         the equation in JAX over one array [M, M, D], differentiated by JAX
    torch          the same in PyTorch, as the public implementations of the beta-TCVAE do it
    exponentials   M M (D+1) exponentials forward and as many backward, and nothing else: a lower bound

All are timed in this process, from the same inputs; values and gradients are compared with ours. Peak memory is what
a case adds to that of a fresh process which has imported, made the inputs and compiled. PyTorch is no dependency of the
project; where it is missing its rows say so. With the default sizes it writes
`benchmarks/results/total_correlation_<platform>.json`.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.hardware import describe, torch_device, write_results
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.total_correlation import log_aggregate_posterior

PACKAGES = ("jax", "jaxlib", "numpy", "torch")
# Arrays [M, M, D] that the references hold at once, at the least.
REFERENCE_ARRAYS = 5


def inputs(size: int, latent: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents, means and log_stds of a posterior with a spread of widths, [size, latent] float32."""
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(size, latent))
    log_std = -1.0 + 0.3 * rng.normal(size=(size, latent))
    latents = mean + np.exp(log_std) * rng.normal(size=(size, latent))
    return latents.astype(np.float32), mean.astype(np.float32), log_std.astype(np.float32)


def log_weights(size: int, dataset_size: int, estimator: str) -> np.ndarray:
    """log w_ij as the references add it, [size, size] float32."""
    if estimator == "mws":
        return np.full((size, size), -math.log(dataset_size) - math.log(size), np.float32)
    other = (dataset_size - 1) / (dataset_size * (size - 1))
    weights = np.full((size, size), other, np.float32)
    np.fill_diagonal(weights, 1.0 / dataset_size)
    return np.log(weights)


def ours(size: int, latent: int, dataset_size: int, estimator: Any) -> Callable[[], Any]:
    def total_correlation(latents: Any, mean: Any, log_std: Any) -> Any:
        joint, product = log_aggregate_posterior(
            latents, DiagonalGaussian(mean, log_std), dataset_size, estimator=estimator
        )
        return jnp.mean(joint - product)

    return _compiled(total_correlation, [jnp.asarray(x) for x in inputs(size, latent)])


def direct(size: int, latent: int, dataset_size: int, estimator: str) -> Callable[[], Any]:
    weights = jnp.asarray(log_weights(size, dataset_size, estimator))

    def total_correlation(latents: Any, mean: Any, log_std: Any) -> Any:
        standardised = (latents[:, None] - mean) * jnp.exp(-log_std)
        density = -0.5 * jnp.square(standardised) - log_std - 0.5 * math.log(2.0 * math.pi)
        joint = jax.nn.logsumexp(weights + jnp.sum(density, axis=-1), axis=1)
        product = jnp.sum(jax.nn.logsumexp(weights[:, :, None] + density, axis=1), axis=-1)
        return jnp.mean(joint - product)

    return _compiled(total_correlation, [jnp.asarray(x) for x in inputs(size, latent)])


def broadcast_in_torch(size: int, latent: int, dataset_size: int, estimator: str) -> Callable[[], Any]:
    import torch

    device = torch_device()
    leaves = [torch.tensor(x, device=device, requires_grad=True) for x in inputs(size, latent)]
    weights = torch.tensor(log_weights(size, dataset_size, estimator), device=device)

    def run() -> tuple[Any, tuple[Any, ...]]:
        latents, mean, log_std = leaves
        standardised = (latents.unsqueeze(1) - mean.unsqueeze(0)) * torch.exp(-log_std).unsqueeze(0)
        density = -0.5 * (standardised * standardised + math.log(2.0 * math.pi)) - log_std.unsqueeze(0)
        joint = torch.logsumexp(weights + density.sum(dim=2), dim=1)
        product = torch.logsumexp(weights.unsqueeze(2) + density, dim=1).sum(dim=1)
        value = (joint - product).mean()
        result = value.detach(), torch.autograd.grad(value, leaves)
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    return run


def exponentials(size: int, latent: int, dataset_size: int, estimator: str) -> Callable[[], Any]:
    """Twice size^2 (latent + 1) exponentials of different numbers that stay in the cache, added up."""
    del dataset_size, estimator
    columns = jnp.asarray(inputs(size, latent + 1)[0].T)
    factors = jnp.linspace(-1.0, 0.0, size).reshape(-1, 8)

    def add(total: Any, block: Any) -> Any:
        for factor in block:
            total += jnp.exp(factor * columns)
        return total, None

    def both(columns: Any, factors: Any) -> Any:
        forward, _ = jax.lax.scan(add, jnp.zeros_like(columns), factors)
        # Starts from the first, so that the two are not taken for one.
        backward, _ = jax.lax.scan(add, forward, factors)
        return backward

    compiled = jax.jit(both).lower(columns, factors).compile()
    return lambda: jax.block_until_ready(compiled(columns, factors))


IMPLEMENTATIONS: dict[str, Callable[[int, int, int, str], Callable[[], Any]]] = {
    "ours": ours,
    "direct": direct,
    "torch": broadcast_in_torch,
    "exponentials": exponentials,
}


def _compiled(function: Callable[..., Any], arguments: list[Any]) -> Callable[[], Any]:
    compiled = jax.jit(jax.value_and_grad(function, argnums=(0, 1, 2))).lower(*arguments).compile()

    def run() -> Any:
        return jax.block_until_ready(compiled(*arguments))

    run.temporary = compiled.memory_analysis().temp_size_in_bytes  # type: ignore[attr-defined]
    return run


def seconds(run: Callable[[], Any]) -> float:
    """The median of at least 3 runs after one, and of up to 15 while they take 2 seconds together."""
    run()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 2.0 and len(times) < 15):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def difference(result: Any, reference: Any) -> dict[str, float]:
    """Largest differences of the value, absolute in nats, and of the gradients, relative to their largest entry."""
    gradients = (leaf.cpu() if hasattr(leaf, "cpu") else leaf for leaf in result[1])
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(gradients, reference[1], strict=True)]
    return {
        "value_difference_nats": abs(float(result[0]) - float(reference[0])),
        "gradient_difference_relative": max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in pairs),
    }


def added_memory(name: str, size: int, latent: int, dataset_size: int, estimator: str) -> int | None:
    """Peak bytes that one run adds, in this process; None where the system does not tell."""
    run = IMPLEMENTATIONS[name](size, latent, dataset_size, estimator)
    device = jax.devices()[0]
    if device.platform != "cpu":
        before = device.memory_stats()["bytes_in_use"]
        run()
        return device.memory_stats()["peak_bytes_in_use"] - before
    status, forget = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
    try:
        forget.write_text("5")  # The peak so far, which holds the compiler's, is forgotten.
        before = _status_bytes(status.read_text(), "VmRSS")
        run()
        return _status_bytes(status.read_text(), "VmHWM") - before
    except OSError:
        return None


def _status_bytes(status: str, field: str) -> int:
    return 1024 * int(status.partition(field + ":")[2].split()[0])


def added_memory_in_fresh_process(name: str, size: int, flags: argparse.Namespace, estimator: str) -> int | None:
    command = [sys.executable, "-m", "benchmarks.bench_total_correlation", "--memory-of", name, "--sizes", str(size)]
    command += ["--latent", str(flags.latent), "--dataset-size", str(flags.dataset_size), "--estimators", estimator]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def refused(name: str, size: int, latent: int) -> str | None:
    """Why a case cannot run here, or None."""
    if name == "torch":
        try:
            torch_device()
        except ImportError:
            return "torch not installed: pip install -e '.[benchmark]'"
        if torch_device() is None:
            return "torch does not see the accelerator"
    if name in ("direct", "torch"):
        needed = REFERENCE_ARRAYS * 4 * size**2 * latent
        device = jax.devices()[0]
        if name == "torch" or device.platform == "cpu":
            there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
        else:
            there = (device.memory_stats() or {}).get("bytes_limit", 0)
        if needed > 0.25 * there:
            return f"skipped: needs about {needed / 2**30:.0f} GiB"
    return None


def measure(flags: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    print("estimator      M                 seconds  / ours    M^  peak MiB  XLA MiB")
    for estimator in flags.estimators:
        previous: dict[str, tuple[int, float]] = {}
        for size in flags.sizes:
            reference, our_seconds = None, math.nan
            for name in IMPLEMENTATIONS:
                if name == "exponentials" and estimator != flags.estimators[0]:
                    continue  # They are the same for every estimator.
                row: dict[str, Any] = {"implementation": name, "estimator": estimator, "batch": size}
                row |= {"latent": flags.latent, "dataset_size": flags.dataset_size}
                rows.append(row)
                if note := refused(name, size, flags.latent):
                    row["note"] = note
                    print(f"{estimator:9s} {size:6d} {name:13s} {note}")
                    continue
                run = IMPLEMENTATIONS[name](size, flags.latent, flags.dataset_size, estimator)
                row["seconds"] = seconds(run)
                if name == "ours":
                    reference, our_seconds = run(), row["seconds"]
                elif name != "exponentials":
                    row |= difference(run(), reference)
                row["seconds_relative_to_ours"] = row["seconds"] / our_seconds
                if name in previous:
                    smaller, less = previous[name]
                    row["exponent"] = math.log(row["seconds"] / less) / math.log(size / smaller)
                previous[name] = size, row["seconds"]
                if name != "exponentials":
                    row["peak_extra_bytes"] = added_memory_in_fresh_process(name, size, flags, estimator)
                row["xla_temporary_bytes"] = getattr(run, "temporary", None)
                print_row(row)
    return rows


def print_row(row: dict[str, Any]) -> None:
    def mebibytes(field: str) -> str:
        return "-" if row.get(field) is None else f"{row[field] / 2**20:.0f}"

    exponent = f"{row['exponent']:.2f}" if "exponent" in row else ""
    line = f"{row['estimator']:9s} {row['batch']:6d} {row['implementation']:13s} {row['seconds']:9.4f} "
    line += f"{row['seconds_relative_to_ours']:7.2f} {exponent:>5s} {mebibytes('peak_extra_bytes'):>9s} "
    line += f"{mebibytes('xla_temporary_bytes'):>8s}"
    if "value_difference_nats" in row:
        line += f"  differs from ours by {row['value_difference_nats']:.1e} nats in the value, "
        line += f"{row['gradient_difference_relative']:.1e} of the largest in the gradient"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", help="minibatch sizes, multiples of 8")
    parser.add_argument("--latent", type=int, default=32)
    parser.add_argument("--dataset-size", type=int, default=200_000)
    parser.add_argument("--estimators", nargs="+", choices=["mws", "mss"], default=["mss", "mws"])
    parser.add_argument("--memory-of", choices=list(IMPLEMENTATIONS), help="print one case's peak extra bytes and stop")
    flags = parser.parse_args()
    # An accelerator is shared with the processes that measure memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if flags.memory_of:
        print(added_memory_json(flags))
        return
    if any(size % 8 for size in flags.sizes or ()):
        parser.error(f"--sizes must be multiples of 8, got {flags.sizes}")
    a_trial = bool(flags.sizes)
    flags.sizes = flags.sizes or [1024, 4096, 16384] + [65536] * (jax.default_backend() != "cpu")
    print(describe(PACKAGES))
    print(f"value and gradient, float32, latent size {flags.latent}, data set of {flags.dataset_size}\n")
    rows = measure(flags)
    if a_trial:
        print("\nnot written: the results file is of the default sizes")
        return
    settings = {"dtype": "float32", "quantity": "value and gradient of the mean total correlation"}
    path = write_results("total_correlation", rows, settings=settings, packages=PACKAGES)
    print(f"\nwrote {path.relative_to(pathlib.Path.cwd()) if path.is_relative_to(pathlib.Path.cwd()) else path}")


def added_memory_json(flags: argparse.Namespace) -> str:
    case = flags.sizes[0], flags.latent, flags.dataset_size, flags.estimators[0]
    return json.dumps(added_memory(flags.memory_of, *case))


if __name__ == "__main__":
    main()
