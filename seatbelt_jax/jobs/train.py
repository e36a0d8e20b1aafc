"""Trains a model in its run directory."""

import json
import pathlib
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from seatbelt_jax import data, models, plots, runs, sections, storage, training
from seatbelt_jax.runs import lock
from seatbelt_jax.runs.run import Origin
from seatbelt_jax.training import distributed


class Prepared(NamedTuple):
    """A run that only has to be trained: its configuration and its data are checked, its directory is there.

    Attributes:
      opened: the run, with the checkpoint of another one that it begins with.
      image_range: what black and white are.
    """

    opened: runs.Run
    model: models.Model
    splits: data.Splits
    settings: training.Settings
    image_range: tuple[float, float]

    def show(self, step: int, found: training.Evaluation) -> None:
        """Prints an evaluation, and writes its pictures into the run."""
        tqdm.write(
            f"step {step}: ELBO {found.metrics['elbo']:.1f} nats, "
            f"reconstruction error {found.metrics['reconstruction_error']:.2f} on validation images"
        )
        path, pictures = self.opened.path, found.pictures
        low, high = self.image_range
        storage.write_npz(path / "samples.npz", {**pictures, "step": step, "image_low": low, "image_high": high})
        grid = plots.image_grid(np.stack(list(pictures.values())), self.image_range)
        storage.write_bytes(path / "figures" / f"reconstructions_{step:08d}.png", grid)
        traversals = plots.image_grid(np.asarray(found.traversals), self.image_range)
        storage.write_bytes(path / "figures" / f"traversals_{step:08d}.png", traversals)


def train(config: dict, path: pathlib.Path, *, origin: Origin | None = None, profile: bool = False) -> None:
    """Trains `config` in the run directory `path`, from its newest checkpoint, else from `origin`."""
    if distributed.is_first():
        lock.check_free(path)
    opened, model, splits, settings, _ = prepared = prepare(config, path, origin=origin)
    training.train(model, splits, settings, path, origin=opened.origin, on_evaluation=prepared.show, profile=profile)


def prepare(config: dict, path: pathlib.Path, *, origin: Origin | None = None) -> Prepared:
    """Makes the run directory `path` for the training of `config`, or takes the one that is there.

    Raises:
      ValueError: for a configuration that makes no sense, or a directory of another one.
      FileNotFoundError: where the data are not there.
    """
    # Everything is checked before the first file is written.
    sections.check_sections(config)
    training.parse_settings(config)
    likelihood = models.make_likelihood(config["model"])
    splits = data.load(config["data"], likelihood.image_range)
    config = _with_batch_size(config, splits.train.size)
    settings = training.parse_settings(config)
    data.check_batch_size(settings.train.batch_size, splits.train)
    training.check_divisible(settings.train.batch_size)
    model = models.build(config["model"], splits.train.image_shape)
    training.check_layers(settings.objective, len(model.latent_sizes))
    notes = training.unreachable_capacities(settings.objective, model.largest_kl)
    distributed.check_same(
        {
            "configuration": json.dumps(config),
            "data": json.dumps(splits.record),
            "run directory": str(path.resolve()),
            "run to begin with": str(origin),
            "version of JAX": jax.__version__,
        }
    )
    if origin is not None and runs.newest_step(path / "checkpoints") is None:
        _check_steps_left(origin, settings.train.steps)
        notes = [*notes, *_other_data(runs.open(origin.run), config, splits)]
    if distributed.is_first():
        runs.prepare(path, config, splits.train.image_shape, splits.record, origin, {"data": data.DEFAULTS})
    distributed.wait_for_all("the run directory is prepared")
    opened = runs.open(path)
    state = f"goes on from step {opened.latest_step}" if opened.latest_step else "starts"
    if opened.latest_step is None and opened.origin is not None:
        words = {"fork": "goes on from step {0.step} of {0.run}", "warm_start": "starts with the parameters of {0.run}"}
        state = words[opened.origin.kind].format(opened.origin)
    if opened.latest_step == settings.train.steps:
        state = "is trained"
    summary = (
        f"{path}: {splits.train.size} images of {splits.train.name}, "
        f"batches of {settings.train.batch_size}, latents {model.latent_sizes}; "
        f"{state} ({settings.train.steps} steps)"
    )
    for line in (summary, *notes) if distributed.is_first() else ():
        print(line)
    return Prepared(opened, model, splits, settings, likelihood.image_range)


def _with_batch_size(config: dict, images: int) -> dict:
    """The configuration with a batch size that fits the training images, where it leaves that to us."""
    if config["train"]["batch_size"] != 0:
        return config
    return config | {"train": config["train"] | {"batch_size": data.fitting_batch_size(images, jax.device_count())}}


def _check_steps_left(origin: Origin, steps: int) -> None:
    """A fork that takes no step would be its origin, under a configuration that is not its own."""
    if origin.kind == "fork" and origin.step >= steps:
        raise ValueError(
            f"a fork of {origin.run} goes on from step {origin.step}, which leaves nothing of train.steps {steps}; "
            f"give --config.train.steps of more than {origin.step}, or --warm_start={origin.run} to begin at step 0"
        )


def _other_data(other: runs.Run, config: dict, splits: data.Splits) -> list[str]:
    """A note where a run to begin with saw other images under the same name: more pictures since then, for example."""
    if other.config["data"].get("name") != config["data"]["name"] or not (changes := other.data_changes(splits.record)):
        return []
    return [f"beware: {other.path} may have trained on images that are held out here: {'; '.join(changes)}"]
