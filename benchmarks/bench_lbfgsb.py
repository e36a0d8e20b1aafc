"""LBFGSB against SciPy's L-BFGS-B: iterations, evaluations, values and time.

    python -m benchmarks.bench_lbfgsb [--lanes 64] [--pixels 4096] [--history 10] [--iterations 100] [--table]

Times a batch of attack-like problems (a random tanh encoder, sources with half their pixels on the bounds, penalties
2^-20 .. 2^10) on vmapped lanes, blocks of `--block` at a time, against SciPy one by one over a jitted value and
gradient in the same process, compilation excluded. `--table` first compares single problems at histories 5, 10, 20.
"""

import argparse
import platform
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np

warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")

from seatbelt_jax.attacks.lbfgsb import LBFGSB, Status  # noqa: E402
from tests.reference.box_minimisation import scipy_lbfgsb  # noqa: E402
from tests.reference.box_problems import PROBLEMS, starts  # noqa: E402


def compare_problems() -> None:
    """Mean iterations, evaluations and values over the tests' starts, float32 and float64."""
    print(f"{'problem':26s} {'type':8s} hist | SciPy it  ev  value        | ours  it  ev  value        | it ratio")
    for name, (fun, size, lower, upper, kind, count, tol) in PROBLEMS.items():
        for dtype in (np.float64, np.float32):
            for history in (5, 10, 20):
                with jax.enable_x64(dtype == np.float64):
                    points = starts(kind, size, lower, upper, count).astype(dtype)
                    settings = {"history_size": history, "tol": tol, "maxiter": 2000}
                    oracle = jax.jit(jax.value_and_grad(fun))
                    theirs = [scipy_lbfgsb(oracle, x, lower, upper, **settings) for x in points]
                    solver = LBFGSB(fun, **settings)
                    run = jax.jit(jax.vmap(lambda x, s=solver, b=(lower, upper): s.run(x, b).state))
                    state = run(jnp.asarray(points))
                    their_mean = np.mean([r[:3] for r in theirs], axis=0)
                    ours = [float(jnp.mean(v)) for v in (state.iter_num, state.num_evals, state.value)]
                print(
                    f"{name:26s} {np.dtype(dtype).name:8s} {history:4d} | "
                    f"{their_mean[0]:6.1f} {their_mean[1]:6.1f} {their_mean[2]:12.6g} | "
                    f"{ours[0]:6.1f} {ours[1]:6.1f} {ours[2]:12.6g} | {ours[0] / their_mean[0]:.2f}"
                )


def attack_objective(pixels: int, hidden: int = 256, codes: int = 32):
    """fun(x, source, target, penalty), and a random generator's image maker."""
    rng = np.random.default_rng(0)
    first = jnp.asarray(2.0 * rng.normal(size=(hidden, pixels)) / np.sqrt(pixels), jnp.float32)
    second = jnp.asarray(rng.normal(size=(codes, hidden)) / np.sqrt(hidden), jnp.float32)

    def encode(x):
        return second @ jnp.tanh(first @ x)

    def fun(x, source, target, penalty):
        squared = jnp.sum(jnp.square(x - source))
        moved = squared > 0.0
        norm = jnp.where(moved, jnp.sqrt(jnp.where(moved, squared, 1.0)), 0.0)
        return jnp.sum(jnp.square(encode(x) - encode(target))) / 0.1**2 + penalty * norm

    def images(count):
        values = rng.uniform(-1.0, 1.0, (count, pixels))
        return np.where(rng.random(values.shape) < 0.5, np.sign(values), values).astype(np.float32)

    return fun, images


def time_attacks(lanes: int, pixels: int, history: int, iterations: int, block: int) -> None:
    fun, images = attack_objective(pixels)
    penalties = 2.0 ** np.linspace(-20, 10, 11)
    pairs = -(-lanes // len(penalties))
    source, target = (np.repeat(images(pairs), len(penalties), axis=0)[:lanes] for _ in range(2))
    penalty = np.tile(penalties, pairs)[:lanes].astype(np.float32)
    settings = {"history_size": history, "tol": 1e-5, "maxiter": iterations}

    oracle = jax.jit(jax.value_and_grad(fun))
    jax.block_until_ready(oracle(source[0], source[0], target[0], penalty[0]))
    begin = time.perf_counter()
    theirs = [
        scipy_lbfgsb(lambda x, s=s, t=t, p=p: oracle(x, s, t, p), s, -1.0, 1.0, **settings)
        for s, t, p in zip(source, target, penalty, strict=True)
    ]
    scipy_seconds = time.perf_counter() - begin

    solver = LBFGSB(fun, **settings)
    run = jax.jit(jax.vmap(lambda s, t, p: solver.run(s, (-1.0, 1.0), s, t, p).state))
    blocks = [slice(first, first + block) for first in range(0, lanes, block)]
    for part in {b.stop - b.start: b for b in blocks}.values():
        jax.block_until_ready(run(source[part], target[part], penalty[part]))
    begin = time.perf_counter()
    states = [jax.block_until_ready(run(source[b], target[b], penalty[b])) for b in blocks]
    seconds = time.perf_counter() - begin
    # Read only the scalars: the histories stay on the device.
    values, evaluations, counts, statuses = (
        np.concatenate([np.asarray(getattr(state, field)) for state in states])
        for field in ("value", "num_fun_eval", "iter_num", "status")
    )

    scipy_evaluations = sum(r.evaluations for r in theirs)
    scipy_iterations = sum(r.iterations for r in theirs)
    ratio = values / [r.value for r in theirs]
    print(f"\n{lanes} attacks, {pixels} pixels, history {history}, at most {iterations} iterations, float32")
    print(f"on {jax.devices()[0].device_kind}, {platform.processor() or platform.machine()}, jax {jax.__version__}")
    print(f"SciPy: {scipy_seconds:.2f} s, {scipy_iterations} iterations, {scipy_evaluations} evaluations")
    print(f"ours:  {seconds:.2f} s, {counts.sum()} iterations, {evaluations.sum()} evaluations")
    print(f"time ratio SciPy / ours {scipy_seconds / seconds:.2f}")
    print(
        f"objective ours / SciPy: geometric mean {np.exp(np.mean(np.log(ratio))):.4f}, "
        f"median {np.median(ratio):.4f}, largest {ratio.max():.4f}, above 1.02: {np.sum(ratio > 1.02)}"
    )
    for value in penalties:
        here = penalty == np.float32(value)
        print(f"  penalty 2^{np.log2(value):5.1f}: geometric mean {np.exp(np.mean(np.log(ratio[here]))):.4f}")
    names = [f"{Status(k).name} {n}" for k, n in enumerate(np.bincount(statuses)) if n]
    print("ended: " + ", ".join(names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanes", type=int, default=66)
    parser.add_argument("--pixels", type=int, default=4096)
    parser.add_argument("--history", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--block", type=int, default=33, help="lanes advanced together")
    parser.add_argument("--table", action="store_true", help="also compare single problems")
    flags = parser.parse_args()
    if flags.table:
        compare_problems()
    time_attacks(flags.lanes, flags.pixels, flags.history, flags.iterations, flags.block)


if __name__ == "__main__":
    main()
