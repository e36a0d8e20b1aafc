"""Trains a model: python launch/train.py --config=configs/celeba_seatbelt.py

The same command again goes on from the newest checkpoint.
"""

import contextlib
import json
import pathlib

import cli
import numpy as np
from absl import flags
from ml_collections import config_flags
from tqdm import tqdm

from seatbelt_jax import data, models, plots, run, storage, training
from seatbelt_jax.training import distributed


def define_flags() -> None:
    config_flags.DEFINE_config_file(
        "config",
        None,
        "The experiment: a file of configs/, with :VARIANT where it has variants; any of its fields can be changed by "
        "--config.SECTION.FIELD=VALUE.",
        lock_config=True,
    )
    flags.DEFINE_string("workdir", None, "The run directory; by default runs/ and the name of the config.")
    flags.DEFINE_bool(
        "distributed",
        False,
        "One of several processes that train together, which one is found out: under Slurm, on Kubernetes and TPU "
        "pods. See docs/scaling.md.",
    )
    flags.DEFINE_string(
        "coordinator_address", None, "The same where nothing tells: HOST:PORT of process 0, as node0:12345."
    )
    flags.DEFINE_integer("num_processes", None, "With --coordinator_address: how many processes there are.")
    flags.DEFINE_integer("process_id", None, "With --coordinator_address: which of them this is, from 0.")
    flags.DEFINE_integer("join_timeout", 300, "Seconds to wait until all processes are there.", lower_bound=1)
    flags.mark_flag_as_required("config")


def main() -> None:
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    path = flags.FLAGS.workdir or f"runs/{pathlib.Path(file).stem}"
    with _joined():
        train(flags.FLAGS.config.to_dict(), pathlib.Path(path))


def _joined() -> contextlib.AbstractContextManager[None]:
    """The other processes of this training, where there are any."""
    values = flags.FLAGS
    which = values.coordinator_address, values.num_processes, values.process_id
    if not values.distributed and which == (None, None, None):
        return contextlib.nullcontext()
    return training.joined(*which, timeout=values.join_timeout)


def train(config: dict, path: pathlib.Path) -> None:
    """Trains `config` in the run directory `path`, from its newest checkpoint where there is one."""
    # Everything is checked before the first file is written.
    settings = training.parse_settings(config)
    likelihood = models.make_likelihood(config["model"])
    splits = data.load(config["data"], likelihood.image_range)
    data.check_batch_size(settings.train.batch_size, splits.train)
    training.check_divisible(settings.train.batch_size)
    model = models.build(config["model"], splits.train.image_shape)
    training.check_layers(settings.objective, len(model.latent_sizes))
    notes = training.unreachable_capacities(settings.objective, model.largest_kl)
    distributed.check_same(
        {"configuration": json.dumps(config), "data": json.dumps(splits.record), "run directory": str(path)}
    )
    if distributed.is_first():
        run.prepare(path, config, splits.train.image_shape, splits.record)
    distributed.wait_for_all("the run directory is prepared")
    opened = run.open(path)
    state = f"goes on from step {opened.latest_step}" if opened.latest_step else "starts"
    if opened.latest_step == settings.train.steps:
        state = "is trained"
    summary = (
        f"{path}: {splits.train.size} images of {splits.train.name}, latents {model.latent_sizes}; "
        f"{state} ({settings.train.steps} steps)"
    )
    for line in (summary, *notes) if distributed.is_first() else ():
        print(line)

    def show(step: int, found: training.Evaluation) -> None:
        tqdm.write(
            f"step {step}: ELBO {found.metrics['elbo']:.1f} nats, "
            f"reconstruction error {found.metrics['reconstruction_error']:.2f} on validation images"
        )
        pictures = found.pictures
        low, high = likelihood.image_range
        storage.write_npz(path / "samples.npz", {**pictures, "step": step, "image_low": low, "image_high": high})
        grid = plots.image_grid(np.stack(list(pictures.values())), likelihood.image_range)
        storage.write_bytes(path / "figures" / f"reconstructions_{step:08d}.png", grid)

    training.train(model, splits, settings, opened.path, on_evaluation=show)


if __name__ == "__main__":
    define_flags()
    cli.start(main)
