"""Certified margins: what they take, and beside the field's margin by grid and restarts.

    python -m benchmarks.bench_margins --run=runs/certified/beta_vae [--run=...] [--images 1000] [--samples 10000]

For each run, which has one latent layer:
- certify: the margins of `--images` validation images at `--samples` draws each, by the methods of one set of draws;
- attack: `bounds.empirical_margin` on `--attacked` of them, our upper bound;
- grid: the margin as the only public code for it finds it (github.com/FabianBarrett/Lipschitz_VAEs, which descends
  from the code of Camuto et al. 2021), written anew from its description: radii 1e-6, 0.5, .., 9.5, from the largest
  down; at each, 5 restarts of maximum damage by SciPy's L-BFGS-B (history 100, factr 10, pgtol 1e-20), distortions
  scaled back onto the ball, and 40 pairs of draws for each; the first radius at which every restart leaves P > 0.5.
  On `--grid-images`. Its event is of two draws, ||g(z') - g(z)|| <= r; this library's event has g(mu(x)) for g(z).
  Both are given.

The exact norms of the whitened Jacobian are timed for the paper's encoder at 64 x 64 x 3 with 128 latents.
Compilation is left out throughout: everything runs once on few images first.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")

from benchmarks.hardware import describe, write_results  # noqa: E402
from configs import celeba_vae  # noqa: E402
from seatbelt_jax import bounds, data, models, runs  # noqa: E402
from seatbelt_jax.gaussian import sample  # noqa: E402

PACKAGES = ("jax", "jaxlib", "jaxopt", "numpy", "scipy")
METHODS = ("camuto", "spectral", "moving_std")
GRID = np.arange(1e-6, 10.0, 0.5)
RESTARTS, PAIRS = 5, 40


def functions_of(path: str) -> tuple[Callable, Callable, np.ndarray]:
    """encode, decode and the validation images of a run with one latent layer."""
    opened = runs.open(path)
    vae = opened.load_vae()
    if len(vae.latent_sizes) > 1:
        raise ValueError(f"{path} has {len(vae.latent_sizes)} latent layers; these margins are for one")
    model = bounds.Model.of_vae(vae)
    images = data.load(opened.config["data"], vae.likelihood.image_range).validation
    return model.encode, model.decode, np.asarray(images.images(np.arange(min(1000, images.size), dtype=np.int32)))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = jax.block_until_ready(work())
    return time.perf_counter() - start, result


def certify(encode, decode, images, radius, samples) -> tuple[float, dict[str, bounds.Certificate]]:
    def work(chosen):
        return bounds.certify_dataset(
            encode, decode, chosen, radius=radius, key=jax.random.key(0), num_samples=samples, methods=METHODS,
            progress=True,
        )  # fmt: skip

    # What is compiled is fixed by the batch, so the time of a first batch is taken off.
    one_batch = images[:16]
    first, _ = timed(lambda: work(one_batch))
    again, made = timed(lambda: work(images))
    compiling = max(0.0, first - again * len(one_batch) / len(images))
    return again - compiling, made


def grid_margin(encode, decode, image, radius, seed) -> tuple[float, float]:
    """The margin by grid and restarts of one image: for the event of two draws, and for that of a draw and the mean."""
    clean = encode(image)
    centre = decode(clean.mean)

    def on_ball(flat, size):
        return flat * jnp.minimum(1.0, size / jnp.maximum(jnp.linalg.norm(flat), 1e-12))

    @jax.jit
    def damage(flat, size, eta):
        moved = encode(image + on_ball(flat, size).reshape(image.shape))
        return -jnp.linalg.norm((decode(sample(moved, eta)) - centre).reshape(-1))

    value_and_grad = jax.jit(jax.value_and_grad(damage))

    @jax.jit
    def shares(flat, size, key):
        moved = encode(image + on_ball(flat, size).reshape(image.shape))
        noise = jax.random.normal(key, (2, PAIRS, clean.mean.size))
        attacked = jax.vmap(lambda eta: decode(sample(moved, eta)))(noise[0]).reshape(PAIRS, -1)
        other = jax.vmap(lambda eta: decode(sample(clean, eta)))(noise[1]).reshape(PAIRS, -1)
        of_two = jnp.mean(jnp.linalg.norm(attacked - other, axis=1) <= radius)
        of_mean = jnp.mean(jnp.linalg.norm(attacked - centre.reshape(-1), axis=1) <= radius)
        return of_two, of_mean

    rng = np.random.default_rng(seed)
    key = jax.random.key(seed)

    def kept(size) -> np.ndarray:
        """Whether every restart leaves more than half, for both events."""
        nonlocal key
        worst = np.ones(2)
        for _ in range(RESTARTS):
            key, of_noise, of_draws = jax.random.split(key, 3)
            eta = jax.random.normal(of_noise, clean.mean.shape)
            start = rng.uniform(-1.0, 1.0, image.size) * size / np.sqrt(image.size)

            def fun(flat, eta=eta):
                value, gradient = value_and_grad(jnp.asarray(flat, jnp.float32), size, eta)
                return float(value), np.asarray(gradient, np.float64)

            found = scipy.optimize.fmin_l_bfgs_b(fun, start, m=100, factr=10, pgtol=1e-20)[0]
            worst = np.minimum(worst, shares(jnp.asarray(found, jnp.float32), size, of_draws))
        return worst > 0.5

    margins = np.where(kept(GRID[0]), np.nan, GRID[0])
    for size in GRID[:0:-1]:
        if not np.isnan(margins).any():
            break
        margins = np.where(np.isnan(margins) & kept(size), size, margins)
    two, mean = np.where(np.isnan(margins), GRID[0], margins)
    return float(two), float(mean)


def jacobian_row() -> dict[str, Any]:
    """Exact norms of the paper's encoder for colour images, 128 latents."""
    config = celeba_vae.get_config().model.to_dict() | {"latent_sizes": (128,)}
    model = models.build(config, (64, 64, 3))
    vae = model.bind(model.init(jax.random.key(0)))
    encode = bounds.Model.of_vae(vae).encode
    images = np.random.default_rng(0).uniform(-1, 1, (9, 64, 64, 3)).astype(np.float32)
    bench = {"case": "jacobian_norms 64x64x3, d_z 128", "images": 8}
    jacobians, posterior = bounds.jacobian.jacobians_in_float64(encode, images[0], 16), jax.jit(encode)

    def norms(x):
        return bounds.jacobian.norms_from_jacobians(jacobians(x), np.asarray(posterior(x).std))

    norms(images[8])
    seconds, _ = timed(lambda: [norms(image).whitened_spectral for image in images[:8]])
    return bench | {"milliseconds_per_image": seconds / 8 * 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--attacked", type=int, default=25)
    parser.add_argument("--grid-images", type=int, default=5)
    parser.add_argument("--radius", type=float, default=8.0)
    args = parser.parse_args()
    print(describe(PACKAGES), flush=True)
    rows = [jacobian_row()]
    print(rows[0], flush=True)
    for path in args.run:
        encode, decode, images = functions_of(path)
        images = images[: args.images]
        seconds, made = certify(encode, decode, images, args.radius, args.samples)
        medians = {f"median_{name}": float(np.median(made[name].radius)) for name in METHODS}
        row = {
            "case": f"certify {path}",
            "images": len(images),
            "draws": args.samples,
            "seconds": seconds,
            "seconds_per_1000_images": 1e3 * seconds / len(images),
            "abstained": int(made["spectral"].abstained.sum()),
            **medians,
        }
        rows.append(row)
        print(row, flush=True)

        few = images[: args.attacked]
        settings = {"radius": args.radius, "key": jax.random.key(1), "num_samples": args.samples}
        _ = bounds.empirical_margin(encode, decode, few[:1], **settings)
        seconds, empirical = timed(lambda e=encode, d=decode, f=few, s=settings: bounds.empirical_margin(e, d, f, **s))
        found = np.isfinite(empirical.upper) & (empirical.upper > 0.0)
        ratio = empirical.upper[found] / made["spectral"].radius[: len(few)][found]
        row = {
            "case": f"attack {path}",
            "images": len(few),
            "seconds_per_image": seconds / len(few),
            "median_upper": float(np.median(empirical.upper)),
            "median_upper_over_spectral": float(np.median(ratio)) if len(ratio) else None,
        }
        rows.append(row)
        print(row, flush=True)

        few = images[: args.grid_images]
        seconds, margins = timed(
            lambda e=encode, d=decode, f=few: [grid_margin(e, d, image, args.radius, i) for i, image in enumerate(f)]
        )
        ours = empirical.upper[: len(few)]
        row = {
            "case": f"grid {path}",
            "images": len(few),
            "seconds_per_image": seconds / len(few),
            "margins_of_two_draws": [two for two, _ in margins],
            "margins_of_draw_and_mean": [mean for _, mean in margins],
            "our_upper_bounds": [float(value) if np.isfinite(value) else None for value in ours],
            "our_spectral_margins": [float(value) for value in made["spectral"].radius[: len(few)]],
        }
        rows.append(row)
        print(row, flush=True)
    path = write_results("margins", rows, settings=vars(args), packages=PACKAGES)
    print(path)


if __name__ == "__main__":
    main()
