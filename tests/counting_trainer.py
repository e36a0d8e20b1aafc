"""A trainer that counts in place of training, for tests of the loop: nothing is compiled."""

import dataclasses
import time
from typing import Any

import jax
import numpy as np

from seatbelt_jax.training import chunks
from seatbelt_jax.training.evaluation import Evaluation
from seatbelt_jax.training.settings import TrainConfig
from seatbelt_jax.training.state import TrainState, restore


@dataclasses.dataclass
class CountingTrainer:
    """Folds the number of each batch into its only parameter, in an order that shows in the last bit.

    Attributes:
      schedule: of the loop.
      taken: steps that this trainer took.
      longest: steps in a chunk.
      seconds: that a step takes.
    """

    schedule: TrainConfig
    taken: list[int] = dataclasses.field(default_factory=list)
    longest: int = 1
    seconds: float = 0.0
    image_range: tuple[float, float] = (-1.0, 1.0)

    def create(self) -> TrainState:
        return self.restore(
            0, {"params": np.zeros(3, np.float32)}, {"optimizer": np.zeros(3, np.float32), **_NONE_SKIPPED}
        )

    def restore(self, step: int, variables: Any, training: Any) -> TrainState:
        on_host = jax.tree.map(np.asarray, (variables, training))
        return dataclasses.replace(restore(0, *on_host), step=np.asarray(step, np.int32))

    def chunks(self, start: int):
        batches = (np.asarray(number) for number in range(start, self.schedule.steps))
        ends = chunks.chunk_ends(start, self.schedule, self.longest)
        return chunks.chunks(batches, start, ends, self.longest)

    def compile(self, state: TrainState, batches: np.ndarray) -> None:
        pass

    def take(self, state: TrainState, batches: np.ndarray, count: int) -> tuple[TrainState, dict[str, Any]]:
        params, moment = state.variables["params"], state.optimizer
        for number in batches[:count].astype(np.float32):
            params, moment = np.sin(params + moment + number), np.float32(0.9) * moment + np.cos(number)
            self.taken.append(int(number))
        time.sleep(self.seconds * int(count))
        step = state.step + np.int32(count)
        after = dataclasses.replace(state, step=step, variables={"params": params}, optimizer=moment)
        return after, {"elbo": params[0], "loss": -params[0], "skipped_steps": 0, "skipped_in_a_row": 0}

    def evaluate(self, state: TrainState) -> Evaluation:
        images = np.zeros((2, 8, 8, 1), np.float32)
        traversals = np.zeros((1, 3, 8, 8, 1), np.float32)
        return Evaluation({"elbo": state.variables["params"][1]}, images, images, images, traversals)

    def has_diverged(self, metrics: dict[str, Any]) -> bool:
        return False

    def report_divergence(self, state: TrainState, directory: Any) -> str:
        raise AssertionError("counting does not diverge")


_NONE_SKIPPED = {"skipped": np.zeros((), np.int32), "skipped_in_a_row": np.zeros((), np.int32)}
