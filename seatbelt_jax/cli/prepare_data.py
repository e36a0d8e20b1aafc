"""Prepares a data set once: seatbelt prepare-data --dataset=mnist

Downloads a data set of TensorFlow Datasets, or takes its original files from --manual_dir, and writes it for reading
in random order. This alone needs TensorFlow: pip install -e '.[prepare]'. See docs/data.md.
"""

from absl import flags

from seatbelt_jax.jobs import prepare_data


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
    prepare_data.prepare(flags.FLAGS.dataset, flags.FLAGS.data_dir, flags.FLAGS.manual_dir)
