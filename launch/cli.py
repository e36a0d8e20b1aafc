"""What every launcher shares: flags to a function, errors as one line, Ctrl-C without a traceback."""

import difflib
import logging as stdlib_logging
import pathlib
import re
import sys
from collections.abc import Callable

from absl import app, flags, logging

# Errors of the user's making, or of the machine's: the message says all, a traceback would bury it.
_EXPECTED = (ValueError, TypeError, OSError, ArithmeticError, ImportError)
_INTERRUPTED = 130


def start(main: Callable[[], None]) -> None:
    """Parses the flags, runs `main` and exits: 0, 1 for an error, 130 for Ctrl-C."""
    # Orbax logs every step of a save, TensorFlow Datasets what it could do with OpenCV.
    logging.set_verbosity(logging.ERROR)
    # Of a damaged checkpoint asyncio prints the tracebacks of every read, beside the error that is raised.
    stdlib_logging.getLogger("asyncio").setLevel(stdlib_logging.CRITICAL)
    app.run(lambda _: _run(main), flags_parser=_parse)


def _run(main: Callable[[], None]) -> None:
    try:
        main()
    except _EXPECTED as error:
        _fail(f"{error}" or type(error).__name__)
    except KeyboardInterrupt:
        print("\ninterrupted; what is on disk is whole, the same command goes on", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _parse(arguments: list[str]) -> list[str]:
    """Flags, with what goes wrong in a configuration put into one readable line."""
    _check_config_file(arguments)
    try:
        rest = flags.FLAGS(arguments)
    except (flags.Error, ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        _fail(_reason(error))
    if len(rest) > 1:
        _fail(f"unexpected argument {rest[1]!r}; options are written --name=value, see --help")
    return rest


def _check_config_file(arguments: list[str]) -> None:
    """For a configuration that is not there, says which are."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--config":
            value = following
        elif argument.startswith("--config="):
            value = argument.removeprefix("--config=")
        else:
            continue
        path = pathlib.Path(value.split(":")[0])
        if not path.is_file():
            known = sorted(str(file) for file in path.parent.glob("*.py"))
            near = difflib.get_close_matches(str(path), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
            _fail(f"there is no configuration {path}; {hint}")


def _reason(error: Exception) -> str:
    """The cause alone: ml_collections hands on a whole traceback as a message."""
    message = str(error.args[0]) if error.args else type(error).__name__
    if near := re.search(r'Did you mean "(\w+)" instead of "(\w+)"', message):
        return f"unknown configuration field {near[2]}; did you mean {near[1]}?"
    if field := re.fullmatch(r"[\"']*(\w+)[\"']*", message):
        return f"unknown configuration field {field[1]}"
    return re.split(r"\b\w+Error: ", message)[-1]


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(1)
