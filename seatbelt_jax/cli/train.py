"""Trains a model: seatbelt train --config=celeba_seatbelt

The same command again goes on from the newest checkpoint.
"""

import contextlib
import pathlib
from typing import get_args

from absl import flags
from ml_collections import config_flags

from seatbelt_jax import runs
from seatbelt_jax.jobs import train
from seatbelt_jax.runs.run import Origin, OriginKind
from seatbelt_jax.training import joined


def define_flags() -> None:
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Configuration: a name such as celeba_seatbelt, or a file; followed by :VARIANT if it has variants. "
        "--config.SECTION.FIELD=VALUE changes one field.",
        lock_config=True,
    )
    flags.DEFINE_string("workdir", None, "Run directory. Default: runs/NAME, after the configuration file.")
    flags.DEFINE_string(
        "fork", None, "Run whose newest checkpoint this run continues from, with its own --config and --workdir."
    )
    flags.DEFINE_string("warm_start", None, "Run whose newest parameters initialise this run, at step 0.")
    flags.DEFINE_integer(
        "from_step",
        None,
        "Step of the checkpoint that --fork or --warm_start takes. Default: the newest undamaged one.",
        0,
    )
    flags.DEFINE_bool(
        "profile", False, "Write a trace of a few steps to profile/ in the run, for TensorBoard or Perfetto."
    )
    flags.DEFINE_bool(
        "distributed",
        False,
        "Train together with other processes. Slurm, Kubernetes and TPU pods tell each process its number. See "
        "docs/scaling.md.",
    )
    flags.DEFINE_string(
        "coordinator_address",
        None,
        "Address HOST:PORT of process 0, such as node0:12345, where no cluster manager provides it.",
    )
    flags.DEFINE_integer("num_processes", None, "Number of processes; goes with --coordinator_address.")
    flags.DEFINE_integer("process_id", None, "Number of this process, from 0 on; goes with --coordinator_address.")
    flags.DEFINE_integer("join_timeout", 300, "Seconds to wait until all processes have joined.", lower_bound=1)
    flags.mark_flag_as_required("config")


def main() -> None:
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    path = pathlib.Path(flags.FLAGS.workdir or f"runs/{pathlib.Path(file).stem}")
    with _joined():
        train.train(flags.FLAGS.config.to_dict(), path, origin=_origin(path), profile=flags.FLAGS.profile)


def _joined() -> contextlib.AbstractContextManager[None]:
    """The other processes of this training, where there are any."""
    values = flags.FLAGS
    which = values.coordinator_address, values.num_processes, values.process_id
    if not values.distributed and which == (None, None, None):
        return contextlib.nullcontext()
    return joined(*which, timeout=values.join_timeout)


def _origin(path: pathlib.Path) -> Origin | None:
    if flags.FLAGS.fork and flags.FLAGS.warm_start:
        raise ValueError("--fork and --warm_start exclude each other: a run begins with one other run's checkpoint")
    for kind in get_args(OriginKind):
        if (other := flags.FLAGS[kind].value) is not None:
            if path.resolve() == pathlib.Path(other).resolve():
                raise ValueError(f"--{kind}={other} is the run directory itself; give another --workdir")
            return runs.origin_of(path, other, kind, flags.FLAGS.from_step)
    if flags.FLAGS.from_step is not None:
        raise ValueError("--from_step is the step of the run that --fork or --warm_start names; give one of them")
    return None
