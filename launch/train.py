"""Trains a model: python launch/train.py --config=configs/celeba_seatbelt.py

The same command again goes on from the newest checkpoint.
"""

import pathlib

import cli
from absl import flags
from ml_collections import config_flags

from seatbelt_jax import data, models, run, training

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's directory; runs/NAME of the config by default.")
flags.mark_flag_as_required("config")


def main() -> None:
    config = _CONFIG.value.to_dict()
    name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    train(config, pathlib.Path(_WORKDIR.value or f"runs/{name}"))


def train(config: dict, path: pathlib.Path) -> None:
    """Trains `config` in the run directory `path`, from its newest checkpoint where there is one."""
    likelihood = models.make_likelihood(config["model"])
    splits = data.load(config["data"], likelihood.image_range)
    model = models.build(config["model"], splits.train.image_shape)
    opened = run.prepare(path, config, splits.train.image_shape)
    print(f"{path}: {splits.train.size} images of {splits.train.name}, latents {model.latent_sizes}")

    def show(step: int, found: training.Evaluation) -> None:
        pass

    training.train(model, splits, config, opened.path, on_evaluation=show)


if __name__ == "__main__":
    cli.start(main)
