"""The modules of launch/, for tests that call their functions in this process."""

import importlib
import pathlib
import signal
import sys
from types import ModuleType

_FOLDER = str(pathlib.Path(__file__).parents[1] / "launch")


def load(name: str) -> ModuleType:
    """launch/NAME.py, without the hold on Ctrl-C that launchers take when they are imported."""
    handler = signal.getsignal(signal.SIGINT)
    sys.path.insert(0, _FOLDER)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(_FOLDER)
        signal.signal(signal.SIGINT, handler)
