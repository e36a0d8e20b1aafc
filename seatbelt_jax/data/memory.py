"""Whether an array can be held in memory, asked before it is made: a damaged or hostile file may claim any size."""

import os


def check_memory(size: int, what: str) -> None:
    """Raises ValueError, naming `what`, where `size` bytes are more than the machine's memory."""
    if size > (memory := _memory()):
        raise ValueError(
            f"{what} claims {size / 2**30:.3g} GiB, more than the {memory / 2**30:.3g} GiB of this machine's memory; "
            "it is damaged, or has to be split"
        )


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**40  # a system that does not tell
