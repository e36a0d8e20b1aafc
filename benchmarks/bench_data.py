"""Where batches come from, against what training takes.

    python -m benchmarks.bench_data [--images 20000] [--size 32] [--batch 256] [--steps 70]

Stored images as bytes: on the device (`data.place_on_device`), in memory on the host, and as PNG files that are decoded
when they are read. Images per second that each path delivers to the device as float32, and images per second of the
training step alone, of a small dense network and of the paper's convolutions (widths 32, 32, 64 at 32 x 32), on a batch
that is already there. A path is no bottleneck where it delivers more than the step takes.
"""

import argparse
import io
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from PIL import Image

from benchmarks.hardware import describe, write_results
from configs import sprites_vae
from seatbelt_jax import data, models, training
from seatbelt_jax.training.recipe import make_recipe
from seatbelt_jax.training.state import create
from seatbelt_jax.training.step import train_step


def datasets(number: int, size: int) -> dict[str, data.Dataset]:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, (number, size, size, 1)).astype(np.uint8)
    # Smooth images, which PNG packs as it does photographs and digits.
    table = np.cumsum(table // 64, axis=2).astype(np.uint8)

    def packed(image: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image[..., 0]).save(buffer, format="png")
        return buffer.getvalue()

    files = [packed(image) for image in table]

    def decoded(indices: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(Image.open(io.BytesIO(files[i])))[..., None] for i in indices])

    host = data.Dataset.from_pixels("host", number, (size, size, 1), lambda i: table[i], (-1.0, 1.0))
    return {
        "on the device": data.place_on_device(host, 1e6),
        "in memory on the host": host,
        "PNG, decoded when read": data.Dataset.from_pixels("png", number, (size, size, 1), decoded, (-1.0, 1.0)),
    }


def delivered(dataset: data.Dataset, batch: int, steps: int) -> float:
    """Images per second, as float32 on the device."""
    resident = dataset.resident
    images = jax.jit(dataset.from_batch)
    batches = iter(data.batches(dataset, batch_size=batch, seed=0, start=0, stop=steps + 5))
    for _ in range(5):
        jax.block_until_ready(images(next(batches), resident))
    start = time.perf_counter()
    for one in batches:
        latest = images(one, resident)
    jax.block_until_ready(latest)
    return batch * steps / (time.perf_counter() - start)


def taken(changes: dict[str, Any], size: int, batch: int, steps: int) -> float:
    """Images per second of the training step alone."""
    config = sprites_vae.get_config().to_dict()
    config["model"] |= changes
    model = models.build(config["model"], (size, size, 1))
    recipe = make_recipe(model, training.parse_settings(config), 60_000)
    state = create(recipe, jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (batch, size, size, 1), minval=-1.0)
    step: Callable = jax.jit(lambda s, x: train_step(s, x, jax.random.key(2), recipe=recipe)[0])
    state = jax.block_until_ready(step(state, images))
    start = time.perf_counter()
    for _ in range(steps):
        state = step(state, images)
    jax.block_until_ready(state)
    return batch * steps / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=70)
    args = parser.parse_args()
    print(describe(), flush=True)
    networks = {
        "dense 512, 512": {"network": "mlp", "widths": (512, 512)},
        "convolutions 32, 32, 64": {"network": "conv", "widths": (32, 32, 64)},
    }
    rows: list[dict[str, Any]] = []
    for name, changes in networks.items():
        steps = args.steps if "dense" in name else max(5, args.steps // 7)
        rows.append({"step": name, "images_per_second": taken(changes, args.size, args.batch, steps)})
        print(rows[-1], flush=True)
    fastest = max(row["images_per_second"] for row in rows)
    for name, dataset in datasets(args.images, args.size).items():
        rate = delivered(dataset, args.batch, args.steps)
        rows.append({"path": name, "images_per_second": rate, "times_the_fastest_step": rate / fastest})
        print(rows[-1], flush=True)
    print(write_results("data", rows, settings=vars(args)))


if __name__ == "__main__":
    main()
