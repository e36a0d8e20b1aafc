"""Run directories: layout, checkpoints, lock, provenance and summary of one model each.

`open(path).summary()` shows an overview; `seatbelt_jax.runs.checkpoint` alone imports orbax.
"""

from seatbelt_jax.runs.layout import newest_step
from seatbelt_jax.runs.preparing import configuration_changes, origin_of, prepare
from seatbelt_jax.runs.run import Origin, Run, open
from seatbelt_jax.runs.saving import save

__all__ = ["Origin", "Run", "configuration_changes", "newest_step", "open", "origin_of", "prepare", "save"]
