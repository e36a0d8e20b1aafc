"""Attacks a trained run: python launch/attack.py --run=runs/NAME

Latent KL attacks on all layers, every pair of validation images under every penalty of
2^-20 .. 2^20; writes attacks/latent_kl.npz and .csv into the run.
"""

import pathlib

import cli
import numpy as np
from absl import flags

from seatbelt_jax import attacks, data, metrics, run, storage

NAME = "latent_kl"


def define_flags() -> None:
    flags.DEFINE_string("run", None, "The run directory.", required=True)
    flags.DEFINE_integer("pairs", 10, "Pairs of validation images, no image twice.", lower_bound=1)
    flags.DEFINE_integer("penalties", 50, "Penalties between 2^-20 and 2^20, geometric.", lower_bound=1)
    flags.DEFINE_integer("iterations", 200, "Iterations of L-BFGS-B per attack.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Which pairs.", lower_bound=0)
    flags.DEFINE_integer("lanes_at_once", 32, "Attacks held on the device together.", lower_bound=1)


def main() -> None:
    attack(
        flags.FLAGS.run,
        pairs=flags.FLAGS.pairs,
        penalties=flags.FLAGS.penalties,
        iterations=flags.FLAGS.iterations,
        seed=flags.FLAGS.seed,
        lanes_at_once=flags.FLAGS.lanes_at_once,
    )


def attack(
    path: str | pathlib.Path, *, pairs: int, penalties: int, iterations: int, seed: int, lanes_at_once: int
) -> None:
    """Attacks the model of a run and writes what it finds into the run."""
    opened = run.open(path)
    # Before the work: a training that goes on meanwhile must not put its later step on these results.
    step = opened.latest_step
    vae = opened.load_vae(step)
    images = data.load(opened.config["data"], vae.likelihood.image_range).validation
    chosen = attacks.random_pairs(pairs, images.size, seed=seed)
    result = attacks.sweep(
        vae,
        np.asarray(images.images(chosen[:, 0])),
        np.asarray(images.images(chosen[:, 1])),
        penalties=attacks.penalty_grid(penalties),
        maxiter=iterations,
        lanes_at_once=lanes_at_once,
        progress=True,
    )
    numbers = {"source_index": chosen[:, 0], "target_index": chosen[:, 1], "step": step}
    base = opened.path / "attacks" / NAME
    storage.write_npz(base.with_suffix(".npz"), {**result.to_arrays(), **numbers})
    indexed = [
        {"source_index": chosen[row["pair"], 0], "target_index": chosen[row["pair"], 1], **row} for row in result.rows()
    ]
    storage.write_csv(base.with_suffix(".csv"), indexed)
    summary = metrics.summarise(result)
    print(
        f"{opened.path}: {summary['attacks']:.0f} attacks, median Delta "
        f"{summary['median_objective_nats']:.4g} nats, median ||d|| {summary['median_distortion_l2']:.3g}; "
        f"{base.with_suffix('.npz')}"
    )


if __name__ == "__main__":
    define_flags()
    cli.start(main)
