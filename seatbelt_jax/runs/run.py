"""A run directory: the resolved configuration, checkpoints, metrics and results of one model.

runs/NAME/
  config.json            configuration, image shape, sizes and digests of the data, origin, versions, revision, device
  checkpoints/           orbax
  metrics.jsonl, events/ learning curves
  samples.npz            validation images, reconstructions and samples, the newest
  attacks/, certificates/, figures/, report.html; certificates_test/, figures_test/ of test images

`open(path).summary()` shows an overview.
"""

import dataclasses
import datetime
import pathlib
import subprocess
import warnings
from collections.abc import Mapping
from typing import Any, get_args

import jax

from seatbelt_jax import models, storage, versions
from seatbelt_jax.runs import lock
from seatbelt_jax.runs.checkpoint import (
    Checkpoints,
    DamagedCheckpointError,
    Origin,
    OriginKind,
    check_whole,
    newest_step,
    saved_steps,
)
from seatbelt_jax.runs.summary import Summary, summarise
from seatbelt_jax.untrusted import check
from seatbelt_jax.vae import VAE

_NUMBER = (int, float)
_SCHEMA = {
    "config": {
        "seed?": int,
        "data": {"name?": str},
        "model": {
            "latent_sizes?": [int],
            "decoder_reads?": str,
            "network?": str,
            "widths?": [int],
            "feature_size?": int,
            "hidden_sizes?": [int],
            "batch_norm?": bool,
            "likelihood?": str,
            "likelihood_std?": _NUMBER,
            "discrete_sizes?": [int],
            "temperature?": _NUMBER,
            "posterior_std?": _NUMBER,
            "posterior_std_offset?": _NUMBER,
            "compute_dtype?": str,
        },
        "objective?": {"beta?": _NUMBER, "penalty?": str, "estimator?": str},
        "optimizer?": {},
        "train?": {"steps?": int},
        "discriminator?": {},
    },
    "image_shape": [int],
    "provenance": {"versions?": {}},
    "data?": {"*": {"size?": int, "digest?": str}},
    "origin?": (dict, type(None)),
}
_ORIGIN = {"run": str, "step": int, "kind": str}
# Larger ones would fill the memory before a checkpoint is found to be of another architecture.
_LARGEST_SIDE, _LARGEST_WIDTH, _MOST_LAYERS = 2**14, 2**20, 1000

_RECORDED_PACKAGES = ("seatbelt-jax", "jax", "jaxlib", "flax", "optax", "jaxopt", "orbax-checkpoint", "numpy")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run on disk.

    Attributes:
      path: its directory.
      config: its configuration.
      image_shape: (height, width, channels).
      provenance: versions, git revision, device and date.
      data: size and digest of each part when the run was made; empty in runs without this record.
      origin: the checkpoint of another run that it started from; None for fresh parameters.
    """

    path: pathlib.Path
    config: Mapping[str, Any]
    image_shape: tuple[int, int, int]
    provenance: Mapping[str, Any]
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    origin: Origin | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def model(self) -> models.Model:
        return models.build(self.config["model"], self.image_shape)

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, None before the first."""
        return newest_step(self.path / "checkpoints")

    def summary(self) -> Summary:
        """An overview of the run, printed as a short table: its model, metrics, attacks, certificates and files.

        Missing results are named with the command that makes them.

        Raises:
          ValueError: where something in the run is damaged, naming the file.
        """
        return summarise(self)

    def data_changes(self, found: Mapping[str, Any]) -> list[str]:
        """What of each part of the data differs from what the run was made with; see `check_data`."""
        return _data_changes(self.data, found)

    def check_data(self, found: Mapping[str, Any]) -> None:
        """Refuses data other than those of the run, whose held-out images may be among the run's training images.

        Parts without a record in the run are accepted.

        Args:
          found: `data.Splits.record` of the data opened now.

        Raises:
          ValueError: names the recorded and the present state of each part that differs.
        """
        if changes := self.data_changes(found):
            raise ValueError(
                f"the data of {self.path} are not what they were when it was made: {'; '.join(changes)}; put them back "
                "as they were, or train on these in another --workdir"
            )

    def load_vae(self, step: int | None = None) -> VAE:
        """The model with the parameters of the checkpoint of `step`, the newest by default.

        Raises the errors of `load_variables`.
        """
        return self.model.bind(self.load_variables(step))

    def load_variables(self, step: int | None = None) -> models.Variables:
        """The parameters of the checkpoint of `step`, the newest by default.

        Raises:
          FileNotFoundError: where nothing has been saved yet.
          ValueError: where the checkpoint is of another architecture than config.json says.
        """
        step = self.latest_step if step is None else step
        if step is None:
            raise FileNotFoundError(
                f"{self.path} has no checkpoint yet; train it first: seatbelt train --config=... --workdir={self.path}"
            )
        expected = jax.eval_shape(self.model.init, jax.random.key(0))
        with Checkpoints(self.path / "checkpoints") as checkpoints:
            return checkpoints.load_variables(step, expected)


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
    open(other)
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
    config = _plain(config)
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


def open(path: storage.Path) -> Run:
    """Opens a run directory.

    Raises:
      FileNotFoundError: where there is no run.
      ValueError: where its config.json is damaged or lacks something.
    """
    path = pathlib.Path(path)
    file = path / "config.json"
    if not file.is_file():
        what = "is empty or not a run directory (it has no config.json)" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}; runs are made by `seatbelt train`")
    record = storage.read_json(file)
    check(record, _SCHEMA, f"{file}")
    if missing := [name for name in ("data", "model") if not record["config"][name]]:
        raise ValueError(f"the configuration in {file} lacks {', '.join(missing)}; it is damaged")
    shape = tuple(record["image_shape"])
    if len(shape) != 3 or not all(1 <= side <= _LARGEST_SIDE for side in shape):
        raise ValueError(f"{file}: image_shape must be height, width and channels, got {shape[:4]}; it is damaged")
    for name, value in record["config"]["model"].items():
        sizes = value if isinstance(value, list) else [value] if isinstance(value, int) else []
        if len(sizes) > _MOST_LAYERS or max(sizes, default=0) > _LARGEST_WIDTH:
            raise ValueError(f"{file}: model.{name} is larger than any that can be trained; it is damaged")
    origin = None
    if record.get("origin"):
        check(record["origin"], _ORIGIN, f"{file}: origin")
        kind, step = record["origin"]["kind"], record["origin"]["step"]
        if set(record["origin"]) != set(_ORIGIN) or kind not in get_args(OriginKind) or step < 0:
            raise ValueError(f"{file}: origin is no checkpoint of another run; it is damaged")
        origin = Origin(**record["origin"])
    return Run(path, record["config"], shape, record["provenance"], _mapping(record.get("data")), origin)


def _is_stale(entry: pathlib.Path) -> bool:
    """Whether a training leaves it that was killed before it wrote anything."""
    return entry.name == lock.NAME or entry.name.startswith(".config.json.")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _plain(value: Any) -> Any:
    """What JSON gives back: dicts, and lists for tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value


def configuration_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> list[str]:
    """Describes the differences between two configurations.

    Args:
      old, new: the configurations.
      defaults: section -> field -> the value assumed for a configuration without the field, such as an older one.
    """
    meant = _plain(defaults or {})
    return _differences(_with_defaults(_plain(old), meant), _with_defaults(_plain(new), meant))


def _with_defaults(config: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    filled = {name: {**fields, **_mapping(config.get(name))} for name, fields in defaults.items() if name in config}
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


def _data_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    changes = []
    for name in old if new else ():
        before, after = _mapping(old[name]), _mapping(new.get(name))
        if before.get("size") != after.get("size"):
            changes.append(f"{name} had {before.get('size')} images and has {after.get('size', 'none')}")
        elif before.get("digest") != after.get("digest"):
            changes.append(f"{name} has as many images, {before.get('size')}, but others or in another order")
    return changes


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
