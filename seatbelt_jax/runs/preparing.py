"""Makes run directories: of a configuration, with the data and the checkpoint that they begin with."""

import dataclasses
import datetime
import pathlib
import subprocess
import warnings
from collections.abc import Mapping
from typing import Any

import jax

from seatbelt_jax import storage, versions
from seatbelt_jax.runs import lock
from seatbelt_jax.runs.damage import DamagedCheckpointError, check_whole
from seatbelt_jax.runs.layout import newest_step, saved_steps
from seatbelt_jax.runs.run import Origin, OriginKind, Run, open

_RECORDED_PACKAGES = ("seatbelt-jax", "jax", "jaxlib", "flax", "optax", "jaxopt", "orbax-checkpoint", "numpy")


def prepare(
    path: storage.Path,
    config: Mapping[str, Any],
    image_shape: tuple[int, int, int],
    data: Mapping[str, Any] | None = None,
    origin: Origin | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> Run:
    """Creates a run directory, or reuses one with the same configuration and data.

    `data` is `data.Splits.record`; without it the data are neither recorded nor compared. `defaults` is as in
    `configuration_changes`.

    A run without a checkpoint takes the new configuration and data. A run with checkpoints resumes from its own, never
    from a newer one of its origin.

    Raises:
      ValueError: where the directory belongs to another configuration or to other data, and names every difference; or
        where it had another origin.
      BlockingIOError: where a training of another configuration is at work there.
    """
    path = pathlib.Path(path)
    config = storage.plain(config)
    if (path / "config.json").exists():
        existing = open(path)
        differences = configuration_changes(existing.config, config, defaults)
        if existing.latest_step is not None and origin is not None:
            origin = origin_of(path, origin.run, origin.kind)
        if not (differences or existing.data_changes(data or {})) and origin in (None, existing.origin):
            return existing
        # What has been set aside as damaged is nothing without its configuration either.
        has_results = any((path / name).exists() for name in ("attacks", "certificates", "damaged"))
        if existing.latest_step is not None or has_results:
            if not differences:
                existing.check_data(data or {})
            raise ValueError(
                f"{path} was made with another configuration: {'; '.join(differences)}; "
                "give another --workdir, or the configuration it was made with, or go on with this one in a run of "
                f"its own: --fork={path} --workdir=ANOTHER"
            )
    elif path.exists() and (not path.is_dir() or not all(map(_is_stale, path.iterdir()))):
        raise ValueError(f"{path} exists and is not a run directory; give another --workdir")
    record = {
        "config": config,
        "image_shape": list(image_shape),
        "data": data or {},
        "origin": None if origin is None else dataclasses.asdict(origin),
        "provenance": _provenance(),
    }
    # A training that has not saved yet would save under this configuration.
    with lock.locked(path):
        storage.write_json(path / "config.json", record)
    return open(path)


def _is_stale(entry: pathlib.Path) -> bool:
    """Whether a training leaves it that was killed before it wrote anything."""
    return entry.name == lock.NAME or entry.name.startswith(".config.json.")


def configuration_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> list[str]:
    """Describes the differences between two configurations.

    Args:
      old, new: the configurations.
      defaults: section -> field -> the value assumed for a configuration without the field, such as an older one.
    """
    before, after = (_with_defaults(storage.plain(config), storage.plain(defaults or {})) for config in (old, new))
    return _differences(before, after)


def _with_defaults(config: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    filled = {name: {**fields, **config[name]} for name, fields in defaults.items() if name in config}
    return {**config, **filled}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    differences = []
    for key in sorted(old.keys() | new.keys()):
        name = f"{prefix}{key}"
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            differences += _differences(before, after, f"{name}.")
        elif before != after:
            differences.append(f"{name} was {before!r} and is {after!r}")
    return differences


def _provenance() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {name: versions.installed(name) for name in _RECORDED_PACKAGES},
        "git_revision": _git_revision(),
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
    }


def _git_revision() -> str | None:
    """The git revision of the checkout; None for an installed package."""
    command = ["git", "-C", str(pathlib.Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def origin_of(path: storage.Path, other: storage.Path, kind: OriginKind, step: int | None = None) -> Origin:
    """What the run `path` begins with: a checkpoint of the run `other`, where it has not begun yet.

    Without `step`, the newest whose files are as they were written; newer ones are named in a warning.

    Raises:
      FileNotFoundError: where there is no run `other`, or nothing has been saved in it yet. A run that goes on from
        checkpoints of its own does not need it any more.
      ValueError: where the run has begun otherwise.
    """
    other = pathlib.Path(other)
    if newest_step(pathlib.Path(path) / "checkpoints") is not None:
        recorded = open(path).origin
        if recorded is None or recorded.kind != kind or pathlib.Path(recorded.run).resolve() != other.resolve():
            began = "fresh parameters" if recorded is None else f"a {recorded.kind} of {recorded.run}"
            raise ValueError(f"{path} began with {began}, not with a {kind} of {other}; give another --workdir")
        if step not in (None, recorded.step):
            raise ValueError(f"{path} began with step {recorded.step} of {other}, not {step}; give another --workdir")
        return recorded
    if open(other).is_own:
        raise ValueError(f"{other} is a model of your own, which trains where it was made, not here")
    folder = other / "checkpoints"
    steps = sorted(saved_steps(folder), reverse=True)
    if not steps:
        raise FileNotFoundError(f"{other} has no checkpoint yet that another run could begin with")
    if step is not None and step not in steps:
        raise FileNotFoundError(f"{other} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}")
    damage: list[str] = []
    for candidate in steps if step is None else [step]:
        try:
            check_whole(folder, candidate, ("variables",) if kind == "warm_start" else ("variables", "training"))
        except DamagedCheckpointError as error:
            damage.append(f"{error}")
        else:
            if damage:
                warnings.warn(f"{'; '.join(damage)}; step {candidate} is taken instead", stacklevel=2)
            return Origin(str(other), candidate, kind)
    advice = f"; its parameters alone may be whole: --warm_start={other}" if kind == "fork" else ""
    raise DamagedCheckpointError(f"{'; '.join(damage)}{advice}")
