"""Many independent box-constrained problems, a block of them advanced together.

A solver's `update` costs one evaluation of each problem in the block. Problems end at different times;
the slot of one that has ended is given to the next that waits, so that a block stays full of work.
"""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from seatbelt_jax.attacks.lbfgsb import LBFGSB, Status

# Updates between two looks at which problems have ended.
_UPDATES_PER_CALL = 10


class Solutions(NamedTuple):
    """How every problem ended.

    Attributes:
      images: the best accepted iterates.
      status: a `Status` each.
      iterations: accepted steps.
      evaluations: of the objective and its gradient.
    """

    images: Float[np.ndarray, "lane height width channels"]
    status: Int[np.ndarray, " lane"]
    iterations: Int[np.ndarray, " lane"]
    evaluations: Int[np.ndarray, " lane"]


def solve(
    solver: LBFGSB,
    starts: Float[np.ndarray, "lane height width channels"],
    problems: Any,
    bounds: tuple[float, float],
    *,
    lanes_at_once: int,
    progress: bool = False,
    already_solved: int = 0,
) -> Solutions:
    """Minimises `solver.fun(image, problem)` over the box for every lane.

    Args:
      solver: for one problem; it is vmapped here.
      starts: first iterates.
      problems: a pytree of arrays with leading axis [lane], each lane's second argument of `fun`.
      bounds: lower and upper bound of every pixel.
      lanes_at_once: problems held on the device together.
      progress: whether to show a bar over lanes.
      already_solved: lanes of the same sweep that needed no solver, for the bar to count.
    """
    total = len(starts)
    slots = min(lanes_at_once, total)
    problems = jax.tree.map(np.asarray, problems)

    begin_all = jax.vmap(lambda image, problem: solver.init_state(image, bounds, problem))
    update_all = jax.vmap(lambda image, state, problem: solver.update(image, state, bounds, problem))

    # The histories are most of a block's memory: donated, they are updated in place.
    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def advance(images: Any, state: Any, problem: Any) -> Any:
        def once(_: Any, carry: Any) -> Any:
            images, state = carry
            step = update_all(images, state, problem)
            return step.params, step.state

        return jax.lax.fori_loop(0, _UPDATES_PER_CALL, once, (images, state))

    @functools.partial(jax.jit, donate_argnums=0)
    def refill(block: Any, images: Any, problem: Any, taken: Any) -> Any:
        """Puts new problems into the slots `taken`; a slot number past the end is dropped."""
        fresh = (images, begin_all(images, problem), problem)
        return jax.tree.map(lambda old, new: old.at[taken].set(new, mode="drop"), block, fresh)

    lane_of_slot = np.full(slots, -1)
    waiting = 0
    block: Any = None
    solutions = Solutions(np.array(starts), *(np.zeros(total, np.int32) for _ in range(3)))
    with tqdm(
        total=total + already_solved, initial=already_solved, unit="attack", disable=None if progress else True
    ) as bar:
        while waiting < total or np.any(lane_of_slot >= 0):
            free = np.flatnonzero(lane_of_slot < 0)
            # Starting one problem costs an evaluation of the whole block: wait for several to end.
            if waiting < total and free.size >= max(1, slots // 4):
                lanes = np.arange(waiting, min(waiting + free.size, total))
                waiting += lanes.size
                lane_of_slot[free[: lanes.size]] = lanes
                # The same shape each time, so that it compiles once: pad with lane 0, into no slot.
                chosen = np.concatenate([lanes, np.zeros(slots - lanes.size, int)])
                taken = np.concatenate([free[: lanes.size], np.full(slots - lanes.size, slots)])
                new = (starts[chosen], jax.tree.map(lambda leaf: leaf[chosen], problems))  # noqa: B023
                if block is None:
                    block = jax.jit(lambda images, problem: (images, begin_all(images, problem), problem))(*new)
                else:
                    block = refill(block, *new, taken)
            images, state, problem = block
            images, state = advance(images, state, problem)
            block = (images, state, problem)
            ended = np.flatnonzero((np.asarray(state.status) != Status.RUNNING) & (lane_of_slot >= 0))
            if ended.size:
                _record(solutions, lane_of_slot[ended], ended, images, state)
                lane_of_slot[ended] = -1
                bar.update(ended.size)
    return solutions


def _record(solutions: Solutions, lanes: np.ndarray, slots: np.ndarray, images: Any, state: Any) -> None:
    solutions.images[lanes] = np.asarray(images)[slots]
    solutions.status[lanes] = np.asarray(state.status)[slots]
    solutions.iterations[lanes] = np.asarray(state.iter_num)[slots]
    solutions.evaluations[lanes] = np.asarray(state.num_fun_eval)[slots]
