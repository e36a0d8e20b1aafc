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
import functools
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args

import jax

from seatbelt_jax import models, storage
from seatbelt_jax.runs import model_name, own_model
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.runs.layout import newest_step
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
    "data?": {"*": {"size?": int, "digest?": (str, type(None))}},
    "origin?": (dict, type(None)),
}
_ORIGIN = {"run": str, "step": int, "kind": str}
# Larger ones would fill the memory before a checkpoint is found to be of another architecture.
_LARGEST_SIDE, _LARGEST_WIDTH, _MOST_LAYERS = 2**14, 2**20, 1000


OriginKind = Literal["fork", "warm_start"]


@dataclasses.dataclass(frozen=True)
class Origin:
    """The checkpoint of another run from which a run starts.

    Attributes:
      run: the other run's directory.
      step: of the checkpoint.
      kind: "fork" takes everything and continues from that step; "warm_start" takes the variables only and starts at
        step 0.
    """

    run: str
    step: int
    kind: OriginKind


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
      allow: functions, as module:function, that may be imported to build a model that is not this package's.
    """

    path: pathlib.Path
    config: Mapping[str, Any]
    image_shape: tuple[int, int, int]
    provenance: Mapping[str, Any]
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    origin: Origin | None = None
    allow: Collection[str] = ()

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_own(self) -> bool:
        """Whether the model is one of the user's own (`save`), not one of a configuration."""
        return "build" in self.config["model"]

    @functools.cached_property
    def model(self) -> models.Model | own_model.OwnModel:
        """The model without parameters; raises ValueError where it is the user's own and not allowed."""
        if self.is_own:
            return own_model.open_model(self.path, self.config["model"], self.image_shape, self.allow)
        return models.build(self.config["model"], self.image_shape)

    @property
    def image_range(self) -> tuple[float, float]:
        """What black and white are, known without the model's code."""
        section = self.config["model"]
        low, high = section["image_range"] if self.is_own else models.make_likelihood(section).image_range
        return low, high

    @property
    def kind(self) -> str:
        """The field's name of the model; raises ValueError where config.json lacks what it is made of."""
        try:
            return model_name.described(self.config)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path / 'config.json'} lacks {error}; it is damaged or of another program"
            ) from error

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
        changes = []
        for name, before in self.data.items() if found else ():
            after = found.get(name, {})
            if before.get("size") != after.get("size"):
                changes.append(f"{name} had {before.get('size')} images and has {after.get('size', 'none')}")
            elif before.get("digest") != after.get("digest"):
                changes.append(f"{name} has as many images, {before.get('size')}, but others or in another order")
        return changes

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


def open(path: storage.Path, *, allow: str | Collection[str] = ()) -> Run:
    """Opens a run directory.

    Args:
      path: of the directory.
      allow: functions, as module:function, that may be imported to build a model of the user's own. To import a
        function runs the code of its module: name only those that you trust.

    Raises:
      FileNotFoundError: where there is no run.
      ValueError: where its config.json is damaged or lacks something.
    """
    path, allow = pathlib.Path(path), (allow,) if isinstance(allow, str) else tuple(allow)
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
    if "build" in record["config"]["model"]:
        check(record["config"]["model"], own_model.SCHEMA, f"{file}: model")
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
    return Run(path, record["config"], shape, record["provenance"], record.get("data", {}), origin, allow)
