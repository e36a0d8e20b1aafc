"""What a benchmark ran on, and its results file.

A results file holds one machine's run: `hardware`, `versions`, `date`, `command`, `settings` and `rows`. Its name ends
in the platform, as in `total_correlation_cpu.json`, so that the results of several machines stand side by side.
"""

import datetime
import json
import os
import pathlib
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from seatbelt_jax.versions import installed

RESULTS = pathlib.Path(__file__).parent / "results"


def hardware() -> dict[str, Any]:
    """The processor, its cores and memory, and the accelerators, if any, that JAX computes on."""
    devices = jax.devices()
    about: dict[str, Any] = {
        "platform": devices[0].platform,
        "processor": _processor(),
        "cores": _cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(terse=True),
    }
    if devices[0].platform != "cpu":
        limit = (devices[0].memory_stats() or {}).get("bytes_limit")
        about["accelerators"] = [device.device_kind for device in devices]
        about["accelerator_memory_gib"] = round(limit / 2**30, 1) if limit else None
    return about


def versions(packages: Iterable[str] = ("jax", "jaxlib", "numpy")) -> dict[str, str]:
    """Python's version and those of the packages."""
    return {"python": platform.python_version(), **{package: installed(package) for package in packages}}


def describe(packages: Iterable[str] = ("jax", "jaxlib", "numpy")) -> str:
    """One line for the top of a printed table."""
    about = hardware()
    line = f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB"
    if "accelerators" in about:
        line += f"; {len(about['accelerators'])} x {about['accelerators'][0]}"
    return line + "; " + ", ".join(f"{name} {version}" for name, version in versions(packages).items())


def torch_device() -> str | None:
    """Where PyTorch computes on what JAX computes on; None where it cannot."""
    import torch

    if jax.default_backend() == "cpu":
        return "cpu"
    return "cuda" if torch.cuda.is_available() else None


def write_results(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    settings: Mapping[str, Any] | None = None,
    packages: Iterable[str] = ("jax", "jaxlib", "numpy"),
    directory: pathlib.Path = RESULTS,
) -> pathlib.Path:
    """Writes `<name>_<platform>.json`, whole or not at all, and returns its path.

    Args:
      name: of the benchmark, without `bench_`.
      rows: one mapping per measured case; units stand in the keys.
      settings: the flags that the rows do not repeat.
      packages: whose versions to record.
      directory: where the file goes.
    """
    about = hardware()
    content = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["python -m", f"benchmarks.{pathlib.Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "hardware": about,
        "versions": versions(packages),
        "settings": dict(settings or {}),
        "rows": [dict(row) for row in rows],
    }
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}_{about['platform']}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    temporary.replace(path)
    return path


def _cores() -> int | None:
    """The cores this process may use, which a container may hold below the machine's own."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor() -> str:
    """The processor's model; `platform.processor` is empty on most Linux machines."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
