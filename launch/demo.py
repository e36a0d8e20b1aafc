"""The whole story in two minutes: python launch/demo.py (or: make demo)

Trains a Seatbelt-VAE and a plain VAE on large upright sprites, attacks and certifies both, and leaves
runs/demo/report.html. Interrupted and started again, it goes on where it was.
"""

import cli

import importlib.util
import pathlib
import time
from types import ModuleType

import attack
import certify
import demo_summary
import report
import train

ROOT = pathlib.Path("runs/demo")
MODELS = {"seatbelt": "sprites_seatbelt", "vae": "sprites_vae"}
# From a penalty under which every attack reaches its target to one under which hardly any moves. The targets are of
# another shape, so that a picture tells whether an attack has won.
ATTACK = attack.Options(budgets=tuple(2.0**power for power in range(-4, 11)), iterations=500, pairs_by="label")
# Of every method, the models whose depth has it: one of first order for each depth, and the sound ones.
CERTIFICATES = certify.Options(
    methods=("hierarchical", "spectral", "hybrid"), images=10, radius=4.0, samples=500, minimal_radius=False
)


def main() -> None:
    began = time.perf_counter()
    for name, config in MODELS.items():
        path = ROOT / name
        train.train(_config(config), path)
        attack.attack(path, ATTACK)
    paths = [ROOT / name for name in MODELS]
    certify.certify(paths, CERTIFICATES)
    page = report.report(paths, ROOT / "report.html", command="make demo")
    print(f"\n{demo_summary.summary({name: ROOT / name for name in MODELS})}\n")
    print(f"{time.perf_counter() - began:.0f} s; the report: {page}")


def _config(name: str) -> dict:
    """The demo variant of a configuration beside this folder."""
    file = pathlib.Path(__file__).parent.parent / "configs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"there is no configuration {file}")
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config("demo").to_dict()


if __name__ == "__main__":
    cli.start(main)
