"""The paper's sweep of attacks against SciPy's L-BFGS-B, one attack after the other.

    python -m benchmarks.bench_attack_sweep [--run=runs/NAME] [--pairs 10] [--penalties 50] [--iterations 200]

500 attacks (10 pairs x 50 penalties 2^-20 .. 2^20, latent KL, 64 x 64 grey, the encoder of Willetts et al. 2021) on
`attacks.lanes`, and by `scipy.optimize.minimize` over a jitted value and gradient of the same objective, in one
process, compilation excluded. Without `--run` a VAE is trained on sprites for `--train-steps` steps first. Prints
both times, how the final objectives compare, and how long ours take until each attack has reached SciPy's objective or
the limit of iterations.
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")

from benchmarks.hardware import describe, write_results  # noqa: E402
from configs import sprites_vae  # noqa: E402
from seatbelt_jax import attacks, data, models, runs, training, vae  # noqa: E402
from seatbelt_jax.attacks import BoxLBFGS, Status, lanes, measure, problem  # noqa: E402
from seatbelt_jax.attacks.sweep import default_lanes_at_once  # noqa: E402

PACKAGES = ("jax", "jaxlib", "jaxopt", "numpy", "scipy")
HISTORY, TOL = 10, 1e-5
# An attack has reached SciPy's objective when it is no more than this share above.
REACHED = 1e-3


class Problem(NamedTuple):
    source: Any
    goal: Any
    budget: Any
    aim: Any  # the objective at which to stop


@dataclasses.dataclass(frozen=True)
class Aiming(BoxLBFGS):
    """Ends an attack as soon as its objective is at most the problem's aim."""

    def update(self, fun: Any, params: Any, state: Any, region: Any, *args: Any) -> Any:
        step, (problem,) = super().update(fun, params, state, region, *args), args
        there = (step.state.value <= problem.aim) & (step.state.status == Status.RUNNING)
        status = jnp.where(there, Status.CONVERGED, step.state.status)
        return step._replace(state=step.state._replace(status=status))


class Spent(NamedTuple):
    """Time on the wall, and on all processor cores together; other programs lengthen only the former."""

    seconds: float
    processor_seconds: float


def since(begin: Spent) -> Spent:
    return Spent(time.perf_counter() - begin.seconds, time.process_time() - begin.processor_seconds)


NOTHING = Spent(0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Attacks:
    """All attacks of the sweep, and which of them move: the others have their answer at d = 0."""

    objective: attacks.Objective
    threat: attacks.Penalty
    box: tuple[float, float]
    sources: np.ndarray
    goals: Any
    at_source: np.ndarray
    moving: np.ndarray

    @property
    def fun(self) -> Callable[[Any, Problem], Any]:
        return problem.delta(self.objective, self.threat)

    @property
    def penalties(self) -> np.ndarray:
        return self.threat.budgets

    @property
    def number(self) -> int:
        return len(self.sources) * self.penalties.size

    def problem(self, lane: np.ndarray, aim: np.ndarray | None = None) -> Problem:
        pair, column = np.divmod(lane, self.penalties.size)
        goal = jax.tree.map(lambda leaf: leaf[pair], self.goals)
        aims = np.full(np.shape(lane), -np.inf, np.float32) if aim is None else aim[lane].astype(np.float32)
        return Problem(self.sources[pair], goal, self.penalties[column].astype(np.float32), aims)


def trained(train_steps: int, variant: str = "") -> tuple[vae.VAE, data.Dataset]:
    """The model of configs/sprites_vae.py after some steps of 128 images: an encoder that has learnt something."""
    config = sprites_vae.get_config(variant).to_dict()
    steps = {"steps": train_steps, "evaluate_every": train_steps, "checkpoint_every": train_steps}
    config["train"] |= {**steps, "batch_size": 128}
    likelihood = models.make_likelihood(config["model"])
    splits = data.load(config["data"], likelihood.image_range)
    model = models.build(config["model"], splits.train.image_shape)
    with tempfile.TemporaryDirectory() as folder:
        state = training.train(model, splits, training.parse_settings(config), pathlib.Path(folder))
    return model.bind(state.variables), splits.validation


def opened(path: str) -> tuple[vae.VAE, data.Dataset]:
    found = runs.open(path)
    model = found.load_vae()
    return model, data.load(found.config["data"], model.likelihood.image_range).validation


def prepare(
    model: vae.VAE, objective: attacks.Objective, threat: attacks.Penalty, images: data.Dataset, pairs: int
) -> Attacks:
    """Pairs of images under all penalties of the threat."""
    chosen = attacks.random_pairs(pairs, images.size, seed=0)
    sources, targets = (np.asarray(images.images(chosen[:, k]), np.float32) for k in (0, 1))
    goals = measure.prepare(objective, sources, targets)
    box = model.likelihood.image_range
    descent = measure.l2_norms(measure.allowed_descent(objective, sources, goals, box))

    at_source = np.repeat(measure.distances(objective, goals, sources[:, None]), threat.budgets.size)
    moving = np.flatnonzero(descent[:, None] > threat.budgets)
    return Attacks(objective, threat, box, sources, goals, at_source, moving)


def by_scipy(these: Attacks, iterations: int, ftol: float) -> tuple[Spent, np.ndarray, np.ndarray]:
    """Time, final objectives and evaluations of every attack by SciPy, also of those that cannot move."""
    oracle = jax.jit(jax.value_and_grad(these.fun))
    shape = these.sources.shape[1:]
    jax.block_until_ready(oracle(these.sources[0], these.problem(np.int64(0))))
    values, evaluations = np.empty(these.number), np.empty(these.number, int)
    begin = since(NOTHING)
    for lane in range(these.number):
        this = jax.device_put(these.problem(np.int64(lane)))

        def flat(x: np.ndarray, this: Problem = this) -> tuple[float, np.ndarray]:
            value, gradient = oracle(x.reshape(shape).astype(np.float32), this)
            return float(value), np.asarray(gradient, np.float64).ravel()

        start = these.sources[lane // these.penalties.size].ravel().astype(np.float64)
        found = scipy.optimize.minimize(
            flat,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[these.box] * start.size,
            options={"maxcor": HISTORY, "gtol": TOL, "ftol": ftol, "maxiter": iterations, "maxfun": 20 * iterations},
        )
        values[lane], evaluations[lane] = found.fun, found.nfev
    return since(begin), values, evaluations


def by_lanes(
    these: Attacks, solver: BoxLBFGS, lanes_at_once: int, aim: np.ndarray | None = None
) -> tuple[Spent, np.ndarray, np.ndarray]:
    """Time, final objectives and evaluations of every attack by our lanes."""
    region = problem.region(these.threat, these.box)
    block = lanes.Block(solver, these.fun, region, lanes_at_once, these.number)

    def setup(lane: np.ndarray) -> tuple[np.ndarray, Problem]:
        return these.sources[lane // these.penalties.size], these.problem(lane, aim)

    # The first time everything is compiled, for the sizes that the block shrinks to as well.
    for _ in range(2):
        begin = since(NOTHING)
        found = lanes.solve(block, setup, these.moving)
        spent = since(begin)
    values, evaluations = these.at_source.copy(), np.ones(these.number, int)
    values[these.moving], evaluations[these.moving] = found.value, found.evaluations
    return spent, values, evaluations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", help="a trained run; without it a model is trained first")
    parser.add_argument("--train-steps", type=int, default=600)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--penalties", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--lanes", type=int, help="attacks held together; by default as `attacks.sweep` chooses")
    parser.add_argument("--ftol", type=float, default=2.22e-9, help="SciPy's own stopping rule, at its default")
    flags = parser.parse_args()

    model, images = opened(flags.run) if flags.run else trained(flags.train_steps)
    lanes_at_once = flags.lanes or default_lanes_at_once(model.image_shape)
    threat = attacks.Penalty(attacks.penalty_grid(flags.penalties))
    these = prepare(model, attacks.latent(model), threat, images, flags.pairs)
    settings = {"history_size": HISTORY, "tol": TOL}
    spent, values, evaluations = by_lanes(these, BoxLBFGS(flags.iterations, **settings), lanes_at_once)
    scipys, scipy_values, scipy_evaluations = by_scipy(these, flags.iterations, flags.ftol)
    aim = scipy_values + REACHED * np.abs(scipy_values)
    aiming = Aiming(flags.iterations, **settings)
    reach, reached, _ = by_lanes(these, aiming, lanes_at_once, aim)

    ratio = values / scipy_values
    row = {
        "attacks": these.number,
        "attacks_at_rest": these.number - these.moving.size,
        "lanes_at_once": lanes_at_once,
        "scipy_seconds": scipys.seconds,
        "scipy_processor_seconds": scipys.processor_seconds,
        "scipy_evaluations": int(scipy_evaluations.sum()),
        "seconds": spent.seconds,
        "processor_seconds": spent.processor_seconds,
        "evaluations": int(evaluations.sum()),
        "time_ratio": spent.seconds / scipys.seconds,
        "processor_time_ratio": spent.processor_seconds / scipys.processor_seconds,
        "objective_ratio_geometric_mean": float(np.exp(np.mean(np.log(ratio)))),
        "objective_ratio_largest": float(ratio.max()),
        "share_within_1.5": float(np.mean(ratio <= 1.5)),
        "seconds_to_reach_scipy": reach.seconds,
        "time_ratio_to_reach_scipy": reach.seconds / scipys.seconds,
        "processor_time_ratio_to_reach_scipy": reach.processor_seconds / scipys.processor_seconds,
        "share_reaching_scipy": float(np.mean(reached <= aim)),
    }
    print(describe(PACKAGES))
    for name, value in row.items():
        print(f"{name:32s} {value:.4g}" if isinstance(value, float) else f"{name:32s} {value}")
    print("\npenalty     ours / SciPy (geometric mean)   largest")
    for column in range(0, these.penalties.size, max(1, these.penalties.size // 10)):
        here = ratio.reshape(-1, these.penalties.size)[:, column]
        print(f"2^{np.log2(these.penalties[column]):6.1f}    {np.exp(np.mean(np.log(here))):27.4f} {here.max():9.3f}")
    rounded = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in row.items()}
    print(write_results("attack_sweep", [rounded], settings={**vars(flags), **settings}, packages=PACKAGES))


if __name__ == "__main__":
    main()
