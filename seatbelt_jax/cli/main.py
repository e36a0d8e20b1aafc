"""The command `seatbelt`, and what launch/NAME.py runs. Importing it takes hold of Ctrl-C."""

# ruff: noqa: E402

# Before anything else, with what the interpreter has loaded already: until `end_at_once` below, Ctrl-C would be a
# traceback that names the import that was going on.
import _signal
import os

if _signal.getsignal(_signal.SIGINT) == _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, lambda *_: (os.write(2, b"\ninterrupted\n"), os._exit(130)))

from seatbelt_jax import interrupts

interrupts.end_at_once()

import difflib
import importlib
import sys

COMMANDS = {
    "train": "Train a model in a run directory.",
    "attack": "Attack the model of a run.",
    "certify": "Certify images under the models of runs.",
    "evaluate": "Measure the model of a run.",
    "report": "Show runs, or a sweep, on one page.",
    "sweep": "Train, attack, certify and evaluate a grid of models.",
    "figures": "Draw figures from sweeps or runs.",
    "prepare-data": "Prepare a data set of TensorFlow Datasets.",
    "demo": "Train, attack and certify two small models and show them.",
    "swiss-roll": "Reproduce Figure A.7 of Willetts et al. 2021.",
}


def main(name: str | None = None) -> None:
    """Runs a command: the one named or, without a name, the first argument's."""
    if name is None:
        name = _named()
        sys.argv = [f"{sys.argv[0]} {name}", *sys.argv[2:]]
    from seatbelt_jax.cli import start

    start.prepare_process()
    try:
        command = importlib.import_module(f"seatbelt_jax.cli.{name.replace('-', '_')}")
    except ImportError as error:  # as without the extra that a command needs
        start.fail(str(error))
    start.start(command)


def _named() -> str:
    given = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if given in COMMANDS:
        return given
    if given in ("--help", "-h", "help"):
        width = max(map(len, COMMANDS))
        lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
        print(
            "usage: seatbelt COMMAND [--FLAG=VALUE ...]\n",
            *lines,
            "\nseatbelt COMMAND --help lists its flags.",
            sep="\n",
        )
        sys.exit(0)
    if given == "--version":
        from seatbelt_jax import __version__

        print(f"seatbelt_jax {__version__}")
        sys.exit(0)
    near = difflib.get_close_matches(given, COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
    print(f"error: there is no command {given!r}; {hint}", file=sys.stderr)
    sys.exit(1)
