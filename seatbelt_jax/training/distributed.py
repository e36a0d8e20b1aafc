"""Questions of one process of a training to all of them; for a single process all are free.

The processes run the same program on the same configuration (see `joining`), and all of them have to ask the same
things in the same order.
"""

import hashlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from seatbelt_jax.training.parallel import data_parallel, gather_rows


def is_first() -> bool:
    """Whether this process writes what only one may write."""
    return jax.process_index() == 0


def shard() -> tuple[int, int]:
    """(number, count): which part of each batch this process reads, for `data.batches`."""
    return jax.process_index(), jax.process_count()


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


class Vote:
    """`any_process` for every step: the answer is that of the call before, so that nobody waits for it."""

    def __init__(self) -> None:
        self._asked: jax.Array | None = None
        if jax.process_count() > 1:
            split, replicated = data_parallel()
            self._split = split
            self._any = jax.jit(jnp.any, out_shardings=replicated)

    def __call__(self, flag: bool) -> bool:
        """Whether the flag was set in any process the last time; for one process, whether it is now."""
        if jax.process_count() == 1:
            return flag
        before = self._asked
        self._asked = self._any(gather_rows(np.full(jax.local_device_count(), flag), self._split))
        return before is not None and bool(before)


def wait_for_all(name: str) -> None:
    """Returns once every process has come here; `name` says where that is."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def check_same(facts: Mapping[str, str]) -> None:
    """Compares what all processes have to agree on, the same names in the same order.

    Raises:
      ValueError: in every process; names the first fact that differs and the processes that have it otherwise than
        process 0.
    """
    if jax.process_count() == 1:
        return
    digests = np.stack([_digest(fact) for fact in facts.values()])
    gathered = multihost_utils.process_allgather(digests)
    for row, name in enumerate(facts):
        if others := np.flatnonzero(np.any(gathered[:, row] != gathered[0, row], axis=-1)).tolist():
            raise ValueError(
                f"the processes do not have the same {name}: processes {', '.join(map(str, others))} differ from "
                "process 0; give all of them the same command, code and data"
            )


def _digest(fact: str) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(fact.encode()).digest(), np.uint32)
