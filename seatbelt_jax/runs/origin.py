"""The checkpoint of another run that a run begins with."""

import dataclasses
from typing import Literal

OriginKind = Literal["fork", "warm_start"]


@dataclasses.dataclass(frozen=True)
class Origin:
    """The checkpoint of another run from which a run starts.

    Attributes:
      run: the other run's directory.
      step: of the checkpoint.
      kind: "fork" takes everything and continues from that step; "warm_start" takes the variables only and starts at
        step 0.
    """

    run: str
    step: int
    kind: OriginKind
