"""Run directories: layout, checkpoints, lock, provenance and summary of one model each.

`open(path).summary()` shows an overview; `seatbelt_jax.runs.checkpoint` alone imports orbax.
"""

from seatbelt_jax.runs.checkpoint import newest_step
from seatbelt_jax.runs.run import Run, configuration_changes, open, origin_of, prepare

__all__ = ["Run", "configuration_changes", "newest_step", "open", "origin_of", "prepare"]
