"""The images of a run's data, for what goes on from it."""

from seatbelt_jax import data, runs

# What training did not read.
UNSEEN = ("validation", "test")
SPLIT_HELP = "Data split: validation or test. Neither was used for training."


def splits_of(opened: runs.Run, image_range: tuple[float, float]) -> data.Splits:
    """A run's data, which are still those it was made with.

    Raises:
      ValueError: where they have changed since; and as `data.load`.
    """
    splits = data.load(opened.config["data"], image_range)
    opened.check_data(splits.record)
    return splits


def unseen(opened: runs.Run, image_range: tuple[float, float], split: str) -> data.Dataset:
    """One of `UNSEEN`; raises as `splits_of` and `unseen_of`."""
    return unseen_of(splits_of(opened, image_range), split)


def unseen_of(splits: data.Splits, split: str) -> data.Dataset:
    """One of `UNSEEN`, which options have checked; raises ValueError for test images where there are none."""
    images = splits.validation if split == "validation" else splits.test
    if images is None:
        raise ValueError(f"{splits.train.name} has no test images; take those of --split=validation")
    return images
