"""Trains, attacks, certifies and evaluates a grid of models: seatbelt sweep --sweep=NAME

Each cell of the grid is a run in runs/sweeps/NAME/, for the other commands as any other run; sweep.csv there has one
row for each. What is done is not done again: interrupted, changed or with more cells, the same command goes on.
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from seatbelt_jax.studies import cells
from seatbelt_jax.studies.executors import EXECUTORS
from seatbelt_jax.studies.sweep import sweep


def define_flags() -> None:
    config_flags.DEFINE_config_file(
        "sweep",
        None,
        "Sweep: a name such as w21_small, or the path of a file. --sweep.SECTION.FIELD=VALUE changes one field.",
        lock_config=True,
    )
    flags.DEFINE_string("workdir", None, "Folder for the runs. Default: runs/sweeps/NAME, after the sweep.")
    flags.DEFINE_list("cells", ["*"], "Names of the cells to work on; the wildcards * and ? are allowed.")
    flags.DEFINE_string("shard", None, "i/n: work on part i of n of the cells, one part per machine.")
    where = "serial: one after the other; processes: several on this machine; ray: on a ray cluster."
    flags.DEFINE_enum("executor", "serial", list(EXECUTORS), f"Where cells are worked on. {where}")
    flags.DEFINE_integer(
        "workers", 0, "Groups of cells at a time (processes, ray); 0 for as many as there are cores.", lower_bound=0
    )
    flags.mark_flag_as_required("sweep")


def main() -> None:
    name = pathlib.Path(config_flags.get_config_filename(flags.FLAGS["sweep"])).stem
    found = cells.parse(flags.FLAGS.sweep.to_dict())
    folder = pathlib.Path(flags.FLAGS.workdir or f"runs/sweeps/{name}")
    file = sweep(found, folder, flags.FLAGS.shard, flags.FLAGS.cells, flags.FLAGS.executor, flags.FLAGS.workers)
    print(f"{file}: {len(file.read_text().splitlines()) - 1} cells")
