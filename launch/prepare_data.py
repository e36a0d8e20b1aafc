"""Prepares a data set once: python launch/prepare_data.py --dataset=mnist

Downloads a data set of TensorFlow Datasets, or takes its original files from --manual_dir, and writes it for reading
in random order. This alone needs TensorFlow: pip install -e '.[prepare]'. See docs/data.md.
"""

import cli

import shlex
import sys

from absl import flags

from seatbelt_jax.data import preparing, tfds_source


def define_flags() -> None:
    flags.DEFINE_string(
        "dataset", None, "Name of the data set in TensorFlow Datasets: mnist, fashion_mnist, cifar10, celeb_a, ..."
    )
    flags.DEFINE_string(
        "manual_dir",
        None,
        "Folder that holds the original files under their original names. Nothing is downloaded then.",
    )
    flags.DEFINE_string("data_dir", None, "Folder for the prepared data. Default: ~/tensorflow_datasets.")
    flags.mark_flag_as_required("dataset")


def main() -> None:
    prepare(flags.FLAGS.dataset, flags.FLAGS.data_dir, flags.FLAGS.manual_dir)


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


if __name__ == "__main__":
    define_flags()
    cli.start(main)
