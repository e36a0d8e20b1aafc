"""One cache of compiled programs for all test processes: compiling takes most of their time, much of it twice.

Set before JAX is imported, and inherited by the launchers that tests start.
"""

import os
import pathlib

_CACHE = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "xla"

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
