"""Images by number: embedded ones, local files, TensorFlow Datasets; and batches of them."""

from seatbelt_jax.data.dataset import Dataset, Splits
from seatbelt_jax.data.pipeline import batch_indices, batches, check_batch_size, fitting_batch_size
from seatbelt_jax.data.resident import place_on_device
from seatbelt_jax.data.sources import DEFAULTS, SOURCES, DataConfig, Request, Source, load, one_factor_pairs

__all__ = [
    "DEFAULTS",
    "SOURCES",
    "DataConfig",
    "Dataset",
    "Request",
    "Source",
    "Splits",
    "batch_indices",
    "batches",
    "check_batch_size",
    "fitting_batch_size",
    "load",
    "one_factor_pairs",
    "place_on_device",
]
