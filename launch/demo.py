"""The whole story in a few minutes: python launch/demo.py (or: make demo)

Trains a Seatbelt-VAE and a plain VAE on the embedded sprites, attacks and certifies both, and leaves
runs/demo/report.html. Interrupted and started again, it goes on where it was.
"""

import cli

import importlib.util
import pathlib
import time
from types import ModuleType

import attack
import certify
import numpy as np
import report
import train

from seatbelt_jax import attacks, bounds, metrics, storage, training

ROOT = pathlib.Path("runs/demo")
MODELS = {"seatbelt": "sprites_seatbelt", "vae": "sprites_vae"}
# The margin that each depth of model has, see launch/certify.py.
MARGINS = ("hierarchical", "spectral")


def main() -> None:
    began = time.perf_counter()
    for name, config in MODELS.items():
        path = ROOT / name
        train.train(_config(config), path)
        attack.attack(path, attack.Options(penalties=20, iterations=500))
    paths = [ROOT / name for name in MODELS]
    certify.certify(paths, certify.Options(images=32, radius=4.0, samples=1000))
    page = report.report(paths, ROOT / "report.html", command="make demo")
    print(f"\n{_table()}\n")
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


def _table() -> str:
    """The measures of both models side by side; each row says which way is more robust."""
    columns = [_measures(ROOT / name) for name in MODELS]
    width = max(len(label) for label in columns[0])
    lines = [" " * width + "".join(f"{name:>14}" for name in MODELS)]
    lines += [f"{label:<{width}}" + "".join(f"{column[label]:>14.4g}" for column in columns) for label in columns[0]]
    return "\n".join(lines)


def _measures(path: pathlib.Path) -> dict[str, float]:
    result = attacks.AttackResult.from_arrays(storage.read_npz(path / "attacks" / "latent_kl_all.npz"))
    summary = metrics.summarise(result)
    validation = [row for row in training.read_metrics(path) if row["split"] == "validation"][-1]
    file = next(path / "certificates" / f"{method}.npz" for method in MARGINS if _has(path, method))
    certificate = bounds.Certificate.from_arrays(storage.read_npz(file))
    return {
        "median Delta_KL, nats (higher resists better)": summary["median_objective"],
        "median excess -log p(x^t|z*), nats (higher)": summary["median_excess_target_nll_nats"],
        "median ||d||, pixel units (higher)": summary["median_distortion_l2"],
        "median ||d|| to go half way (higher)": summary["median_distortion_half_way_l2"],
        "median ||d|| to go nine tenths (higher)": summary["median_distortion_nine_tenths_l2"],
        "median margin at r = 4, first order (higher)": float(np.median(certificate.radius)),
        "reconstruction error, pixel units (lower is better)": validation["reconstruction_error"],
        "ELBO, nats (higher is better)": validation["elbo"],
    }


def _has(path: pathlib.Path, method: str) -> bool:
    return (path / "certificates" / f"{method}.npz").exists()


if __name__ == "__main__":
    cli.start(main)
