"""The whole story in a few minutes: seatbelt demo (or: make demo)

Trains a Seatbelt-VAE and a plain VAE on large upright sprites, attacks and certifies both, and leaves
runs/demo/report.html. Interrupted and started again, it goes on where it was.
"""

import pathlib
import time

from seatbelt_jax import configurations
from seatbelt_jax.jobs import attack, certify, train
from seatbelt_jax.report import build, demo_summary

ROOT = pathlib.Path("runs/demo")
MODELS = {"seatbelt": "sprites_seatbelt", "vae": "sprites_vae"}
# From a penalty under which every attack reaches its target to one under which hardly any moves. The targets are of
# another shape, so that a picture tells whether an attack has won.
ATTACK = attack.Options(budgets=tuple(2.0**power for power in range(-4, 11)), iterations=500, pairs_by="label")
# Each model takes the methods that its depth has: one of first order for each depth, and the sound ones.
CERTIFICATES = certify.Options(
    methods=("hierarchical", "spectral", "hybrid"), images=10, radius=4.0, samples=500, minimal_radius=False
)


def define_flags() -> None:
    """The demo has none."""


def main() -> None:
    began = time.perf_counter()
    runs = {name: ROOT / name for name in MODELS}
    for name, config in MODELS.items():
        train.train(configurations.load(config, "demo").to_dict(), runs[name])
        attack.attack(runs[name], ATTACK)
    certify.certify([*runs.values()], CERTIFICATES)
    page = build.report([*runs.values()], ROOT / "report.html", command="make demo")
    print(f"\n{demo_summary.summary(runs)}\n")
    print(f"{time.perf_counter() - began:.0f} s; the report: {page}")
