"""Prepares a data set of TensorFlow Datasets."""

import shlex
import sys

from seatbelt_jax.data import preparing, tfds_source


def prepare(name: str, data_dir: str | None, manual_dir: str | None) -> None:
    """Prepares the data set if it is not, and says where it is and how to train on it."""
    if name in tfds_source.EMBEDDED:
        print(f"{name} needs no preparation")
        return
    done = preparing.prepare_data_set(name, data_dir=data_dir, manual_dir=manual_dir, progress=sys.stderr.isatty())
    sizes = ", ".join(f"{size:,} {split}" for split, size in done.sizes.items())
    print(f"{name} is prepared {'already, nothing was done' if done.existed else 'now'}: {sizes} images in {done.path}")
    given = f" --config.data.data_dir={shlex.quote(data_dir)}" if data_dir else ""
    print(f"to train on it: --config.data.name={name}{given}")
    for folder in done.leftovers:
        print(
            f"left by an interrupted preparation: {folder}; no command reads it, and it can be removed unless a "
            "preparation is running"
        )
