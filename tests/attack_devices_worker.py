"""A sweep on eight virtual CPU devices, for tests/test_attack_sweep.py to compare with its own on one.

Run as `python -m tests.attack_devices_worker OUT.npz` with as many devices: how many there are is settled when JAX
starts.
"""

import pathlib
import sys

import jax
import numpy as np

from seatbelt_jax import attacks, storage
from tests.reference import linear_vae

DEVICES = 8


def sweep(**settings) -> attacks.AttackResult:
    """21 attacks, more than eight blocks of two take at once.

    Each has one optimum. Where there are several, rounding, which is not the same in every slot of a block, may decide
    between them.
    """
    sources, targets = np.random.default_rng(0).uniform(-0.2, 0.2, (2, 3, *linear_vae.SHAPE)).astype(np.float32)
    threat = attacks.Penalty(2.0 ** np.arange(-4.0, 3.0))
    return attacks.sweep(
        linear_vae.vae(), sources, targets, threat=threat, restarts=1, restart_std=0.3, lanes_at_once=2, **settings
    )


if __name__ == "__main__":
    if jax.local_device_count() != DEVICES:
        sys.exit(f"{jax.local_device_count()} devices; set XLA_FLAGS=--xla_force_host_platform_device_count={DEVICES}")
    storage.write_npz(pathlib.Path(sys.argv[1]), sweep().to_arrays())
