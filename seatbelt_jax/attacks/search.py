"""The attacks of one sweep: their starts, and the best image found for each."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from seatbelt_jax.attacks import lanes, measure, problem
from seatbelt_jax.attacks.objective import Objective
from seatbelt_jax.attacks.problem import Problem
from seatbelt_jax.attacks.random_search import random_search
from seatbelt_jax.attacks.solver import Solver, describe
from seatbelt_jax.attacks.threat import Threat, least_gain, scores_of_all
from seatbelt_jax.results import AttackResult, Status
from seatbelt_jax.unfinished import Labelled, Store
from seatbelt_jax.vae import VAE

# An exchange that gains less than this share of Delta, or of its gain over the source, is not worth the evaluations.
_LEAST_GAIN = 1e-3


class Search:
    """All pairs under all budgets, as lanes, pair by pair.

    Args:
      vae, objective, threat: the attacked model, the attacker's objective, and the allowed distortions.
      solver: of the searches.
      sources, targets: float32 images in the model's range.
      noise_stds: standard deviation of the noise of every start: the first, then the restarts.
      seed: seed of all noise.
      lanes_at_once: how many lanes each device holds.
      store: keeps unfinished work.
      progress: whether to show bars.
    """

    def __init__(
        self,
        vae: VAE,
        objective: Objective,
        threat: Threat,
        solver: Solver,
        sources: Float[np.ndarray, "pair height width channels"],
        targets: Float[np.ndarray, "pair height width channels"],
        *,
        noise_stds: Sequence[float],
        seed: int,
        lanes_at_once: int,
        store: Store | None,
        progress: bool,
    ):
        self._vae, self._threat, self._given = vae, threat, objective
        self._objective = measure.as_value(objective, sources, targets)
        self._sources, self._targets = sources, targets
        self._noise_stds, self._seed, self._progress = tuple(noise_stds), seed, progress
        self._box = vae.likelihood.image_range
        self._goals = measure.prepare(self._objective, sources, targets)
        delta, region = problem.delta(self._objective, threat), problem.region(threat, self._box)
        self._block = lanes.Block(solver, delta, region, lanes_at_once, len(sources) * threat.budgets.size)

        pairs, budgets = self._grid = (len(sources), threat.budgets.size)
        first = self._starts(np.arange(pairs) * budgets, 0)
        self._descent = measure.allowed_descent(self._objective, np.clip(first, *self._box), self._goals, self._box)
        self._at_source = self._distances(sources[:, None])[:, 0]
        self._store = self._label(store, describe(solver), lanes_at_once) if store else None

        self._images = np.repeat(sources, budgets, axis=0)
        self._value = np.repeat(_or_infinite(self._at_source), budgets)
        self._status = np.full(pairs * budgets, Status.CONVERGED, np.int32)
        self._iterations = np.zeros(pairs * budgets, np.int32)
        self._evaluations = np.ones(pairs * budgets, np.int32)
        self._exchanged = np.zeros(pairs * budgets, bool)
        self._start_objectives: list[np.ndarray] = []

    def _distances(self, images: Float[np.ndarray, "pair budget *image"]) -> Float[np.ndarray, "pair budget"]:
        return measure.distances(self._objective, self._goals, images, least=math.prod(self._grid))

    def _label(self, store: Store, solver: str, lanes_at_once: int) -> Labelled:
        threat = (self._threat.name, getattr(self._threat, "pixel_limit", None))
        settings = (self._objective.name, threat, solver, self._box, self._noise_stds, self._seed, lanes_at_once)
        arrays = (self._sources, self._targets, self._threat.budgets)
        blends = np.stack([self._targets, 0.5 * (self._sources + self._targets)], axis=1)
        probes = [self._at_source, measure.l2_norms(self._descent), self._distances(blends).ravel()]
        label = f"{settings}, {jax.local_device_count()} devices"
        return Labelled(store, (label, *arrays), np.concatenate(probes).astype(np.float64))

    def _at_rest(self) -> Bool[np.ndarray, "pair budget"]:
        """Which attacks are stationary at d = 0, where lambda ||d|| has a kink.

        No feasible direction u descends when <-grad r, u> <= lambda ||u||, that is when the part of -grad r that the
        box allows is no longer than lambda. Where the model is not finite at the source, the solver reports it.
        """
        if self._threat.name != "penalty":
            return np.zeros(self._grid, bool)
        finite = np.isfinite(self._at_source)[:, None]
        return finite & (measure.l2_norms(self._descent_at_source)[:, None] <= self._threat.budgets)

    @functools.cached_property
    def _descent_at_source(self) -> Float[np.ndarray, "pair height width channels"]:
        if self._noise_stds[0] == 0.0:
            return self._descent
        return measure.allowed_descent(self._objective, self._sources, self._goals, self._box)

    def _starts(self, lane: np.ndarray, start: int) -> np.ndarray:
        """The sources of lanes, with noise that depends on the lane, not on the block it runs in."""
        images = self._sources[lane // self._threat.budgets.size]
        noise_std = self._noise_stds[start]
        if noise_std == 0.0:
            return images
        noise = [np.random.default_rng([self._seed, start, k]).standard_normal(images.shape[1:]) for k in lane]
        return (images + noise_std * np.asarray(noise)).astype(np.float32)

    def from_sources(self) -> None:
        """Runs the attacks from their sources, except those at rest there; then all attacks from restarts."""
        at_rest = self._at_rest() if self._noise_stds[0] == 0.0 else np.zeros(self._grid, bool)
        self._from("attacks", np.flatnonzero(~at_rest), 0)
        for start in range(1, len(self._noise_stds)):
            self._from(f"restart {start}", np.arange(self._value.size), start)

    def _from(self, name: str, numbers: np.ndarray, start: int) -> None:
        objectives = self._value.copy() if start == 0 else np.full(self._value.shape, np.inf)
        if numbers.size:
            found = self._solve(name, numbers, lambda lane: self._starts(lane, start))
            objectives[numbers] = _or_infinite(found.value)
            self._keep(numbers, found, first=start == 0)
        self._start_objectives.append(objectives.reshape(self._grid))

    def exchange(self, number: int) -> None:
        """Continues attacks from a better image that the pair's other attacks, or the random search, have found."""
        numbers, starts, values = self._offers()
        # Even if the solver improves nothing, the image it starts from is better than the former one.
        self._images[numbers], self._value[numbers], self._exchanged[numbers] = starts, values, True
        # A solver does not see the kink of lambda ||d|| at the source, and would call its line search failed there.
        pair, column = np.divmod(numbers, self._grid[1])
        at_rest = self._at_rest()[pair, column] & np.all(starts == self._sources[pair], axis=(1, 2, 3))
        self._status[numbers[at_rest]] = Status.CONVERGED
        numbers, starts = numbers[~at_rest], starts[~at_rest]
        if not numbers.size:
            return
        found = self._solve(f"exchange {number}", numbers, lambda lane: starts[np.searchsorted(numbers, lane)])
        # A search that improves nothing says how the attack ended only where it confirms its start, or where the
        # status so far is of a search that found nothing finite.
        former = self._status[numbers]
        confirmed = (found.status == Status.CONVERGED) | (former == Status.NON_FINITE)
        self._status[numbers] = np.where(confirmed, found.status, former)
        self._keep(numbers, found)

    def _offers(self) -> tuple[Int[np.ndarray, " lane"], Float[np.ndarray, "lane *image"], Float[np.ndarray, " lane"]]:
        """The attacks for which the pair has a better image than their own, the images, and Delta there."""
        images = self._images.reshape(*self._grid, *self._images.shape[1:])
        norm = measure.l2_distances(images, self._sources)
        largest = measure.largest_changes(images, self._sources)
        scores = scores_of_all(self._threat.name, self._threat.budgets, self._distances(images), norm, largest)
        random_images, random_scores = self._random_search
        best, best_scores = np.argmin(scores, axis=2), np.min(scores, axis=2)
        own, offer = np.diagonal(scores, axis1=1, axis2=2), np.minimum(best_scores, random_scores)
        numbers = np.flatnonzero(offer < own - least_gain(_LEAST_GAIN, own, self._at_source, offer))
        pair, column = np.divmod(numbers, self._grid[1])
        random_is_best = (random_scores < best_scores)[pair, column, None, None, None]
        starts = np.where(random_is_best, random_images[pair, column], images[pair, best[pair, column]])
        # The same image may score lower in another batch, by rounding.
        new = np.any(starts != self._images[numbers], axis=(1, 2, 3))
        return numbers[new], starts[new], offer.ravel()[numbers[new]]

    @functools.cached_property
    def _random_search(self) -> tuple[np.ndarray, np.ndarray]:
        return random_search(
            self._objective, self._threat, self._sources, self._targets, self._goals, self._box, seed=self._seed
        )

    def _solve(self, name: str, numbers: np.ndarray, starts: Any) -> lanes.Solutions:
        def setup(lane: np.ndarray) -> tuple[np.ndarray, Problem]:
            pair, column = np.divmod(lane, self._grid[1])
            goal = jax.tree.map(lambda leaf: leaf[pair], self._goals)
            budget = self._threat.budgets[column].astype(np.float32)
            return starts(lane), Problem(self._sources[pair], goal, budget)  # type: ignore[arg-type]

        return lanes.solve(self._block, setup, numbers, store=self._store, name=name, progress=self._progress)

    def _keep(self, numbers: np.ndarray, found: lanes.Solutions, *, first: bool = False) -> None:
        """Keeps what is better than before; from the first start everything."""
        value = _or_infinite(found.value)
        better = (value < self._value[numbers]) | first
        taken = numbers[better]
        self._images[taken], self._status[taken] = found.images[better], found.status[better]
        self._value[taken] = value[better]
        self._iterations[numbers] += found.iterations
        # The source's own evaluation is counted from the beginning.
        self._evaluations[numbers] += found.evaluations - int(first)

    def result(self) -> AttackResult:
        """The result, with every measure computed anew from the images."""
        images = self._images.reshape(*self._grid, *self._images.shape[1:])
        # Plain functions are traced once more: what they draw at random differs.
        retraced = measure.as_value(self._given, self._sources, self._targets)
        again = measure.distances(retraced, self._goals, images)
        distance = self._distances(images)
        found: dict[str, Any] = measure.measures(
            self._vae.traced(), self._threat, self._sources, self._targets, distance, again, images
        )
        return AttackResult(
            name=self._objective.name,
            unit=self._objective.unit,
            targeted=self._objective.targeted,
            threat=self._threat.name,
            budgets=self._threat.budgets,
            sources=self._sources,
            targets=self._targets,
            adversarial=images,
            objective_at_source=self._at_source,
            status=self._status.reshape(self._grid),
            iterations=self._iterations.reshape(self._grid),
            evaluations=self._evaluations.reshape(self._grid),
            start_objectives=np.stack(self._start_objectives, axis=-1),
            exchanged=self._exchanged.reshape(self._grid),
            gradient_norm=measure.l2_norms(self._descent),
            random_search_objective=self._random_search[1],
            **found,
        )


def _or_infinite(values: np.ndarray) -> Float[np.ndarray, "*lanes"]:
    """The values, with infinity for those that are not finite."""
    return np.where(np.isfinite(values), values, np.inf).astype(np.float64)
