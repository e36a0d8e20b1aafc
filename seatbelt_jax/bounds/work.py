"""How the work is done: pieces, a progress bar, what is kept. Nothing of it changes a result."""

import dataclasses

import jax

from seatbelt_jax.bounds.checks import check_counts
from seatbelt_jax.unfinished import Store


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Work:
    """How the work is cut into pieces, shown and kept.

    Attributes:
      batch_size: images between two updates of the progress bar.
      decode_batch: draws decoded at once; by default 64 on a CPU, 2048 on an accelerator.
      draw_batch: draws of a hierarchy whose Jacobians are taken at once; by default 64 on a CPU, 256 on an
        accelerator.
      chunk_size: rows of a Jacobian propagated at once.
      progress: shows a progress bar when the output is a terminal.
      store: keeps each batch's certificates, so that the same call goes on after an interruption.

    Raises:
      TypeError, ValueError: for a number that is not a whole number of at least 1.
    """

    batch_size: int = 16
    # Small blocks suit a CPU's caches, large ones fill an accelerator.
    decode_batch: int = dataclasses.field(default_factory=lambda: _by_device(64, 2048))
    # On an accelerator a block holds `chunk_size` backward passes per draw.
    draw_batch: int = dataclasses.field(default_factory=lambda: _by_device(64, 256))
    chunk_size: int = 16
    progress: bool = False
    store: Store | None = None

    def __post_init__(self) -> None:
        names = ("batch_size", "decode_batch", "draw_batch", "chunk_size")
        check_counts(**{name: getattr(self, name) for name in names})


def _by_device(on_cpu: int, on_accelerator: int) -> int:
    return on_cpu if jax.default_backend() == "cpu" else on_accelerator
