"""Certificates under attack: how many do not hold, and how far from the attacks they are.

    python -m benchmarks.bench_soundness --run=runs/demo/vae [--run=...] [--images 12] [--trials 27]

For a linear VAE (probabilistic PCA of the first run's images) and each run: certificates by every method that its
depth has, at alpha = 1e-6; `--trials` attacks on each image just inside each certified radius, a third of them ascents
of the damage, and fresh draws to see whether the certificate holds there. Prints, for each model and method, trials,
violations and the median margin; and for each model what the certificates are worth:
- T2/Camuto: the whitened spectral margin over Camuto's;
- attack/certified: the upper bound that an attack finds over the margin (spectral, or along paths);
- path/sup: for a hierarchy, the margin along paths over the one composed of the levels' largest norms;
- product/affine: for the mean, the product of the layers' norms over the local Lipschitz bound by affine forms,
  in the ball of the first-order margin and in a tenth of it.

What an earlier call measured of other models is kept.
"""

import argparse
import json
import time
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")

from benchmarks.hardware import RESULTS, describe, write_results  # noqa: E402
from seatbelt_jax import bounds, data, runs  # noqa: E402
from seatbelt_jax.gaussian import DiagonalGaussian  # noqa: E402

ONE_LAYER = ("camuto", "spectral", "antithetic", "moving_std", "linear_region", "lipschitz", "hybrid")
HIERARCHICAL = ("hierarchical", "hierarchical_sup")
LATENT = 16
LINEAR = "linear (probabilistic PCA)"
# Evaluations of an ascent. Upper bounds of margins take their own default.
_STEPS = 50


class Subject(NamedTuple):
    """A model and images."""

    name: str
    model: bounds.Model
    images: np.ndarray


def of_run(path: str, number: int) -> Subject:
    opened = runs.open(path)
    vae = opened.load_vae()
    chosen = data.load(opened.config["data"], vae.likelihood.image_range).validation
    return Subject(path, bounds.Model.of_vae(vae), np.asarray(chosen.images(np.arange(number, dtype=np.int32))))


def linear(images: np.ndarray, number: int) -> Subject:
    """Probabilistic PCA: z = M^-1 W^T (x - mean), of constant sigma, and its linear decoder."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    _, values, axes = np.linalg.svd(flat - mean, full_matrices=False)
    eigenvalues = np.square(values) / len(flat)
    noise = eigenvalues[LATENT:].mean()
    weights = axes[:LATENT].T * np.sqrt(eigenvalues[:LATENT] - noise)
    inner = weights.T @ weights + noise * np.eye(LATENT)
    matrix = jnp.asarray(np.linalg.solve(inner, weights.T), jnp.float32)
    log_std = jnp.asarray(0.5 * np.log(noise / np.diag(inner)), jnp.float32)
    out, centre = jnp.asarray(weights, jnp.float32), jnp.asarray(mean, jnp.float32)

    def encode(x):
        return DiagonalGaussian(matrix @ (x.reshape(-1) - centre), log_std)

    def decode(z):
        return (centre + out @ z).reshape(images.shape[1:])

    return Subject(LINEAR, bounds.Model.of(encode, decode), images[:number])


def certificates(subject: Subject, radius: float, samples: int, methods: tuple[str, ...]) -> dict[str, Any]:
    settings = {"radius": radius, "key": jax.random.key(0), "num_samples": samples, "alpha": 1e-6, "progress": True}
    chosen = methods if subject.model.levels is None else HIERARCHICAL
    return bounds.certify_dataset(
        subject.model, None, subject.images, methods=chosen, num_pilot_samples=samples // 5, **settings
    )


def attacked(subject: Subject, certificate: bounds.Certificate, trials: int, samples: int) -> bounds.SoundnessReport:
    model, images = subject.model, subject.images
    shifted = bounds.soundness_attacks(
        model, None, images, certificate, key=jax.random.key(1), trials_per_image=trials, steps=_STEPS
    )
    return bounds.check_soundness(
        certificate, shifted, encode=model, images=images, key=jax.random.key(2), num_samples=samples
    )


def median_ratio(above: np.ndarray, below: np.ndarray) -> float | None:
    told = np.isfinite(above) & (below > 0.0) & np.isfinite(below)
    return float(np.median(above[told] / below[told])) if told.any() else None


def tightness(subject: Subject, made: dict[str, Any], radius: float, samples: int) -> dict[str, Any]:
    main = made["spectral" if subject.model.levels is None else "hierarchical"]
    few = subject.images[:16]
    start = time.perf_counter()
    upper = bounds.empirical_margin(
        subject.model, None, few, radius=radius, key=jax.random.key(3), num_samples=samples
    ).upper
    seconds = time.perf_counter() - start
    upper = np.where(upper > 0.0, upper, np.nan)
    row = {
        "attack_over_certified": median_ratio(upper, main.radius[:16]),
        "attack_found_on": int(np.isfinite(upper).sum()),
        "attack_seconds_per_image": seconds / len(few),
    }
    encode = subject.model.encode
    if encode is None:
        row["path_over_sup"] = median_ratio(main.radius, made["hierarchical_sup"].radius)
        return row
    row["t2_over_camuto"] = median_ratio(made["spectral"].radius, made["camuto"].radius)
    row["moving_std_over_spectral"] = median_ratio(made["moving_std"].radius, made["spectral"].radius)
    for name in ("lipschitz", "hybrid", "linear_region", "antithetic"):
        if name in made:
            row[f"{name}_over_spectral"] = median_ratio(made[name].radius, made["spectral"].radius)

    def whitened(x, std):
        return encode(x).mean / std

    for share in (0.1, 1.0):
        ratios = []
        for image, size in zip(few[:4], made["spectral"].radius, strict=False):
            if np.isfinite(size) and size > 0.0:
                std = np.exp(np.asarray(encode(image).log_std))
                product, affine = (
                    bounds.LipschitzBound(whitened, image, std, method=method).bound(share * size)
                    for method in ("product", "affine")
                )
                ratios.append(product / affine)
        row[f"product_over_affine_at_{share:g}_margins"] = float(np.median(ratios)) if ratios else None
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", required=True)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--trials", type=int, default=27)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--radius", type=float, default=4.0)
    parser.add_argument("--no-linear", action="store_true", help="leave the linear model out")
    parser.add_argument("--methods", default=",".join(ONE_LAYER), help="of models with one layer")
    args = parser.parse_args()
    methods = tuple(args.methods.split(","))
    print(describe(), flush=True)
    first = of_run(args.run[0], 1000)
    subjects = [] if args.no_linear else [linear(first.images, args.images)]
    subjects += [of_run(path, args.images) for path in args.run]
    for subject in subjects:
        rows: list[dict[str, Any]] = []
        start = time.perf_counter()
        made = certificates(subject, args.radius, args.samples, methods)
        seconds = time.perf_counter() - start
        for name, certificate in made.items():
            report = attacked(subject, certificate, args.trials, args.samples)
            row = {
                "model": subject.name,
                "method": name,
                "soundness": certificate.soundness,
                "trials": report.trials,
                "violations": report.violations,
                "abstained": int(certificate.abstained.sum()),
                "median_margin": float(np.median(certificate.radius)),
            }
            rows.append(row)
            print(row, flush=True)
        row = {"model": subject.name, "certify_seconds": seconds}
        rows.append(row | tightness(subject, made, args.radius, args.samples))
        print(rows[-1], flush=True)
        print(write_results("soundness", merged(rows), settings=vars(args)), flush=True)


def merged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one model in the place of its earlier ones, and the sums over all models anew."""
    path = RESULTS / f"soundness_{jax.default_backend()}.json"
    earlier = json.loads(path.read_text())["rows"] if path.exists() else []
    kept = [row for row in earlier if row.get("model") not in (None, rows[0]["model"])]
    tried = [row for row in kept + rows if "trials" in row]
    must_hold = [row for row in tried if row["soundness"] != "first_order" or row["model"] == LINEAR]
    total = {
        "trials_in_all": sum(row["trials"] for row in tried),
        "trials_of_sound_and_of_affine": sum(row["trials"] for row in must_hold),
        "violations_of_sound_and_of_affine": sum(row["violations"] for row in must_hold),
        "violations_of_first_order_elsewhere": sum(row["violations"] for row in tried if row not in must_hold),
    }
    return [*kept, *rows, total]


if __name__ == "__main__":
    main()
