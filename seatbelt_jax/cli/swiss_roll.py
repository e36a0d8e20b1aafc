"""Figure A.7 of Willetts et al. 2021: seatbelt swiss-roll

Trains a VAE, and a beta-VAE and a beta-TCVAE each at beta 8, 32 and 128, all with two latents, on the Swiss roll.
Each is a run of its own under --workdir; there too come swiss_roll.png, their aggregate posteriors and
reconstructions, and measures.csv. Interrupted and started again, it goes on where it was.
"""

import pathlib
import time

from absl import flags

from seatbelt_jax.studies.papers.swiss_roll import BETAS, experiments, reproduce, table


def define_flags() -> None:
    flags.DEFINE_string("workdir", "runs/swiss_roll", "Folder for the seven runs, the figure and the measures.")


def main() -> None:
    began = time.perf_counter()
    root = pathlib.Path(flags.FLAGS.workdir)
    rows = reproduce(experiments(BETAS), root)
    print(f"\n{table(rows)}\n")
    print(f"{time.perf_counter() - began:.0f} s; the figure: {root / 'swiss_roll.png'}")
