"""Iterations of LBFGSB and of SciPy's L-BFGS-B until both are within 1 % of the final objective.

    python -m benchmarks.bench_lbfgsb_iterations [--run=runs/NAME] [--train-steps 300] [--kinds float32 float64 trained]

Both solve the same problems in one process, from the same starts, with the same history and tolerance:
- float32, float64: attacks on random tanh encoders, from sources of black and white pixels, each with its objective
  times 0.01 to 100; and the box problems of the tests (Rosenbrock, quadratics, pixels on their bounds);
- trained: attacks on an encoder trained here and those of `--run`: latent KL, also with a squared penalty, and output.

Each kind has a results file of its own.

Our problems of a kind run vmapped, one evaluation an update. The goal is 1 % above SciPy's final objective, or above
ours where that is higher: the objectives have several optima, and `higher` counts the problems where ours ended more
than 1 % above SciPy's. The ratio of a row is that of the sums over its problems.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")

from benchmarks.bench_attack_sweep import HISTORY, opened, prepare, trained  # noqa: E402
from benchmarks.hardware import describe, write_results  # noqa: E402
from seatbelt_jax import attacks, data, vae  # noqa: E402
from seatbelt_jax.attacks.lbfgsb import LBFGSB, Status  # noqa: E402
from tests.reference.box_minimisation import scipy_lbfgsb  # noqa: E402
from tests.reference.box_problems import PROBLEMS, starts, tanh_attack  # noqa: E402

PACKAGES = ("jax", "jaxlib", "jaxopt", "numpy", "scipy")
WITHIN = 0.01
# Seed, pixels, codes, share of white pixels, log2 of the penalty.
TANH_ATTACKS = (
    (1, 1024, 24, 0.2, -10), (2, 1024, 48, 0.5, -12), (3, 4096, 64, 0.3, -14), (4, 784, 16, 0.15, -8),
    (5, 3072, 32, 0.4, -6), (12, 1024, 64, 0.2, -8), (13, 784, 32, 0.5, -12), (14, 1600, 96, 0.1, -10),
    (15, 1024, 24, 0.3, -4), (16, 2048, 16, 0.25, -9),
)  # fmt: skip
SCALES = (0.01, 0.1, 1.0, 100.0)
KINDS = ("float32", "float64", "trained")


class Case(NamedTuple):
    """Problems of one shape: fun(x, problem), and for each a start, bounds and the tolerance in its unit."""

    name: str
    fun: Callable[..., Any]
    starts: np.ndarray
    bounds: tuple[Any, Any]
    problems: Any
    tols: np.ndarray
    maxiter: int


class Path(NamedTuple):
    """The objective after each iteration, and the evaluations until then."""

    values: np.ndarray
    evaluations: np.ndarray


def planted(dtype: Any) -> Iterator[Case]:
    """Attacks on random encoders at all scales, and the tests' box problems."""
    for attack in TANH_ATTACKS:
        fun, bounds = tanh_attack(*attack)
        scales = np.asarray(SCALES, dtype)
        zeros = np.zeros((scales.size, attack[1]), dtype)
        yield Case(f"tanh attack {attack}", fun, zeros, bounds, scales, 1e-6 * scales, 1000)
    for name, (plain, size, lower, upper, kind, count, tol) in PROBLEMS.items():
        points = starts(kind, size, lower, upper, count).astype(dtype)
        nothing = np.zeros(count, dtype)
        yield Case(name, lambda x, _, f=plain: f(x), points, (lower, upper), nothing, nothing + tol, 1000)


def on_model(name: str, model: vae.VAE, images: data.Dataset, pairs: int) -> Iterator[Case]:
    """Attacks on a model's posteriors and reconstructions, from strong penalties to nearly none."""
    for objective, squared in (
        (attacks.latent(model), False), (attacks.latent(model), True), (attacks.output_l2(model), False)
    ):  # fmt: skip
        threat = attacks.Penalty(2.0 ** np.arange(-14.0, 5.0, 4.0), squared=squared)
        these = prepare(model, objective, threat, images, pairs)
        shape, lane = these.sources.shape[1:], these.moving
        flat = these.sources.reshape(len(these.sources), -1)

        def fun(x: Any, problem: Any, these: Any = these, shape: tuple[int, ...] = shape) -> Any:
            return these.fun(x.reshape(shape), problem)

        kind = f"{name}, {objective.name}, {threat.name}"
        chosen = these.problem(lane)
        tols = np.full(lane.size, 1e-5)
        yield Case(kind, fun, flat[lane // threat.budgets.size], these.box, chosen, tols, 200)


def our_paths(case: Case) -> tuple[list[Path], np.ndarray]:
    """All problems of a case at once; also how each ended."""

    def solve(start: Any, problem: Any, tol: Any) -> Any:
        solver = LBFGSB(case.fun, maxiter=case.maxiter, history_size=HISTORY, tol=tol)

        def update(carry: Any) -> Any:
            params, state, values, evaluations = carry
            params, new = solver.update(params, state, case.bounds, problem)
            slot = jnp.where(new.iter_num > state.iter_num, state.iter_num, case.maxiter)
            values = values.at[slot].set(new.value, mode="drop")
            return params, new, values, evaluations.at[slot].set(new.num_fun_eval, mode="drop")

        state = solver.init_state(start, case.bounds, problem)
        nothing = jnp.zeros(case.maxiter)
        first = (state.target, state, nothing.astype(state.value.dtype), nothing.astype(jnp.int32))
        _, state, values, evaluations = jax.lax.while_loop(
            lambda carry: carry[1].status == Status.RUNNING, update, first
        )
        return values, evaluations, state.iter_num, state.status

    found = jax.jit(jax.vmap(solve))(case.starts, case.problems, case.tols.astype(case.starts.dtype))
    values, evaluations, iterations, status = map(np.asarray, found)
    return [Path(v[:n], e[:n]) for v, e, n in zip(values, evaluations, iterations, strict=True)], status


def scipy_paths(case: Case) -> list[Path]:
    """The problems of a case, one after the other."""
    oracle = jax.jit(jax.value_and_grad(case.fun))

    def solve(lane: int) -> Path:
        problem = jax.tree.map(lambda leaf: leaf[lane], case.problems)
        found = scipy_lbfgsb(
            lambda x: oracle(x, problem), case.starts[lane], *case.bounds,
            history_size=HISTORY, tol=case.tols[lane], maxiter=case.maxiter,
        )  # fmt: skip
        return Path(found.values, found.evaluations_until)

    return [solve(lane) for lane in range(len(case.starts))]


def compare(case: Case) -> dict[str, Any]:
    """One row: iterations and evaluations until within 1 %, summed over the problems of a case, and the ends."""
    ours, status = our_paths(case)
    theirs = scipy_paths(case)
    # Problems that a solver leaves at once have nothing to compare.
    moving = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.values.size and b.values.size]
    sums = np.zeros(4, int)
    for pair in moving:
        higher = max(path.values[-1] for path in pair)
        goal = higher + WITHIN * abs(higher)
        places = [int(np.argmax(path.values <= goal)) for path in pair]
        sums += [*(place + 1 for place in places), *(p.evaluations[k] for p, k in zip(pair, places, strict=True))]
    ends = np.asarray([(a.values[-1], b.values[-1]) for a, b in moving])
    apart = (ends[:, 0] - ends[:, 1]) / np.abs(ends[:, 1])
    return {
        "case": case.name,
        "dtype": case.starts.dtype.name,
        "problems": len(moving),
        "iterations": int(sums[0]),
        "scipy_iterations": int(sums[1]),
        "iteration_ratio": float(sums[0] / sums[1]),
        "evaluation_ratio": float(sums[2] / sums[3]),
        "lower": int(np.sum(apart < -WITHIN)),
        "higher": int(np.sum(apart > WITHIN)),
        "ended": {Status(k).name.lower(): int(n) for k, n in enumerate(np.bincount(status)) if n},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", action="append", default=[], help="a trained run; several may be given")
    parser.add_argument("--train-steps", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    flags = parser.parse_args()
    print(describe(PACKAGES))
    for kind in flags.kinds:
        with jax.enable_x64(kind == "float64"):
            rows = [report(compare(case)) for case in cases(kind, flags)]
        ratios = np.asarray([row["iteration_ratio"] for row in rows])
        mean = np.exp(np.mean(np.log(ratios)))
        print(f"{kind}: iterations, ours over SciPy's: geometric mean {mean:.3f}, worst {ratios.max():.2f}")
        print(write_results(f"lbfgsb_iterations_{kind}", rows, settings=vars(flags), packages=PACKAGES))


def cases(kind: str, flags: argparse.Namespace) -> Iterator[Case]:
    """All cases of a kind."""
    if kind != "trained":
        yield from planted(np.dtype(kind))
        return
    yield from on_model(f"sprites, {flags.train_steps} steps", *trained(flags.train_steps, "demo"), flags.pairs)
    for path in flags.run:
        yield from on_model(path.rstrip("/").rsplit("/", 1)[-1], *opened(path), flags.pairs)


def report(row: dict[str, Any]) -> dict[str, Any]:
    """Prints the row; gives it back with its numbers rounded."""
    needed = f"{row['iterations']:5d} / {row['scipy_iterations']:5d} = {row['iteration_ratio']:.2f}"
    ends = f"ends lower {row['lower']}, higher {row['higher']}"
    name = f"{row['case']:44s} {row['dtype']} {row['problems']:3d}"
    print(f"{name}: {needed}, evaluations {row['evaluation_ratio']:.2f}; {ends}", flush=True)
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}


if __name__ == "__main__":
    main()
