"""Pathwise certificates beside the other sound margins and beside attacks, draw by draw; what they take.

    python -m benchmarks.bench_pathwise --small=runs/pathwise/small --dense=runs/pathwise/beta_vae \
        --seatbelt=runs/pathwise/seatbelt

The runs: a VAE with 64 hidden units and 8 latents on sprites of 16 x 16, a beta-VAE (512, 512, 24 latents, 32 x
32) and a Seatbelt-VAE of three layers of that width: the demo variants of `configs/sprites_*.py` with
`--config.model.widths="(512, 512)"`. The first is

    python launch/train.py --config=configs/sprites_vae.py:demo --config.data.image_size=16
        --config.model.latent_sizes="(8,)" --config.model.widths="(64,)" --config.model.batch_norm=False
        --workdir=runs/pathwise/small

and a smaller Seatbelt-VAE of three layers on the same sprites (`--small-seatbelt`)

    python launch/train.py --config=configs/sprites_seatbelt.py:demo --config.data.image_size=16
        --config.model.widths="(64,)" --config.model.hidden_sizes="(64,64)" --config.model.batch_norm=False
        --config.train.batch_size=256 --config.train.steps=1500 --workdir=runs/pathwise/small_seatbelt

For each run, at alpha = 1e-3:
- certify: "pathwise" by 64 draws; for one layer "hybrid", "lipschitz" and the methods that are not sound, by 10,000
  draws, in the same process and on the same images. Medians, the median of the images' ratios, images with a margin
  above 0, seconds an image;
- attack: the same order statistic of radii at which gradient ascent takes each of these draws out of the ball: what no
  bound of the draws can exceed. And the margin by attack of the model itself (`bounds.empirical_margin`);
- draws (`--variants`): on few images, the bounds that the search computes, and the margins by fewer and by more draws,
  and by pilot draws that choose R for fresh ones, which are tested once each.

Compilation is left out: everything runs once first. Certificates are kept in the runs; results of another run's case
stay in the results file.
"""

import argparse
import json
import pathlib
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")

from benchmarks.bench_soundness import Subject, of_run  # noqa: E402
from benchmarks.hardware import RESULTS, describe, write_results  # noqa: E402
from seatbelt_jax import bounds, storage  # noqa: E402
from seatbelt_jax.bounds import propagation  # noqa: E402
from seatbelt_jax.bounds.confidence import sufficient_hits  # noqa: E402
from seatbelt_jax.bounds.draw_radii import DrawRadii  # noqa: E402
from seatbelt_jax.bounds.layers import Layers  # noqa: E402
from seatbelt_jax.bounds.pathwise_bounds import draw_radii  # noqa: E402

ALPHA, RISK, PATHS = 1e-3, 0.5, 64
KEY = jax.random.key(0)
# Settings of the attack on each draw.
_HALVINGS, _ASCENT, _STARTS = 12, 40, 2


def certified(subject: Subject, radius: float, methods: tuple[str, ...], **settings: Any) -> dict:
    return bounds.certify_dataset(
        subject.model, None, subject.images, radius=radius, key=KEY, alpha=ALPHA, num_paths=PATHS, methods=methods,
        batch_size=1, progress=True, **settings,
    )  # fmt: skip


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds by the clock, seconds of the processor, and what was made."""
    clock, processor = time.perf_counter(), time.process_time()
    made = jax.block_until_ready(work())
    return time.perf_counter() - clock, time.process_time() - processor, made


def layers_of(subject: Subject) -> Layers:
    return subject.model.checked(subject.images[:1])[0]


def noise_of(layers: Layers, index: int, first: int, count: int) -> np.ndarray:
    """The draws of an image that `certify` takes."""
    key = jax.random.fold_in(KEY, index)
    keys = jax.vmap(lambda draw: jax.random.fold_in(key, draw))(first + jnp.arange(count))
    return np.asarray(jax.vmap(lambda one: jax.random.normal(one, (sum(layers.sizes),)))(keys))


@jax.jit
def attack_radii(
    layers: Layers, image: jax.Array, noise: jax.Array, radius: jax.Array, largest: jax.Array
) -> jax.Array:
    """For each draw, the least R at which ascent finds a distortion that takes it out of the ball: from above."""
    centre = layers.reconstruct(image, jnp.zeros(noise.shape[1]))

    def of_draw(eta: jax.Array, key: jax.Array) -> jax.Array:
        def distance(d: jax.Array) -> jax.Array:
            return jnp.sqrt(jnp.sum(jnp.square(layers.reconstruct(image + d, eta) - centre)) + 1e-12)

        def ascend(start: jax.Array, size: jax.Array) -> tuple[jax.Array, jax.Array]:
            def step(number: jax.Array, state: tuple) -> tuple:
                d, best, at_best = state
                value, slope = jax.value_and_grad(distance)(d)
                best, at_best = jnp.where(value > at_best, d, best), jnp.maximum(value, at_best)
                length = size * 0.5 * (1.0 - number / _ASCENT)
                d = d + length * slope / jnp.maximum(jnp.linalg.norm(slope), 1e-20)
                return d * jnp.minimum(1.0, size / jnp.maximum(jnp.linalg.norm(d), 1e-20)), best, at_best

            start = start * size / jnp.maximum(jnp.linalg.norm(start), 1e-20)
            d, best, at_best = jax.lax.fori_loop(0, _ASCENT, step, (start, start, jnp.zeros(())))
            value = distance(d)
            return jnp.where(value > at_best, d, best), jnp.maximum(value, at_best)

        others = jax.random.normal(key, (_STARTS, *image.shape))

        def halve(number: jax.Array, state: tuple) -> tuple:
            low, high, direction = state
            size = jnp.sqrt(low * high)
            starts = others.at[0].set(direction)
            found, values = jax.vmap(ascend, (0, None))(starts, size)
            out = values.max() > radius
            direction = jnp.where(out, found[jnp.argmax(values)], direction)
            return jnp.where(out, low, size), jnp.where(out, size, high), direction

        first = jax.grad(distance)(jnp.zeros_like(image) + 1e-6)
        _, high, _ = jax.lax.fori_loop(0, _HALVINGS, halve, (1e-3 * largest, largest, first))
        return jnp.where(distance(jnp.zeros_like(image)) > radius, 0.0, high)

    return jax.vmap(of_draw)(noise, jax.random.split(jax.random.key(9), len(noise)))


def attack_margin(layers: Layers, image: np.ndarray, index: int, radius: float, largest: float) -> float:
    found = attack_radii(layers, image, noise_of(layers, index, 0, PATHS), jnp.float32(radius), jnp.float32(largest))
    return float(np.sort(np.asarray(found))[-sufficient_hits(PATHS, ALPHA, RISK)])


def draws_of(layers: Layers, image: np.ndarray, noise: np.ndarray) -> DrawRadii:
    reconstruct = jax.jit(lambda x, e: jax.vmap(Partial(layers.reconstruct, x))(e))
    centre = np.asarray(layers.reconstruct(image, jnp.zeros(noise.shape[1])))
    distances = np.linalg.norm(np.asarray(reconstruct(image, noise) - centre).reshape(len(noise), -1), axis=1)
    return draw_radii(layers, image, centre, noise, distances, norm="l2")


def _reconstruct(layers: Layers, x: jax.Array, noise: jax.Array) -> jax.Array:
    return layers.reconstruct(x, noise)


def variants(subject: Subject, radius: float, images: int) -> dict[str, Any]:
    """Ways to spend bounds on draws: the margin that each gives, over that of 64 draws, and how often it gives none."""
    layers, ratios, tests = layers_of(subject), dict[str, list[np.ndarray]](), []
    rng = np.random.default_rng(0)
    for index, image in enumerate(subject.images[:images]):
        noise = noise_of(layers, index, 0, 4 * PATHS)
        centre = np.asarray(layers.reconstruct(image, jnp.zeros(noise.shape[1])))
        reconstruct = Partial(_reconstruct, layers)
        radii = np.concatenate(
            [
                propagation.radii(reconstruct, image, noise[first : first + PATHS], centre, radius)
                for first in range(0, len(noise), PATHS)
            ]
        )
        draws = draws_of(layers, image, noise[:PATHS])
        found = draws.largest(radius, sufficient_hits(PATHS, ALPHA, RISK))
        tests.append(draws.tests)
        of_64 = np.sort(radii[:PATHS])[-sufficient_hits(PATHS, ALPHA, RISK)]
        given = {"search": np.array([found])}
        for count in (32, 128, 256):
            given[f"draws_{count}"] = np.sort(radii[:count])[-sufficient_hits(count, ALPHA, RISK)][None]
        # Pilot draws choose R so that a share of them survives; fresh ones pass at that R or nothing is certified.
        for pilot, share in ((32, 0.7), (32, 0.8), (64, 0.7), (64, 0.8)):
            hits = sufficient_hits(3 * pilot, ALPHA, RISK)
            outcomes = []
            for _ in range(1000):
                order = radii[rng.permutation(len(radii))]
                chosen = np.sort(order[:pilot])[-int(np.ceil(share * pilot))]
                passed = np.count_nonzero(order[pilot : 4 * pilot] >= chosen)
                outcomes.append(chosen if passed >= hits else 0.0)
            given[f"pilot_{pilot}_share_{share}_fresh_{3 * pilot}"] = np.array(outcomes)
        for name, margins in given.items():
            ratios.setdefault(name, []).append(margins / of_64)
    joined = {name: np.concatenate(each) for name, each in ratios.items()}
    return {
        "bounds_of_the_search": float(np.median(tests)),
        "mean_over_64_draws": {name: float(np.mean(each)) for name, each in joined.items()},
        "share_without_a_claim": {name: float(np.mean(each == 0.0)) for name, each in joined.items()},
    }


def case(name: str, subject: Subject, radius: float, args: argparse.Namespace) -> dict[str, Any]:
    images, one_layer = len(subject.images), subject.model.levels is None
    methods = ("pathwise", "hybrid", "lipschitz") if one_layer else ("pathwise",)
    layers = layers_of(subject)
    few = subject._replace(images=subject.images[:1])
    compile_seconds = timed(lambda: certified(few, radius, ("pathwise",)))[0]
    first = subject._replace(images=subject.images[: args.timed])
    clock, processor, _ = timed(lambda: certified(first, radius, ("pathwise",)))
    store = storage.Folder(pathlib.Path(subject.name) / "bench_pathwise")
    made = certified(subject, radius, methods, store=store)
    pathwise = made["pathwise"]
    row: dict[str, Any] = {
        "case": name,
        "images": images,
        "radius": radius,
        "draws": PATHS,
        "first_image_seconds_with_compilation": compile_seconds,
        "seconds_per_image": clock / len(first.images),
        "processor_seconds_per_image": processor / len(first.images),
        "certified_images": int((pathwise.radius > 0.0).sum()),
        **{f"median_{method}": float(np.median(certificate.radius)) for method, certificate in made.items()},
    }
    if one_layer:
        row |= medians_of_others(subject, radius)
    for other in methods[1:]:
        both = made[other].radius > 0.0
        row[f"median_of_pathwise_over_{other}"] = float(np.median(pathwise.radius[both] / made[other].radius[both]))
        row[f"pathwise_larger_than_{other}_on"] = int(np.count_nonzero(pathwise.radius > made[other].radius))
    print(row, flush=True)

    attacked = [i for i in range(min(args.attacked, images)) if pathwise.radius[i] > 0.0]
    found = np.array(
        [attack_margin(layers, subject.images[i], i, radius, 200.0 * pathwise.radius[i]) for i in attacked]
    )
    share = pathwise.radius[attacked] / found
    row |= {
        "attacked_images": len(attacked),
        "median_attack_of_the_draws": float(np.median(found)),
        "median_of_pathwise_over_attack_of_the_draws": float(np.median(share)),
        "largest_pathwise_over_attack_of_the_draws": float(share.max()),
    }
    print(row, flush=True)
    upper = bounds.empirical_margin(
        subject.model, None, subject.images[: args.empirical], radius=radius, key=jax.random.key(3), num_samples=2000
    ).upper
    told = np.isfinite(upper) & (upper > 0.0) & (pathwise.radius[: len(upper)] > 0.0)
    row |= {
        "median_empirical_margin": float(np.median(upper[told])) if told.any() else None,
        "median_of_empirical_over_pathwise": (
            float(np.median(upper[told] / pathwise.radius[: len(upper)][told])) if told.any() else None
        ),
        "empirical_images": int(told.sum()),
    }
    print(row, flush=True)
    if args.variants:
        row["variants"] = variants(subject, radius, args.variants)
        print(row["variants"], flush=True)
    return row


def medians_of_others(subject: Subject, radius: float) -> dict[str, float]:
    """The margins of the methods that are not sound, on the same images."""
    names = ("camuto", "spectral", "antithetic", "moving_std", "pathwise_first_order", "linear_region")
    return {f"median_{name}": float(np.median(of.radius)) for name, of in certified(subject, radius, names).items()}


def met_radius(subject: Subject) -> float:
    """An r that more than enough clean draws of every image lie within, chosen by draws of its own."""
    found = bounds.minimal_robust_radius(
        subject.model, None, subject.images, key=jax.random.key(7), risk=0.8, num_samples=1000
    )
    return float(np.ceil(found.upper.max()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small")
    parser.add_argument("--dense")
    parser.add_argument("--seatbelt")
    parser.add_argument("--small-seatbelt")
    parser.add_argument("--bernoulli", help="as the first, of Bernoulli pixels")
    parser.add_argument("--images", type=int, default=50, help="of the models of one layer")
    parser.add_argument("--images-seatbelt", type=int, default=100)
    parser.add_argument("--attacked", type=int, default=50)
    parser.add_argument("--empirical", type=int, default=5)
    parser.add_argument("--timed", type=int, default=5)
    parser.add_argument("--variants", type=int, default=0, help="images on which ways to spend bounds are compared")
    args = parser.parse_args()
    print(describe(), flush=True)
    for name, path, images in (
        ("small", args.small, args.images),
        ("bernoulli", args.bernoulli, args.images),
        ("dense", args.dense, args.images),
        ("seatbelt", args.seatbelt, args.images_seatbelt),
        ("small_seatbelt", args.small_seatbelt, args.images_seatbelt),
    ):
        if path is None:
            continue
        subject = of_run(path, images)
        radius = met_radius(subject) if name.endswith("seatbelt") else 4.0
        print(write_results("pathwise", merged(case(name, subject, radius, args)), settings=vars(args)), flush=True)


def merged(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The row in the place of an earlier one of its case."""
    path = RESULTS / f"pathwise_{jax.default_backend()}.json"
    earlier = json.loads(path.read_text())["rows"] if path.exists() else []
    return [*(other for other in earlier if other["case"] != row["case"]), row]


if __name__ == "__main__":
    main()
