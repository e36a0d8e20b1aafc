"""The images of a run's data, for launchers that go on from it."""

from seatbelt_jax import data, run


def splits_of(opened: run.Run, image_range: tuple[float, float]) -> data.Splits:
    """A run's data, which are still those it was made with.

    Raises:
      ValueError: where they have changed since; and as `data.load`.
    """
    splits = data.load(opened.config["data"], image_range)
    opened.check_data(splits.record)
    return splits
