"""Solves many independent problems, a block of them at a time on every device.

A solver's `update` costs one evaluation of each problem in the block. Problems end at different times. A slot that
becomes free goes to the next problem that waits. Once none waits, the block shrinks to the problems that still run.
"""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int
from tqdm import tqdm

from seatbelt_jax.attacks.lbfgsb import Status
from seatbelt_jax.attacks.region import Region
from seatbelt_jax.attacks.solver import Solver
from seatbelt_jax.unfinished import Labelled

# Updates between two looks at which problems have ended.
_UPDATES_PER_LOOK = 10
# Problems whose results are kept together: in memory until all have ended, in one file of the store afterwards.
_LANES_PER_PART = 2048
_SECONDS_BETWEEN_SNAPSHOTS = 10.0
# A block has two sizes, the second smaller by this factor, and each is compiled anew: not worth it for a small block.
_SHRINK = 4
_SMALL = 8


class Solutions(NamedTuple):
    """How every problem ended.

    Attributes:
      images: the solver's iterates.
      value: the objective there.
      status: a `Status` each.
      iterations: accepted steps.
      evaluations: how often the objective and its gradient were evaluated.
    """

    images: Float[np.ndarray, "lane height width channels"]
    value: Float[np.ndarray, " lane"]
    status: Int[np.ndarray, " lane"]
    iterations: Int[np.ndarray, " lane"]
    evaluations: Int[np.ndarray, " lane"]


# The starts and the problems of lanes by their numbers: images, and a tree of arrays with leading axis [lane].
Setup = Callable[[Int[np.ndarray, " lane"]], tuple[Float[np.ndarray, "lane *image"], Any]]


def solve(
    block: "Block",
    setup: Setup,
    numbers: Int[np.ndarray, " lane"],
    *,
    store: Labelled | None = None,
    name: str = "lanes",
    progress: bool = False,
) -> Solutions:
    """Solves every lane's problem.

    Args:
      block: what advances problems.
      setup: gives lanes their starts and problems.
      numbers: the lanes' numbers for `setup`, at least one.
      store: where to save finished parts and, every ten seconds, the state of the present one. A call that finds
        the work of an interrupted call continues it. The result is the same bit for bit where the device's arithmetic
        is reproducible.
      name: under which the store knows this call.
      progress: whether to show a bar over lanes.
    """
    parts = []
    with tqdm(total=numbers.size, desc=name, unit="attack", disable=None if progress else True) as bar:
        for first in range(0, numbers.size, _LANES_PER_PART):
            part = numbers[first : first + _LANES_PER_PART]
            parts.append(_solve_part(block, setup, part, store, name, f"{name} {first}", bar))
    return Solutions(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _solve_part(
    block: "Block",
    setup: Setup,
    numbers: Int[np.ndarray, " lane"],
    store: Labelled | None,
    unfinished: str,
    finished: str,
    bar: tqdm,
) -> Solutions:
    if store and (arrays := store.read(finished, numbers)) is not None:
        bar.update(numbers.size)
        return Solutions(**{field: np.array(arrays[field]) for field in Solutions._fields})
    work = _Work(block, setup, numbers)
    if store and (arrays := store.read(unfinished, numbers)) is not None:
        work.restore(arrays)
        bar.update(work.ended)
    saved = time.monotonic()
    while work.remain:
        bar.update(work.step())
        if store and time.monotonic() - saved > _SECONDS_BETWEEN_SNAPSHOTS:
            store.write(unfinished, numbers, work.snapshot())
            saved = time.monotonic()
    if store:
        store.write(finished, numbers, work.solutions._asdict())
    return work.solutions


class Block:
    """The operations on a block of problems, its first axis spread over the devices of the machine.

    Compiled once for solvers of the same settings, functions of the same code, and shapes.

    Args:
      solver: for one problem; it is vmapped here.
      fun: of (image, problem), what is minimised; a pytree such as a `jax.tree_util.Partial`.
      region: of a problem, as the solver takes it; a pytree too.
      lanes_at_once: problems held together on each device, at most.
      lanes: problems that a call of `solve` has, at most.
    """

    def __init__(
        self,
        solver: Solver,
        fun: Callable[[Any, Any], Float[Array, ""]],
        region: Callable[[Any], Region],
        lanes_at_once: int,
        lanes: int,
    ):
        self._how = _How(solver, Mesh(np.array(jax.local_devices()), ("lanes",)))
        self._what = fun, region
        devices = self._how.mesh.size
        per_device = min(lanes_at_once, 1 << (-(-lanes // devices) - 1).bit_length())
        small = per_device if per_device <= _SMALL else per_device // _SHRINK
        self._sizes = (per_device * devices, small * devices)
        self._refills = lanes > self._sizes[0]

    def begin(self, images: Any, problems: Any) -> Any:
        """A block of the larger size; by the program that refills, where that is needed anyway."""
        if not self._refills:
            return _begin(self._how, self._what, images, problems)
        empty = jax.tree.map(lambda leaf: np.zeros((len(images), *leaf.shape), leaf.dtype), self.slot(images, problems))
        return self.refill(self.place(empty), images, problems, self.place(np.ones(len(images), bool)))

    def slot(self, images: Any, problems: Any) -> Any:
        """Shapes and types of what one slot holds, from arrays of starts and problems."""
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), (images, problems))
        return jax.eval_shape(functools.partial(_begin_one, self._how.solver), self._what, *one)

    def refill(self, block: Any, images: Any, problems: Any, taken: Bool[Array, " slot"]) -> Any:
        """The block with other problems in the slots that are taken."""
        return _refill(self._how, self._what, block, images, problems, taken)

    def take(self, block: Any, slots: Int[np.ndarray, " slot"]) -> Any:
        """The slots with these numbers, as a block of their own."""
        return _take(self._how, block, slots)

    def advance(self, images: Any, state: Any, problems: Any) -> Any:
        """Updates every problem several times; those that have ended stay as they are.

        One call for each update: in a compiled loop XLA's CPU backend runs the same convolutions five times slower.
        """
        for _ in range(_UPDATES_PER_LOOK):
            images, state = _update(self._how, self._what, images, state, problems)
        return images, state

    @property
    def largest(self) -> int:
        """Slots that a block begins with."""
        return self._sizes[0]

    def size(self, lanes: int) -> int:
        """Slots for so many lanes: the smaller of the two sizes where they fit in it."""
        large, small = self._sizes
        return small if lanes <= small else large

    def compile(self, start: Any, problem: Any) -> None:
        """Runs each operation once, so that whether a lane ends early decides nothing about what is compiled when.

        Args:
          start, problem: of one lane, with its axis; all slots are filled with it.
        """
        large, small = self._sizes
        known = (self._how, self._sizes, self._refills, *_structure_of(self._what), *_structure_of((start, problem)))
        if not cast(Any, _update)._cache_size():
            _COMPILED.clear()  # jax.clear_caches() was called
        if known in _COMPILED:
            return
        _COMPILED.add(known)
        slots = jax.tree.map(lambda leaf: np.broadcast_to(leaf[:1], (large, *leaf.shape[1:])), (start, problem))
        block = self.begin(*self.place(slots))
        # What an update is given it gives up.
        block = (*_update(self._how, self._what, *block), block[2])
        if small < large:
            _update(self._how, self._what, *self.take(block, np.zeros(small, int)))

    def place(self, tree: Any) -> Any:
        """Host arrays onto the devices."""
        return jax.device_put(tree, self._how.lanes)


# What has been compiled in this process, by all that it depends on.
_COMPILED: set[Any] = set()


def _structure_of(tree: Any) -> tuple[Any, ...]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, *((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)


class _How(NamedTuple):
    """What a block is compiled for besides code and shapes."""

    solver: Solver
    mesh: Mesh

    @property
    def lanes(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec("lanes"))

    def on_each_device(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of (what, *lanes), each device with lanes of its own; none speaks to another."""
        lanes = PartitionSpec("lanes")

        def call(what: Any, *values: Any) -> Any:
            specs = (PartitionSpec(), *[lanes] * len(values))
            mapped = jax.shard_map(function, mesh=self.mesh, in_specs=specs, out_specs=lanes, check_vma=False)
            return mapped(what, *values)

        return call


# One lane's, traced once for blocks of both sizes.
@functools.partial(jax.jit, static_argnums=0)
def _begin_one(solver: Solver, what: Any, image: Any, problem: Any) -> Any:
    fun, region = what
    state = solver.init_state(fun, image, region(problem), problem)
    # The solver may compute in a wider type than the images have.
    return image.astype(state.value.dtype), state, problem


@functools.partial(jax.jit, static_argnums=0)
def _update_one(solver: Solver, what: Any, image: Any, state: Any, problem: Any) -> Any:
    fun, region = what
    step = solver.update(fun, image, state, region(problem), problem)
    return step.params, step.state


def _begin_each(solver: Solver, what: Any, images: Any, problems: Any) -> Any:
    return jax.vmap(lambda image, problem: _begin_one(solver, what, image, problem))(images, problems)


@functools.partial(jax.jit, static_argnums=0)
def _begin(how: _How, what: Any, images: Any, problems: Any) -> Any:
    return how.on_each_device(functools.partial(_begin_each, how.solver))(what, images, problems)


# The histories are most of a block's memory: donated, they are updated in place.
@functools.partial(jax.jit, static_argnums=0, donate_argnums=(2, 3))
def _update(how: _How, what: Any, images: Any, states: Any, problems: Any) -> Any:
    def update_each(what: Any, images: Any, states: Any, problems: Any) -> Any:
        update = functools.partial(_update_one, how.solver, what)
        return jax.vmap(update)(images, states, problems)

    return how.on_each_device(update_each)(what, images, states, problems)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _refill(how: _How, what: Any, block: Any, images: Any, problems: Any, taken: Bool[Array, " slot"]) -> Any:
    def refill(what: Any, block: Any, images: Any, problems: Any, taken: Any) -> Any:
        def choose(old: Array, new: Array) -> Array:
            return jnp.where(taken.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        return jax.tree.map(choose, block, _begin_each(how.solver, what, images, problems))

    return how.on_each_device(refill)(what, block, images, problems, taken)


@functools.partial(jax.jit, static_argnums=0)
def _take(how: _How, block: Any, slots: Int[Array, " slot"]) -> Any:
    taken = jax.tree.map(lambda leaf: leaf[slots], block)
    return jax.lax.with_sharding_constraint(taken, how.lanes)


class _Work:
    """The problems of one part on their way through a block; nothing here depends on time or on interruptions."""

    def __init__(self, block: Block, setup: Setup, numbers: Int[np.ndarray, " lane"]):
        self._block, self._setup, self._numbers = block, setup, numbers
        self._total = numbers.size
        self._waiting = 0  # the next problem that has no slot yet, counted from the part's first
        self._lane_of_slot = np.full(block.largest, -1)
        starts, problems = setup(numbers[:1])
        block.compile(starts, problems)
        slot: Any = block.slot(starts, problems)
        self._structure: Any = jax.tree.structure(slot)
        images, kind = np.zeros((self._total, *starts.shape[1:]), slot[0].dtype), slot[0].dtype
        counts = (np.zeros(self._total, np.int32) for _ in range(3))
        self.solutions = Solutions(images, np.zeros(self._total, kind), *counts)
        self._values: Any = None

    @property
    def remain(self) -> bool:
        return self._waiting < self._total or bool(np.any(self._lane_of_slot >= 0))

    @property
    def ended(self) -> int:
        return self._waiting - int(np.sum(self._lane_of_slot >= 0))

    def step(self) -> int:
        """Advances the block and records what ended; returns how many did."""
        free = np.flatnonzero(self._lane_of_slot < 0)
        # Starting one problem costs an evaluation of the whole block: wait for several to end.
        if self._waiting < self._total and free.size >= max(1, self._lane_of_slot.size // 4):
            self._fill(free)
        running = int(np.count_nonzero(self._lane_of_slot >= 0))
        if self._waiting == self._total and self._block.size(running) < self._lane_of_slot.size:
            self._shrink()
        images, state, problems = self._values
        images, state = self._block.advance(images, state, problems)
        self._values = (images, state, problems)
        ended = np.flatnonzero((np.asarray(state.status) != Status.RUNNING) & (self._lane_of_slot >= 0))
        if ended.size:
            self._record(ended, images, state)
        return ended.size

    def _fill(self, free: Int[np.ndarray, " slot"]) -> None:
        lanes = np.arange(self._waiting, min(self._waiting + free.size, self._total))
        slots = free[: lanes.size]
        self._waiting += lanes.size
        self._lane_of_slot[slots] = lanes
        # Slots that keep their problem get the first new one, which is not looked at.
        chosen = np.full(self._lane_of_slot.size, lanes[0])
        chosen[slots] = lanes
        starts, problems = self._block.place(self._setup(self._numbers[chosen]))
        if self._values is None:
            self._values = self._block.begin(starts, problems)
        else:
            taken = np.isin(np.arange(chosen.size), slots)
            self._values = self._block.refill(self._values, starts, problems, self._block.place(taken))

    def _shrink(self) -> None:
        running = np.flatnonzero(self._lane_of_slot >= 0)
        slots = np.zeros(self._block.size(running.size), int)
        slots[: running.size] = running
        lane_of_slot = np.full(slots.size, -1)
        lane_of_slot[: running.size] = self._lane_of_slot[running]
        self._values, self._lane_of_slot = self._block.take(self._values, slots), lane_of_slot

    def _record(self, slots: Int[np.ndarray, " slot"], images: Any, state: Any) -> None:
        found = Solutions(images, state.value, state.status, state.iter_num, state.num_fun_eval)
        for whole, part in zip(self.solutions, found, strict=True):
            whole[self._lane_of_slot[slots]] = np.asarray(part)[slots]
        self._lane_of_slot[slots] = -1

    def snapshot(self) -> dict[str, np.ndarray]:
        """All that `restore` needs to go on as if nothing had happened."""
        leaves = {f"block_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(self._values))}
        progress = {"waiting": np.asarray(self._waiting), "lane_of_slot": self._lane_of_slot}
        return {**leaves, **progress, **self.solutions._asdict()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        leaves = [arrays[f"block_{i}"] for i in range(self._structure.num_leaves)]
        self._values = self._block.place(jax.tree.unflatten(self._structure, leaves))
        self._waiting, self._lane_of_slot = int(arrays["waiting"]), np.array(arrays["lane_of_slot"])
        self.solutions = Solutions(**{field: np.array(arrays[field]) for field in Solutions._fields})
