"""Where batches come from, against what training takes.

    python -m benchmarks.bench_data [--images 20000] [--size 32] [--batch 256] [--steps 70]

Stored images as bytes: on the device (`data.place_on_device`), in memory on the host, and in a folder of PNG files that
are decoded when they are read. Three kinds of rows, in images per second:

"step": the training step alone, on a batch that is already on the device, of a small dense network and of the paper's
convolutions (widths 32, 32, 64 at 32 x 32).

"path": reading alone, to float32 on the device. These flatter: while nothing else computes, the threads that read ahead
have all cores, and when the clock starts up to eight batches are already there.

"fed": the training step on batches of each path, as training has it, over as many batches that reading ahead has long
ceased to help. What a path costs is what is missing to the same step fed from the device.
"""

import argparse
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array
from PIL import Image

from benchmarks.hardware import describe, write_results
from configs import sprites_vae
from seatbelt_jax import data, models, training
from seatbelt_jax.training.recipe import make_recipe
from seatbelt_jax.training.state import TrainState, create
from seatbelt_jax.training.step import train_step

NETWORKS = {
    "dense 512, 512": {"network": "mlp", "widths": (512, 512)},
    "convolutions 32, 32, 64": {"network": "conv", "widths": (32, 32, 64)},
}
ON_DEVICE, IN_MEMORY, IN_FOLDER = "on the device", "in memory on the host", "a folder of PNG files"
# Steps before the clock starts: compilation, and what was read ahead.
_WARM_UP = 10


def datasets(folder: pathlib.Path, number: int, size: int) -> dict[str, data.Dataset]:
    """The same images on each path; the files are written into `folder`."""
    rng = np.random.default_rng(0)
    # Smooth images, which PNG packs as it does photographs and digits.
    table = np.cumsum(rng.integers(0, 4, (number, size, size, 1)), axis=2).astype(np.uint8)
    for place, image in enumerate(table):
        Image.fromarray(image[..., 0]).save(folder / f"{place:08}.png")
    host = data.Dataset.from_pixels("host", number, (size, size, 1), lambda i: table[i], (-1.0, 1.0))
    files = data.load({"name": f"folder:{folder}", "image_size": size}, (-1.0, 1.0)).train
    return {ON_DEVICE: data.place_on_device(host, 1e6), IN_MEMORY: host, IN_FOLDER: files}


class Trainer(NamedTuple):
    """A training step and where it starts.

    Attributes:
      start: the state of a model that has not been trained.
      step: (state, images) -> state.
    """

    start: TrainState
    step: Callable[[TrainState, Array], TrainState]


def trainer(changes: dict[str, Any], size: int) -> Trainer:
    config = sprites_vae.get_config().to_dict()
    config["model"] |= changes
    model = models.build(config["model"], (size, size, 1))
    recipe = make_recipe(model, training.parse_settings(config), 60_000)
    return Trainer(
        create(recipe, jax.random.key(0)),
        lambda state, images: train_step(state, images, jax.random.key(2), recipe=recipe)[0],
    )


def delivered(dataset: data.Dataset, batch: int, steps: int) -> float:
    """Images per second, as float32 on the device."""
    images = jax.jit(dataset.from_batch)
    batches = _batches(dataset, batch, steps)
    for _ in range(_WARM_UP):
        jax.block_until_ready(images(next(batches), dataset.resident))
    start = time.perf_counter()
    for one in batches:
        latest = images(one, dataset.resident)
    jax.block_until_ready(latest)
    return batch * steps / (time.perf_counter() - start)


def taken(trainer: Trainer, size: int, batch: int, steps: int) -> float:
    """Images per second of the training step alone."""
    images = jax.random.uniform(jax.random.key(1), (batch, size, size, 1), minval=-1.0)
    step = jax.jit(trainer.step)
    state = jax.block_until_ready(step(trainer.start, images))
    start = time.perf_counter()
    for _ in range(steps):
        state = step(state, images)
    jax.block_until_ready(state)
    return batch * steps / (time.perf_counter() - start)


def fed(trainer: Trainer, dataset: data.Dataset, batch: int, steps: int) -> float:
    """Images per second of the training step with the batches of a data set."""

    @jax.jit
    def step(state: TrainState, one: Array, resident: Array | None) -> TrainState:
        return trainer.step(state, dataset.from_batch(one, resident))

    batches = _batches(dataset, batch, steps)
    state = trainer.start
    for _ in range(_WARM_UP):
        state = jax.block_until_ready(step(state, next(batches), dataset.resident))
    start = time.perf_counter()
    for one in batches:
        state = step(state, one, dataset.resident)
    jax.block_until_ready(state)
    return batch * steps / (time.perf_counter() - start)


def _batches(dataset: data.Dataset, batch: int, steps: int) -> Iterator:
    return iter(data.batches(dataset, batch_size=batch, seed=0, start=0, stop=_WARM_UP + steps))


def rows(number: int, size: int, batch: int, steps: int) -> Iterator[dict[str, Any]]:
    trainers = {name: trainer(changes, size) for name, changes in NETWORKS.items()}
    # Convolutions take much longer, but fewer steps than these would be of batches read before the clock starts.
    steps_of = {name: steps if "dense" in name else max(2, steps // 2) for name in NETWORKS}
    fastest = 0.0
    for name, one in trainers.items():
        rate = taken(one, size, batch, steps_of[name])
        fastest = max(fastest, rate)
        yield {"step": name, "images_per_second": rate}
    with tempfile.TemporaryDirectory() as folder:
        paths = datasets(pathlib.Path(folder), number, size)
        for path, dataset in paths.items():
            rate = delivered(dataset, batch, steps)
            yield {"path": path, "images_per_second": rate, "times_the_fastest_step": rate / fastest}
        for name, one in trainers.items():
            rates: dict[str, float] = {}
            for path, dataset in paths.items():
                rates[path] = fed(one, dataset, batch, steps_of[name])
                share = rates[path] / rates[ON_DEVICE]
                yield {"fed": path, "step": name, "images_per_second": rates[path], "times_the_device_path": share}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=70)
    args = parser.parse_args()
    print(describe(), flush=True)
    found: list[dict[str, Any]] = []
    for row in rows(args.images, args.size, args.batch, args.steps):
        found.append(row)
        print(row, flush=True)
    print(write_results("data", found, settings=vars(args)))


if __name__ == "__main__":
    main()
