"""Proven radii of draws against the radii that attacks need, on dense VAEs of sprites trained here.

    python -m benchmarks.bench_propagation [--model small|wide] [--images 4] [--draws 64] [--radius 4]

For each model, image and relaxation: one proven radius for k draws, k = 45 of 64 as in a margin with
alpha = 1e-3 and risk 0.5; over the k-th largest of the least radii at which ascents leave the ball, draw by draw, in
the same run: an upper bound of what any method can prove. Also the processor seconds of a call, without and with
compilation.
"""

import argparse
import functools
import resource
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.hardware import describe, write_results
from seatbelt_jax.bounds import propagation
from seatbelt_jax.data import sprites

# Likelihood, side, hidden units, latents, and beta. Gaussian: of std 0.1 on [-1, 1]. Bernoulli: on [0, 1].
MODELS = {
    "small": ("gaussian", 16, (64,), 8, 4.0),
    "small_bernoulli": ("bernoulli", 16, (64,), 8, 1.0),
    "wide": ("gaussian", 32, (512, 512), 24, 4.0),
}
_TRAINING_STEPS = 1500
_ASCENTS, _ASCENT_STEPS, _BISECTIONS = 4, 40, 12


def images(name: str, number: int, seed: int) -> np.ndarray:
    likelihood, side, *_ = MODELS[name]
    chosen = np.random.default_rng(seed).integers(0, sprites.NUM_SPRITES, number)
    drawn = np.asarray(sprites.draw(sprites.factors_from_index(chosen), size=side))
    return drawn if likelihood == "bernoulli" else 2.0 * drawn - 1.0


def dense(key: jax.Array, sizes: tuple[int, ...]) -> list[Any]:
    keys = jax.random.split(key, len(sizes) - 1)
    shapes = zip(keys, sizes[:-1], sizes[1:], strict=True)
    return [(jax.random.normal(k, (n, m)) * np.sqrt(2.0 / n), jnp.zeros(m)) for k, n, m in shapes]


def through(layers: list[Any], value: jax.Array) -> jax.Array:
    for index, (weight, bias) in enumerate(layers):
        value = value @ weight + bias
        value = jax.nn.relu(value) if index < len(layers) - 1 else value
    return value


def encode(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log_std = jnp.split(through(params["encoder"], x.reshape(-1)), 2)
    return mean, log_std


def outputs(params: Any, x: jax.Array, noise: jax.Array) -> jax.Array:
    mean, log_std = encode(params, x)
    return through(params["decoder"], mean + jnp.exp(log_std) * noise).reshape(x.shape)


def reconstruct(name: str, params: Any, x: jax.Array, noise: jax.Array) -> jax.Array:
    given = outputs(params, x, noise)
    return jax.nn.sigmoid(given) if MODELS[name][0] == "bernoulli" else given


def train(name: str) -> Any:
    likelihood, side, hidden, latent, beta = MODELS[name]
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "encoder": dense(keys[0], (side * side, *hidden, 2 * latent)),
        "decoder": dense(keys[1], (latent, *hidden[::-1], side * side)),
    }
    optimiser = optax.adam(1e-3)
    data = jnp.asarray(images(name, 20_000, 0))

    def loss(params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        def one(image: jax.Array, noise: jax.Array) -> jax.Array:
            mean, log_std = encode(params, image)
            given = outputs(params, image, noise)
            if likelihood == "bernoulli":
                misfit = jnp.sum(optax.sigmoid_binary_cross_entropy(given, image))
            else:
                misfit = 50.0 * jnp.sum(jnp.square(given - image))
            return misfit + beta * jnp.sum(0.5 * (mean**2 + jnp.exp(2.0 * log_std) - 1.0) - log_std)

        return jnp.mean(jax.vmap(one)(x, jax.random.normal(key, (len(x), latent))))

    @jax.jit
    def run(params: Any, key: jax.Array) -> Any:
        def step(state: Any, key: jax.Array) -> Any:
            params, moments = state
            batch = data[jax.random.randint(key, (128,), 0, len(data))]
            updates, moments = optimiser.update(jax.grad(loss)(params, batch, key), moments)
            return (optax.apply_updates(params, updates), moments), None

        return jax.lax.scan(step, (params, optimiser.init(params)), jax.random.split(key, _TRAINING_STEPS))[0][0]

    return jax.block_until_ready(run(params, keys[2]))


@functools.partial(jax.jit, static_argnames=("name", "norm"))
def attacked(
    name: str, params: Any, x: jax.Array, noise: jax.Array, centre: jax.Array, radius: float, norm: str
) -> jax.Array:
    """The least radius at which projected ascent leaves the ball, for each draw, by bisection."""

    def into_ball(d: jax.Array, size: jax.Array) -> jax.Array:
        if norm == "linf":
            return jnp.clip(d, -size, size)
        return d * jnp.minimum(1.0, size / jnp.maximum(jnp.linalg.norm(d), 1e-30))

    def reached(e: jax.Array, size: jax.Array) -> jax.Array:
        def distance(d: jax.Array) -> jax.Array:
            return jnp.linalg.norm(reconstruct(name, params, x + d, e) - centre)

        def step(_: int, state: Any) -> Any:
            d, best = state
            gradient = jax.grad(distance)(d)
            scale = jnp.sign(gradient) if norm == "linf" else gradient / (jnp.linalg.norm(gradient) + 1e-30)
            d = into_ball(d + 0.25 * size * scale, size)
            return d, jnp.maximum(best, distance(d))

        starts = into_ball(size * jax.random.normal(jax.random.key(1), (_ASCENTS, *x.shape)), size)
        starts = starts.at[0].set(1e-4 * starts[0])
        return jnp.max(jax.vmap(lambda d: jax.lax.fori_loop(0, _ASCENT_STEPS, step, (d, 0.0))[1])(starts))

    def one(e: jax.Array) -> jax.Array:
        def halve(_: int, ends: Any) -> Any:
            low, high = ends
            middle = jnp.sqrt(low * high)
            out = reached(e, middle) > radius
            return jnp.where(out, low, middle), jnp.where(out, middle, high)

        clean = jnp.linalg.norm(reconstruct(name, params, x, e) - centre)
        _, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (1e-3, 30.0))
        return jnp.where(clean <= radius, high, 0.0)

    return jax.lax.map(one, noise, batch_size=16)


def measure(name: str, params: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
    latent = MODELS[name][3]
    rows = []
    noise = np.asarray(jax.random.normal(jax.random.key(2), (args.draws, latent)))
    place = args.draws * 45 // 64 - 1
    for norm in args.norms.split(","):
        for number, x in enumerate(images(name, args.images, 1)):
            centre = np.asarray(reconstruct(name, params, x, jnp.zeros(latent)))
            needed = np.sort(np.asarray(attacked(name, params, x, noise, centre, args.radius, norm)))[::-1][place]
            row = {"model": name, "norm": norm, "image": number, "attack": float(needed)}
            for relaxation in args.relaxations.split(","):
                wall, processor = time.perf_counter(), time.process_time()
                row[relaxation] = propagation.common_radius(
                    functools.partial(reconstruct, name, params), x, noise, centre, args.radius, place + 1,
                    norm=norm, relaxation=relaxation, draw_batch=args.draw_batch,
                )  # fmt: skip
                row[f"{relaxation}_seconds"] = time.perf_counter() - wall
                row[f"{relaxation}_processor_seconds"] = time.process_time() - processor
                row[f"{relaxation}_over_attack"] = row[relaxation] / float(needed)
            row["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            rows.append(row)
            print(row, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="small")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--radius", type=float, default=4.0)
    parser.add_argument("--norms", default="l2")
    parser.add_argument("--relaxations", default="chords")
    parser.add_argument("--draw_batch", type=int, default=16)
    args = parser.parse_args()
    print(describe(), flush=True)
    rows = measure(args.model, train(args.model), args)
    print(write_results(f"propagation_{args.model}", rows, settings=vars(args)), flush=True)


if __name__ == "__main__":
    main()
